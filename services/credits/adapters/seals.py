"""Seals the events: a chain of hashes over all rows, in the order of their positions, written in
the background and never in the transaction that reserves.

A position is drawn before its transaction commits, so a lower one may appear after a higher one.
What is settled is found without waiting for an age. One statement reads the highest position and
then takes a transaction id of its own. Whoever drew a position up to that one had its id before:
`append` writes inbox rows and heads before it draws positions, and a head has to move for every
event. So once no transaction below our id runs any more, all positions up to that one are either
there or never will be. (`pg_snapshot_xmax` would not do in place of an own id: it is one more than
the highest id that has *ended*, and one that runs may be above it.)
"""

import asyncio
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

import structlog
from prometheus_client import Gauge

from kernel.clock import Clock
from kernel.errors import Rejected
from kernel.objects import ObjectStore, ObjectStoreAway
from kernel.sql import DATABASE_AWAY, Connection, Database
from kernel.telemetry.metrics import REGISTRY

SEAL_EVERY_S: Final = 5.0
SEALED_EVENTS_MAX: Final = 1_000
SEALS_AT_ONCE_MAX: Final = 100
"""What is left then waits for the next time; at 20,000 events a second, nothing is."""
SERVICE: Final = "credits"
WAITING_MAX: Final = 10_000
"""So many unsealed events are counted for whoever asks: more are not worth their time."""
GENESIS: Final = bytes(32)
"""What the first seal has before it."""

SEALED_POSITION: Final = Gauge(
    "smartspec_ledger_sealed_position",
    "Position of the last event that a seal covers, whichever process wrote it.",
    ("service",),
    registry=REGISTRY,
)
UNSEALED_AGE: Final = Gauge(
    "smartspec_ledger_unsealed_oldest_age_seconds",
    "Age of the oldest event that no seal covers; 0 when there is none.",
    ("service",),
    registry=REGISTRY,
)

DIGEST: Final = """sha256(string_agg(record_send(ROW(position, event_id, version, schema_version,
    recorded_at, stream_id, type, data, metadata)), ''::bytea))"""
"""Of rows that a subquery gives in the order of their positions (to sort them here again costs as
much as the rest): every column as the server's protocol has it in binary, each with its type and
its length before it, so two rows never read alike. JSON is in it as text, which half of the time
goes to. Text is in the client's encoding: that is UTF-8, whoever connects by asyncpg."""

_LAST: Final = (
    "SELECT seal_no, last_position, head FROM credits.seals ORDER BY seal_no DESC LIMIT 1"
)
_MARK: Final = """
    SELECT max(position) AS position, pg_current_xact_id()::text::bigint AS xid
    FROM credits.events HAVING max(position) > $1"""
# The rows come from the same snapshot as the answer whether they are settled.
_SEAL: Final = f"""
    INSERT INTO credits.seals
        (seal_no, first_position, last_position, events, digest, previous, head, sealed_at)
    SELECT $1::bigint, $2::bigint, last_position, events, digest, $3::bytea,
        sha256($3::bytea || digest), $5::timestamptz
    FROM (
        SELECT max(position) AS last_position, count(*)::integer AS events, {DIGEST} AS digest
        FROM (
            SELECT * FROM credits.events WHERE position BETWEEN $2 AND $4::bigint
            ORDER BY position LIMIT {SEALED_EVENTS_MAX}
        ) AS event
    ) AS sealed
    WHERE events > 0
        AND pg_snapshot_xmin(pg_current_snapshot())::text::bigint >= $6::bigint
    ON CONFLICT DO NOTHING
    RETURNING seal_no, last_position, head"""
_WAITING: Final = """
    SELECT coalesce((SELECT max(last_position) FROM credits.seals), 0) AS position,
        coalesce(greatest(0, extract(epoch FROM $1 - (
            SELECT recorded_at FROM credits.events
            WHERE position > coalesce((SELECT max(last_position) FROM credits.seals), 0)
            ORDER BY position LIMIT 1))), 0)::float8 AS age_s"""
_CHAIN: Final = f"""
    WITH last AS (SELECT * FROM credits.seals ORDER BY seal_no DESC LIMIT 1)
    SELECT seal_no, last_position, head, sealed_at, waiting
    FROM (
        SELECT count(*) AS waiting FROM (
            SELECT FROM credits.events
            WHERE position > coalesce((SELECT last_position FROM last), 0) LIMIT {WAITING_MAX}
        ) AS unsealed
    ) AS counted LEFT JOIN last ON true"""
_FIRST_OF_DAY: Final = """
    SELECT seal_no, last_position, head FROM credits.seals
    WHERE sealed_at >= $1 ORDER BY seal_no LIMIT 1"""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Seal:
    """A seal's place in the chain; number 0 before the first."""

    seal_no: int = 0
    last_position: int = 0
    head: bytes = GENESIS


@dataclass(frozen=True, slots=True)
class Mark:
    """Events up to `position` are settled as soon as no transaction below `xid` runs."""

    position: int
    xid: int


class Seals:
    """The table `credits.seals`. Several processes may seal: the number decides whose counts."""

    def __init__(self, database: Database, clock: Clock, objects: ObjectStore) -> None:
        self._database = database
        self._clock = clock
        self._objects = objects
        self._mark: Mark | None = None
        self._published: date | None = None

    async def run(self) -> None:
        """Until cancelled; then nothing is said of it any more."""
        try:
            while True:
                await self.look()
                await asyncio.sleep(SEAL_EVERY_S)
        finally:
            self._forget()

    async def look(self) -> None:
        """Seal what is settled, and tell how far it lags; what fails is tried again."""
        try:
            await self.seal_settled()
            await self.publish()
            await self.tell()
        except (*DATABASE_AWAY, TimeoutError) as error:
            self._forget()
            _log.warning("ledger_not_sealed", error=type(error).__name__)

    async def seal_settled(self) -> int:
        """Seal up to the mark of the last time, if all before it is settled now, and set a new one;
        how many seals that took."""
        async with self._database.connection() as connection:
            last = await _last_seal(connection)
            written = 0
            while self._mark is not None and written < SEALS_AT_ONCE_MAX:
                following = await self._seal(connection, last, self._mark)
                if following is None:
                    break
                last, written = following, written + 1
            if self._mark is None or last.last_position >= self._mark.position:
                row = await connection.fetchrow(_MARK, last.last_position)
                self._mark = None if row is None else Mark(row["position"], row["xid"])
        return written

    async def publish(self) -> None:
        """Tell the head of the day's first seal outside of the database: in the log, and to the
        object store, where nothing is ever written over."""
        now = self._clock.now()
        today = now.date()
        if self._published == today:
            return
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_FIRST_OF_DAY, midnight)
        if row is None:
            return
        seal = Seal(**row)
        _log.info(
            "ledger_sealed",
            seal_no=seal.seal_no,
            position=seal.last_position,
            head=seal.head.hex(),
        )
        try:
            await self._objects.put_bytes(witness_name(today), witness(seal), replace=False)
        except Rejected:  # another process was first
            pass
        except ObjectStoreAway as error:
            _log.warning("ledger_head_not_kept", error=type(error).__name__)
            return
        self._published = today

    async def tell(self) -> None:
        """Set the gauges by what is in the tables, so that seals of any process count."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_WAITING, self._clock.now())
        assert row is not None, "it always has a row"
        SEALED_POSITION.labels(SERVICE).set(row["position"])
        UNSEALED_AGE.labels(SERVICE).set(row["age_s"])

    async def _seal(self, connection: Connection, last: Seal, mark: Mark) -> Seal | None:
        """One more; None when nothing is left, nothing is settled yet, or another process was
        first."""
        row = await connection.fetchrow(
            _SEAL,
            *(last.seal_no + 1, last.last_position + 1, last.head, mark.position),
            *(self._clock.now(), mark.xid),
        )
        return None if row is None else Seal(**row)

    def _forget(self) -> None:
        """An old figure would look like a good one."""
        for gauge in (SEALED_POSITION, UNSEALED_AGE):
            gauge.remove_by_labels({"service": SERVICE})


def witness_name(day: date) -> str:
    return f"ledger/heads/{day.isoformat()}.txt"


def witness(seal: Seal) -> bytes:
    return f"{seal.seal_no} {seal.last_position} {seal.head.hex()}\n".encode()


async def _last_seal(connection: Connection) -> Seal:
    row = await connection.fetchrow(_LAST)
    return Seal() if row is None else Seal(**row)


async def chain(database: Database) -> tuple[Seal, datetime | None, int]:
    """The last seal, when it was written, and how many events wait for the next: at most
    `WAITING_MAX` are counted."""
    async with database.connection() as connection:
        row = await connection.fetchrow(_CHAIN)
    assert row is not None, "it always has a row"
    if row["seal_no"] is None:
        return Seal(), None, row["waiting"]
    return (
        Seal(row["seal_no"], row["last_position"], row["head"]),
        row["sealed_at"],
        row["waiting"],
    )
