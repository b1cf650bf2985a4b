"""Files that are fetched from an address; the fetcher's own table is in tests/kernel."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from kernel.projections import ensure
from kernel.service import Platform
from kernel.settings import read_settings
from services.storage.api import uploads
from services.storage.app import create_service
from services.storage.read_model import READ_MODEL
from services.storage.settings import StorageSettings
from tests.storage.uploading import QUOTA, TEXT, Storage


def answer(content: bytes, *, status: str = "200 OK", length: int | None = None) -> bytes:
    said = len(content) if length is None else length
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status.encode(), said, content)


def redirect(url: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {url}\r\nContent-Length: 0\r\n\r\n".encode()


class Origin:
    """Gives the same answer to everybody, on the loopback; then `more`, again and again."""

    def __init__(self) -> None:
        self.answer = answer(TEXT)
        self.more = b""
        self.every_s = 0.0
        self.url = ""
        self.asked = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await reader.readuntil(b"\r\n\r\n")
                self.asked += 1
                writer.write(self.answer)
                await writer.drain()
                while self.more:
                    writer.write(self.more)
                    await writer.drain()
                    await asyncio.sleep(self.every_s)
        finally:
            if self.more:  # nobody waits for the rest
                writer.transport.abort()
            writer.close()


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    origin = Origin()
    server = await asyncio.start_server(origin.serve, "127.0.0.1", 0)
    origin.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield origin


@pytest.fixture
async def fetching(platform: Platform, tmp_path: Path, origin: Origin) -> AsyncIterator[Storage]:
    """A storage that may fetch from `origin`, as from vendors that are played here."""
    settings = read_settings(
        StorageSettings,
        SMARTSPEC_HOME=tmp_path,
        SMARTSPEC_STORAGE_QUOTAS=f"free={QUOTA}B,*=1GB",
        SMARTSPEC_NSFW_CHECK=False,
    )
    service = create_service(settings, platform, allowed_origins=frozenset({origin.url}))
    async with platform.database.connection() as connection:
        await ensure(connection, READ_MODEL)
    storage = Storage(service, platform, tmp_path)
    yield storage
    await storage.client.aclose()
    for resource in service.resources:
        await resource.aclose()


async def test_what_an_address_holds_is_kept(fetching: Storage, origin: Origin) -> None:
    kept = await fetching.upload_from(f"{origin.url}/notes?x=1")

    body = kept.json()
    assert (kept.status_code, body["mime_type"], body["size"]) == (201, "text/plain", len(TEXT))
    assert (await fetching.opened(body["url"])).content == TEXT


async def test_the_same_request_under_the_same_key_is_fetched_once(
    fetching: Storage, origin: Origin
) -> None:
    first = await fetching.upload_from(origin.url, key="once")
    again = await fetching.upload_from(origin.url, key="once")

    assert again.json() == first.json()
    assert origin.asked == 1


@pytest.mark.parametrize(
    ("said", "status", "code"),
    [
        (answer(b"", status="404 Not Found"), 502, "fetch_failed"),
        (answer(b"", status="500 Oh No"), 502, "fetch_failed"),
        (answer(b"cut", length=100), 502, "fetch_failed"),
        (b"no HTTP at all", 502, "fetch_failed"),
        (redirect("http://10.0.0.1/"), 502, "fetch_failed"),
        (redirect("file:///etc/passwd"), 502, "fetch_failed"),
        (redirect("/again"), 502, "fetch_failed"),
        (answer(b"<html></html>"), 415, "unsupported_type"),
        (answer(b"a" * (QUOTA + 1)), 413, "quota_exceeded"),
        (answer(b"short", length=QUOTA * 9), 413, "quota_exceeded"),
    ],
)
async def test_what_cannot_be_had_leaves_nothing(
    fetching: Storage, origin: Origin, said: bytes, status: int, code: str
) -> None:
    origin.answer = said

    refused = await fetching.upload_from(origin.url)

    assert (refused.status_code, refused.json()["error"]) == (status, code)
    assert await fetching.is_as_if_nothing_was()


async def test_a_body_without_an_end_is_cut_where_there_is_no_more_room(
    fetching: Storage, origin: Origin
) -> None:
    origin.answer = b"HTTP/1.1 200 OK\r\n\r\n"
    origin.more = bytes(QUOTA)

    refused = await fetching.upload_from(origin.url)

    assert (refused.status_code, refused.json()["error"]) == (413, "quota_exceeded")
    assert await fetching.is_as_if_nothing_was()


async def test_a_body_that_drips_is_given_up(
    fetching: Storage, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "FETCH_TIMEOUT_S", 0.2)
    origin.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    origin.more, origin.every_s = b"x", 0.01

    refused = await fetching.upload_from(origin.url)

    assert (refused.status_code, refused.json()["error"]) == (502, "fetch_failed")
    assert await fetching.is_as_if_nothing_was()


async def test_what_breaks_on_the_way_looks_like_what_may_not_be_asked(
    fetching: Storage, origin: Origin
) -> None:
    origin.answer = answer(b"", status="403 Forbidden")

    broken = await fetching.upload_from(origin.url)
    forbidden = await fetching.upload_from("http://127.0.0.1:1/")

    assert broken.text == forbidden.text
