"""What becomes of an erased user's uploads, and the proof that nothing at all is left."""

import itertools
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from contracts.credits import PlanChanged
from kernel.errors import Forbidden, NotFound
from kernel.objects import LocalObjectStore
from kernel.projections import verify
from services.storage.adapters.erasing import ERASED_WITHIN
from services.storage.adapters.erasures import Erasures
from services.storage.adapters.quotas import Room
from services.storage.app import AGGREGATES
from services.storage.domain import output_key, thumbnail_key, upload_key
from services.storage.inbox import change_plan
from tests.kernel.test_telemetry_metrics import value
from tests.storage.keeping import OTHER, PNG
from tests.storage.upkeep import Upkeep, upkeep
from tests.storage.uploading import TEXT

__all__ = ["upkeep"]

TABLES = (
    *("storage.quotas", "storage.plans", "storage.uploads", "storage.unwanted_objects"),
    *("storage.erasure_checks", "storage.output_fetches", "storage.idempotency"),
    *("storage_read.files", "storage_read.stays"),
)


async def proof(upkeep: Upkeep) -> Any:
    rows = await upkeep.files.rows(
        "SELECT * FROM storage.erasures WHERE user_id = $1", upkeep.storage.user_id
    )
    return rows[0]


async def assert_nothing_is_left(upkeep: Upkeep) -> None:
    assert upkeep.storage.there() == set()
    assert {table: await upkeep.storage.count(table) for table in TABLES} == dict.fromkeys(
        TABLES, 0
    )
    assert await verify(upkeep.storage.database, "storage", AGGREGATES) == []
    found = await proof(upkeep)
    assert found["proven_at"] is not None
    assert found["next_step_at"] is None


async def test_kept_files_go_with_their_small_pictures_and_every_record(upkeep: Upkeep) -> None:
    user = upkeep.storage.user_id
    await upkeep.storage.upload(TEXT, key="a-key-of-this-request")
    await upkeep.files.upload(user)
    await upkeep.files.output(user)
    deleted = await upkeep.files.upload(user)
    await upkeep.storage.delete(upload_key(deleted, PNG))
    await upkeep.erase(user)
    await assert_nothing_is_left(upkeep)
    assert (await proof(upkeep))["objects"] == 8


async def test_what_is_on_its_way_is_taken_away_and_proven_when_nobody_can_put_it(
    upkeep: Upkeep,
) -> None:
    upload = await upkeep.files.begin(upkeep.storage.user_id)
    await upkeep.storage.objects.put_bytes(upload.key, b"half")
    await upkeep.erase(upkeep.storage.user_id)
    assert upkeep.storage.there() == set()
    assert (await proof(upkeep))["proven_at"] is None
    await upkeep.storage.objects.put_bytes(upload.key, b"by who was overtaken")
    await upkeep.go_on(timedelta(minutes=10))
    await assert_nothing_is_left(upkeep)


async def test_what_is_put_by_a_link_after_the_erasure_is_gone_before_the_proof(
    upkeep: Upkeep,
) -> None:
    link = await upkeep.storage.put_link(expires_in=3_600)
    staged = link["key"].replace("uploads/", "staging/")
    await upkeep.erase(upkeep.storage.user_id)
    assert (await upkeep.storage.put(link["url"])).status_code == 409
    await upkeep.storage.objects.put_bytes(staged, TEXT)  # as S3 would take it
    await upkeep.go_on(timedelta(minutes=70))
    assert (await proof(upkeep))["proven_at"] is None
    await upkeep.go_on(ERASED_WITHIN - timedelta(minutes=70))
    await assert_nothing_is_left(upkeep)


async def test_the_longest_erasure_is_proven_within_the_bound(upkeep: Upkeep) -> None:
    await upkeep.storage.put_link(expires_in=3_600)
    await upkeep.files.begin(upkeep.storage.user_id)
    await upkeep.files.upload(upkeep.storage.user_id)
    began_at = upkeep.clock.now()
    await upkeep.erase(upkeep.storage.user_id)
    await upkeep.go_on(ERASED_WITHIN)
    assert (await proof(upkeep))["proven_at"] - began_at < ERASED_WITHIN
    await assert_nothing_is_left(upkeep)


async def test_nothing_is_proven_while_an_object_is_there(
    upkeep: Upkeep, monkeypatch: pytest.MonkeyPatch
) -> None:
    await upkeep.files.upload(upkeep.storage.user_id)
    with monkeypatch.context() as stubborn:

        async def deletes_nothing(*_: object) -> None:
            return

        stubborn.setattr(LocalObjectStore, "delete", deletes_nothing)
        await upkeep.hear_of_erasure(upkeep.storage.user_id)
        for _ in range(10):
            await upkeep.erasures.attend()
        assert (await proof(upkeep))["proven_at"] is None
    await upkeep.go_on(timedelta(minutes=3))
    await assert_nothing_is_left(upkeep)


async def test_an_object_that_no_row_names_in_the_users_folder_is_found(upkeep: Upkeep) -> None:
    user = upkeep.storage.user_id
    await upkeep.storage.objects.put_bytes(output_key(user, UUID(int=9), 3, PNG), b"lost")
    await upkeep.erase(user)
    await upkeep.go_on(timedelta(minutes=1))
    await assert_nothing_is_left(upkeep)


async def test_what_others_have_stays(upkeep: Upkeep) -> None:
    upload = await upkeep.files.upload(OTHER)
    output = await upkeep.files.output(OTHER)
    await upkeep.erase(upkeep.storage.user_id)
    assert {upload_key(upload, PNG), output_key(OTHER, output, 0, PNG)} < upkeep.storage.there()
    assert await upkeep.findings() == []
    assert await upkeep.storage.count("storage_read.files") == 2


async def test_who_has_been_erased_can_upload_nothing_any_more(upkeep: Upkeep) -> None:
    await upkeep.erase(upkeep.storage.user_id)
    answer = await upkeep.storage.upload(TEXT)
    assert (answer.status_code, answer.json()["error"]) == (403, "access_denied")
    with pytest.raises(Forbidden):
        await upkeep.files.begin(upkeep.storage.user_id)
    assert upkeep.storage.there() == set()
    assert await upkeep.storage.room() == Room()


async def test_a_late_word_of_their_plan_is_let_fall(upkeep: Upkeep) -> None:
    user = upkeep.storage.user_id
    await upkeep.erase(user)
    late = PlanChanged(
        account_id=user, user_id=user, plan="pro", plan_before="free", changed_at=upkeep.clock.now()
    )
    await upkeep.store.transact(lambda unit: change_plan(late, unit))
    assert await upkeep.storage.count("storage.plans") == 0


async def test_erasures_are_listed_open_ones_first_and_an_overdue_one_is_said(
    upkeep: Upkeep,
) -> None:
    proven = await upkeep.files.upload(OTHER)
    await upkeep.erase(OTHER)
    await upkeep.storage.put_link(expires_in=3_600)
    await upkeep.erase(upkeep.storage.user_id)
    erasures = Erasures(upkeep.storage.database, upkeep.clock)
    status, words = await erasures.told()
    first, second, summary = words.splitlines()
    assert status == 0
    assert first.startswith(f"erasures: {upkeep.storage.user_id} since ")
    assert first.endswith("open, 3 keys to be asked for")
    assert second.endswith(", 2 keys"), proven
    assert summary == "erasures: 1 open, 1 proven"
    upkeep.clock.turn(ERASED_WITHIN + timedelta(seconds=1))
    await erasures.show()
    age_s = value("smartspec_storage_erasure_oldest_age_seconds", service="storage")
    assert age_s == ERASED_WITHIN.total_seconds() + 1
    status, words = await erasures.told()
    assert status == 1
    assert words.endswith("erasures: 1 open, the oldest overdue, 1 proven")
    await upkeep.attend()
    await erasures.show()
    assert value("smartspec_storage_erasure_oldest_age_seconds", service="storage") == 0


async def test_deleting_one_file_leaves_no_object_of_it(upkeep: Upkeep) -> None:
    user = upkeep.storage.user_id
    upload, output = await upkeep.files.upload(user), await upkeep.files.output(user)
    for key in (upload_key(upload, PNG), output_key(user, output, 0, PNG)):
        assert (await upkeep.storage.delete(key)).status_code == 204
    for key in (upload_key(upload, PNG), output_key(user, output, 0, PNG)):
        with pytest.raises(NotFound):
            await upkeep.storage.objects.stat(key)
    with pytest.raises(NotFound):
        await upkeep.storage.objects.stat(thumbnail_key(output, 0))
    assert upkeep.storage.there() == set()
    assert await upkeep.findings() == []


class Killed(BaseException):
    """The process died here."""


@pytest.mark.parametrize("died_at", range(1, 9))
async def test_an_erasure_whose_process_dies_at_any_deletion_is_gone_on_with(
    upkeep: Upkeep, monkeypatch: pytest.MonkeyPatch, died_at: int
) -> None:
    user = upkeep.storage.user_id
    await upkeep.files.upload(user)
    await upkeep.files.output(user)
    await upkeep.files.begin(user)
    await upkeep.storage.put_link(expires_in=60)
    delete, left = LocalObjectStore.delete, itertools.count(1)

    async def dying(objects: LocalObjectStore, key: str) -> None:
        if next(left) == died_at:
            raise Killed
        await delete(objects, key)

    await upkeep.hear_of_erasure(user)
    monkeypatch.setattr(LocalObjectStore, "delete", dying)
    with pytest.raises(Killed):
        await upkeep.attend()
    await upkeep.go_on(timedelta(minutes=25))
    await assert_nothing_is_left(upkeep)
