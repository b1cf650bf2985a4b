"""The PNG container, of the standard library only, so that a canned picture needs no renderer."""

import struct
import zlib
from typing import Final

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"


def png(width: int, height: int, rows: bytes, xmp: bytes = b"") -> bytes:
    """An RGB file of filtered `rows` (each begins with its filter's number)."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b"")]
    if xmp:
        chunks.insert(1, (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp))
    return SIGNATURE + b"".join(_chunk(name, data) for name, data in chunks)


def canned_png(seed: int, side: int, xmp: bytes = b"") -> bytes:
    """A small square of one colour, made in microseconds."""
    colour = bytes(64 + (seed >> (8 * channel)) % 160 for channel in range(3))
    return png(side, side, (b"\0" + colour * side) * side, xmp)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
