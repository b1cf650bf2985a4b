"""Local files of the tests of object stores, and reading objects whole."""

from collections.abc import Callable
from pathlib import Path

import pytest

from kernel.objects import ObjectStore

Source = Callable[[bytes], Path]


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """A file of that content, always the same one."""

    def write(content: bytes) -> Path:
        path = tmp_path / "source"
        path.write_bytes(content)
        return path

    return write


def content_of(path: Path) -> bytes:
    return path.read_bytes()


async def read(store: ObjectStore, key: str) -> bytes:
    async with await store.open(key) as chunks:
        return b"".join([chunk async for chunk in chunks])
