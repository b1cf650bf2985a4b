import asyncio
import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.clock import SystemClock
from kernel.errors import Forbidden, Invalid, NotFound, Rejected
from kernel.links import MediaLinks
from kernel.objects import (
    CHUNK_BYTES,
    LocalObjectStore,
    ObjectKey,
    ObjectStore,
    ObjectStoreAway,
    StoredObject,
    object_store,
)
from kernel.settings import Settings, read_settings
from tests.kernel.object_files import Source, content_of, read, source
from tests.kernel.object_suite import Answer, ObjectStoreSuite

__all__ = ["source"]

KEY = "images/generated/u1/t1.png"
PNG = "image/png"
LINKS: Final = MediaLinks(b"l" * 32, "https://smartspec.test")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "objects"


@pytest.fixture
def store(root: Path) -> Iterator[LocalObjectStore]:
    made = LocalObjectStore(root, LINKS)
    yield made
    made.close()


def incoming(root: Path) -> list[Path]:
    return list((root / ".incoming").iterdir())


class TestLocalObjectStore(ObjectStoreSuite):
    async def follow(
        self,
        store: ObjectStore,
        method: str,
        link: str,
        content: bytes = b"",
        content_type: str = "",
    ) -> Answer:
        """As storage's routes do, whose own tests are in tests/storage."""
        address = urlsplit(link)
        key = unquote(address.path.removeprefix("/media/"))
        asked = dict(parse_qsl(address.query))
        signed = asked.get("expires", ""), asked.get("signature", "")
        now, size = SystemClock().now(), str(len(content))
        try:
            if method == "PUT":
                LINKS.verify_put(key, *signed, now, size=size, content_type=content_type)
                await store.put_bytes(key, content)
                return 200, b""
            LINKS.verify(method, key, *signed, now)
            return 200, await read(store, key)
        except Forbidden:
            return 403, b""


def test_objects_are_files_where_nothing_else_is_set(tmp_path: Path) -> None:
    store = object_store(read_settings(Settings, SMARTSPEC_HOME=tmp_path))

    assert isinstance(store, LocalObjectStore)
    assert store.incoming == tmp_path / "objects/.incoming"


def test_files_need_no_client_of_s3(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from kernel.objects import object_store;"
        " from kernel.settings import Settings, read_settings;"
        f" object_store(read_settings(Settings, SMARTSPEC_HOME=Path({str(tmp_path)!r})));"
        " sys.exit(any(name.startswith(('aiobotocore', 'botocore')) for name in sys.modules))"
    )

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


async def test_a_full_disk_is_a_store_that_is_away(root: Path, tmp_path: Path) -> None:
    store = FullDisk(root)

    with pytest.raises(ObjectStoreAway) as away:
        await store.put_bytes(KEY, b"content")

    assert (away.value.status, away.value.code) == (503, "object_store_away")
    assert away.value.retry_after_s is not None
    assert str(tmp_path) not in str(away.value)


class FullDisk(LocalObjectStore):
    def _put(self, *_: object, **__: object) -> StoredObject:
        raise OSError(errno.ENOSPC, "No space left on device", str(self.incoming))


async def test_takes_a_file_that_is_given_without_a_copy(store: LocalObjectStore) -> None:
    given_away = store.incoming / "whole"
    given_away.write_bytes(b"content")
    inode = given_away.stat().st_ino

    await store.put_file(KEY, given_away, PNG, give=True)

    assert (store.incoming.parent / KEY).stat().st_ino == inode
    assert not given_away.exists()


async def test_reads_in_chunks_and_an_open_object_survives_its_deletion(
    store: LocalObjectStore, source: Source
) -> None:
    await store.put_file(KEY, source(bytes(CHUNK_BYTES + 1)), PNG)

    async with await store.open(KEY) as chunks:
        await store.delete(KEY)
        sizes = [len(chunk) async for chunk in chunks]

    assert sizes == [CHUNK_BYTES, 1]
    assert chunks.stored.size_bytes == CHUNK_BYTES + 1


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


@pytest.mark.parametrize("key", ["images/t1.png/below.png", "images"])
async def test_refuses_a_key_in_the_way_of_another(
    key: str, store: LocalObjectStore, source: Source, root: Path
) -> None:
    await store.put_file("images/t1.png", source(b"one"), PNG)

    with pytest.raises(Rejected) as refused:
        await store.put_file(key, source(b"two"), PNG)

    assert refused.value.code == "object_key_conflict"
    assert incoming(root) == []


async def test_follows_no_link_planted_in_the_tree(
    store: LocalObjectStore, source: Source, root: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    _plant_links(root, outside)

    for key in ("folder/secret.png", "file.png"):
        for look in (store.open, store.stat):
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
    store: LocalObjectStore, source: Source, root: Path, tmp_path: Path
) -> None:
    await store.put_file(KEY, source(b"old"), PNG)

    with pytest.raises(FileNotFoundError):
        await store.put_file(KEY, tmp_path / "never written", PNG)

    assert await read(store, KEY) == b"old"
    assert incoming(root) == []


async def test_a_put_that_may_not_replace_does_not_follow_a_planted_link(
    store: LocalObjectStore, root: Path, tmp_path: Path
) -> None:
    (root / "file.png").symlink_to(tmp_path / "outside")

    with pytest.raises(Rejected):
        await store.put_bytes("file.png", b"evil", replace=False)

    assert not (tmp_path / "outside").exists()


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
