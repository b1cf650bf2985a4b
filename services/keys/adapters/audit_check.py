"""Proves the audit logs whole: every entry, its row in the read model, and every seal.

It reads everything once, in order, and keeps one entry of it at a time, so it may run over any
number of entries and beside the running product; it writes nothing.
"""

from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from typing import Any, Final
from uuid import UUID

import asyncpg
from pydantic import ValidationError

from kernel.codec import EventCodec
from kernel.sql import Connection, Database
from services.keys.adapters.audit_seals import NoSeal, Remembered, SealStore, seal_of
from services.keys.domain.audit import AUDIT_LOG, GENESIS, AuditLog, AuditRecorded
from services.keys.domain.audit_faults import Fault, Wrong, fault_in
from services.keys.domain.audit_seals import Seal, seal_sha256

BATCH: Final = 1_000
SORT_TIMEOUT_S: Final = 3_600.0
"""The server puts all entries in order before it gives the first."""

_PREFIX: Final = f"{AUDIT_LOG.name}-"
# In the order of bytes, the ids of streams are in the order of their users' ids.
_ENTRIES: Final = f"""
    SELECT coalesce(event.stream_id, '{_PREFIX}' || entry.user_id) AS stream_id,
        event.version, event.type, event.schema_version, event.data, entry.*
    FROM (SELECT * FROM keys.events WHERE stream_id LIKE '{_PREFIX}%') AS event
    FULL JOIN keys_read.key_audit_logs AS entry
        ON event.stream_id = '{_PREFIX}' || entry.user_id AND event.version = entry.sequence
    ORDER BY coalesce(event.stream_id, '{_PREFIX}' || entry.user_id) COLLATE "C",
        coalesce(event.version, entry.sequence)"""
_FIRST_WRONG_HEAD: Final = f"""
    SELECT coalesce(head.stream_id, last.stream_id) AS stream_id, head.version AS head_version,
        coalesce(last.version, 0) AS version
    FROM (SELECT * FROM keys.streams WHERE stream_id LIKE '{_PREFIX}%') AS head
    FULL JOIN (
        SELECT DISTINCT ON (stream_id) stream_id, version, data FROM keys.events
        WHERE stream_id LIKE '{_PREFIX}%' ORDER BY stream_id, version DESC
    ) AS last ON head.stream_id = last.stream_id
    WHERE head.version IS DISTINCT FROM last.version OR head.state IS DISTINCT FROM
        jsonb_build_object('length', last.version, 'head_sha256', last.data -> 'sha256')
    ORDER BY coalesce(head.stream_id, last.stream_id) COLLATE "C" LIMIT 1"""
_SEALED_ENTRIES: Final = f"""
    SELECT sealed.user_id, sealed.length, event.data ->> 'sha256' = sealed.sha256 AS matches, (
        SELECT coalesce(max(version), 0) FROM keys.events
        WHERE stream_id = '{_PREFIX}' || sealed.user_id) AS there
    FROM unnest($1::uuid[], $2::integer[], $3::text[]) AS sealed (user_id, length, sha256)
    LEFT JOIN keys.events AS event
        ON event.stream_id = '{_PREFIX}' || sealed.user_id AND event.version = sealed.length
    WHERE event.data ->> 'sha256' IS DISTINCT FROM sealed.sha256
    ORDER BY sealed.user_id LIMIT 1"""
_REMEMBERED: Final = "SELECT chain_id, number, sha256 FROM keys.audit_seals"
_UNSEALED: Final = "SELECT count(*) FROM keys.audit_unsealed"


@dataclass(frozen=True, slots=True)
class Whole:
    """What was looked at, and found as it was written; `unsealed` logs wait for their next seal."""

    entries: int
    logs: int
    seals: int
    last_seal_sha256: str
    unsealed: int


class Faulty(Exception):
    """The first fault that was found."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.words)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class KeptSeal:
    """A seal as it lies in the object store."""

    seal: Seal
    sha256: str


class AuditCheck:
    def __init__(self, database: Database, seals: SealStore) -> None:
        self._database = database
        self._seals = seals
        self._codec = EventCodec([AUDIT_LOG])

    async def run(self) -> Whole:
        """Raises `Faulty`. The seals are read last, and the entries of each after it: whatever is
        sealed meanwhile has been written before."""
        entries, logs = await self._check_entries()
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_FIRST_WRONG_HEAD, timeout=SORT_TIMEOUT_S)
            if row is not None:
                raise Faulty(_wrong_head(row))
            seals, last_sha256 = await self._check_seals(connection)
            unsealed = await connection.fetchval(_UNSEALED)
        return Whole(entries, logs, seals, last_sha256, int(unsealed))

    async def _check_entries(self) -> tuple[int, int]:
        """How many entries there are, and in how many logs."""
        entries = logs = 0
        user_id, log = None, AuditLog()
        async with self._database.transaction() as connection:
            cursor = connection.cursor(_ENTRIES, prefetch=BATCH, timeout=SORT_TIMEOUT_S)
            async for row in cursor:
                owner = _user_of(row["stream_id"])
                if owner != user_id:
                    user_id, log, logs = owner, AuditLog(), logs + 1
                log, entries = self._next(row, owner, log), entries + 1
        return entries, logs

    def _next(self, row: asyncpg.Record, user_id: UUID, log: AuditLog) -> AuditLog:
        """The log with the entry of the row, which is right."""
        version = row["version"]
        if version is None:
            words = "the read model has a row of it, and there is no event"
            raise Faulty(Fault(Wrong.MISSING, user_id, row["sequence"], words))
        entry = self._entry(row)
        if entry is None:
            words = "its event is none that was ever written"
            raise Faulty(Fault(Wrong.EDITED, user_id, version, words))
        fault = fault_in(entry, log, user_id, version)
        if fault is not None:
            raise Faulty(fault)
        if row["sequence"] is None:
            raise Faulty(Fault(Wrong.ROW_DIFFERS, user_id, version, "there is no row of it"))
        differs = [name for name, value in asdict(entry).items() if row[name] != value]
        if differs:
            words = f"not what the event says: {', '.join(differs)}"
            raise Faulty(Fault(Wrong.ROW_DIFFERS, user_id, version, words))
        return AUDIT_LOG.evolve(log, entry)

    def _entry(self, row: asyncpg.Record) -> AuditRecorded | None:
        """The event of the row; None when it is not just as one is written."""
        if row["type"] != AuditRecorded.__name__ or row["schema_version"] != 1:
            return None
        try:
            entry: AuditRecorded = self._codec.decode(row["type"], 1, row["data"])
        except (ValidationError, TypeError, ValueError):
            return None
        return entry if self._codec.encode(entry) == row["data"] else None

    async def _check_seals(self, connection: Connection) -> tuple[int, str]:
        """How many seals there are, and the hash of the last."""
        before = await _remembered(connection)
        last = 0, GENESIS
        async for kept in self._chain(before):
            row = await connection.fetchrow(_SEALED_ENTRIES, *_columns(kept.seal))
            if row is not None:
                raise Faulty(_not_as_sealed(row, kept.seal.number))
            last = kept.seal.number, kept.sha256
        number, _ = last
        if number < before.number:
            words = f"the database knows of {before.number} seals"
            raise Faulty(Fault(Wrong.SEAL_MISSING, None, number + 1, words))
        after = await _remembered(connection)
        if number > after.number + 1:  # one more may have been written, and no one told of it
            words = f"the database knows of {after.number} seals alone: it was set back"
            raise Faulty(Fault(Wrong.SEAL_EDITED, None, after.number + 1, words))
        return last

    async def _chain(self, remembered: Remembered) -> AsyncIterator[KeptSeal]:
        """Every seal from the first, each once it is known that nobody edited it."""
        kept = await self._kept(1, remembered)
        if kept is not None and kept.seal.previous_sha256 != GENESIS:
            raise Faulty(Fault(Wrong.SEAL_EDITED, None, 1, "it is not the first of its chain"))
        while kept is not None:
            number = kept.seal.number
            if number == remembered.number and kept.sha256 != remembered.sha256:
                words = "it is not the one that the database knows"
                raise Faulty(Fault(Wrong.SEAL_EDITED, None, number, words))
            following = await self._kept(number + 1, remembered)
            if following is not None and following.seal.previous_sha256 != kept.sha256:
                words = f"it is not the one that seal {number + 1} names"
                raise Faulty(Fault(Wrong.SEAL_EDITED, None, number, words))
            yield kept
            kept = following

    async def _kept(self, number: int, remembered: Remembered) -> KeptSeal | None:
        content = await self._seals.get(number)
        if content is None:
            return None
        try:
            seal = seal_of(content)
        except NoSeal:
            raise Faulty(Fault(Wrong.SEAL_EDITED, None, number, "it is no seal")) from None
        if seal.number != number:
            words = f"it is seal {seal.number}"
            raise Faulty(Fault(Wrong.SEAL_EDITED, None, number, words))
        if seal.chain_id != remembered.chain_id:
            words = "it is another database's"
            raise Faulty(Fault(Wrong.SEAL_EDITED, None, number, words))
        return KeptSeal(seal, seal_sha256(content))


async def _remembered(connection: Connection) -> Remembered:
    row = await connection.fetchrow(_REMEMBERED)
    if row is None:
        raise Faulty(Fault(Wrong.SEAL_EDITED, None, 1, "the database knows nothing of seals"))
    return Remembered(**row)


def _user_of(stream_id: str) -> UUID:
    text = stream_id.removeprefix(_PREFIX)
    try:
        user_id = UUID(text)
    except ValueError:
        user_id = None
    if user_id is None or str(user_id) != text:
        words = f"the stream {stream_id!r} is nobody's log"
        raise Faulty(Fault(Wrong.EDITED, UUID(int=0), 1, words))
    return user_id


def _wrong_head(row: asyncpg.Record) -> Fault:
    user_id, length = _user_of(row["stream_id"]), row["version"]
    if (row["head_version"] or 0) > length:
        words = f"the stream's head counts {row['head_version']} entries"
        return Fault(Wrong.TAIL_CUT, user_id, length + 1, words)
    words = "the stream's head is not this entry"
    return Fault(Wrong.HEAD_DIFFERS, user_id, length, words)


def _columns(seal: Seal) -> tuple[list[Any], list[int], list[str]]:
    heads = seal.heads.values()
    return (
        list(seal.heads),
        [head.length for head in heads],
        [head.sha256 for head in heads],
    )


def _not_as_sealed(row: asyncpg.Record, number: int) -> Fault:
    if row["matches"] is None:
        words = f"seal {number} has seen {row['length']} entries"
        return Fault(Wrong.TAIL_CUT, row["user_id"], row["there"] + 1, words)
    words = f"it, or one before it, is not what seal {number} has seen"
    return Fault(Wrong.REWRITTEN, row["user_id"], row["length"], words)
