"""Once a minute the ends of the audit logs go to the object store, each seal after the last."""

import asyncio
import hashlib
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from kernel.errors import Rejected
from kernel.objects import LocalObjectStore, ObjectStoreAway, StoredObject
from kernel.service import Platform
from kernel.telemetry.metrics import REGISTRY
from kernel.testing import FakeClock
from services.keys.adapters import audit_seals
from services.keys.adapters.audit_seals import AuditSeals, SealStore, StrangeSeal
from tests.kernel.totals import eventually, run_sql, running
from tests.keys.conftest import Keys, Person

MINUTE = timedelta(minutes=1)
GENESIS = "0" * 64


class FaultyStore(LocalObjectStore):
    """Away as long as `away` says so; `loses` the answer of a put, as a crash after it would."""

    away = False
    loses = False

    async def put_bytes(self, key: str, content: bytes, *, replace: bool = True) -> StoredObject:
        if self.away:
            raise ObjectStoreAway
        stored = await super().put_bytes(key, content, replace=replace)
        if self.loses:
            raise ObjectStoreAway
        return stored


@pytest.fixture
def objects(home: Path) -> Iterator[FaultyStore]:
    objects = FaultyStore(home / "objects")
    yield objects
    objects.close()


@pytest.fixture
def seals(platform: Platform, objects: FaultyStore) -> AuditSeals:
    return AuditSeals(platform.database, SealStore(objects), platform.clock)


def files(home: Path) -> list[Path]:
    return sorted((home / "objects/audit/seals").glob("*"))


def read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_bytes()))


async def head(keys: Keys, user_id: UUID) -> dict[str, object]:
    async with keys.platform.database.connection() as connection:
        row = await connection.fetchrow(
            "SELECT sequence, sha256 FROM keys_read.key_audit_logs WHERE user_id = $1"
            " ORDER BY sequence DESC LIMIT 1",
            user_id,
        )
    assert row is not None
    return {"length": row["sequence"], "sha256": row["sha256"]}


def gauge(name: str) -> float | None:
    return REGISTRY.get_sample_value(f"smartspec_audit_unsealed_{name}", {"service": "keys"})


async def test_a_seal_holds_the_ends_of_the_logs_that_grew_and_nothing_else(
    keys: Keys, seals: AuditSeals, home: Path, clock: FakeClock
) -> None:
    people = [await keys.register(f"canary{n}@example.com") for n in range(2)]
    await keys.sign_in(people[0])
    assert await seals.seal_due() == 1
    (path,) = files(home)
    assert path.name == "000000000001.json"
    told = read(path)
    assert told["heads"] == {
        str(person.identity.user_id): await head(keys, person.identity.user_id) for person in people
    }
    assert datetime.fromisoformat(told["sealed_at"]) == clock.now()
    assert told["previous_sha256"] == GENESIS
    assert told.keys() == {
        *("format", "number", "chain_id", "sealed_at", "previous_sha256", "heads")
    }
    assert b"canary" not in path.read_bytes()


async def test_each_seal_names_the_hash_of_the_one_before_and_only_what_grew_since(
    keys: Keys, seals: AuditSeals, home: Path, clock: FakeClock
) -> None:
    first, second = [await keys.register() for _ in range(2)]
    await seals.seal_due()
    clock.turn(MINUTE)
    await keys.sign_in(second)
    await seals.seal_due()
    before, after = files(home)
    assert read(after)["previous_sha256"] == hashlib.sha256(before.read_bytes()).hexdigest()
    assert read(after)["heads"].keys() == {str(second.identity.user_id)}
    assert read(before)["heads"].keys() >= {str(first.identity.user_id)}


async def test_seals_once_a_minute_whoever_looks(
    keys: Keys, platform: Platform, objects: FaultyStore, home: Path, clock: FakeClock
) -> None:
    person = await keys.register()
    replicas = [AuditSeals(platform.database, SealStore(objects), clock) for _ in range(4)]
    assert sum(await asyncio.gather(*(one.seal_due() for one in replicas))) == 1
    await keys.sign_in(person)
    clock.turn(MINUTE - timedelta(seconds=1))
    assert sum([await one.seal_due() for one in replicas]) == 0
    clock.turn(timedelta(seconds=1))
    assert sum(await asyncio.gather(*(one.seal_due() for one in replicas))) == 1
    assert len(files(home)) == 2


async def test_a_minute_in_which_nothing_happened_makes_no_seal(
    keys: Keys, seals: AuditSeals, home: Path, clock: FakeClock
) -> None:
    await keys.register()
    assert await seals.seal_due() == 1
    clock.turn(MINUTE)
    assert await seals.seal_due() == 0
    assert len(files(home)) == 1


async def test_many_logs_make_many_seals(
    keys: Keys, seals: AuditSeals, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = [await keys.register() for _ in range(5)]
    monkeypatch.setattr(audit_seals, "SEALED_HEADS_MAX", 2)
    monkeypatch.setattr(
        audit_seals, "_UNSEALED", audit_seals._UNSEALED.replace("LIMIT 1000", "LIMIT 2")
    )
    assert await seals.seal_due() == 3
    told = [read(path)["heads"] for path in files(home)]
    assert [len(heads) for heads in told] == [2, 2, 1]
    assert set().union(*told) == {str(person.identity.user_id) for person in people}


async def test_what_the_object_store_did_not_take_is_sealed_a_minute_later(
    keys: Keys, seals: AuditSeals, objects: FaultyStore, home: Path, clock: FakeClock
) -> None:
    await keys.register()
    objects.away = True
    await seals.look()
    assert files(home) == []
    clock.turn(MINUTE)
    await seals.look()
    assert (gauge("logs"), gauge("oldest_age_seconds")) == (1, 60)
    objects.away = False
    await seals.look()
    assert files(home) == []
    clock.turn(MINUTE)
    await seals.look()
    assert len(files(home)) == 1
    assert (gauge("logs"), gauge("oldest_age_seconds")) == (0, 0)


async def test_a_seal_of_which_the_database_does_not_know_yet_counts(
    keys: Keys, seals: AuditSeals, objects: FaultyStore, home: Path, clock: FakeClock
) -> None:
    person = await keys.register()
    objects.loses = True
    with pytest.raises(ObjectStoreAway):
        await seals.seal_due()
    (written,) = files(home)
    content = written.read_bytes()
    objects.loses = False
    await keys.sign_in(person)
    clock.turn(MINUTE)
    assert await seals.seal_due() == 1
    clock.turn(MINUTE)
    assert await seals.seal_due() == 1
    first, second = files(home)
    assert first.read_bytes() == content
    assert read(second)["heads"] == {
        str(person.identity.user_id): await head(keys, person.identity.user_id)
    }


async def test_a_log_that_grows_while_it_is_sealed_waits_for_the_next_seal(
    keys: Keys, platform: Platform, objects: FaultyStore, home: Path, clock: FakeClock
) -> None:
    person = await keys.register()
    signed_in: list[Person] = []

    class Meanwhile(SealStore):
        async def put(self, number: int, content: bytes) -> bytes:
            if not signed_in:
                signed_in.append(person)
                clock.turn(timedelta(seconds=2))
                await keys.sign_in(person)
            return await super().put(number, content)

    seals = AuditSeals(platform.database, Meanwhile(objects), clock)
    assert await seals.seal_due() == 1
    clock.turn(MINUTE)
    assert await seals.seal_due() == 1
    lengths = [read(path)["heads"][str(person.identity.user_id)]["length"] for path in files(home)]
    assert lengths == [1, 2]


async def test_two_who_seal_at_once_write_one_chain(
    keys: Keys, platform: Platform, objects: FaultyStore, home: Path, clock: FakeClock
) -> None:
    """The lease of the first has run out while it was held up before its put."""
    person = await keys.register()
    other = AuditSeals(platform.database, SealStore(objects), clock)

    class HeldUp(SealStore):
        async def put(self, number: int, content: bytes) -> bytes:
            clock.turn(MINUTE)
            await keys.sign_in(person)
            await other.seal_due()
            return await super().put(number, content)

    first = AuditSeals(platform.database, HeldUp(objects), clock)
    assert await first.seal_due() == 0
    (seal,) = files(home)
    assert read(seal)["heads"] == {
        str(person.identity.user_id): await head(keys, person.identity.user_id)
    }
    assert await keys.count("keys.audit_unsealed") == 0


async def test_refuses_to_go_on_over_seals_that_are_not_its_own(
    keys: Keys, seals: AuditSeals, objects: FaultyStore, home: Path, clock: FakeClock
) -> None:
    await keys.register()
    for content, words in ((b"{}", "is no seal"), (None, "another database's")):
        if content is None:
            await seals.seal_due()
            await run_sql(
                keys.platform.database,
                "UPDATE keys.audit_seals SET chain_id = gen_random_uuid(), number = 0,"
                f" sha256 = '{GENESIS}'",
            )
            await keys.register()
        else:
            await objects.put_bytes("audit/seals/000000000001.json", content)
        clock.turn(MINUTE)
        with pytest.raises(StrangeSeal, match=words):
            await seals.seal_due()
        clock.turn(MINUTE)
        await seals.look()
        assert (gauge("logs") or 0) >= 1
        await objects.delete("audit/seals/000000000001.json")
        clock.turn(MINUTE)


async def test_an_object_in_the_way_of_the_seals_is_not_overwritten(
    keys: Keys, seals: AuditSeals, objects: FaultyStore
) -> None:
    await keys.register()
    await objects.put_bytes("audit/seals", b"not a folder")
    with pytest.raises(Rejected):
        await seals.seal_due()


async def test_the_service_seals_by_itself(keys: Keys, home: Path) -> None:
    await keys.register()
    (worker,) = (
        worker
        for worker in keys.service.workers
        if isinstance(getattr(worker, "__self__", None), AuditSeals)
    )

    async def work() -> None:
        await worker()

    async with running(work):
        await eventually(lambda: gauge("logs") == 0)
        assert len(files(home)) == 1
    assert gauge("logs") is None
