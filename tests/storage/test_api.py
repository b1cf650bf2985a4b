import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

import httpx
import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from kernel.clock import new_id
from kernel.objects import LocalObjectStore, ObjectStoreAway
from kernel.projections import ensure
from kernel.service import Platform, Service
from kernel.settings import read_settings
from kernel.testing import FakeClock
from services.storage.api.serving import ObjectResponse
from services.storage.app import create_service
from services.storage.domain import OUTPUTS, ExpectOutput, KeepOutput, StoredFile, stream_of
from services.storage.read_model import READ_MODEL
from services.storage.settings import StorageSettings

BYTES = bytes(range(256)) * 4
KEY = "images/generated/u1/t1.png"
LINK_S = 3_600
SCOPE: Final = {"type": "http", "method": "GET", "asgi": {"spec_version": "2.4"}}


class Media:
    """storage's HTTP side, with what a test needs to fill and to call it."""

    def __init__(self, service: Service, platform: Platform, home: Path) -> None:
        assert service.store is not None
        assert service.app is not None
        self.store = service.store
        self._platform = platform
        self._home = home
        self.objects = LocalObjectStore(home / "objects")
        transport = httpx.ASGITransport(app=service.app)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://storage.test")

    async def put(
        self, key: str, content: bytes = BYTES, content_type: str = "application/octet-stream"
    ) -> None:
        source = self._home / "source"
        source.write_bytes(content)
        await self.objects.put_file(key, source, content_type)

    async def put_png(self, content: bytes = BYTES) -> None:
        source = self._home / "source"
        source.write_bytes(content)
        await self.objects.put_file(KEY, source, "image/png")

    def link(self, key: str = KEY, method: str = "GET") -> str:
        expires_at = self._platform.clock.now() + timedelta(seconds=LINK_S)
        return self._platform.links.sign(key, method=method, expires_at=expires_at)

    def put_link(self) -> str:
        expires_at = self._platform.clock.now() + timedelta(seconds=LINK_S)
        return self._platform.links.sign_put(
            KEY, expires_at=expires_at, size=1, content_type="image/png"
        )

    async def get(self, url: str, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.get(url, headers=named)


@pytest.fixture
async def media(platform: Platform, tmp_path: Path) -> AsyncIterator[Media]:
    settings = read_settings(StorageSettings, SMARTSPEC_HOME=tmp_path)
    service = create_service(settings, platform)
    async with platform.database.connection() as connection:
        await ensure(connection, READ_MODEL)
    media = Media(service, platform, tmp_path)
    yield media
    await media.client.aclose()


async def record_as_stored(media: Media) -> str:
    """The hash that the event of KEY carries."""
    sha256 = hashlib.sha256(BYTES).hexdigest()
    file = StoredFile(KEY, "image/png", len(BYTES), sha256, 4, 3, None, None)
    task_id = new_id()
    stream_id = stream_of(task_id, 0)
    await media.store.handle(OUTPUTS, stream_id, ExpectOutput(task_id, new_id(), 0, "image", 4, 3))
    await media.store.handle(OUTPUTS, stream_id, KeepOutput(file))
    return sha256


async def test_a_signed_link_opens_the_object_without_any_identity(media: Media) -> None:
    await media.put_png()

    answer = await media.get(media.link())

    assert (answer.status_code, answer.content) == (200, BYTES)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-length"] == str(len(BYTES))
    assert answer.headers["accept-ranges"] == "bytes"


async def test_what_is_served_can_run_nothing(media: Media) -> None:
    await media.put_png()

    headers = (await media.get(media.link())).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert headers["content-disposition"] == 'inline; filename="t1.png"'


@pytest.mark.parametrize(
    ("key", "mime_type"),
    [
        ("videos/generated/u1/t1.mp4", "video/mp4"),
        ("audio/generated/u1/t1.mp3", "audio/mpeg"),
        ("audio/generated/u1/t1.wav", "audio/wav"),
    ],
)
async def test_a_player_gets_the_type_and_the_parts_that_it_asks_for(
    media: Media, key: str, mime_type: str
) -> None:
    await media.put(key, content_type=mime_type)

    for asked, part in {"bytes=0-": slice(None), "bytes=1000-1003": slice(1000, 1004)}.items():
        answer = await media.get(media.link(key), range=asked)

        assert (answer.status_code, answer.content) == (206, BYTES[part])
        assert answer.headers["content-type"] == mime_type
        assert answer.headers["accept-ranges"] == "bytes"
        assert answer.headers["content-disposition"].startswith("inline")


async def test_an_unknown_type_is_never_shown_inline(media: Media) -> None:
    await media.put("uploads/page.html", b"<script>alert(1)</script>")

    answer = await media.get(media.link("uploads/page.html"))

    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == 'attachment; filename="page.html"'


async def test_a_text_says_how_it_is_written(media: Media) -> None:
    await media.put("uploads/notes.txt", "Ärger".encode(), "text/plain")

    answer = await media.get(media.link("uploads/notes.txt"))

    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text == "Ärger"


async def test_says_when_the_object_was_put(media: Media) -> None:
    await media.put_png()
    put_at = (await media.objects.stat(KEY)).modified_at

    answer = await media.get(media.link())

    assert parsedate_to_datetime(answer.headers["last-modified"]) == put_at.replace(microsecond=0)


async def test_closes_the_object_whose_reader_has_left(media: Media) -> None:
    await media.put_png()
    chunks = await media.objects.open(KEY)

    async def left(_: Message) -> None:
        raise OSError("the reader has left")

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    with pytest.raises(ClientDisconnect):
        await ObjectResponse(chunks, 200, {})(SCOPE, receive, left)

    with pytest.raises(ValueError, match="closed file"):
        await anext(chunks)


@pytest.mark.parametrize("asked", ["stat", "open"])
async def test_says_that_files_are_not_to_be_had_while_the_store_is_away(
    media: Media, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    await media.put_png()

    async def away(*_: object) -> None:
        raise ObjectStoreAway

    monkeypatch.setattr(LocalObjectStore, asked, away)

    answer = await media.get(media.link())

    assert (answer.status_code, answer.json()["error"]) == (503, "object_store_away")
    assert int(answer.headers["retry-after"]) > 0


async def test_nothing_stays_in_a_cache_for_longer_than_its_link_is_good(
    media: Media, clock: FakeClock
) -> None:
    await media.put_png()
    link = media.link()
    clock.turn(timedelta(seconds=LINK_S - 100))

    kind, age = (await media.get(link)).headers["cache-control"].split(", ")

    assert kind == "private"
    assert 95 <= int(age.removeprefix("max-age=")) <= 100


async def test_a_head_request_is_answered_like_the_get_but_empty(media: Media) -> None:
    await media.put_png()

    got = await media.get(media.link())
    head = await media.client.head(media.link())

    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-type", "content-length", "etag", "content-disposition", "last-modified"):
        assert head.headers[name] == got.headers[name]


async def test_the_etag_is_the_hash_on_record(media: Media) -> None:
    await media.put_png()
    sha256 = await record_as_stored(media)

    assert (await media.get(media.link())).headers["etag"] == f'"{sha256}"'


async def test_the_etag_of_what_is_not_on_record_changes_when_it_is_put_again(
    media: Media,
) -> None:
    await media.put_png()
    first = (await media.get(media.link())).headers["etag"]
    await media.put_png(b"another")

    second = (await media.get(media.link())).headers["etag"]

    assert first != second


async def test_what_the_client_knows_already_is_not_sent_again(media: Media) -> None:
    await media.put_png()
    sha256 = await record_as_stored(media)

    for tags in (f'"{sha256}"', f'W/"{sha256}"', f'"other", "{sha256}"', "*"):
        answer = await media.get(media.link(), if_none_match=tags, range="bytes=0-3")

        assert (answer.status_code, answer.content) == (304, b""), tags
        assert answer.headers["etag"] == f'"{sha256}"'
        assert answer.headers["cache-control"].startswith("private")


async def test_what_has_changed_since_is_sent_again(media: Media) -> None:
    await media.put_png()

    answer = await media.get(media.link(), if_none_match='"another"')

    assert (answer.status_code, answer.content) == (200, BYTES)


async def test_a_part_is_sent_alone(media: Media) -> None:
    await media.put_png()
    parts = {
        "bytes=0-3": slice(0, 4),
        "bytes=1000-": slice(1000, None),
        "bytes=-4": slice(-4, None),
        "bytes=1020-9999": slice(1020, None),
        "bytes=-99999": slice(None),
        "BYTES=7-7": slice(7, 8),
    }

    for asked, part in parts.items():
        answer = await media.get(media.link(), range=asked)

        start, end, _ = part.indices(len(BYTES))
        assert (answer.status_code, answer.content) == (206, BYTES[part]), asked
        assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(BYTES)}"
        assert answer.headers["content-length"] == str(end - start)


async def test_a_part_that_is_not_there_is_refused(media: Media) -> None:
    await media.put_png()

    for asked in ("bytes=1024-", "bytes=5000-6000", "bytes=-0"):
        answer = await media.get(media.link(), range=asked)

        assert answer.status_code == 416, asked
        assert answer.headers["content-range"] == f"bytes */{len(BYTES)}"
        assert answer.json() == {
            "error": "range_not_satisfiable",
            "message": "The file has no such part.",
            "details": {"size": len(BYTES)},
        }


async def test_a_range_that_cannot_be_read_is_answered_with_the_whole(media: Media) -> None:
    await media.put_png()
    unreadable = ("bytes=5-2", "lines=1-2", "bytes=0-1,4-5", "bytes=a-b", "bytes=", "bytes", "")

    for asked in unreadable:
        answer = await media.get(media.link(), range=asked)

        assert (answer.status_code, answer.content) == (200, BYTES), asked


async def test_a_part_of_this_version_is_sent(media: Media) -> None:
    await media.put_png()
    sha256 = await record_as_stored(media)

    answer = await media.get(media.link(), range="bytes=0-3", if_range=f'"{sha256}"')

    assert (answer.status_code, answer.content) == (206, BYTES[:4])


async def test_a_part_of_another_version_is_answered_with_the_whole(media: Media) -> None:
    await media.put_png()

    for asked in ("bytes=0-3", "bytes=5000-"):
        answer = await media.get(media.link(), range=asked, if_range='"another"')

        assert (answer.status_code, answer.content) == (200, BYTES), asked


async def refused(media: Media, url: str) -> str:
    """The error's code, once it is sure that nothing else was said."""
    answer = await media.get(url)
    assert answer.status_code == 403
    assert set(answer.json()) == {"error", "message", "details"}
    assert BYTES not in answer.content
    head = await media.client.head(url)
    assert head.status_code == 403
    return str(answer.json()["error"])


async def test_refuses_a_link_without_a_signature(media: Media) -> None:
    await media.put_png()

    assert await refused(media, f"/media/{KEY}") == "invalid_signature"


async def test_refuses_a_link_whose_signature_was_changed(media: Media) -> None:
    await media.put_png()
    link = media.link()
    changed = link[:-2] + ("AA" if not link.endswith("AA") else "BB")

    assert await refused(media, changed) == "invalid_signature"


async def test_refuses_a_link_that_was_made_for_another_object(media: Media) -> None:
    await media.put_png()
    query = media.link("images/generated/u1/t2.png").partition("?")[2]

    assert await refused(media, f"/media/{KEY}?{query}") == "invalid_signature"


async def test_refuses_a_link_whose_end_was_put_off(media: Media) -> None:
    await media.put_png()
    link = httpx.URL(media.link())
    later = int(link.params["expires"]) + 60

    changed = str(link.copy_set_param("expires", later))

    assert await refused(media, changed) == "invalid_signature"


async def test_refuses_a_link_that_was_made_for_uploading(media: Media) -> None:
    await media.put_png()

    assert await refused(media, media.put_link()) == "invalid_signature"


async def test_refuses_a_link_after_its_end(media: Media, clock: FakeClock) -> None:
    await media.put_png()
    link = media.link()
    clock.turn(timedelta(seconds=LINK_S + 1))

    assert await refused(media, link) == "link_expired"


async def test_does_not_tell_without_a_signature_whether_there_is_a_file(media: Media) -> None:
    assert await refused(media, "/media/images/none.png") == "invalid_signature"


async def test_a_good_link_to_nothing_finds_no_file(media: Media) -> None:
    for key in ("images/none.png", ".incoming/x", "images//none.png", "images"):
        answer = await media.get(media.link(key))

        assert answer.status_code == 404, key
        assert answer.json()["error"] == "file_not_found"
