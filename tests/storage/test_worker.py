import asyncio
import errno
import hashlib
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import structlog
from PIL import Image

from contracts.generation import OutputProduced
from kernel.clock import new_id
from kernel.context import Origin, caused_by
from kernel.errors import NotFound
from kernel.event_store import EventStore
from kernel.objects import LocalObjectStore, StoredObject
from kernel.outbound import Outbound
from kernel.projections import ensure
from kernel.sql import Database
from kernel.testing import FakeClock
from kernel.unit import Recorded
from services.storage.adapters import worker
from services.storage.adapters.due_list import LEASE, DueFetch
from services.storage.adapters.fetching import BOUNDS, Bounds, OutputFetcher
from services.storage.adapters.jobs import JOBS
from services.storage.adapters.media import Bands
from services.storage.adapters.pictures import examine
from services.storage.adapters.sandbox import Studio
from services.storage.adapters.worker import (
    CLAIMS_MAX,
    FETCHES_AT_ONCE_MAX,
    TRY_AGAIN_AFTER_S,
    OutputWorker,
)
from services.storage.domain import OUTPUT, OutputStored
from services.storage.inbox import expect_output
from services.storage.outbox import announce
from services.storage.read_model import READ_MODEL, project

USER = UUID(int=0xB2)
REQUEST = "req_0123456789"
SECRET = "canary-in-the-address"


def picture(width: int = 64, height: int = 48, colour: str = "teal", kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, kind)
    return buffer.getvalue()


def answer(body: bytes, status: str = "200 OK", content_type: str = "image/png") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


OUT_OF_ORDER = answer(b"", "500 Internal Server Error")


class Vendor:
    """A real server on the loopback: gives its answers one by one, the last one for ever;
    behind each `more`, again and again."""

    def __init__(self) -> None:
        self.answers: list[bytes] = [answer(picture())]
        self.more = b""
        self.every_s = 0.0
        self.asked = 0
        self.url = ""
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await reader.readuntil(b"\r\n\r\n")
                self.asked += 1
                await self.go_on.wait()
                writer.write(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])
                await writer.drain()
                while self.more:
                    writer.write(self.more)
                    await writer.drain()
                    await asyncio.sleep(self.every_s)
        finally:
            if self.more:  # nobody waits for the rest
                writer.transport.abort()
            writer.close()


class Killed(BaseException):
    """The process died here."""


class FaultyStore(LocalObjectStore):
    """Does what it should, then `after_put` happens, once."""

    after_put: Callable[[], Awaitable[None]] | None = None

    async def put_file(
        self,
        key: str,
        source: Path,
        content_type: str,
        *,
        replace: bool = True,
        give: bool = False,
    ) -> StoredObject:
        stored = await super().put_file(key, source, content_type, replace=replace, give=give)
        happens, self.after_put = self.after_put, None
        if happens is not None:
            await happens()
        return stored


async def kill() -> None:
    raise Killed


async def fill_the_disk() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


class World:
    def __init__(
        self,
        store: EventStore,
        clock: FakeClock,
        objects: FaultyStore,
        outbound: Outbound,
        studio: Studio,
    ) -> None:
        self.studio = studio
        self.store = store
        self.clock = clock
        self.objects = objects
        self._outbound = outbound

    def worker(self, *, sole_owner: bool = False) -> OutputWorker:
        outputs = OutputFetcher(self._outbound, self.objects, self.studio)
        return OutputWorker(self.store, self.objects, outputs, sole_owner=sole_owner)

    async def expect(
        self,
        url: str = "",
        *,
        object_key: str | None = None,
        task_id: UUID | None = None,
        index: int = 0,
        size: tuple[int, int] | None = (64, 48),
        task_type: str = "image",
        duration_seconds: float | None = None,
        mime_type: str | None = None,
    ) -> UUID:
        event = OutputProduced(
            task_id=task_id or new_id(),
            user_id=USER,
            account_id=USER,
            index=index,
            task_type=task_type,
            url=f"{url}/output.png?token={SECRET}" if url else "",
            object_key=object_key,
            width=size[0] if size else None,
            height=size[1] if size else None,
            duration_seconds=duration_seconds,
            mime_type=mime_type,
        )
        with caused_by(Origin(REQUEST), "storage"):
            await self.store.transact(lambda unit: expect_output(event, unit))
        return event.task_id

    async def work(self, worker: OutputWorker | None = None) -> int:
        """Everything that is due now; how much that was."""
        worker = worker or self.worker()
        claimed = await worker.claim()
        for fetch in claimed:
            await worker.work(fetch)
        return len(claimed)

    async def rows(self, query: str, *values: Any) -> Sequence[Any]:
        async with self.store.database.connection() as connection:
            return await connection.fetch(query, *values)

    async def row(self) -> Any:
        (row,) = await self.rows("SELECT * FROM storage.output_fetches")
        return row

    async def events(self) -> list[tuple[str, dict[str, Any]]]:
        """What happened after the outputs were expected."""
        rows = await self.rows(
            "SELECT type, data FROM storage.events WHERE type <> 'OutputExpected' ORDER BY position"
        )
        return [(row["type"], row["data"]) for row in rows]

    async def kept(self) -> tuple[dict[str, Any], Path]:
        """The facts of the one file on record, and where it lies."""
        ((kind, data),) = await self.events()
        assert kind == "OutputStored"
        return data["file"], self.objects.incoming.parent / data["file"]["key"]

    async def rejected(self) -> tuple[str, str]:
        ((kind, data),) = await self.events()
        assert kind == "OutputRejected"
        return data["code"], data["message"]

    def objects_on_disk(self) -> list[str]:
        root = self.objects.incoming.parent
        return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


@pytest.fixture
async def vendor() -> AsyncIterator[Vendor]:
    vendor = Vendor()
    server = await asyncio.start_server(vendor.serve, "127.0.0.1", 0)
    vendor.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield vendor
    server.close()
    await server.wait_closed()


@pytest.fixture
async def world(
    database: Database, clock: FakeClock, vendor: Vendor, tmp_path: Path
) -> AsyncIterator[World]:
    async with database.connection() as connection:
        await ensure(connection, READ_MODEL)
    store = EventStore(
        database, "storage", [OUTPUT], clock=clock, announce=announce, project=project
    )
    objects = FaultyStore(tmp_path / "objects")
    outbound = Outbound(allowed_origins=frozenset({vendor.url}))
    studio = Studio()
    yield World(store, clock, objects, outbound, studio)
    await studio.aclose()
    await outbound.aclose()
    objects.close()


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


async def test_keeps_a_picture_as_it_came_with_its_hash(world: World, vendor: Vendor) -> None:
    task_id = await world.expect(vendor.url)

    await world.work()

    facts, path = await world.kept()
    assert path.read_bytes() == picture()
    assert facts["key"] == f"images/generated/{USER.hex}/{task_id.hex}.png"
    assert facts["sha256"] == hashlib.sha256(picture()).hexdigest()
    assert facts["size"] == len(picture())
    assert (facts["mime_type"], facts["width"], facts["height"]) == ("image/png", 64, 48)


async def test_keeps_a_thumbnail_beside_it(world: World, vendor: Vendor) -> None:
    task_id = await world.expect(vendor.url)

    await world.work()

    facts, _ = await world.kept()
    assert facts["thumbnail_key"] == f"images/thumbnails/{task_id.hex}.webp"
    small = examine(world.objects.incoming.parent / facts["thumbnail_key"])
    assert small.mime_type == "image/webp"


async def test_a_finished_row_forgets_the_address(world: World, vendor: Vendor) -> None:
    await world.expect(vendor.url)

    await world.work()

    row = await world.row()
    assert (row["state"], row["url"], row["lease_until"]) == ("done", None, None)
    assert await world.work() == 0


async def test_leaves_nothing_on_disk_but_picture_and_thumbnail(
    world: World, vendor: Vendor
) -> None:
    vendor.answers = [answer(picture(100, 100))]
    task_id = await world.expect(vendor.url)

    await world.work()

    assert world.objects_on_disk() == [
        f"images/generated/{USER.hex}/{task_id.hex}.png",
        f"images/thumbnails/{task_id.hex}.webp",
    ]


async def test_every_output_of_a_task_has_a_file_of_its_own(world: World, vendor: Vendor) -> None:
    vendor.answers = [answer(picture(colour=colour)) for colour in ("red", "green", "blue")]
    task_id = new_id()
    for index in range(3):
        await world.expect(vendor.url, task_id=task_id, index=index)

    await world.work()

    kept = [data["file"] for _, data in await world.events()]
    assert len({file["sha256"] for file in kept}) == 3
    for file in kept:
        assert sha256_of(world.objects.incoming.parent / file["key"]) == file["sha256"]


@pytest.mark.parametrize("came", [(100, 40), (63, 48)])
async def test_a_picture_of_another_size_becomes_exactly_the_size_asked_for(
    world: World, vendor: Vendor, came: tuple[int, int]
) -> None:
    vendor.answers = [answer(picture(*came, kind="JPEG"))]
    await world.expect(vendor.url, size=(64, 48))

    await world.work()

    facts, path = await world.kept()
    with Image.open(path) as image:
        assert image.size == (64, 48)
    assert (facts["width"], facts["height"], facts["mime_type"]) == (64, 48, "image/png")
    assert facts["key"].endswith(".png")
    assert (facts["sha256"], facts["size"]) == (sha256_of(path), path.stat().st_size)


async def test_a_picture_for_which_no_size_was_asked_keeps_its_own(
    world: World, vendor: Vendor
) -> None:
    vendor.answers = [answer(picture(33, 22, kind="JPEG"))]
    await world.expect(vendor.url, size=None)

    await world.work()

    facts, _ = await world.kept()
    assert (facts["width"], facts["height"]) == (33, 22)
    assert facts["key"].endswith(".jpg")


KEPT = {
    "film": ("video", "videos/generated/{}/{}.mp4", "video/mp4"),
    "avatar": ("avatar", "videos/generated/{}/{}.mp4", "video/mp4"),
    "mp3": ("audio", "audio/generated/{}/{}.mp3", "audio/mpeg"),
}


@pytest.mark.parametrize("name", KEPT)
async def test_keeps_films_avatars_and_sounds_as_they_came_with_a_small_picture(
    name: str, world: World, vendor: Vendor, recordings: Mapping[str, bytes]
) -> None:
    task_type, place, mime_type = KEPT[name]
    vendor.answers = [answer(recordings[name], content_type="application/octet-stream")]
    size = None if task_type == "audio" else (128, 72)
    task_id = await world.expect(
        vendor.url, task_type=task_type, size=size, duration_seconds=1.0, mime_type=mime_type
    )

    await world.work()

    facts, path = await world.kept()
    assert path.read_bytes() == recordings[name]
    assert facts["key"] == place.format(USER.hex, task_id.hex)
    assert (facts["mime_type"], facts["sha256"]) == (mime_type, sha256_of(path))
    assert (facts["width"], facts["height"]) == (size or (None, None))
    assert facts["duration_seconds"] == pytest.approx(1.0, abs=0.05)
    assert facts["thumbnail_key"] == f"images/thumbnails/{task_id.hex}.webp"
    small = examine(world.objects.incoming.parent / facts["thumbnail_key"])
    assert small.mime_type == "image/webp"
    assert len(world.objects_on_disk()) == 2


async def test_rejects_a_film_of_another_length(
    world: World, vendor: Vendor, recordings: Mapping[str, bytes]
) -> None:
    await world.objects.put_bytes("claims/one", recordings["film"])
    await world.expect(object_key="claims/one", task_type="video", size=None, duration_seconds=5.0)

    await world.work()

    assert (await world.rejected())[0] == "wrong_duration"
    assert world.objects_on_disk() == []


async def test_a_child_that_fails_is_a_failure_of_the_moment(
    world: World, vendor: Vendor, recordings: Mapping[str, bytes]
) -> None:
    vendor.answers = [answer(recordings["wav"])]
    await world.expect(vendor.url, task_type="audio", size=None)

    failing = replace(JOBS["listen_to_sound"], function="tests.storage.dying_jobs:leave")
    sound, world.studio = world.studio, Studio(jobs={"listen_to_sound": failing})
    await world.work()
    await world.studio.aclose()
    world.studio = sound
    assert (await world.row())["error"] == "storage_failed"
    world.clock.turn(timedelta(seconds=TRY_AGAIN_AFTER_S[0]))
    await world.work()

    facts, _ = await world.kept()
    assert facts["key"].endswith(".wav")


async def test_the_facts_say_what_was_seen(
    world: World, vendor: Vendor, recordings: Mapping[str, bytes]
) -> None:
    vendor.answers = [answer(picture(colour="red"))]
    await world.expect(vendor.url)
    world.studio = Studio(Bands(0.0, 1.0))

    await world.work()
    await world.studio.aclose()

    facts, _ = await world.kept()
    assert 0 <= facts["nsfw_score"] < 1
    assert facts["safety"] == "review"
    assert len(facts["blurhash"]) == 6 + 2 * (4 * 3 - 1)


async def test_what_is_not_safe_to_be_shown_is_rejected_and_nothing_of_it_is_kept(
    world: World, vendor: Vendor
) -> None:
    await world.objects.put_bytes("claims/one", picture())
    await world.expect(object_key="claims/one")
    world.studio = Studio(Bands(0.0, 0.0))

    with structlog.testing.capture_logs() as lines:
        await world.work()
    await world.studio.aclose()

    assert await world.rejected() == ("unsafe_output", "The output is not safe to be shown.")
    assert world.objects_on_disk() == []
    assert [line["event"] for line in lines] == ["output_rejected"]


async def test_a_worker_that_takes_longer_than_its_lease_is_not_overtaken(
    world: World, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "RENEW_EVERY_S", 0.01)
    vendor.go_on.clear()
    await world.expect(vendor.url)
    slow, quick = world.worker(), world.worker()
    (fetch,) = await slow.claim()
    working = asyncio.create_task(slow.work(fetch))

    for _ in range(3):
        world.clock.turn(LEASE * 0.9)
        async with asyncio.timeout(10):
            until = world.clock.now() + LEASE
            while (await world.row())["lease_until"] != until:  # noqa: ASYNC110 - a row has no event
                await asyncio.sleep(0.01)
        assert list(await quick.claim()) == []
    vendor.go_on.set()
    await working

    await world.kept()
    assert vendor.asked == 1


async def test_rejects_a_page_that_calls_itself_a_picture(world: World, vendor: Vendor) -> None:
    vendor.answers = [answer(b"<html><script>alert(1)</script></html>")]
    await world.expect(vendor.url)

    await world.work()

    assert (await world.rejected())[0] == "unsupported_type"
    row = await world.row()
    assert (row["state"], row["url"], row["error"]) == ("rejected", None, "unsupported_type")
    assert world.objects_on_disk() == []


async def test_rejects_a_picture_that_is_cut_short(world: World, vendor: Vendor) -> None:
    vendor.answers = [answer(picture()[:-30])]
    await world.expect(vendor.url)

    await world.work()

    assert (await world.rejected())[0] == "damaged_picture"


async def test_rejects_more_bytes_than_an_output_may_have(world: World, vendor: Vendor) -> None:
    too_many = BOUNDS["image"].bytes_max + 1
    vendor.answers = [f"HTTP/1.1 200 OK\r\nContent-Length: {too_many}\r\n\r\n".encode()]
    await world.expect(vendor.url)

    await world.work()

    assert (await world.rejected())[0] == "too_large"


@pytest.fixture
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of a megabyte at most, within a fifth of a second."""
    monkeypatch.setitem(BOUNDS, "image", Bounds(1 << 20, 0.2))


@pytest.mark.usefixtures("in_a_hurry")
async def test_an_output_without_an_end_is_cut_at_its_bound(world: World, vendor: Vendor) -> None:
    vendor.answers, vendor.more = [b"HTTP/1.1 200 OK\r\n\r\n" + picture()], bytes(1 << 16)
    await world.expect(vendor.url)

    await world.work()

    assert (await world.rejected())[0] == "too_large"
    assert world.objects_on_disk() == []


@pytest.mark.parametrize(
    ("said", "more", "code"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"x", "timeout"),
        (answer(picture())[:-9], b"", "connection_cut"),
    ],
)
@pytest.mark.usefixtures("in_a_hurry")
async def test_gives_up_on_what_drips_or_is_shorter_than_it_says(
    world: World, vendor: Vendor, said: bytes, more: bytes, code: str
) -> None:
    vendor.answers, vendor.more, vendor.every_s = [said], more, 0.01
    await world.expect(vendor.url)

    for delay_s in (*TRY_AGAIN_AFTER_S, 0):
        assert await world.work() == 1
        world.clock.turn(timedelta(seconds=delay_s))

    assert (await world.rejected())[0] == code
    assert world.objects_on_disk() == []


async def test_rejects_at_once_what_the_vendor_no_longer_has(world: World, vendor: Vendor) -> None:
    vendor.answers = [answer(b"", "404 Not Found")]
    await world.expect(vendor.url)

    await world.work()

    assert (await world.rejected())[0] == "origin_refused"
    assert vendor.asked == 1


async def test_rejects_an_address_on_this_machine_that_was_not_allowed(world: World) -> None:
    await world.expect("http://127.0.0.1")

    await world.work()

    assert (await world.rejected())[0] == "address_not_allowed"


async def test_rejects_an_unknown_kind_without_fetching_it(world: World, vendor: Vendor) -> None:
    await world.expect(vendor.url, task_type="hologram")

    await world.work()

    assert (await world.rejected())[0] == "unsupported_type"
    assert vendor.asked == 0


async def test_a_failure_of_the_moment_is_tried_again_after_a_while(
    world: World, vendor: Vendor
) -> None:
    vendor.answers = [OUT_OF_ORDER, answer(picture())]
    await world.expect(vendor.url)

    assert await world.work() == 1
    assert await world.work() == 0
    assert await world.events() == []
    world.clock.turn(timedelta(seconds=TRY_AGAIN_AFTER_S[0]))
    assert await world.work() == 1

    await world.kept()
    assert vendor.asked == 2


async def test_gives_up_on_a_vendor_that_stays_out_of_order(world: World, vendor: Vendor) -> None:
    vendor.answers = [OUT_OF_ORDER]
    await world.expect(vendor.url)

    for delay_s in TRY_AGAIN_AFTER_S:
        assert await world.work() == 1
        assert await world.events() == []
        world.clock.turn(timedelta(seconds=delay_s))
    assert await world.work() == 1

    code, message = await world.rejected()
    assert code == "origin_failed"
    assert "127.0.0.1" not in message
    assert vendor.asked == len(TRY_AGAIN_AFTER_S) + 1


async def test_a_full_disk_is_a_failure_of_the_moment(world: World, vendor: Vendor) -> None:
    world.objects.after_put = fill_the_disk
    await world.expect(vendor.url)

    await world.work()
    assert (await world.row())["error"] == "storage_failed"
    world.clock.turn(timedelta(seconds=TRY_AGAIN_AFTER_S[0]))
    await world.work()

    await world.kept()


async def die_after_the_object_is_put(world: World) -> None:
    """A worker is killed between the object and its event."""
    world.objects.after_put = kill
    with pytest.raises(Killed):
        await world.work()
    assert await world.events() == []


async def test_after_a_kill_between_object_and_event_the_hash_is_that_of_the_bytes_on_disk(
    world: World, vendor: Vendor
) -> None:
    vendor.answers = [answer(picture(colour="red")), answer(picture(colour="blue"))]
    await world.expect(vendor.url)

    await die_after_the_object_is_put(world)
    await world.work(world.worker(sole_owner=True))

    facts, path = await world.kept()
    assert path.read_bytes() == picture(colour="blue")
    assert facts["sha256"] == sha256_of(path)


async def test_a_killed_worker_costs_no_attempt(world: World, vendor: Vendor) -> None:
    await world.expect(vendor.url)

    await die_after_the_object_is_put(world)

    row = await world.row()
    assert (row["attempts"], row["claims"], row["state"]) == (0, 1, "waiting")


async def test_the_lease_of_a_killed_worker_holds_others_back_until_it_runs_out(
    world: World, vendor: Vendor
) -> None:
    await world.expect(vendor.url)
    await die_after_the_object_is_put(world)

    assert await world.work() == 0
    world.clock.turn(LEASE + timedelta(seconds=1))
    assert await world.work() == 1

    await world.kept()


async def test_an_output_that_always_ends_its_process_is_rejected_in_the_end(
    world: World, vendor: Vendor
) -> None:
    await world.expect(vendor.url)
    for _ in range(CLAIMS_MAX):
        await world.worker(sole_owner=True).claim()

    await world.work(world.worker(sole_owner=True))

    assert (await world.rejected())[0] == "storage_failed"
    assert vendor.asked == 0


async def test_a_worker_that_was_overtaken_writes_over_nothing(
    world: World, vendor: Vendor
) -> None:
    vendor.answers = [answer(picture(colour="red")), answer(picture(colour="blue"))]
    slow = world.worker()
    await world.expect(vendor.url)
    (fetch,) = await slow.claim()
    world.clock.turn(LEASE + timedelta(seconds=1))
    await world.work()

    await slow.work(fetch)

    facts, path = await world.kept()
    assert path.read_bytes() == picture(colour="red")
    assert facts["sha256"] == sha256_of(path)


async def test_a_worker_that_is_overtaken_before_its_event_does_not_record_it(
    world: World, vendor: Vendor
) -> None:
    vendor.answers = [answer(picture(colour="red")), answer(picture(colour="blue"))]
    slow, quick = world.worker(), world.worker()
    theirs: list[DueFetch] = []

    async def overtake() -> None:
        world.clock.turn(LEASE + timedelta(seconds=1))
        theirs.extend(await quick.claim())

    world.objects.after_put = overtake
    await world.expect(vendor.url)
    with structlog.testing.capture_logs() as lines:
        await world.work(slow)
    assert [line["event"] for line in lines] == ["output_overtaken"]
    assert await world.events() == []

    await quick.work(theirs[0])

    facts, path = await world.kept()
    assert path.read_bytes() == picture(colour="blue")
    assert facts["sha256"] == sha256_of(path)


async def test_two_workers_never_take_the_same_output(world: World, vendor: Vendor) -> None:
    for _ in range(FETCHES_AT_ONCE_MAX * 2):
        await world.expect(vendor.url)

    batches = await asyncio.gather(world.worker().claim(), world.worker().claim())

    taken = [fetch.task_id for batch in batches for fetch in batch]
    assert len(taken) == len(set(taken)) == FETCHES_AT_ONCE_MAX * 2


async def test_an_output_that_another_is_just_taking_is_left_to_it_without_waiting(
    world: World, vendor: Vendor
) -> None:
    theirs, ours = await world.expect(vendor.url), await world.expect(vendor.url)

    async with world.store.database.transaction() as connection, asyncio.timeout(10):
        await connection.execute(
            "SELECT 1 FROM storage.output_fetches WHERE task_id = $1 FOR UPDATE", theirs
        )
        claimed = await world.worker().claim()

    assert [fetch.task_id for fetch in claimed] == [ours]


async def test_a_worker_takes_no_more_than_it_may_fetch_at_once(
    world: World, vendor: Vendor
) -> None:
    for _ in range(FETCHES_AT_ONCE_MAX + 2):
        await world.expect(vendor.url)
    worker = world.worker()

    first = await worker.claim()
    assert len(first) == FETCHES_AT_ONCE_MAX
    assert list(await worker.claim()) == []
    await worker.work(first[0])

    assert len(await worker.claim()) == 1


async def test_a_running_worker_stores_what_comes_until_it_is_cancelled(
    world: World, vendor: Vendor
) -> None:
    outputs = FETCHES_AT_ONCE_MAX * 2
    stored = asyncio.Semaphore(0)

    def count(recorded: Sequence[Recorded[Any]], _: object) -> None:
        for item in recorded:
            if isinstance(item.event, OutputStored):
                stored.release()

    world.store.on_commit(count)
    running = asyncio.create_task(world.worker(sole_owner=True).run())

    for _ in range(outputs):
        await world.expect(vendor.url)
    async with asyncio.timeout(20):
        for _ in range(outputs):
            await stored.acquire()
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running

    assert [kind for kind, _ in await world.events()] == ["OutputStored"] * outputs
    assert world.objects_on_disk()[0].startswith("images/")


async def test_events_and_log_lines_belong_to_the_request(world: World, vendor: Vendor) -> None:
    await world.expect(vendor.url)

    with structlog.testing.capture_logs([structlog.contextvars.merge_contextvars]) as lines:
        await world.work()

    assert [(line["event"], line["request_id"]) for line in lines] == [("output_stored", REQUEST)]
    rows = await world.rows("SELECT metadata FROM storage.events")
    assert [row["metadata"]["correlation_id"] for row in rows] == [REQUEST, REQUEST]


@pytest.mark.parametrize("last", [OUT_OF_ORDER, answer(b"<html>"), answer(picture())])
async def test_the_address_is_in_no_log_line_and_no_event(
    world: World, vendor: Vendor, last: bytes
) -> None:
    vendor.answers = [OUT_OF_ORDER, last]
    await world.expect(vendor.url)

    with structlog.testing.capture_logs() as lines:
        for delay_s in (*TRY_AGAIN_AFTER_S, 0.0):
            await world.work()
            world.clock.turn(timedelta(seconds=delay_s))

    assert len(lines) >= 2
    written = f"{lines} {await world.events()}"
    assert SECRET not in written
    assert "127.0.0.1" not in written


async def test_an_output_that_lies_in_the_object_store_is_kept_and_its_claim_forgotten(
    world: World,
) -> None:
    await world.objects.put_bytes("claims/one", picture())
    await world.expect(object_key="claims/one")
    await world.work()
    facts, path = await world.kept()
    assert facts["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(NotFound):
        await world.objects.stat("claims/one")


async def test_a_claim_that_is_gone_is_rejected_after_its_tries(world: World) -> None:
    await world.expect(object_key="claims/none")
    while (await world.row())["state"] == "waiting":
        world.clock.turn(timedelta(minutes=1))
        await world.work()
    assert await world.rejected() == ("output_gone", "The output is not in the object store.")
