"""A large file into a bucket, in parts; whatever breaks it, no part stays there."""

import asyncio
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from kernel.errors import Error
from kernel.objects.s3_client import answered

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

PART_BYTES: Final = 8 << 20
"""A larger file goes in parts of this size (R2 wants all but the last alike)."""
PARTS_MAX: Final = 10_000
PARTS_AT_ONCE_MAX: Final = 3
"""Of all files of a store: R2 takes few at once of one upload."""


class Span(io.RawIOBase):
    """`length` bytes of an open file from `start` on, as a file of their own: several of one file
    are read side by side, and none is in memory."""

    def __init__(self, file: BinaryIO, start: int, length: int) -> None:
        super().__init__()
        self._file = file
        self._start = start
        self._length = length
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._length}[whence]
        self._at = base + offset
        return self._at

    def readinto(self, buffer: "WriteableBuffer") -> int:
        room = memoryview(buffer)[: max(0, self._length - self._at)]
        got = os.preadv(self._file.fileno(), [room], self._start + self._at)
        self._at += got
        return got


async def put_in_parts(
    client: Any,
    named: Mapping[str, Any],
    source: Path,
    size_bytes: int,
    *,
    turns: asyncio.Semaphore,
    described: Mapping[str, Any],
    condition: Mapping[str, Any],
) -> Mapping[str, Any]:
    """The server's answer. `named` is the object, `described` what is kept with it.

    Raises what `answered` does.
    """
    beginning = asyncio.ensure_future(client.create_multipart_upload(**named, **described))
    try:
        with answered():
            upload = {**named, "UploadId": (await asyncio.shield(beginning))["UploadId"]}
            with await asyncio.to_thread(source.open, "rb") as file:
                parts = await _put_parts(client, upload, file, size_bytes, turns)
            done: Mapping[str, Any] = await client.complete_multipart_upload(
                **upload, MultipartUpload={"Parts": parts}, **condition
            )
            return done
    except BaseException:  # cancelled as well: the parts are paid for until they go; re-raised
        await asyncio.shield(_undone(client, named, beginning))
        raise


async def _put_parts(
    client: Any,
    upload: Mapping[str, Any],
    file: BinaryIO,
    size_bytes: int,
    turns: asyncio.Semaphore,
) -> list[dict[str, Any]]:
    part_bytes = max(PART_BYTES, -(-size_bytes // PARTS_MAX))
    spans = iter(
        [(at, min(part_bytes, size_bytes - at)) for at in range(0, size_bytes, part_bytes)]
    )
    etags: dict[int, str] = {}

    async def work(numbered: Iterator[tuple[int, tuple[int, int]]]) -> None:
        for number, (start, length) in numbered:
            async with turns:
                part = Span(file, start, length)
                done = await client.upload_part(**upload, PartNumber=number, Body=part)
            etags[number] = done["ETag"]

    numbered = enumerate(spans, 1)  # one iterator for all: each part is taken once
    try:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(PARTS_AT_ONCE_MAX):
                tasks.create_task(work(numbered))
    except BaseExceptionGroup as broken:
        raise broken.exceptions[0] from None
    return [{"PartNumber": number, "ETag": etag} for number, etag in sorted(etags.items())]


async def _undone(
    client: Any, named: Mapping[str, Any], beginning: "asyncio.Future[Mapping[str, Any]]"
) -> None:
    """What can't be undone now, the bucket's own rule for unfinished uploads ends."""
    with suppress(Error), answered():
        begun = await beginning
        await client.abort_multipart_upload(**named, UploadId=begun["UploadId"])
