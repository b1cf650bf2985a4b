"""What an uploaded film's file says of itself, held against its own bytes; decodes nothing.

FFmpeg takes what it can read of an absurd header and goes on; players may not. Refusals are
ValueError for what cannot be, MediaRefused (too_long) for what lasts too long.
"""

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from services.storage.adapters.decoding import UPLOAD_SECONDS_MAX, check_not_too_long
from services.storage.adapters.endings import elements

BOXES_MAX: Final = 10_000
DEPTH_MAX: Final = 8
_PARENTS: Final = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"mvex"}
_ENTRY_BYTES: Final = {
    b"stco": 4,
    b"co64": 8,
    b"stts": 8,
    b"ctts": 8,
    b"stss": 4,
    b"stsc": 12,
}
_NOBODY_KNOWS: Final = 2**32 - 1
_NOBODY_KNOWS_LONG: Final = 2**64 - 1
_INFO: Final = 0x1549A966
_DURATION, _SCALE = 0x4489, 0x2AD7B1
_USUAL_SCALE_NS: Final = 1_000_000


def check_mp4(path: Path) -> None:
    """Every box of the header lies within its parent, every table is as long as it says, and no
    length is absurd (ISO 14496-12)."""
    with path.open("rb") as file:
        for count, (name, start, end) in enumerate(_boxes(file, 0, path.stat().st_size, 0)):
            if count > BOXES_MAX:
                raise ValueError("there are too many boxes")
            file.seek(start)
            if name in {b"mvhd", b"mdhd"}:
                _check_clock(file.read(min(end - start, 64)))
            elif name in _ENTRY_BYTES:
                _, entries = struct.unpack(">II", file.read(8))
                if 8 + entries * _ENTRY_BYTES[name] > end - start:
                    raise ValueError("a table is longer than its box")


def _boxes(file: BinaryIO, at: int, end: int, depth: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, and where the content begins and ends, of each box, then of those that lie in it."""
    if depth > DEPTH_MAX:
        raise ValueError("boxes lie too deep")
    while at + 8 <= end:
        file.seek(at)
        length, name = struct.unpack(">I4s", file.read(8))
        start = at + 8
        if length == 1:
            (length,) = struct.unpack(">Q", file.read(8))
            start += 8
        until = end if length == 0 else at + length
        if not start <= until <= end:
            raise ValueError("a box is longer than what it lies in")
        yield name, start, until
        if name in _PARENTS:
            yield from _boxes(file, start, until, depth + 1)
        at = until


def _check_clock(box: bytes) -> None:
    """Of mvhd and mdhd: version, flags, two dates, units a second, and how many of them it has."""
    long = box[0] == 1
    scale, length = (
        struct.unpack_from(">IQ", box, 20) if long else struct.unpack_from(">II", box, 12)
    )
    if scale == 0:
        raise ValueError("there is no unit of time")
    if length != (_NOBODY_KNOWS_LONG if long else _NOBODY_KNOWS):
        check_not_too_long(length / scale, UPLOAD_SECONDS_MAX)


def check_webm(path: Path) -> None:
    """The length that its segment says, if it does, is one (RFC 9559, 5.1.2)."""
    scale_ns, length = _USUAL_SCALE_NS, 0.0
    with path.open("rb") as file:
        info = next(
            (one for one in elements(file, 0, path.stat().st_size) if one[0] == _INFO), None
        )
        if info is None:
            raise ValueError("it says nothing of itself")
        for name, start, end in elements(file, info[1], info[2]):
            file.seek(start)
            if name == _SCALE:
                scale_ns = int.from_bytes(file.read(min(end - start, 8)))
            elif name == _DURATION:
                length = _float(file.read(min(end - start, 8)))
    seconds = length * scale_ns / 1e9
    if math.isnan(seconds) or seconds < 0 or scale_ns == 0:
        raise ValueError("no film lasts so long")
    check_not_too_long(seconds, UPLOAD_SECONDS_MAX)


def _float(content: bytes) -> float:
    (value,) = struct.unpack(">d" if len(content) == 8 else ">f", content)  # noqa: PLR2004 - bytes
    return float(value)
