"""Whoever touches the audit log by SQL, or a seal as a file, is found, and the place is named."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest

from kernel.clock import new_id
from kernel.codec import EventCodec
from kernel.identifiers import shown
from kernel.objects import LocalObjectStore
from kernel.projections import rebuild
from kernel.testing import FakeClock
from services.keys.adapters.audit_seals import AuditSeals, SealStore
from services.keys.app import HISTORY, audit_verdict
from services.keys.domain.audit import AUDIT_LOG, GENESIS, AuditRecorded, chained_sha256
from tests.keys.conftest import Keys, Person

ROOT = Path(__file__).parents[2]
WHOLE = "audit log: whole: 10 entries in 2 logs, 3 seals"


@dataclass(frozen=True)
class Vault:
    """Two people with five entries each, sealed at two, four and five; and who attacks it."""

    keys: Keys
    seals: AuditSeals
    folder: Path
    people: tuple[Person, Person]
    clock: FakeClock

    @property
    def victim(self) -> UUID:
        """Whose log is not the first that is looked at."""
        return self.people[1].identity.user_id

    @property
    def stream(self) -> str:
        return f"audit-{self.victim}"

    async def verdict(self) -> tuple[int, str]:
        return await audit_verdict(self.keys.platform.database)

    async def names(self, number: int, wrong: str) -> bool:
        """Whether that entry of the victim is the one that is named."""
        named = f"audit log: {shown('user', self.victim)}: entry {number}: {wrong}: "
        status, words = await self.verdict()
        assert words.startswith(named), words
        return status == 1

    async def names_seal(self, number: int, wrong: str) -> bool:
        status, words = await self.verdict()
        assert words.startswith(f"audit log: seal {number}: {wrong}: "), words
        return status == 1

    async def sql(self, text: str, *values: Any) -> None:
        """As somebody who owns the tables, and can switch their guard off."""
        async with self.keys.platform.database.transaction() as connection:
            await connection.execute("SET LOCAL session_replication_role = replica")
            await connection.execute(text, *values)

    async def history(self) -> list[AuditRecorded]:
        async with self.keys.platform.database.connection() as connection:
            rows = await connection.fetch(
                "SELECT data FROM keys.events WHERE stream_id = $1 ORDER BY version", self.stream
            )
        codec = EventCodec([AUDIT_LOG])
        return [codec.decode("AuditRecorded", 1, row["data"]) for row in rows]

    async def rewrite(self, entries: list[AuditRecorded]) -> None:
        """Put a log in place of the victim's that is whole in itself: events, head, read model."""
        await self.sql("DELETE FROM keys.events WHERE stream_id = $1", self.stream)
        codec, previous = EventCodec([AUDIT_LOG]), GENESIS
        for version, entry in enumerate(entries, 1):
            linked = replace(entry, sequence=version, previous_sha256=previous, sha256="")
            linked = replace(linked, sha256=chained_sha256(linked))
            previous = linked.sha256
            await self.sql(
                "INSERT INTO keys.events (event_id, stream_id, version, type, schema_version,"
                " data, metadata, recorded_at) VALUES ($1, $2, $3, 'AuditRecorded', 1, $4, $5, $6)",
                *(new_id(), self.stream, version, codec.encode(linked)),
                {"correlation_id": "c", "causation_id": None, "traceparent": None},
                linked.recorded_at,
            )
        await self.sql(
            "UPDATE keys.streams SET version = $2, state = $3 WHERE stream_id = $1",
            *(self.stream, len(entries), {"length": len(entries), "head_sha256": previous}),
        )
        await rebuild(
            self.keys.platform.database, HISTORY.schema, HISTORY.read_model, HISTORY.aggregates
        )

    def seal(self, number: int) -> Path:
        return self.folder / f"{number:012}.json"


@pytest.fixture
async def vault(keys: Keys, home: Path, clock: FakeClock) -> AsyncIterator[Vault]:
    objects = LocalObjectStore(home / "objects")
    seals = AuditSeals(keys.platform.database, SealStore(objects), clock)
    first, second = sorted(
        [await keys.register() for _ in range(2)], key=lambda person: person.identity.user_id
    )
    for sign_ins in (1, 2, 1):
        for person in (first, second):
            for _ in range(sign_ins):
                await keys.sign_in(person)
        await seals.seal_due()
        clock.turn(timedelta(minutes=1))
    yield Vault(keys, seals, home / "objects/audit/seals", (first, second), clock)
    objects.close()


async def test_a_log_that_nobody_touched_is_whole(vault: Vault) -> None:
    status, words = await vault.verdict()
    assert status == 0
    assert words.startswith(WHOLE)
    assert words.endswith("; 0 logs wait for the next")
    assert "\n" not in words


async def test_an_empty_log_is_whole(keys: Keys) -> None:
    assert (await audit_verdict(keys.platform.database))[0] == 0


async def test_a_read_model_that_is_not_there_is_said_in_one_line(vault: Vault) -> None:
    await vault.sql("DROP TABLE keys_read.key_audit_logs")
    status, words = await vault.verdict()
    assert status == 1
    assert "key_audit_logs" in words
    assert "\n" not in words


async def test_what_no_seal_has_seen_yet_is_counted(vault: Vault) -> None:
    await vault.keys.sign_in(vault.people[0])
    status, words = await vault.verdict()
    assert (status, words.rpartition("; ")[2]) == (0, "1 logs wait for the next")


async def test_a_seal_that_the_database_does_not_know_of_yet_is_no_fault(vault: Vault) -> None:
    await vault.sql("UPDATE keys.audit_seals SET number = 2, sha256 = $1", await _sha(vault, 3))
    assert (await vault.verdict())[0] == 0


async def _sha(vault: Vault, number: int) -> str:
    """What the seal of that number says of the one before."""
    told = orjson.loads(await asyncio.to_thread(vault.seal(number).read_bytes))
    return str(told["previous_sha256"])


EDITS = [
    ("outcome", "invalid_credentials"),
    ("action", "sign_out"),
    ("recorded_at", "2001-01-01T00:00:00Z"),
    ("request_id", "another"),
    ("client_sha256", "0" * 64),
    ("actor_id", str(UUID(int=7))),
    ("key_id", str(UUID(int=7))),
    ("sha256", "0" * 64),
    ("previous_sha256", "0" * 64),
    ("sequence", "3"),
    ("beside", "what was never there"),
    ("outcome", 7),
    ("recorded_at", "no time"),
]


async def test_an_edit_of_an_event_is_named(vault: Vault) -> None:
    for field, value in EDITS:
        (before,) = [one["data"] for one in await _events(vault, 3)]
        edit = "UPDATE keys.events SET data = $2 WHERE stream_id = $1 AND version = 3"
        await vault.sql(edit, vault.stream, {**before, field: value})
        assert await vault.names(3, "edited"), field
        await vault.sql(edit, vault.stream, before)
    assert (await vault.verdict())[0] == 0


async def _events(vault: Vault, version: int) -> list[Any]:
    async with vault.keys.platform.database.connection() as connection:
        return list(
            await connection.fetch(
                "SELECT data FROM keys.events WHERE stream_id = $1 AND version = $2",
                *(vault.stream, version),
            )
        )


async def test_an_event_of_another_kind_is_named(vault: Vault) -> None:
    await vault.sql(
        "UPDATE keys.events SET type = 'SessionStarted' WHERE stream_id = $1 AND version = 2",
        vault.stream,
    )
    assert await vault.names(2, "edited")


ROW_EDITS = [
    "outcome = 'denied'",
    "action = 'sign_out'",
    "actor_id = gen_random_uuid()",
    "key_id = gen_random_uuid()",
    "recorded_at = recorded_at - interval '1 microsecond'",
    "sha256 = repeat('0', 64)",
]


async def test_an_edit_of_a_row_of_the_read_model_is_named(vault: Vault) -> None:
    rows = "keys_read.key_audit_logs"
    await vault.sql(f"CREATE TEMP TABLE kept AS SELECT * FROM {rows}".replace("TEMP ", ""))
    for edit in ROW_EDITS:
        await vault.sql(
            f"UPDATE {rows} SET {edit} WHERE user_id = $1 AND sequence = 3", vault.victim
        )
        assert await vault.names(3, "read model row differs"), edit
        await vault.sql(f"DELETE FROM {rows}")
        await vault.sql(f"INSERT INTO {rows} SELECT * FROM kept")
    await vault.sql(f"DELETE FROM {rows} WHERE user_id = $1 AND sequence = 3", vault.victim)
    assert await vault.names(3, "read model row differs")


async def test_a_row_that_no_event_has_made_is_named(vault: Vault) -> None:
    await vault.sql(
        "UPDATE keys_read.key_audit_logs SET sequence = 6 WHERE user_id = $1 AND sequence = 5",
        vault.victim,
    )
    assert await vault.names(5, "read model row differs")
    await vault.sql(
        "INSERT INTO keys_read.key_audit_logs SELECT user_id, 5, actor_id, actor_key_id, action,"
        " key_id, outcome, client_sha256, request_id, recorded_at, previous_sha256, sha256"
        " FROM keys_read.key_audit_logs WHERE user_id = $1 AND sequence = 6",
        vault.victim,
    )
    assert await vault.names(6, "missing")


async def test_a_deletion_in_the_middle_is_named(vault: Vault) -> None:
    await vault.sql("DELETE FROM keys.events WHERE stream_id = $1 AND version = 2", vault.stream)
    assert await vault.names(2, "missing")
    await vault.sql(
        "DELETE FROM keys_read.key_audit_logs WHERE user_id = $1 AND sequence = 2", vault.victim
    )
    assert await vault.names(2, "missing")


async def test_a_deletion_over_which_the_rest_moved_up_is_named(vault: Vault) -> None:
    await vault.sql("DELETE FROM keys.events WHERE stream_id = $1 AND version = 2", vault.stream)
    for version in (3, 4, 5):
        await vault.sql(
            "UPDATE keys.events SET version = version - 1 WHERE stream_id = $1 AND version = $2",
            *(vault.stream, version),
        )
    assert await vault.names(2, "reordered")


async def test_a_swap_of_two_entries_is_named(vault: Vault) -> None:
    for version, other in ((2, 100), (4, 2), (100, 4)):
        await vault.sql(
            "UPDATE keys.events SET version = $3 WHERE stream_id = $1 AND version = $2",
            *(vault.stream, version, other),
        )
    assert await vault.names(2, "reordered")


async def test_an_entry_of_another_log_is_named(vault: Vault) -> None:
    await vault.sql(
        "UPDATE keys.events AS mine SET data = theirs.data FROM keys.events AS theirs"
        " WHERE mine.stream_id = $1 AND mine.version = 2"
        " AND theirs.stream_id = $2 AND theirs.version = 2",
        *(vault.stream, f"audit-{vault.people[0].identity.user_id}"),
    )
    assert await vault.names(2, "reordered")


async def test_a_tail_that_was_cut_off_the_events_alone_is_named(vault: Vault) -> None:
    await vault.sql("DELETE FROM keys.events WHERE stream_id = $1 AND version > 3", vault.stream)
    assert await vault.names(4, "missing")
    await vault.sql(
        "DELETE FROM keys_read.key_audit_logs WHERE user_id = $1 AND sequence > 3", vault.victim
    )
    assert await vault.names(4, "tail cut")


async def test_a_tail_that_was_cut_off_everywhere_is_named_by_the_seal(vault: Vault) -> None:
    await vault.rewrite((await vault.history())[:3])
    assert await vault.names(4, "tail cut")


async def test_a_log_that_is_gone_altogether_is_named_by_the_seal(vault: Vault) -> None:
    await vault.rewrite([])
    await vault.sql("DELETE FROM keys.streams WHERE stream_id = $1", vault.stream)
    assert await vault.names(1, "tail cut")


async def test_a_log_that_was_written_anew_is_named_by_the_first_seal_that_saw_another(
    vault: Vault,
) -> None:
    entries = await vault.history()
    entries[2] = replace(entries[2], outcome="never happened")
    await vault.rewrite(entries)
    assert await vault.names(4, "rewritten")


async def test_a_head_that_is_not_the_last_entry_is_named(vault: Vault) -> None:
    edit = "UPDATE keys.streams SET state = state || $2 WHERE stream_id = $1"
    await vault.sql(edit, vault.stream, {"head_sha256": "0" * 64})
    assert await vault.names(5, "stream head differs")


async def test_an_edited_seal_is_named(vault: Vault) -> None:
    for number in (1, 2, 3):
        content = vault.seal(number).read_bytes()
        told = orjson.loads(content)
        told["heads"][str(vault.victim)]["length"] = 1
        for edited in (
            orjson.dumps(told, option=orjson.OPT_SORT_KEYS) + b"\n",
            content[:-2],
            b"",
            b" " + content,
            vault.seal(number % 3 + 1).read_bytes(),
            b"[" * 300_000,
        ):
            vault.seal(number).write_bytes(edited)
            assert await vault.names_seal(number, "seal edited"), (number, edited[:80])
        vault.seal(number).write_bytes(content)
    assert (await vault.verdict())[0] == 0


async def test_a_seal_that_is_gone_is_named(vault: Vault) -> None:
    for number in (1, 2, 3):
        content = vault.seal(number).read_bytes()
        vault.seal(number).unlink()
        assert await vault.names_seal(number, "seal missing")
        vault.seal(number).write_bytes(content)


async def test_a_database_that_was_set_back_behind_its_seals_is_named(vault: Vault) -> None:
    before = await _sha(vault, 2)
    await vault.sql("UPDATE keys.audit_seals SET number = 1, sha256 = $1", before)
    assert await vault.names_seal(2, "seal edited")


async def test_entries_and_seals_that_come_meanwhile_are_no_fault(vault: Vault) -> None:
    async def write() -> None:
        for _ in range(10):
            await vault.keys.sign_in(vault.people[1])
            await vault.seals.seal_due()
            vault.clock.turn(timedelta(minutes=1))

    writing = asyncio.ensure_future(write())
    while not writing.done():
        assert (await vault.verdict())[0] == 0
    await writing
    status, words = await vault.verdict()
    assert status == 0
    assert "20 entries in 2 logs, 13 seals" in words


async def test_the_command_prints_one_line_and_tells_by_its_status(
    vault: Vault, home: Path, database_dsn: str, tmp_path: Path
) -> None:
    async def verify() -> tuple[int | None, str]:
        ended = await asyncio.to_thread(_verify, database_dsn, home, tmp_path)
        assert ended.stdout.count("\n") == 1, ended.stderr
        return ended.returncode, ended.stdout

    status, words = await verify()
    assert (status, words[: len(WHOLE)]) == (0, WHOLE)
    await vault.rewrite((await vault.history())[:4])
    status, words = await verify()
    assert status == 1
    assert f"{shown('user', vault.victim)}: entry 5: tail cut" in words


def _verify(dsn: str, home: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "services.keys", "audit", "verify"],
        cwd=folder,  # no stray `.env` is read there
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "DATABASE_URL": dsn,
            "SMARTSPEC_HOME": str(home),
        },
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
