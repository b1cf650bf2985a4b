import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.errors import Invalid, NotFound, Rejected
from kernel.objects import CHUNK_BYTES, LocalObjectStore, ObjectKey

KEY = "images/generated/u1/t1.png"
PNG = "image/png"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "objects"


@pytest.fixture
def store(root: Path) -> Iterator[LocalObjectStore]:
    made = LocalObjectStore(root)
    yield made
    made.close()


@pytest.fixture
def source(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(content: bytes) -> Path:
        path = tmp_path / "source"
        path.write_bytes(content)
        return path

    return write


def incoming(root: Path) -> list[Path]:
    return list((root / ".incoming").iterdir())


def content_of(path: Path) -> bytes:
    return path.read_bytes()


async def read(store: LocalObjectStore, key: str) -> bytes:
    async with await store.open(key) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def read_part(store: LocalObjectStore, first: int, last: int | None) -> bytes:
    async with await store.open(KEY, first, last) as chunks:
        return b"".join([chunk async for chunk in chunks])


@pytest.mark.parametrize(
    ("first", "last"), [(0, 0), (1, 3), (2, None), (0, 99), (5, 5), (6, None), (99, 100)]
)
async def test_gives_back_the_part_that_was_asked_for(
    store: LocalObjectStore, source: Callable[[bytes], Path], first: int, last: int | None
) -> None:
    await store.put_file(KEY, source(b"abcdef"), PNG)

    end = None if last is None else last + 1
    assert await read_part(store, first, last) == b"abcdef"[first:end]


async def test_takes_a_file_that_is_given_without_a_copy(store: LocalObjectStore) -> None:
    given_away = store.incoming / "whole"
    given_away.write_bytes(b"content")
    inode = given_away.stat().st_ino

    await store.put_file(KEY, given_away, PNG, give=True)

    assert (await store.path_of(KEY)).stat().st_ino == inode
    assert not given_away.exists()


async def test_writes_an_object_to_a_local_file(
    store: LocalObjectStore, source: Callable[[bytes], Path], tmp_path: Path
) -> None:
    await store.put_file(KEY, source(b"content"), PNG)

    await store.fetch(KEY, tmp_path / "copy")

    assert (tmp_path / "copy").read_bytes() == b"content"


async def test_lists_what_lies_in_a_folder_and_below(
    store: LocalObjectStore, source: Callable[[bytes], Path]
) -> None:
    for key in ("images/a.png", "images/generated/b.png", "imagesx/c.png", "d.png"):
        await store.put_file(key, source(b"content"), PNG)
    (store.incoming / "on-its-way").touch()

    assert {found.key async for found in store.listed("images/")} == {
        "images/a.png",
        "images/generated/b.png",
    }
    assert len([found async for found in store.listed("")]) == 4
    assert [found async for found in store.listed("nothing/")] == []


async def test_gives_back_what_was_put(
    store: LocalObjectStore, source: Callable[[bytes], Path], root: Path
) -> None:
    content = os.urandom(3 * CHUNK_BYTES + 1)

    put = await store.put_file(KEY, source(content), PNG)

    assert await read(store, KEY) == content
    assert (put.key, put.size_bytes, put.content_type) == (KEY, len(content), PNG)
    assert await store.stat(KEY) == put
    assert content_of(await store.path_of(KEY)) == content
    assert incoming(root) == []


async def test_reads_in_chunks_and_an_open_object_survives_its_deletion(
    store: LocalObjectStore, source: Callable[[bytes], Path]
) -> None:
    await store.put_file(KEY, source(bytes(CHUNK_BYTES + 1)), PNG)

    async with await store.open(KEY) as chunks:
        await store.delete(KEY)
        sizes = [len(chunk) async for chunk in chunks]

    assert sizes == [CHUNK_BYTES, 1]
    assert chunks.stored.size_bytes == CHUNK_BYTES + 1


async def test_keeps_the_source_and_replaces_the_object_with_another_etag(
    store: LocalObjectStore, source: Callable[[bytes], Path]
) -> None:
    first = await store.put_file(KEY, source(b"one"), PNG)
    path = source(b"two")

    second = await store.put_file(KEY, path, PNG)

    assert await read(store, KEY) == b"two" == content_of(path)
    assert first.etag != second.etag


async def test_a_deleted_object_is_gone_and_may_be_deleted_again(
    store: LocalObjectStore, source: Callable[[bytes], Path]
) -> None:
    await store.put_file(KEY, source(b"one"), PNG)

    await store.delete(KEY)
    await store.delete(KEY)

    for look in (store.open, store.stat, store.path_of):
        with pytest.raises(NotFound):
            await look(KEY)


@pytest.mark.parametrize("key", ["none.png", "images/none.png", "a/b/c/d.png", "images"])
async def test_what_was_never_put_is_not_found(
    key: str, store: LocalObjectStore, source: Callable[[bytes], Path]
) -> None:
    await store.put_file("images/t1.png", source(b"one"), PNG)

    with pytest.raises(NotFound):
        await store.stat(key)
    with pytest.raises(NotFound):
        await store.open(key)


@pytest.mark.parametrize(
    "key",
    [
        *("", "/", "/etc/passwd", "a//b", "a/", "..", "../a", "a/../b", "a/..", ".", "a/./b"),
        *(".incoming/a", "a/.hidden", "a\\b", "a b", "a\0b", "a\n", "ä", "a%2e%2e", "C:a", "~"),
        *("a" * 513, "a/" * 256 + "b", "a" * 256, "१"),
    ],
)
async def test_refuses_a_key_that_is_no_key(key: str, store: LocalObjectStore) -> None:
    with pytest.raises(Invalid) as refused:
        await store.stat(key)

    assert refused.value.code == "invalid_object_key"


@given(st.text(st.sampled_from("ab./\\-_~ \0"), max_size=12))
def test_every_key_stays_below_the_root(text: str) -> None:
    try:
        key = ObjectKey(text)
    except Invalid:
        return
    path = os.path.normpath("/root/" + text)
    assert path == "/root/" + text
    assert not any(segment.startswith(".") for segment in key.segments)


@pytest.mark.parametrize(
    ("key", "content_type"),
    [
        ("a.JPG", "image/jpeg"),
        ("a.b.mp4", "video/mp4"),
        ("a.svg", "application/octet-stream"),
        ("a.html", "application/octet-stream"),
        ("png", "application/octet-stream"),
        ("a.png/b", "application/octet-stream"),
    ],
)
def test_the_type_comes_from_the_extension_and_is_never_active(key: str, content_type: str) -> None:
    assert ObjectKey(key).content_type == content_type


async def test_refuses_a_type_that_the_extension_contradicts(
    store: LocalObjectStore, source: Callable[[bytes], Path]
) -> None:
    with pytest.raises(Invalid) as refused:
        await store.put_file(KEY, source(b"<html>"), "text/html")

    assert refused.value.code == "content_type_mismatch"
    await store.put_file("notes.txt", source(b"hi"), "Text/Plain; charset=utf-8")


@pytest.mark.parametrize("key", ["images/t1.png/below.png", "images"])
async def test_refuses_a_key_in_the_way_of_another(
    key: str, store: LocalObjectStore, source: Callable[[bytes], Path], root: Path
) -> None:
    await store.put_file("images/t1.png", source(b"one"), PNG)

    with pytest.raises(Rejected) as refused:
        await store.put_file(key, source(b"two"), PNG)

    assert refused.value.code == "object_key_conflict"
    assert incoming(root) == []


async def test_follows_no_link_planted_in_the_tree(
    store: LocalObjectStore, source: Callable[[bytes], Path], root: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    _plant_links(root, outside)

    for key in ("folder/secret.png", "file.png"):
        for look in (store.open, store.stat, store.path_of):
            with pytest.raises(NotFound):
                await look(key)
        await store.delete(key)
    with pytest.raises(Rejected):
        await store.put_file("folder/secret.png", source(b"evil"), PNG)
    await store.put_file("file.png", source(b"new"), PNG)

    assert content_of(outside / "secret.png") == b"secret"
    assert await read(store, "file.png") == b"new"


def _plant_links(root: Path, outside: Path) -> None:
    outside.mkdir()
    (outside / "secret.png").write_bytes(b"secret")
    (root / "folder").symlink_to(outside)
    (root / "file.png").symlink_to(outside / "secret.png")


async def test_a_planted_fifo_holds_nobody_up(store: LocalObjectStore, root: Path) -> None:
    os.mkfifo(root / "pipe.png")

    async with asyncio.timeout(5):
        with pytest.raises(NotFound):
            await store.open("pipe.png")


async def test_a_put_that_fails_leaves_the_old_object_and_nothing_else(
    store: LocalObjectStore, source: Callable[[bytes], Path], root: Path, tmp_path: Path
) -> None:
    await store.put_file(KEY, source(b"old"), PNG)

    with pytest.raises(FileNotFoundError):
        await store.put_file(KEY, tmp_path / "never written", PNG)

    assert await read(store, KEY) == b"old"
    assert incoming(root) == []


async def test_puts_of_one_key_at_once_leave_one_whole_object(
    store: LocalObjectStore, tmp_path: Path, root: Path
) -> None:
    sources = [tmp_path / f"source{n}" for n in range(8)]
    for n, path in enumerate(sources):
        _write(path, bytes([n]) * 100_000)

    await asyncio.gather(*(store.put_file(KEY, path, PNG) for path in sources))

    assert await read(store, KEY) in {bytes([n]) * 100_000 for n in range(8)}
    assert incoming(root) == []


async def test_a_put_that_may_not_replace_leaves_what_is_there(
    store: LocalObjectStore, source: Callable[[bytes], Path], root: Path
) -> None:
    first = await store.put_bytes(KEY, b"one", replace=False)

    for put in (
        store.put_bytes(KEY, b"two", replace=False),
        store.put_file(KEY, source(b"two"), PNG, replace=False),
    ):
        with pytest.raises(Rejected) as refused:
            await put
        assert refused.value.code == "object_exists"

    assert await read(store, KEY) == b"one"
    assert await store.stat(KEY) == first
    assert incoming(root) == []


async def test_of_many_puts_at_once_that_may_not_replace_one_wins(
    store: LocalObjectStore, root: Path
) -> None:
    async def put(n: int) -> int | None:
        try:
            await store.put_bytes(KEY, bytes([n]) * 100_000, replace=False)
        except Rejected:
            return None
        return n

    winners = [n for n in await asyncio.gather(*map(put, range(8))) if n is not None]

    assert len(winners) == 1
    assert await read(store, KEY) == bytes(winners) * 100_000
    assert incoming(root) == []


async def test_a_put_that_may_not_replace_does_not_follow_a_planted_link(
    store: LocalObjectStore, root: Path, tmp_path: Path
) -> None:
    (root / "file.png").symlink_to(tmp_path / "outside")

    with pytest.raises(Rejected):
        await store.put_bytes("file.png", b"evil", replace=False)

    assert not (tmp_path / "outside").exists()


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


PUTTER = """
import asyncio, sys
from pathlib import Path
from kernel.objects import LocalObjectStore
store = LocalObjectStore(Path(sys.argv[1]))
asyncio.run(store.put_file(sys.argv[3], Path(sys.argv[2]), "image/png"))
"""


def test_a_put_killed_half_way_shows_nothing_and_is_swept_at_the_next_start(
    root: Path, tmp_path: Path
) -> None:
    fifo = tmp_path / "source that says nothing"
    os.mkfifo(fifo)
    command = [sys.executable, "-c", PUTTER, str(root), str(fifo), KEY]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2]) as putter:
        _until(lambda: (root / ".incoming").exists() and bool(incoming(root)))
        beside = LocalObjectStore(root)
        kept_while_alive = incoming(root)
        beside.close()
        putter.kill()
    left_by_the_killed = incoming(root)

    LocalObjectStore(root).close()

    assert len(left_by_the_killed) == 1
    assert kept_while_alive == left_by_the_killed
    assert incoming(root) == []
    assert not (root / KEY).exists()


def _until(condition: Callable[[], bool]) -> None:
    """Wait; the suite's time-out is the bound."""
    while not condition():
        os.sched_yield()
