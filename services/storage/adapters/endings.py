"""Whether a film's file ends where its own lengths say: not before, and nothing behind it."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675
_ANYWHERE: Final = {0xEC, 0xBF}  # room, and a checksum
_ELEMENTS: Final = {
    *_ANYWHERE,
    *(0x1A45DFA3, _SEGMENT),
    *(0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, _CLUSTER, 0x1254C367, 0x1043A770, 0x1941A469),
    *(0xE7, 0x5854, 0xA7, 0xAB, 0xA3, 0xA0, 0xAF),
}
"""Of the file, of its segment, and of its clusters (RFC 9559, 5.1)."""


def mp4_ends_where_it_says(path: Path) -> bool:
    """Whether the boxes of an MP4 fill the file exactly (ISO 14496-12, 4.2)."""
    size = path.stat().st_size
    at = 0
    with path.open("rb") as file:
        while at < size:
            file.seek(at)
            head = file.read(16)
            length, least = int.from_bytes(head[:4]), 8
            if length == 0:  # to the end of the file
                return True
            if length == 1:
                length, least = int.from_bytes(head[8:]), 16
            if length < least:  # it does not even hold its own length and name
                return False
            at += length
    return at == size


def webm_ends_where_it_says(path: Path) -> bool:
    """Whether the elements of a WebM fill the file exactly (RFC 8794). Where it was sent while it
    was made, its segment and clusters say no length: then theirs are those of what is in them."""
    size = path.stat().st_size
    end = 0
    with path.open("rb") as file:
        for name, _, until in elements(file, 0, size):
            if name not in _ELEMENTS:
                return False
            end = until
    return end == size


def elements(file: BinaryIO, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Name, and where the content begins and ends, of the elements there and of what is in a
    segment, or in a cluster that says no length. Ends at the first that is none."""
    while at < end:
        file.seek(at)
        name, length = _number(file, with_marker=True), _number(file)
        start = file.tell()
        if name is None or length is None or (length < 0 and name not in {_SEGMENT, _CLUSTER}):
            return
        inside = name == _SEGMENT or length < 0
        if inside and start + length > end:
            return
        at = start if inside else start + length
        yield name, start, at


def _number(file: BinaryIO, *, with_marker: bool = False) -> int | None:
    """The next number of variable length (RFC 8794, 4); -1 for one of ones alone, which says that
    nobody knows it, and None where there is none."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    length = 9 - first[0].bit_length()
    rest = file.read(length - 1)
    if len(rest) < length - 1:
        return None
    number = int.from_bytes(first + rest)
    if with_marker:
        return number
    marker = 1 << (7 * length)
    return -1 if number == 2 * marker - 1 else number - marker
