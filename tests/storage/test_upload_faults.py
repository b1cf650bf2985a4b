"""Whoever leaves, dies or fails in the middle of an upload leaves nothing that nobody names."""

import asyncio
import hashlib
import runpy
from collections.abc import AsyncIterator
from datetime import timedelta
from json import dumps
from pathlib import Path

import httpx
import pytest

from kernel.clock import new_id
from kernel.projections import rebuild, verify
from kernel.settings import WrongSettings, read_settings
from kernel.testing import FakeClock
from services.storage.adapters.accepting import Accepted
from services.storage.adapters.intake import Intake
from services.storage.adapters.media import MediaFacts
from services.storage.adapters.quotas import Room
from services.storage.adapters.unwanted import Unwanted
from services.storage.adapters.uploads import Owner
from services.storage.app import AGGREGATES
from services.storage.domain import Quotas
from services.storage.read_model import READ_MODEL
from services.storage.settings import StorageSettings
from tests.storage.uploading import QUOTA, TEXT, Storage

MIGRATION = Path(__file__).parents[2] / "services/storage/migrations/versions/0007_uploads.py"


class Killed(BaseException):
    """The process died here."""


async def half_a_form() -> AsyncIterator[bytes]:
    yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nwor'


async def test_a_client_that_leaves_in_the_middle_leaves_nothing(storage: Storage) -> None:
    headers = {**storage.headers(), "Content-Type": "multipart/form-data; boundary=x"}

    answer = await storage.client.post(
        "/api/v2/storage/upload", content=half_a_form(), headers=headers
    )

    assert answer.status_code in {400, 422}
    assert await storage.is_as_if_nothing_was()


async def test_an_upload_that_is_cancelled_leaves_nothing(storage: Storage) -> None:
    uploads = [asyncio.create_task(storage.upload(b"a" * 1_000)) for _ in range(8)]
    for nth, task in enumerate(uploads):
        for _ in range(nth * 40):
            await asyncio.sleep(0)
        task.cancel()
    done = await asyncio.gather(*uploads, return_exceptions=True)

    kept = [answer for answer in done if isinstance(answer, httpx.Response)]
    assert await storage.room() == Room(1_000 * len(kept), len(kept), 0)
    assert len(storage.there()) == len(kept)
    assert await storage.count("storage.uploads") == 0


def intake_of(storage: Storage) -> tuple[Intake, Unwanted]:
    store = storage.service.store
    assert store is not None
    unwanted = Unwanted(storage.database, storage.objects, store.clock)
    accepting = None  # what is kept here was looked at already
    return (
        Intake(store, storage.objects, accepting, unwanted, Quotas({"*": QUOTA})),  # type: ignore[arg-type]
        unwanted,
    )


def accepted(storage: Storage) -> Accepted:
    path = storage.objects.incoming / "given"
    path.write_bytes(TEXT)
    return Accepted(path, MediaFacts("text/plain", None, None, "ab" * 32, len(TEXT)), None)


async def test_what_a_killed_process_begun_is_named_with_its_lease(
    storage: Storage, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    intake, unwanted = intake_of(storage)

    async def die(*_: object) -> None:
        raise Killed

    monkeypatch.setattr(intake, "_keep", die)
    monkeypatch.setattr(intake, "end", die)
    with pytest.raises(Killed):
        await intake.keep(Owner(storage.user_id, storage.user_id, "free"), accepted(storage))
    monkeypatch.undo()

    assert await storage.room() == Room(0, 0, len(TEXT))
    assert await intake.open.claim_expired(clock.now(), 10) == []
    clock.turn(timedelta(minutes=5))
    (left,) = await intake.open.claim_expired(clock.now(), 10)
    assert storage.there() == {left.key}
    await intake.end(left, "expired")
    await unwanted.delete_due()
    assert await storage.is_as_if_nothing_was()


async def test_who_was_overtaken_keeps_nothing(storage: Storage, clock: FakeClock) -> None:
    intake, _ = intake_of(storage)
    link = await storage.put_link()
    await storage.put(link["url"])
    clock.turn(timedelta(minutes=30))
    (swept,) = await intake.open.claim_expired(clock.now(), 10)

    early = await storage.confirm(link["key"])
    await intake.end(swept, "expired")

    assert (early.status_code, early.json()["error"]) == (409, "confirm_in_progress")
    assert (await storage.confirm(link["key"])).json()["error"] == "upload_ended"
    assert await storage.is_as_if_nothing_was()


async def test_a_repeat_waits_while_nobody_knows_what_becomes_of_the_first(
    storage: Storage, clock: FakeClock
) -> None:
    intake, _ = intake_of(storage)
    link = await storage.put_link()
    upload_id = link["key"].removeprefix("uploads/").removesuffix(".txt")
    async with storage.database.connection() as connection:
        await connection.execute(
            "INSERT INTO storage.idempotency"
            " (principal, route, key, body_sha256, resource, created_at)"
            " VALUES ($1, 'POST /api/v2/storage/upload', 'once', $2, $3, $4)",
            *(str(storage.user_id), hashlib.sha256(TEXT).digest(), upload_id, clock.now()),
        )
    clock.turn(timedelta(minutes=30))

    waiting = await storage.upload(key="once")
    (left,) = await intake.open.claim_expired(clock.now(), 10)
    await intake.end(left, "expired")
    again = await storage.upload(key="once")

    assert (waiting.status_code, waiting.json()["error"]) == (409, "idempotency_in_progress")
    assert again.status_code == 201


async def test_of_many_uploads_at_once_with_one_key_one_is_kept(storage: Storage) -> None:
    answers = await asyncio.gather(*(storage.upload(key="once") for _ in range(8)))

    kept = {answer.json()["key"] for answer in answers if answer.status_code == 201}
    assert len(kept) == 1
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert await storage.room() == Room(len(TEXT), 1, 0)


OLD_EVENTS = """
    INSERT INTO storage.events
        (event_id, stream_id, version, type, schema_version, data, metadata, recorded_at)
    SELECT gen_random_uuid(), 'output-' || $1 || '-0', version, type, 1, data::jsonb,
        '{"correlation_id": "r", "causation_id": null, "traceparent": null}', now()
    FROM (VALUES (1, 'OutputExpected', $2), (2, 'OutputStored', $3)) AS old (version, type, data)"""


async def test_outputs_from_before_quotas_are_counted_and_go_on(
    storage: Storage,
) -> None:
    migration = runpy.run_path(str(MIGRATION))
    task, user = str(new_id()), str(storage.user_id)
    whose = {"task_id": task, "user_id": user, "index": 0}
    key = f"images/generated/{storage.user_id.hex}/{task.replace('-', '')}.png"
    file = {"key": key, "mime_type": "image/png", "size": 42, "sha256": "ab" * 32}
    file |= {"width": 4, "height": 3, "duration_seconds": None, "thumbnail_key": None}
    async with storage.database.connection() as connection:
        await connection.execute(
            OLD_EVENTS,
            task,
            dumps(whose | {"task_type": "image", "width": 4, "height": 3}),
            dumps(whose | {"file": file}),
        )
        await connection.execute(
            "INSERT INTO storage.streams (stream_id, version, state)"
            " VALUES ('output-' || $1 || '-0', 2, $2::text::jsonb)",
            task,
            dumps(whose | {"status": "stored"}),
        )
        for step in ("HEADS", "QUOTAS"):
            await connection.execute(migration[step])

    assert await verify(storage.database, "storage", AGGREGATES) == []
    assert await rebuild(storage.database, "storage", READ_MODEL, AGGREGATES) == 2
    assert await storage.room() == Room(42, 1, 0)
    assert (await storage.delete(key)).status_code == 204
    assert await storage.room() == Room()


@pytest.mark.parametrize(
    "quotas", ["free", "free=1", "free=1GB", "free=1GB,free=2GB,*=1GB", "*=1XB", "*=-1GB", "*=1 GB"]
)
def test_a_quota_that_cannot_be_read_refuses_to_start(quotas: str) -> None:
    with pytest.raises(WrongSettings, match="SMARTSPEC_STORAGE_QUOTAS"):
        read_settings(StorageSettings, SMARTSPEC_STORAGE_QUOTAS=quotas)


def test_quotas_are_read_by_plan() -> None:
    settings = read_settings(StorageSettings, SMARTSPEC_STORAGE_QUOTAS="free=5MB, *=2TB")

    assert (settings.quotas.of("free"), settings.quotas.of("pro")) == (5 * 10**6, 2 * 10**12)
