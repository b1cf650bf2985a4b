"""What every `ObjectStore` promises: a test module subclasses the suite and gives it a `store`
fixture, and `follow`, which does with a link what a client would."""

import asyncio
import hashlib
import os
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, timedelta
from pathlib import Path
from typing import Final

import pytest

from kernel.clock import SystemClock, new_id
from kernel.errors import Invalid, NotFound, Rejected
from kernel.objects import CHUNK_BYTES, ObjectStore, StoredObject
from tests.kernel.object_files import Source, content_of, read

PNG: Final = "image/png"
HOUR: Final = timedelta(hours=1)
LARGE_BYTES: Final = 20 << 20
RACERS: Final = 20

NO_KEYS: Final = (
    *("", "/", "/etc/passwd", "a//b", "a/", "..", "../a", "a/../b", "a/..", ".", "a/./b"),
    *(".incoming/a", "a/.hidden", "a\\b", "a b", "a\0b", "a\n", "ä", "a%2e%2e", "C:a"),
    *("~", "a" * 513, "a/" * 256 + "b", "a" * 256, "१"),
)

Answer = tuple[int, bytes]
"""Status and body."""


def by_content(stored: StoredObject) -> StoredObject:
    """Without the moment, which a put tells by another clock's second."""
    return replace(stored, modified_at=SystemClock().now().min)


class ObjectStoreSuite:
    @pytest.fixture
    def folder(self) -> str:
        """Of this test alone: a real bucket is never new."""
        return f"suite-{new_id().hex}"

    @pytest.fixture
    def key(self, folder: str) -> str:
        return f"{folder}/generated/t1.png"

    async def follow(
        self,
        store: ObjectStore,
        method: str,
        link: str,
        content: bytes = b"",
        content_type: str = "",
    ) -> Answer:
        raise NotImplementedError

    async def fill(self, store: ObjectStore, keys: Iterable[str]) -> None:
        """Something under each key."""
        for key in keys:
            await store.put_bytes(key, b"x")

    async def test_a_store_that_is_set_right_can_be_used(self, store: ObjectStore) -> None:
        await store.check()

    async def test_gives_back_what_was_put(
        self, store: ObjectStore, source: Source, key: str
    ) -> None:
        content = os.urandom(3 * CHUNK_BYTES + 1)
        before = SystemClock().now() - timedelta(seconds=60)

        put = await store.put_file(key, source(content), PNG)

        assert await read(store, key) == content
        assert (put.key, put.size_bytes, put.content_type) == (key, len(content), PNG)
        assert put.etag.startswith('"')
        assert before < put.modified_at < before + timedelta(seconds=120)
        found = await store.stat(key)
        assert by_content(found) == by_content(put)
        assert {each.modified_at.tzinfo for each in (put, found)} == {UTC}

    async def test_takes_what_is_in_memory_though_it_is_nothing(
        self, store: ObjectStore, key: str
    ) -> None:
        assert (await store.put_bytes(key, b"")).size_bytes == 0

        assert await read(store, key) == b""

    @pytest.mark.parametrize(
        ("first", "last"), [(0, 0), (1, 3), (2, None), (0, 99), (5, 5), (6, None), (99, 100)]
    )
    async def test_gives_back_the_part_that_was_asked_for(
        self, store: ObjectStore, key: str, first: int, last: int | None
    ) -> None:
        put = await store.put_bytes(key, b"abcdef")

        async with await store.open(key, first, last) as chunks:
            got = b"".join([chunk async for chunk in chunks])

        assert got == b"abcdef"[first : None if last is None else last + 1]
        assert by_content(chunks.stored) == by_content(put)

    async def test_reads_in_chunks(self, store: ObjectStore, key: str) -> None:
        content = os.urandom(2 * CHUNK_BYTES + 1)
        await store.put_bytes(key, content)

        async with await store.open(key) as chunks:
            got = [chunk async for chunk in chunks]

        assert max(map(len, got)) <= CHUNK_BYTES
        assert b"".join(got) == content

    async def test_an_object_is_closed_before_its_end(self, store: ObjectStore, key: str) -> None:
        await store.put_bytes(key, bytes(8 * CHUNK_BYTES))

        for _ in range(8):
            async with await store.open(key) as chunks:
                await anext(aiter(chunks))

        assert (await store.stat(key)).size_bytes == 8 * CHUNK_BYTES

    async def test_a_large_file_comes_back_byte_for_byte(
        self, store: ObjectStore, source: Source, key: str, tmp_path: Path
    ) -> None:
        content = os.urandom(LARGE_BYTES)

        put = await store.put_file(key, source(content), PNG)
        fetched = await store.fetch(key, tmp_path / "copy")

        assert put.size_bytes == fetched.size_bytes == LARGE_BYTES
        copied = content_of(tmp_path / "copy")
        assert hashlib.sha256(copied).digest() == hashlib.sha256(content).digest()

    async def test_a_part_of_a_large_file_spans_what_it_was_put_in(
        self, store: ObjectStore, source: Source, key: str
    ) -> None:
        content = os.urandom(LARGE_BYTES)
        await store.put_file(key, source(content), PNG)
        first, last = (8 << 20) - 5, (8 << 20) + 5

        async with await store.open(key, first, last) as chunks:
            got = b"".join([chunk async for chunk in chunks])

        assert got == content[first : last + 1]

    @pytest.mark.parametrize("size_bytes", [100, LARGE_BYTES])
    async def test_takes_a_file_that_is_given(
        self, store: ObjectStore, key: str, size_bytes: int
    ) -> None:
        content = os.urandom(size_bytes)
        given_away = store.incoming / new_id().hex
        given_away.write_bytes(content)

        await store.put_file(key, given_away, PNG, give=True)

        assert not given_away.exists()
        assert await read(store, key) == content

    async def test_keeps_the_source_and_replaces_the_object_with_another_etag(
        self, store: ObjectStore, source: Source, key: str
    ) -> None:
        first = await store.put_file(key, source(b"one"), PNG)
        path = source(b"two")

        second = await store.put_file(key, path, PNG)

        assert await read(store, key) == b"two" == content_of(path)
        assert first.etag != second.etag

    async def test_writes_an_object_to_a_local_file_for_us_alone(
        self, store: ObjectStore, key: str, tmp_path: Path
    ) -> None:
        await store.put_bytes(key, b"content")
        (tmp_path / "copy").write_bytes(b"what was there before, and is longer")

        await store.fetch(key, tmp_path / "copy")

        assert content_of(tmp_path / "copy") == b"content"
        assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600

    async def test_a_fetch_of_nothing_leaves_no_file(
        self, store: ObjectStore, key: str, tmp_path: Path
    ) -> None:
        with pytest.raises(NotFound):
            await store.fetch(key, tmp_path / "copy")

        assert not (tmp_path / "copy").exists()

    async def test_a_deleted_object_is_gone_and_may_be_deleted_again(
        self, store: ObjectStore, key: str
    ) -> None:
        await store.put_bytes(key, b"one")

        await store.delete(key)
        await store.delete(key)

        for look in (store.open, store.stat):
            with pytest.raises(NotFound) as refused:
                await look(key)
            assert refused.value.code == "object_not_found"

    @pytest.mark.parametrize("name", ["none.png", "images/none.png", "a/b/c/d.png", "generated"])
    async def test_what_was_never_put_is_not_found(
        self, store: ObjectStore, folder: str, key: str, name: str
    ) -> None:
        await store.put_bytes(key, b"one")

        for look in (store.open, store.stat):
            with pytest.raises(NotFound):
                await look(f"{folder}/{name}")

    async def test_refuses_a_key_that_is_no_key(self, store: ObjectStore) -> None:
        end = SystemClock().now() + HOUR
        for name in NO_KEYS:
            for use in (store.open, store.stat, store.delete):
                with pytest.raises(Invalid) as refused:
                    await use(name)
                assert refused.value.code == "invalid_object_key"
            with pytest.raises(Invalid):
                await store.put_bytes(name, b"")
            with pytest.raises(Invalid):
                store.link(name, expires_at=end)
            with pytest.raises(Invalid):
                store.put_link(name, expires_at=end, size=1, content_type=PNG)

    async def test_refuses_a_type_that_the_extension_contradicts(
        self, store: ObjectStore, source: Source, folder: str, key: str
    ) -> None:
        with pytest.raises(Invalid) as refused:
            await store.put_file(key, source(b"<html>"), "text/html")

        assert refused.value.code == "content_type_mismatch"
        await store.put_file(f"{folder}/notes.txt", source(b"hi"), "Text/Plain; charset=utf-8")

    async def test_puts_of_one_key_at_once_leave_one_whole_object(
        self, store: ObjectStore, tmp_path: Path, key: str
    ) -> None:
        sources = [tmp_path / f"source{n}" for n in range(8)]
        for n, path in enumerate(sources):
            path.write_bytes(bytes([n]) * 100_000)

        await asyncio.gather(*(store.put_file(key, path, PNG) for path in sources))

        assert await read(store, key) in {bytes([n]) * 100_000 for n in range(8)}

    @pytest.mark.parametrize("size_bytes", [100, LARGE_BYTES])
    async def test_a_put_that_may_not_replace_leaves_what_is_there(
        self, store: ObjectStore, source: Source, key: str, size_bytes: int
    ) -> None:
        first = await store.put_bytes(key, b"one", replace=False)

        with pytest.raises(Rejected) as refused:
            await store.put_file(key, source(bytes(size_bytes)), PNG, replace=False)

        assert refused.value.code == "object_exists"
        assert await read(store, key) == b"one"
        assert by_content(await store.stat(key)) == by_content(first)

    async def test_of_many_puts_at_once_that_may_not_replace_one_wins(
        self, store: ObjectStore, key: str
    ) -> None:
        async def put(n: int) -> int | None:
            try:
                await store.put_bytes(key, bytes([n]) * 1_000, replace=False)
            except Rejected:
                return None
            return n

        winners = [n for n in await asyncio.gather(*map(put, range(RACERS))) if n is not None]

        assert len(winners) == 1
        assert await read(store, key) == bytes(winners) * 1_000

    async def test_nothing_stays_on_its_way_whether_a_put_wins_or_loses(
        self, store: ObjectStore, source: Source, key: str, tmp_path: Path
    ) -> None:
        await store.put_bytes(key, b"one")
        await store.put_file(key, source(b"two"), PNG)
        await store.fetch(key, tmp_path / "copy")
        with pytest.raises(Rejected):
            await store.put_file(key, source(b"three"), PNG, replace=False)
        with pytest.raises(FileNotFoundError):
            await store.put_file(key, tmp_path / "never written", PNG)

        assert list(store.incoming.iterdir()) == []
        assert await read(store, key) == b"two"

    async def test_lists_what_lies_in_a_folder_and_below(
        self, store: ObjectStore, folder: str
    ) -> None:
        for name in ("images/a.png", "images/generated/b.png", "imagesx/c.png", "d.png"):
            await store.put_bytes(f"{folder}/{name}", b"content")
        (store.incoming / new_id().hex).touch()

        found = {stored.key: stored async for stored in store.listed(f"{folder}/images/")}

        assert set(found) == {f"{folder}/images/a.png", f"{folder}/images/generated/b.png"}
        for key, stored in found.items():
            assert by_content(await store.stat(key)) == by_content(stored)
        assert len([stored async for stored in store.listed(folder)]) == 4
        assert [stored async for stored in store.listed(f"{folder}/nothing/")] == []

    async def test_a_listing_does_not_end_with_its_first_page(
        self, store: ObjectStore, folder: str
    ) -> None:
        names = {f"{folder}/{n:04}.txt" for n in range(1_001)}

        await self.fill(store, names)

        assert {stored.key async for stored in store.listed(folder)} == names

    async def test_a_link_gives_the_object_until_its_end(
        self, store: ObjectStore, key: str
    ) -> None:
        await store.put_bytes(key, b"content")
        now = SystemClock().now()

        assert await self.follow(store, "GET", store.link(key, expires_at=now + HOUR)) == (
            200,
            b"content",
        )
        late = store.link(key, expires_at=now - timedelta(seconds=1))
        assert (await self.follow(store, "GET", late))[0] == 403

    @pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "POST"])
    async def test_a_link_to_get_does_nothing_else(
        self, store: ObjectStore, key: str, method: str
    ) -> None:
        await store.put_bytes(key, b"content")
        link = store.link(key, expires_at=SystemClock().now() + HOUR)

        status, _ = await self.follow(store, method, link, b"evil", PNG)

        assert status == 403
        assert await read(store, key) == b"content"

    async def test_a_link_that_was_changed_opens_nothing(
        self, store: ObjectStore, folder: str, key: str
    ) -> None:
        other = f"{folder}/generated/t2.png"
        for each in (key, other):
            await store.put_bytes(each, b"content")
        link = store.link(key, expires_at=SystemClock().now() + HOUR)

        for changed in (
            link.replace("/t1.png", "/t2.png", 1),
            link[:-1] + ("0" if link[-1] != "0" else "1"),
            link.partition("?")[0],
            later(link),
        ):
            assert changed != link
            assert (await self.follow(store, "GET", changed))[0] == 403, changed

    async def test_a_link_to_put_takes_the_size_and_type_that_it_was_made_for(
        self, store: ObjectStore, key: str
    ) -> None:
        link = store.put_link(key, expires_at=SystemClock().now() + HOUR, size=7, content_type=PNG)
        for content, content_type in (
            (b"content+", PNG),
            (b"conten", PNG),
            (b"", PNG),
            (b"content", "text/html"),
            (b"content", ""),
        ):
            status, _ = await self.follow(store, "PUT", link, content, content_type)
            assert status == 403, (content, content_type)
            with pytest.raises(NotFound):
                await store.stat(key)

        assert (await self.follow(store, "PUT", link, b"content", PNG))[0] == 200
        assert await read(store, key) == b"content"

    @pytest.mark.parametrize("change", ["GET", "DELETE", "key", "late"])
    async def test_a_link_to_put_does_nothing_else(
        self, store: ObjectStore, folder: str, key: str, change: str
    ) -> None:
        await store.put_bytes(key, b"before")
        end = SystemClock().now() + (HOUR if change != "late" else -HOUR)
        link = store.put_link(key, expires_at=end, size=7, content_type=PNG)
        method = change if change in {"GET", "DELETE"} else "PUT"
        if change == "key":
            link = link.replace("/t1.png", "/t2.png", 1)

        status, _ = await self.follow(store, method, link, b"content", PNG)

        assert status == 403
        assert await read(store, key) == b"before"
        assert [stored.key async for stored in store.listed(folder)] == [key]

    async def test_refuses_to_sign_a_type_that_the_extension_contradicts(
        self, store: ObjectStore, key: str
    ) -> None:
        with pytest.raises(Invalid):
            store.put_link(
                key, expires_at=SystemClock().now() + HOUR, size=7, content_type="text/html"
            )


def later(link: str) -> str:
    """Its end put off."""
    for name in ("X-Amz-Expires=", "expires="):
        if name in link:
            head, _, tail = link.partition(name)
            value, rest = tail.split("&", 1)
            return f"{head}{name}{int(value) + 60}&{rest}"
    raise AssertionError(link)
