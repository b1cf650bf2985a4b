"""Parses a multipart form of one file piece by piece; knows no clock and no disk.

The file's bytes go on at once. What it holds otherwise is bounded: a few short fields, and a part's
few headers.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from kernel.errors import Invalid, TooLarge, UnsupportedMedia

FILE_FIELD: Final = "file"
OVERHEAD_BYTES_MAX: Final = 64 * 1024
"""All of a body that is not the file: boundaries, headers, other fields."""
PARTS_MAX: Final = 16
FIELD_BYTES_MAX: Final = 4_096
HEADERS_MAX: Final = 8
HEADER_BYTES_MAX: Final = 2_048
NAME_CHARS_MAX: Final = 255

Take = Callable[[memoryview], None]
"""What becomes of the file's next bytes."""


@dataclass(slots=True)
class _Part:
    name: str = ""
    filename: str | None = None
    content_type: str = ""
    header: bytearray = field(default_factory=bytearray)
    value: bytearray = field(default_factory=bytearray)


class Form:
    """What has been parsed; `take` has the file's bytes."""

    def __init__(self, take: Take, max_bytes: int, boundary: bytes) -> None:
        self.fields: dict[str, str] = {}
        self.file: _Part | None = None
        self.size = 0
        self.ended = False
        self._take = take
        self._max_bytes = max_bytes
        self._other_bytes = self._parts = 0
        self._part = _Part()
        self._header_value = bytearray()
        try:
            self._parser = self._made(boundary)
        except FormParserError:
            raise unreadable() from None

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
            raise unreadable() from None
        self._other_bytes += len(chunk) - (self.size - before)
        if self._other_bytes > OVERHEAD_BYTES_MAX:
            raise too_large(self._max_bytes)

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
            raise unreadable()
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
            raise too_large(self._max_bytes)
        self._take(memoryview(data)[start:end])

    def _end_part(self) -> None:
        if self._part is not self.file:
            self.fields[self._part.name] = self._part.value.decode("utf-8", "replace")

    def _end(self) -> None:
        self.ended = True


def boundary_of(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data":
        raise UnsupportedMedia(
            "unsupported_media_type",
            "Send multipart/form-data.",
            {"content_type": kind.decode("latin-1")[:100]},
        )
    if not options.get(b"boundary"):
        raise unreadable()
    return options[b"boundary"]


def unreadable() -> Invalid:
    return Invalid("invalid_multipart", "body: no readable multipart form", {"field": "body"})


def too_large(max_bytes: int) -> TooLarge:
    return TooLarge(
        "file_too_large", f"file: it may have {max_bytes} bytes.", {"bytes_max": max_bytes}
    )
