"""Receives one file of a multipart form as it streams in; knows no type, no owner and no quota.

One pass: parsed, counted, hashed and written. What a client may make it hold is named below: two
buffers, a few short fields, and a part's few headers.
"""

import asyncio
import hashlib
import threading
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from kernel.errors import Invalid, Malformed, TooLarge, TooSlow, UnsupportedMedia

FILE_FIELD: Final = "file"
IDLE_S: Final = 30.0
"""So long a client may send nothing."""
GRACE_S: Final = 60.0
BYTES_PER_S_MIN: Final = 16 * 1024
"""After the grace, a body that comes slower than this on the whole is given up."""
OVERHEAD_BYTES_MAX: Final = 64 * 1024
"""All of a body that is not the file: boundaries, headers, other fields."""
PARTS_MAX: Final = 16
FIELD_BYTES_MAX: Final = 4_096
HEADERS_MAX: Final = 8
HEADER_BYTES_MAX: Final = 2_048
NAME_CHARS_MAX: Final = 255
BUFFER_BYTES: Final = 1024 * 1024


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
    boundary = _boundary(request)
    if claimed_bytes(request) > max_bytes + OVERHEAD_BYTES_MAX:
        raise _too_large(max_bytes)
    with _Sink(target) as sink:
        form = _Form(sink, max_bytes, boundary)
        async with aclosing(_in_time(request, idle_s)) as chunks:
            async for chunk in chunks:
                form.parse(chunk)
                await sink.relieve()
        if not form.ended:
            raise _unreadable()
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
        raise _too_large(size)
    received = 0
    with _Sink(target) as sink:
        async with aclosing(_in_time(request, idle_s)) as chunks:
            async for chunk in chunks:
                received += len(chunk)
                if received > size:
                    raise _too_large(size)
                sink.take(chunk)
                await sink.relieve()
        if received < size:
            raise Invalid("wrong_size", f"body: {received} bytes, not {size}", {"field": "body"})
        await sink.finish()


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data":
        raise UnsupportedMedia(
            "unsupported_media_type",
            "Send multipart/form-data.",
            {"content_type": kind.decode("latin-1")[:100]},
        )
    if not options.get(b"boundary"):
        raise _unreadable()
    return options[b"boundary"]


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


@dataclass(slots=True)
class _Part:
    name: str = ""
    filename: str | None = None
    content_type: str = ""
    header: bytearray = field(default_factory=bytearray)
    value: bytearray = field(default_factory=bytearray)


class _Form:
    """What has been parsed; the file's bytes go on to the sink."""

    def __init__(self, sink: "_Sink", max_bytes: int, boundary: bytes) -> None:
        self.fields: dict[str, str] = {}
        self.file: _Part | None = None
        self.size = 0
        self.ended = False
        self._sink = sink
        self._max_bytes = max_bytes
        self._other_bytes = self._parts = 0
        self._part = _Part()
        self._header_value = bytearray()
        try:
            self._parser = self._made(boundary)
        except FormParserError:
            raise _unreadable() from None

    def _made(self, boundary: bytes) -> MultipartParser:
        return MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_field": self._add_to_header,
                "on_header_value": self._add_to_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._add_data,
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
            max_header_count=HEADERS_MAX,
            max_header_size=HEADER_BYTES_MAX,
        )

    def parse(self, chunk: bytes) -> None:
        before = self.size
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise _unreadable() from None
        self._other_bytes += len(chunk) - (self.size - before)
        if self._other_bytes > OVERHEAD_BYTES_MAX:
            raise _too_large(self._max_bytes)

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > PARTS_MAX:
            raise Invalid("too_many_fields", "body: too many fields", {"fields_max": PARTS_MAX})
        self._part = _Part()

    def _add_to_header(self, data: bytes, start: int, end: int) -> None:
        self._part.header += data[start:end]

    def _add_to_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        name = bytes(self._part.header).lower()
        value = bytes(self._header_value).decode("utf-8", "replace")
        self._part.header.clear()
        self._header_value.clear()
        if name == b"content-disposition":
            self._name_part(value)
        elif name == b"content-type":
            self._part.content_type = value.partition(";")[0].strip().lower()

    def _name_part(self, value: str) -> None:
        # The parser knows latin-1 only, and browsers send UTF-8.
        _, options = parse_options_header(value.encode().decode("latin-1"))
        self._part.name = options.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" in options:
            name = options[b"filename"].decode("utf-8", "replace")
            self._part.filename = name[:NAME_CHARS_MAX]

    def _end_headers(self) -> None:
        part = self._part
        if not part.name or len(part.name) > NAME_CHARS_MAX:
            raise _unreadable()
        if part.name != FILE_FIELD and part.filename is None:
            return
        if part.name != FILE_FIELD or part.filename is None or self.file is not None:
            raise Invalid(
                "unexpected_file", "file: exactly one file is taken", {"field": FILE_FIELD}
            )
        self.file = part

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._part is not self.file:
            self._part.value += data[start:end]
            if len(self._part.value) > FIELD_BYTES_MAX:
                name = self._part.name
                raise Invalid("field_too_long", f"{name}: too long", {"field": name})
            return
        self.size += end - start
        if self.size > self._max_bytes:
            raise _too_large(self._max_bytes)
        self._sink.take(data[start:end])

    def _end_part(self) -> None:
        if self._part is not self.file:
            self.fields[self._part.name] = self._part.value.decode("utf-8", "replace")

    def _end(self) -> None:
        self.ended = True


class _Sink:
    """Hashes and writes in threads: one buffer is written while the next one fills."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._digest = hashlib.sha256()
        self._held = bytearray()
        self._writing: asyncio.Future[None] | None = None
        # A thread that outlives its request's task must not write to another file's descriptor.
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._file = self._target.open("xb", buffering=0)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._lock:
            self._file.close()
        if kind is not None:
            self._target.unlink(missing_ok=True)

    def take(self, data: bytes) -> None:
        self._held += data

    async def relieve(self) -> None:
        if len(self._held) >= BUFFER_BYTES:
            await self._begin_writing()

    async def finish(self) -> str:
        """The digest in hex of what is all written."""
        await self._begin_writing()
        await self._written()
        return self._digest.hexdigest()

    async def _begin_writing(self) -> None:
        await self._written()
        held, self._held = self._held, bytearray()
        self._writing = asyncio.ensure_future(asyncio.to_thread(self._write, held))
        self._writing.add_done_callback(_heard)

    async def _written(self) -> None:
        if self._writing is not None:
            await self._writing
            self._writing = None

    def _write(self, held: bytearray) -> None:
        with self._lock:
            if self._file.closed:
                return
            self._digest.update(held)
            left = memoryview(held)
            while left:
                left = left[self._file.write(left) :]


def _heard(writing: asyncio.Future[None]) -> None:
    """A failed write is raised where it is awaited; after another failure, nowhere."""
    if not writing.cancelled():
        writing.exception()


def _unreadable() -> Invalid:
    return Invalid("invalid_multipart", "body: no readable multipart form", {"field": "body"})


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(
        "file_too_large", f"file: it may have {max_bytes} bytes.", {"bytes_max": max_bytes}
    )
