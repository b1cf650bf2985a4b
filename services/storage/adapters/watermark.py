"""An invisible mark of 48 bits in a picture's light; knows no file, and nothing of what marks mean.

Spread transform dither modulation (Chen and Wornell, 2001): each bit moves one secret direction
among the low frequencies of the whole picture's DCT to the nearest point of its lattice. The
frequencies are those of the picture, not of its pixels, so that a smaller copy has the same.
It outlives JPEG of quality 50, WebP, half the size, and from 256 pixels a side on also both; it
outlives no crop, no turn, no new tone curve, and little in mere patterns of pure black and white.
"""

import hashlib
import hmac
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import combinations
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from services.storage.adapters.pictures import workable

SIDE_PX_MIN: Final = 128
"""Smaller pictures have too few of the frequencies."""
MARK_BITS: Final = 48
TAG_BITS: Final = 32
STEP: Final = 320.0
"""Between the points of a lattice, in a picture of 512 x 512."""
_BITS: Final = MARK_BITS + TAG_BITS
_FROM, _TO = 8, 44
_ROWS_AT_ONCE: Final = 256
_ROUNDS_MAX: Final = 12
_OFF_BY_MAX: Final = STEP / 10
_DOUBTED: Final = 12
_WRONG_MAX: Final = 3
_LIGHT: Final = np.array([0.299, 0.587, 0.114], np.float32)
_GREY: Final = 128.0

Array: TypeAlias = npt.NDArray[np.float32]


class CannotMark(Exception):
    """It is too small, or has too few pixels that are seen and may change."""


def embed(image: Image.Image, mark: int, secret: bytes) -> Image.Image:
    """The picture with the mark, in mode L, LA, RGB or RGBA; alpha stays as it is.

    `mark` is between 1 and 2**48 - 1.

    Raises:
        CannotMark: and the picture is best left as it is.
    """
    if not 0 < mark < 1 << MARK_BITS:
        raise ValueError(f"a mark has {MARK_BITS} bits, and is not 0")
    if min(image.size) < SIDE_PX_MIN:
        raise CannotMark
    pixels = np.array(workable(image))
    carriers, bits = _carriers(secret), _bits_of(mark, secret)
    targets = None
    for attempt in range(_ROUNDS_MAX):
        found = carriers.read(_frequencies(pixels))
        if targets is None:
            targets = _nearest(found, bits)
        missing = targets - found
        if attempt and np.abs(missing).max() < _OFF_BY_MAX:
            return Image.fromarray(pixels)
        _add(pixels, carriers.written(missing), np.random.default_rng([mark, attempt]))
    raise CannotMark


def read(image: Image.Image, secrets: Sequence[bytes]) -> int | None:
    """The mark that was embedded by one of the secrets; None for none.

    Of unmarked pictures one in ten million has one by chance, and one that nobody gave.
    """
    if min(image.size) < SIDE_PX_MIN // 2:
        return None
    frequencies = _frequencies(np.asarray(workable(image)))
    found = (_decoded(_carriers(each).read(frequencies), each) for each in secrets)
    return next((mark for mark in found if mark is not None), None)


class _Carriers:
    """For each bit a direction of length 1 among the frequencies of the band; none shares one."""

    def __init__(self, secret: bytes) -> None:
        rows, columns = np.mgrid[0:_TO, 0:_TO]
        radius = np.hypot(rows, columns)
        band = np.flatnonzero((radius > _FROM) & (radius < _TO))
        # NumPy's own generators may draw otherwise in another version of it.
        drawn = hashlib.shake_256(b"smartspec watermark 1 " + secret).digest(9 * band.size)
        order = np.argsort(np.frombuffer(drawn[: 8 * band.size], "<u8"), kind="stable")
        each = band.size // _BITS
        self._places = band[order[: each * _BITS]]
        signs = np.frombuffer(drawn[8 * band.size :], np.uint8)[: each * _BITS] & 1
        self._weights = ((signs * 2.0 - 1.0) / np.sqrt(each)).astype(np.float32)
        self._each = each

    def read(self, frequencies: Array) -> Array:
        told = frequencies.reshape(-1)[self._places] * self._weights
        found: Array = told.reshape(_BITS, self._each).sum(axis=1)
        return found

    def written(self, amounts: Array) -> Array:
        frequencies = np.zeros(_TO * _TO, np.float32)
        frequencies[self._places] = np.repeat(amounts, self._each) * self._weights
        return frequencies.reshape(_TO, _TO)


@lru_cache(maxsize=8)
def _carriers(secret: bytes) -> _Carriers:
    return _Carriers(secret)


@lru_cache(maxsize=4)
def _cosines(length: int) -> Array:
    """The DCT's rows for `length` samples, scaled as if there were 512."""
    at = (np.arange(length) + 0.5) * (np.pi / length)
    rows = np.cos(np.arange(_TO)[:, None] * at[None, :]) * np.sqrt(2.0 / length)
    rows[0] /= np.sqrt(2.0)
    scaled: Array = (rows * np.sqrt(512.0 / length)).astype(np.float32)
    return scaled


def _frequencies(pixels: npt.NDArray[np.uint8]) -> Array:
    """The picture's lowest frequencies, of its light on grey."""
    height, width = pixels.shape[:2]
    down, across = _cosines(height), _cosines(width)
    total = np.zeros((_TO, _TO), np.float32)
    for rows in _strips(height):
        total += down[:, rows] @ (_light(pixels[rows]) @ across.T)
    return total


def _add(pixels: npt.NDArray[np.uint8], frequencies: Array, chance: np.random.Generator) -> None:
    """Make each pixel lighter or darker; by chance, what is less than a step of it."""
    height, width = pixels.shape[:2]
    down, across = _cosines(height), _cosines(width)
    scale = height * width / 512.0**2
    right = (frequencies * np.float32(scale)) @ across
    for rows in _strips(height):
        change = down[:, rows].T @ right
        change += chance.random(change.shape, np.float32)
        seen = _colours(pixels[rows])
        if seen.ndim == 3:  # noqa: PLR2004
            change = change[:, :, None]
        np.floor(change, out=change)
        seen[...] = np.clip(seen + change, 0, 255).astype(np.uint8)


def _strips(height: int) -> Iterator[slice]:
    """Few rows at once: floats take four times the memory of the pixels."""
    for first in range(0, height, _ROWS_AT_ONCE):
        yield slice(first, min(height, first + _ROWS_AT_ONCE))


def _colours(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A view without alpha."""
    if pixels.ndim == 2:  # noqa: PLR2004
        return pixels
    return pixels[:, :, : pixels.shape[2] - 1] if pixels.shape[2] in {2, 4} else pixels


def _light(pixels: npt.NDArray[np.uint8]) -> Array:
    colours = _colours(pixels)
    light: Array = (
        colours.astype(np.float32) @ _LIGHT
        if colours.ndim == 3 and colours.shape[2] == 3  # noqa: PLR2004
        else colours.reshape(pixels.shape[:2]).astype(np.float32)
    )
    light -= _GREY
    if pixels.ndim == 3 and pixels.shape[2] in {2, 4}:  # noqa: PLR2004
        light *= pixels[:, :, -1] * np.float32(1 / 255)
    return light


def _nearest(found: Array, bits: npt.NDArray[np.bool_]) -> Array:
    """The nearest points of the lattices of these bits: a quarter step above the whole steps for
    1, below them for 0, so that flat pictures need the least."""
    offset = np.where(bits, STEP / 4, -STEP / 4)
    nearest: Array = (np.round((found - offset) / STEP) * STEP + offset).astype(np.float32)
    return nearest


def _decoded(found: Array, secret: bytes) -> int | None:
    """The mark, with the few bits turned that are the most doubtful, if its tag is right."""
    place = found / STEP
    place -= np.floor(place)  # 1/4 is a 1, 3/4 is a 0
    bits = place < 0.5  # noqa: PLR2004
    doubted = np.argsort(np.minimum(np.abs(place - 0.5), 0.5 - np.abs(place - 0.5)))[:_DOUBTED]
    for wrong in range(_WRONG_MAX + 1):
        for turned in combinations(doubted.tolist(), wrong):
            tried = bits.copy()
            tried[list(turned)] ^= True
            number = int.from_bytes(np.packbits(tried).tobytes())
            mark, tag = number >> TAG_BITS, number & ((1 << TAG_BITS) - 1)
            if mark and tag == _tag_of(mark, secret):
                return mark
    return None


def _bits_of(mark: int, secret: bytes) -> npt.NDArray[np.bool_]:
    number = mark << TAG_BITS | _tag_of(mark, secret)
    return np.unpackbits(np.frombuffer(number.to_bytes(_BITS // 8), np.uint8)).astype(np.bool_)


def _tag_of(mark: int, secret: bytes) -> int:
    told = hmac.digest(secret, b"smartspec watermark tag 1 " + mark.to_bytes(6), "sha256")
    return int.from_bytes(told[: TAG_BITS // 8])
