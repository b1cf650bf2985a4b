"""Looks at what is uploaded and is no medium: text, JSON, PDF, GLB; in the child only.

Nothing is made of them and they are never shown inline; what is checked is that each is what it
says, and nothing else besides. Markup is none of them, whatever it calls itself.
"""

import codecs
import json
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn

from services.storage.adapters.media import MediaRefused

TEXT: Final = "text/plain"
JSON: Final = "application/json"
PDF: Final = "application/pdf"
GLB: Final = "model/gltf-binary"
JSON_BYTES_MAX: Final = 16 << 20
JSON_DEPTH_MAX: Final = 64
CHUNK_BYTES: Final = 1 << 20
HEAD_BYTES: Final = 8192
_PDF_TAIL_BYTES: Final = 2048
_ZIP_TAIL_BYTES: Final = 65_557
"""Where the end of an archive is looked for: its record, and the longest comment after it."""
_ZIP_END: Final = b"PK\x05\x06"
_PDF_HEAD: Final = re.compile(rb"%PDF-[12]\.[0-9]")
_MARKUP: Final = re.compile(rb"<(?:!doctype|html|head|body|script|svg|iframe)\b", re.IGNORECASE)
_GLB_MAGIC: Final = b"glTF"
_GLB_VERSION: Final = 2
_GLB_HEADER: Final = struct.Struct("<4sII")
_GLB_CHUNK: Final = struct.Struct("<I4s")
_GLB_CHUNKS_MAX: Final = 64
_STRINGS: Final = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKETS: Final = re.compile(r"[\[\]{}]")
_CLOSING: Final = frozenset("]}")


def check(order: Mapping[str, Any]) -> Mapping[str, Any]:
    """The type of the document at `path`; `claimed` is what its sender called it.

    Raises:
        MediaRefused: unsupported_type, damaged_document, too_complex.
    """
    path = Path(order["path"])
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        size = path.stat().st_size
        if head.startswith(_GLB_MAGIC):
            _check_glb(file, size)
            return {"mime_type": GLB}
        if head.startswith(b"%PDF-"):
            _check_pdf(file, head, size)
            return {"mime_type": PDF}
        return {"mime_type": _text_type(file, head, size, str(order.get("claimed", "")))}


def _check_pdf(file: BinaryIO, head: bytes, size: int) -> None:
    tail = _tail(file, size, _PDF_TAIL_BYTES)
    if _PDF_HEAD.match(head) is None or b"%%EOF" not in tail:
        raise _damaged("This PDF has no beginning or no end.")
    if _MARKUP.search(head[:1024]) or _ZIP_END in _tail(file, size, _ZIP_TAIL_BYTES):
        raise _damaged("This PDF is something else too.")


def _check_glb(file: BinaryIO, size: int) -> None:
    """Its header and its chunks take up exactly the file; the first is JSON."""
    file.seek(0)
    header = file.read(_GLB_HEADER.size)
    if len(header) < _GLB_HEADER.size:
        raise _damaged("This GLB is cut short.")
    _, version, length = _GLB_HEADER.unpack(header)
    if version != _GLB_VERSION or length != size:
        raise _damaged("This GLB is of another version, or of another length than it says.")
    at, chunks = _GLB_HEADER.size, 0
    while at < size:
        at = _check_glb_chunk(file, at, size, is_first=chunks == 0)
        chunks += 1
        if chunks > _GLB_CHUNKS_MAX:
            raise MediaRefused("too_complex", "This GLB has too many chunks.")
    if chunks == 0:
        raise _damaged("This GLB is empty.")


def _check_glb_chunk(file: BinaryIO, at: int, size: int, *, is_first: bool) -> int:
    """Where the next chunk begins."""
    file.seek(at)
    header = file.read(_GLB_CHUNK.size)
    if len(header) < _GLB_CHUNK.size:
        raise _damaged("A chunk of this GLB is cut short.")
    length, kind = _GLB_CHUNK.unpack(header)
    end = at + _GLB_CHUNK.size + int(length)
    if length % 4 or end > size or is_first != (kind == b"JSON"):
        raise _damaged("A chunk of this GLB is not what it says.")
    if is_first:
        if length > JSON_BYTES_MAX:
            raise MediaRefused("too_complex", "The JSON of this GLB is too large.")
        if not isinstance(_parsed(_decoded(file.read(length))), dict):
            raise _damaged("The JSON of this GLB is no object.")
    return end


def _text_type(file: BinaryIO, head: bytes, size: int, claimed: str) -> str:
    file.seek(0)
    start = head.removeprefix(codecs.BOM_UTF8).lstrip()
    if start.startswith(b"<") or _MARKUP.search(head[:1024]):
        raise MediaRefused("unsupported_type", "Markup is not taken.")
    if start[:1] in {b"{", b"["} and size <= JSON_BYTES_MAX:
        text = _decoded(file.read())
        try:
            _parsed(text)
        except MediaRefused as refused:
            if refused.code != "damaged_document" or claimed == JSON:
                raise
            return TEXT
        return JSON
    if claimed == JSON and start[:1] in {b"{", b"["}:
        raise MediaRefused("too_complex", f"JSON may have {JSON_BYTES_MAX} bytes.")
    if claimed == JSON:
        raise _damaged("This is no JSON document.")
    _check_text(file)
    return TEXT


def _check_text(file: BinaryIO) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        while chunk := file.read(CHUNK_BYTES):
            if b"\0" in chunk:
                raise _unknown()
            decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise _unknown() from None


def _decoded(content: bytes) -> str:
    if b"\0" in content:
        raise _unknown()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _unknown() from None


def _parsed(text: str) -> Any:
    """Measured before it is parsed: the parser would go as deep as it is told."""
    depth = 0
    for bracket in _BRACKETS.finditer(_STRINGS.sub("", text)):
        depth += -1 if bracket[0] in _CLOSING else 1
        if depth > JSON_DEPTH_MAX:
            raise MediaRefused("too_complex", f"JSON may be {JSON_DEPTH_MAX} deep.")
    try:
        return json.loads(text, parse_constant=_no_number)
    except ValueError:
        raise _damaged("This JSON cannot be read.") from None


def _no_number(word: str) -> NoReturn:
    raise ValueError(word)


def _tail(file: BinaryIO, size: int, length: int) -> bytes:
    file.seek(max(0, size - length))
    return file.read(length)


def _damaged(words: str) -> MediaRefused:
    return MediaRefused("damaged_document", words)


def _unknown() -> MediaRefused:
    return MediaRefused("unsupported_type", "Files of this type are not taken.")
