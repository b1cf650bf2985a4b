"""`POST /api/v2/storage/verify` knows what was kept here, in copies too, and tells of nobody."""

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Sequence
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import httpx
import numpy as np
import pytest
from PIL import Image

from contracts.generation import OutputProduced
from kernel.clock import new_id
from kernel.context import Origin, caused_by
from kernel.http.client import ADDRESS_HEADER
from kernel.http.identity import HEADER, ITSELF
from kernel.objects import LocalObjectStore
from kernel.outbound import Outbound
from kernel.projections import ensure
from kernel.service import Platform, Service
from kernel.settings import WrongSettings, read_settings
from kernel.unit import Recorded
from services.storage.adapters.due_list import EndedFetch
from services.storage.adapters.erasing import erase_output
from services.storage.adapters.fetching import OutputFetcher
from services.storage.adapters.labelling import Labeller
from services.storage.adapters.own_root import derived
from services.storage.adapters.sandbox import CheckFailed, Studio
from services.storage.adapters.worker import OutputWorker
from services.storage.api import verify as verify_api
from services.storage.app import create_service
from services.storage.domain import OutputStored
from services.storage.inbox import expect_output
from services.storage.read_model import READ_MODEL
from services.storage.settings import StorageSettings

USER = UUID(int=7)
BYTES_MAX = 2_000_000
PATH = "/api/v2/storage/verify"
NOTHING: Final[dict[str, Any]] = {
    "made_here": False,
    "model_id": None,
    "made_at": None,
    "intact": None,
    "digital_source_type": None,
    "mime_type": "image/png",
    "c2pa": {"state": "none", "reasons": [], "signer": None, "generator": None},
    "watermark": {"found": False, "known": False},
    "exact_match": False,
}


def picture(seed: int = 1) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((512, 512), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def copied(content: bytes) -> bytes:
    """As somebody would pass it on: half the size, as a JPEG of quality 50."""
    with Image.open(io.BytesIO(content)) as image:
        small = image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)
    return encoded(small, "JPEG", quality=50)


class World:
    """Storage with its worker, and a client that the gateway knows nothing of."""

    def __init__(self, service: Service, platform: Platform, home: Path) -> None:
        assert service.app is not None
        assert service.store is not None
        self.store = service.store
        self.home = home
        self.objects = LocalObjectStore(home / "objects")
        self._platform = platform
        self._outbound = Outbound()
        self._studio = Studio()
        self._service = service
        transport = httpx.ASGITransport(app=service.app)
        token = platform.internal_tokens.mint(ITSELF)
        self.client = httpx.AsyncClient(
            transport=transport, base_url="http://storage.test", headers={HEADER: token}
        )

    async def kept(self, content: bytes) -> tuple[UUID, bytes]:
        """An output that came with these bytes, as it is kept: its task, its bytes."""
        task_id = await self.expect(content)
        worker = self.worker()
        for fetch in await worker.claim():
            await worker.work(fetch)
        return task_id, await self.content(task_id)

    async def content(self, task_id: UUID) -> bytes:
        path = self.objects.incoming.parent / f"images/generated/{USER.hex}/{task_id.hex}.png"
        return path.read_bytes()

    async def expect(self, content: bytes) -> UUID:
        """An output waits that came with these bytes."""
        task_id = new_id()
        await self.objects.put_bytes(f"claims/{task_id.hex}", content)
        event = OutputProduced(
            task_id=task_id,
            user_id=USER,
            account_id=USER,
            index=0,
            task_type="image",
            url="",
            object_key=f"claims/{task_id.hex}",
            width=None,
            height=None,
            model_id="some-model",
        )
        with caused_by(Origin("req_0123456789"), "storage"):
            await self.store.transact(lambda unit: expect_output(event, unit))
        return task_id

    def worker(self) -> OutputWorker:
        encryption = self._platform.encryption
        labeller = Labeller(
            self._studio,
            derived(encryption.derived_secret("provenance")).signer,
            encryption.derived_secret("watermark"),
        )
        outputs = OutputFetcher(self._outbound, self.objects, self._studio, labeller)
        return OutputWorker(self.store, self.objects, outputs)

    async def erase(self, task_id: UUID) -> None:
        await erase_output(self.store, self.objects, EndedFetch(task_id, 0, USER, None))

    async def verify(self, content: bytes) -> dict[str, Any]:
        answer = await self.ask(content)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def ask(self, content: bytes) -> httpx.Response:
        return await self.client.post(PATH, files={"file": ("a.png", content, "image/png")})

    async def aclose(self) -> None:
        await self.client.aclose()
        await self._studio.aclose()
        await self._outbound.aclose()
        for resource in self._service.resources:
            await resource.aclose()
        assert not any((self.home / "objects" / ".incoming").glob("*.verify"))


@pytest.fixture
async def world(platform: Platform, tmp_path: Path) -> AsyncIterator[World]:
    settings = read_settings(
        StorageSettings,
        SMARTSPEC_HOME=tmp_path,
        SMARTSPEC_NSFW_CHECK=False,
        SMARTSPEC_VERIFY_BYTES_MAX=BYTES_MAX,
    )
    async with platform.database.connection() as connection:
        await ensure(connection, READ_MODEL)
    world = World(create_service(settings, platform), platform, tmp_path)
    yield world
    await world.aclose()


async def test_an_output_that_is_kept_is_known_by_its_bytes(world: World) -> None:
    _, content = await world.kept(encoded(picture()))

    told = await world.verify(content)

    assert (told["made_here"], told["intact"], told["exact_match"]) == (True, True, True)
    assert (told["model_id"], told["digital_source_type"]) == (
        "some-model",
        "trainedAlgorithmicMedia",
    )
    assert told["c2pa"]["state"] == "trusted"
    assert told["watermark"] == {"found": True, "known": True}


async def test_a_copy_is_known_by_its_mark_and_is_not_intact(world: World) -> None:
    _, content = await world.kept(encoded(picture()))

    told = await world.verify(copied(content))

    assert (told["made_here"], told["intact"], told["exact_match"]) == (True, False, False)
    assert (told["model_id"], told["mime_type"]) == ("some-model", "image/jpeg")
    assert told["c2pa"]["state"] == "none"
    assert told["made_at"] == (await world.verify(content))["made_at"]


async def test_a_byte_more_is_noticed(world: World) -> None:
    _, content = await world.kept(encoded(picture()))

    told = await world.verify(content + b"\0")

    assert told["c2pa"]["state"] == "invalid"
    assert (told["intact"], told["exact_match"]) == (False, False)


async def test_what_was_deleted_is_still_known_to_be_made_here(world: World) -> None:
    task_id, content = await world.kept(encoded(picture()))

    await world.erase(task_id)

    told = await world.verify(content)
    assert (told["made_here"], told["exact_match"]) == (True, False)
    assert (await world.verify(copied(content)))["model_id"] == "some-model"
    async with world.store.database.connection() as connection:
        rows = await connection.fetch("SELECT key, model_id FROM storage.marks")
    assert [tuple(row) for row in rows] == [(None, "some-model")]


async def test_nothing_that_is_told_is_the_owners(world: World) -> None:
    task_id, content = await world.kept(encoded(picture()))

    for file in (content, copied(content)):
        text = (await world.ask(file)).text
        for secret in (str(USER), USER.hex, str(task_id), task_id.hex):
            assert secret not in text


async def test_the_file_itself_names_no_owner(world: World) -> None:
    _, content = await world.kept(encoded(picture()))

    assert str(USER).encode() not in content
    assert USER.hex.encode() not in content


async def test_nothing_is_said_of_what_others_made(world: World) -> None:
    assert await world.verify(encoded(picture(2))) == NOTHING


@pytest.mark.parametrize("content", [b"<html></html>", b"%PDF-1.7\n", b"\x00" * 100])
async def test_another_type_is_415(world: World, content: bytes) -> None:
    answer = await world.ask(content)

    assert (answer.status_code, answer.json()["error"]) == (415, "unsupported_type")


async def test_a_body_that_is_no_form_is_415(world: World) -> None:
    answer = await world.client.post(PATH, json={"file": "x"})

    assert (answer.status_code, answer.json()["error"]) == (415, "unsupported_media_type")


async def test_a_damaged_picture_and_a_bomb_are_422(world: World) -> None:
    whole = encoded(picture())
    bomb = encoded(Image.new("1", (20_000, 20_000)))

    damaged, huge = await world.ask(whole[: len(whole) // 2]), await world.ask(bomb)

    assert (damaged.status_code, damaged.json()["error"]) == (422, "damaged_picture")
    assert (huge.status_code, huge.json()["error"]) == (422, "too_many_pixels")


async def test_a_form_without_a_file_is_422_and_a_large_one_413(world: World) -> None:
    without = await world.client.post(PATH, files={"other": (None, "x")})
    large = await world.ask(b"x" * (BYTES_MAX + 1))

    assert (without.status_code, without.json()["details"]) == (422, {"field": "file"})
    assert (large.status_code, large.json()["error"]) == (413, "file_too_large")


async def refused_of(world: World, addresses: Sequence[str]) -> int:
    """How many of so many slow clients at once, by their addresses, are asked to come again."""
    sending = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"--edge\r\n"
        await sending.wait()

    def ask(address: str) -> Awaitable[httpx.Response]:
        headers = {
            "content-type": "multipart/form-data; boundary=edge",
            ADDRESS_HEADER: address,
        }
        return world.client.post(PATH, content=slow(), headers=headers)

    held = [asyncio.ensure_future(ask(address)) for address in addresses]
    first, _ = await asyncio.wait(held, return_when=asyncio.FIRST_COMPLETED)
    sending.set()
    answers = await asyncio.gather(*held)
    assert {each.result().status_code for each in first} == {429}
    assert {answer.status_code for answer in answers} == {422, 429}
    return [answer.status_code for answer in answers].count(429)


async def test_only_so_many_are_answered_at_once(world: World) -> None:
    addresses = [f"2001:db8::{nth}" for nth in range(verify_api.AT_ONCE_MAX + 1)]

    assert await refused_of(world, addresses) == 1
    assert (await world.verify(encoded(picture(2)))) == NOTHING


async def test_who_sends_slowly_leaves_places_to_other_addresses(world: World) -> None:
    assert await refused_of(world, ["2001:db8::1"] * 3 + ["2001:db8::2"]) == 1
    assert await refused_of(world, ["2001:db8::1"] * 3) == 1


async def test_a_child_that_fails_is_503(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: object) -> None:
        raise CheckFailed("x")

    monkeypatch.setattr(Studio, "do", fails)

    answer = await world.ask(encoded(picture()))

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")


async def test_a_service_that_is_asked_past_the_gateway_answers_nobody(world: World) -> None:
    answer = await world.client.post(PATH, files={"file": b"x"}, headers={HEADER: "e30.e30.e30"})

    assert answer.status_code == 401


@pytest.mark.parametrize("is_on", [True, False])
async def test_a_deployment_may_leave_its_outputs_as_they_came(
    world: World, platform: Platform, *, is_on: bool
) -> None:
    settings = read_settings(
        StorageSettings,
        SMARTSPEC_HOME=world.home,
        SMARTSPEC_NSFW_CHECK=False,
        SMARTSPEC_PROVENANCE=is_on,
    )
    service, stored = create_service(settings, platform), asyncio.Event()
    assert service.store is not None
    service.store.on_commit(lambda recorded, _: stored.set() if is_kept(recorded) else None)
    working = asyncio.ensure_future(service.workers[0]())
    task_id = await world.expect(encoded(picture()))

    async with asyncio.timeout(30):
        await stored.wait()

    working.cancel()
    for resource in service.resources:
        await resource.aclose()
    assert (await world.content(task_id) == encoded(picture())) is not is_on
    assert (await world.verify(await world.content(task_id)))["exact_match"]


def is_kept(recorded: Sequence[Recorded[Any]]) -> bool:
    return any(isinstance(item.event, OutputStored) for item in recorded)


def test_a_certificate_that_is_not_there_refuses_to_start(
    platform: Platform, tmp_path: Path
) -> None:
    settings = read_settings(
        StorageSettings, SMARTSPEC_HOME=tmp_path, C2PA_CERTIFICATE_FILE=tmp_path / "none.pem"
    )

    with pytest.raises(WrongSettings, match="C2PA_PRIVATE_KEY_FILE"):
        create_service(settings, platform)
