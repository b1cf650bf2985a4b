"""Seals the audit log once a minute: what the ends of the logs were goes to the object store.

Whoever can change the database can't change what lies there. A seal is written once: when two
processes write the same one, or one died before the database knew of it, the one that lies there
counts. One process in a minute seals, whichever finds that it is due.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg
import structlog
from prometheus_client import Gauge
from pydantic import TypeAdapter, ValidationError

from kernel.clock import Clock
from kernel.errors import NotFound, Rejected, Unavailable
from kernel.objects import ObjectStore
from kernel.sql import DATABASE_AWAY, Database
from kernel.telemetry.metrics import REGISTRY
from services.keys.domain.audit_seals import (
    SEAL_BYTES_MAX,
    SEALED_HEADS_MAX,
    Seal,
    SealedHead,
    seal_bytes,
    seal_name,
    seal_sha256,
)

SEAL_EVERY: Final = timedelta(minutes=1)
LOOK_EVERY_S: Final = 5.0
"""Whether it is due; of all processes together, one seals a minute."""
SEALS_AT_ONCE_MAX: Final = 100
"""What is left then waits a minute more."""
SERVICE: Final = "keys"

UNSEALED_LOGS: Final = Gauge(
    "smartspec_audit_unsealed_logs",
    "Audit logs that have grown since the last seal, whichever process writes it.",
    ("service",),
    registry=REGISTRY,
)
UNSEALED_AGE: Final = Gauge(
    "smartspec_audit_unsealed_oldest_age_seconds",
    "Age of the oldest entry of the audit logs that no seal covers; 0 when there is none.",
    ("service",),
    registry=REGISTRY,
)

_CLAIM: Final = """
    UPDATE keys.audit_seals SET due_at = $1::timestamptz + $2::interval WHERE due_at <= $1
    RETURNING chain_id, number, sha256"""
_UNSEALED: Final = f"""
    SELECT user_id, length, sha256 FROM keys.audit_unsealed
    ORDER BY since, user_id LIMIT {SEALED_HEADS_MAX}"""
_REMEMBER: Final = """
    UPDATE keys.audit_seals SET number = $1, sha256 = $2 WHERE number = $1 - 1 RETURNING number"""
# A log that has grown meanwhile waits from now on.
_SEALED: Final = """
    WITH sealed AS (SELECT * FROM unnest($1::uuid[], $2::integer[]) AS head (user_id, length)),
        grown AS (
            UPDATE keys.audit_unsealed AS known SET since = $3 FROM sealed
            WHERE known.user_id = sealed.user_id AND known.length > sealed.length)
    DELETE FROM keys.audit_unsealed AS known USING sealed
    WHERE known.user_id = sealed.user_id AND known.length <= sealed.length"""
_WAITING: Final = """
    SELECT count(*) AS logs,
        coalesce(greatest(0, extract(epoch FROM $1 - min(since))), 0)::float8 AS age_s
    FROM keys.audit_unsealed"""

_SEAL: Final = TypeAdapter(Seal)
_log = structlog.get_logger(__name__)


class NoSeal(Exception):
    """What lies in a seal's place is none."""


class StrangeSeal(Exception):
    """What lies in the next seal's place does not follow the last one."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """The last seal, as the database knows it; number 0 before the first."""

    chain_id: UUID
    number: int
    sha256: str


class SealStore:
    """Seals as objects."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    async def put(self, number: int, content: bytes) -> bytes:
        """Keep the seal, and return what is kept: another one, if that was first."""
        name = seal_name(number)
        try:
            await self._objects.put_bytes(name, content, replace=False)
        except Rejected:
            kept = await self.get(number)
            if kept is None:
                raise
            return kept
        return content

    async def get(self, number: int) -> bytes | None:
        """The seal as it is kept; None when it is not there, and no more than one may have."""
        try:
            chunks = await self._objects.open(seal_name(number))
        except NotFound:
            return None
        content = b""
        async with chunks:
            async for chunk in chunks:
                content += chunk
                if len(content) > SEAL_BYTES_MAX:
                    break
        return content


class AuditSeals:
    """The records `keys.audit_seals` and `keys.audit_unsealed`, and the seals themselves."""

    def __init__(self, database: Database, seals: SealStore, clock: Clock) -> None:
        self._database = database
        self._seals = seals
        self._clock = clock

    async def run(self) -> None:
        """Seal each minute, until cancelled; then nothing is said of it any more."""
        try:
            while True:
                await self.look()
                await asyncio.sleep(LOOK_EVERY_S)
        finally:
            self._forget()

    async def look(self) -> None:
        """Seal if it is due, and tell how far it lags; what fails is tried again when next due."""
        try:
            await self.seal_due()
        except (*DATABASE_AWAY, TimeoutError, Unavailable, Rejected) as error:
            _log.warning("audit_not_sealed", error=type(error).__name__)
        except StrangeSeal as error:
            _log.error("audit_not_sealed", error=str(error))
        try:
            await self.tell()
        except (*DATABASE_AWAY, TimeoutError) as error:
            self._forget()
            _log.warning("audit_seals_unread", error=type(error).__name__)

    async def seal_due(self) -> int:
        """Seal whatever has grown, if nobody has looked for a minute; how many seals that took.

        Raises `StrangeSeal`, and what the object store raises when it is away.
        """
        now = self._clock.now()
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_CLAIM, now, SEAL_EVERY)
        if row is None:
            return 0
        last, written = Remembered(**row), 0
        while written < SEALS_AT_ONCE_MAX:
            rows = await self._unsealed()
            if not rows:
                break
            heads = {row["user_id"]: SealedHead(row["length"], row["sha256"]) for row in rows}
            following = await self._seal(last, heads, now)
            if following is None:
                break
            last, written = following, written + 1
            if len(rows) < SEALED_HEADS_MAX:  # what has grown meanwhile waits for its minute
                break
        return written

    async def tell(self) -> None:
        """Set the gauges by what is in the table, so that seals of any process count."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_WAITING, self._clock.now())
        assert row is not None, "an aggregate has a row"
        UNSEALED_LOGS.labels(SERVICE).set(row["logs"])
        UNSEALED_AGE.labels(SERVICE).set(row["age_s"])

    async def _unsealed(self) -> list[asyncpg.Record]:
        async with self._database.connection() as connection:
            return await connection.fetch(_UNSEALED)

    async def _seal(
        self, last: Remembered, heads: Mapping[UUID, SealedHead], now: datetime
    ) -> Remembered | None:
        """One more seal; None when somebody else is at it."""
        number = last.number + 1
        made = seal_bytes(Seal(number, last.chain_id, now, last.sha256, heads))
        kept = await self._seals.put(number, made)
        seal = _following(last, kept)
        sealed = Remembered(last.chain_id, number, seal_sha256(kept))
        async with self._database.transaction() as connection:
            if await connection.fetchval(_REMEMBER, number, sealed.sha256) is None:
                return None
            lengths = [head.length for head in seal.heads.values()]
            await connection.execute(_SEALED, list(seal.heads), lengths, now)
        # Where logs are gathered, this line is one more witness of the seal.
        _log.info("audit_sealed", number=number, sha256=sealed.sha256, logs=len(seal.heads))
        return sealed

    def _forget(self) -> None:
        """An old figure would look like a good one."""
        for gauge in (UNSEALED_LOGS, UNSEALED_AGE):
            gauge.remove_by_labels({"service": SERVICE})


def seal_of(content: bytes) -> Seal:
    """Raises `NoSeal`, also for the same seal in other words."""
    try:
        seal = _SEAL.validate_json(content)
    except ValidationError:
        raise NoSeal from None
    if seal_bytes(seal) != content:
        raise NoSeal
    return seal


def _following(last: Remembered, content: bytes) -> Seal:
    """The seal of that content; raises `StrangeSeal` unless it comes after `last`."""
    number = last.number + 1
    try:
        seal = seal_of(content)
    except NoSeal:
        raise StrangeSeal(f"what lies at {seal_name(number)} is no seal") from None
    if seal.chain_id != last.chain_id:
        raise StrangeSeal(f"{seal_name(number)} is another database's")
    if (seal.number, seal.previous_sha256) != (number, last.sha256):
        raise StrangeSeal(f"{seal_name(number)} does not follow seal {last.number}")
    return seal
