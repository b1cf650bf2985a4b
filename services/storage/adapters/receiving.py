"""Receives one file of a multipart form as it streams in; knows no type, no owner and no quota.

One pass: parsed, counted, hashed and written. What a client may make it hold is bounded: two
buffers, and what `forms` holds of a form.
"""

import asyncio
import hashlib
import os
import threading
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, Self

from starlette.requests import ClientDisconnect, Request

from kernel.errors import Invalid, Malformed, TooSlow
from services.storage.adapters.forms import (
    FILE_FIELD,
    OVERHEAD_BYTES_MAX,
    Form,
    boundary_of,
    too_large,
    unreadable,
)

IDLE_S: Final = 30.0
"""So long a client may send nothing."""
GRACE_S: Final = 60.0
BYTES_PER_S_MIN: Final = 16 * 1024
"""After the grace, a body that comes slower than this on the whole is given up."""
BUFFER_BYTES_MAX: Final = 8 << 20
BUFFERS_BYTES_MAX: Final = 32 << 20
BUFFER_BYTES_MIN: Final = 1 << 20
"""Two for each file that comes. Fewer hand-overs to the thread make a single one quicker; of many
files each has less."""
WRITE_BYTES: Final = 512 << 10
"""Of a call: larger ones make the kernel look for memory in one piece, which it runs out of."""
FLUSH_BYTES: Final = 64 << 20
"""So much is sent on to the disk while more comes: the last flush has the rest to wait for."""


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """`size` in bytes, `sha256` in hex; `filename` and `content_type` are the client's claims.

    `fields` are the form's other fields, whatever their names.
    """

    path: Path
    size: int
    sha256: str
    filename: str
    content_type: str
    fields: Mapping[str, str]


async def receive_file(
    request: Request, target: Path, max_bytes: int, *, idle_s: float = IDLE_S
) -> ReceivedFile:
    """The form's `file`, written to `target`, which must not be there yet, and is not after a
    refusal.

    Raises:
        UnsupportedMedia: the body is no multipart form.
        TooLarge: the file has more than `max_bytes`, or the rest more than `OVERHEAD_BYTES_MAX`.
        Invalid: it can't be parsed; there is no file, or an empty one, or more than one.
        TooSlow: nothing came for `idle_s`, or too little for too long.
        Malformed: the client left before the end.
    """
    boundary = boundary_of(request)
    if claimed_bytes(request) > max_bytes + OVERHEAD_BYTES_MAX:
        raise too_large(max_bytes)
    with _Sink(target) as sink:
        form = Form(sink.take, max_bytes, boundary)
        async with aclosing(_in_time(request, idle_s)) as chunks:
            async for chunk in chunks:
                form.parse(chunk)
                await sink.relieve()
        if not form.ended:
            raise unreadable()
        if form.file is None:
            raise Invalid("missing_file", "file: required", {"field": FILE_FIELD})
        if form.size == 0:
            raise Invalid("empty_file", "file: it is empty", {"field": FILE_FIELD})
        digest = await sink.finish()
    return ReceivedFile(
        target, form.size, digest, form.file.filename or "", form.file.content_type, form.fields
    )


async def receive_body(
    request: Request, target: Path, size: int, *, idle_s: float = IDLE_S
) -> None:
    """The whole body, which has exactly `size` bytes, written to `target` as `receive_file` does.

    Raises:
        TooLarge: there are more.
        Invalid: there are fewer.
        TooSlow, Malformed: as `receive_file` does.
    """
    if claimed_bytes(request) > size:
        raise too_large(size)
    received = 0
    with _Sink(target) as sink:
        async with aclosing(_in_time(request, idle_s)) as chunks:
            async for chunk in chunks:
                received += len(chunk)
                if received > size:
                    raise too_large(size)
                sink.take(chunk)
                await sink.relieve()
        if received < size:
            raise Invalid("wrong_size", f"body: {received} bytes, not {size}", {"field": "body"})
        await sink.finish()


def claimed_bytes(request: Request) -> int:
    """Of the whole body, as its sender says; 0 when nothing is said."""
    claimed = request.headers.get("content-length", "")
    return int(claimed) if claimed.isdecimal() else 0


async def _in_time(request: Request, idle_s: float) -> AsyncGenerator[bytes, None]:
    """The body's pieces, each soon after the one before, all of them fast enough."""
    now = asyncio.get_running_loop().time
    whole_from, received = now() + GRACE_S, 0
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout_at(
                min(now() + idle_s, whole_from + received / BYTES_PER_S_MIN)
            ):
                chunk = await anext(stream, None)
        except TimeoutError:
            raise TooSlow("too_slow", "The body comes too slowly.") from None
        except ClientDisconnect:
            raise Malformed("incomplete_body", "The body ended too early.") from None
        if chunk is None:
            return
        received += len(chunk)
        yield chunk


class _Sink:
    """Hashes and writes in threads: one buffer is written while the next one fills."""

    _open: ClassVar[int] = 0
    """In this process."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._digest = hashlib.sha256()
        # Both are filled again and again: memory that is new each time costs as much as hashing.
        self._filling, self._written_last = bytearray(), bytearray()
        self._filled = self._unflushed_bytes = 0
        self._writing: asyncio.Future[None] | None = None
        # A thread that outlives its request's task must not write to another file's descriptor.
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._file = self._target.open("xb", buffering=0)
        _Sink._open += 1
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        _Sink._open -= 1
        with self._lock:
            self._file.close()
        if kind is not None:
            self._target.unlink(missing_ok=True)

    def take(self, data: bytes | memoryview) -> None:
        """Copied once: a slice of a bytearray would be given a copy of its own first."""
        there = min(len(data), len(self._filling) - self._filled)
        with memoryview(self._filling) as filling:
            filling[self._filled : self._filled + there] = data[:there]
        self._filling += data[there:]
        self._filled += len(data)

    async def relieve(self) -> None:
        share = BUFFERS_BYTES_MAX // _Sink._open
        if self._filled >= min(BUFFER_BYTES_MAX, max(BUFFER_BYTES_MIN, share)):
            await self._begin_writing()

    async def finish(self) -> str:
        """The digest in hex of what is all written."""
        await self._begin_writing()
        await self._written()
        return self._digest.hexdigest()

    async def _begin_writing(self) -> None:
        await self._written()
        self._begin_flushing()
        full, filled = self._filling, self._filled
        self._filling, self._written_last, self._filled = self._written_last, full, 0
        self._unflushed_bytes += filled
        self._writing = asyncio.ensure_future(asyncio.to_thread(self._write, full, filled))
        self._writing.add_done_callback(_heard)

    def _begin_flushing(self) -> None:
        """Nobody waits for it, and its failure is the last flush's too."""
        if self._unflushed_bytes >= FLUSH_BYTES:
            self._unflushed_bytes = 0
            flushing = asyncio.to_thread(_flush, os.dup(self._file.fileno()))
            asyncio.ensure_future(flushing).add_done_callback(_heard)

    async def _written(self) -> None:
        if self._writing is not None:
            await self._writing
            self._writing = None

    def _write(self, buffer: bytearray, filled: int) -> None:
        with self._lock, memoryview(buffer)[:filled] as left:
            if self._file.closed:
                return
            self._digest.update(left)
            written = 0
            while written < filled:
                written += self._file.write(left[written : written + WRITE_BYTES])


def _flush(file: int) -> None:
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _heard(writing: asyncio.Future[None]) -> None:
    """A failed write is raised where it is awaited; after another failure, nowhere."""
    if not writing.cancelled():
        writing.exception()
