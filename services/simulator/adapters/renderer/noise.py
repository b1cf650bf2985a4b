"""Cheap natural noise for the renderer: one tileable 1/f field, cut and stretched many ways."""

from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[np.floating]
"""float32 wherever it is large: twice as quick as float64."""

TILE: Final = 512
"""A power of two: places wrap by a mask."""


@lru_cache(maxsize=8)
def tile(beta: float) -> Array:
    """A TILE x TILE field with spectrum 1/f^beta that wraps, in 0..1 around 0.5.

    The same for every picture (a picture's seed picks where it is cut), so that a worker pays
    for the Fourier transform once.
    """
    rng = np.random.default_rng(20_261)
    fy = np.fft.fftfreq(TILE)[:, None]
    fx = np.fft.rfftfreq(TILE)[None, :]
    radius = np.sqrt(fx * fx + fy * fy)
    radius[0, 0] = 1.0
    phase = rng.uniform(0, 2 * np.pi, radius.shape)
    field = np.fft.irfft2(np.exp(1j * phase) * radius ** (-beta / 2), s=(TILE, TILE))
    field -= field.mean()
    even: Array = np.clip(0.5 + field / (field.std() * 5.0), 0, 1).astype(np.float32)
    return even


def patch(
    rng: np.random.Generator, beta: float, shape: tuple[int, int], zoom: tuple[float, float]
) -> Array:
    """Noise of `shape` (rows, columns); `zoom` is how many times each axis is stretched."""
    height, width = shape
    rows = min(TILE, max(4, int(height / zoom[0])))
    columns = min(TILE, max(4, int(width / zoom[1])))
    shift = rng.integers(0, TILE, 2)
    source = np.roll(tile(beta), shift, axis=(0, 1))[:rows, :columns]
    return resized(np.ascontiguousarray(source), height, width)


def resized(field: Array, height: int, width: int) -> Array:
    near = height < field.shape[0] * 2
    filter_ = Image.Resampling.BILINEAR if near else Image.Resampling.BICUBIC
    image = Image.fromarray(field).resize((width, height), filter_)
    return np.asarray(image, dtype=np.float32)


def sample(field: Array, rows: Array, columns: Array) -> Array:
    """Read a wrapping field at fractional places, bilinearly."""
    r0 = np.floor(rows)
    c0 = np.floor(columns)
    fr = rows - r0
    fc = columns - c0
    ri = r0.astype(np.int32) & (TILE - 1)
    ci = c0.astype(np.int32) & (TILE - 1)
    rj = (ri + 1) & (TILE - 1)
    cj = (ci + 1) & (TILE - 1)
    top = field[ri, ci] * (1 - fc) + field[ri, cj] * fc
    low = field[rj, ci] * (1 - fc) + field[rj, cj] * fc
    mixed: Array = top * (1 - fr) + low * fr
    return mixed


def ridge(rng: np.random.Generator, width: int, roughness: float, coarsest: float = 2.0) -> Array:
    """A skyline in -1..1: sharp peaks and round valleys, finer with less weight."""
    x = np.linspace(0, 1, width, dtype=np.float32)
    total = np.zeros(width, np.float32)
    weight, reach, frequency = 1.0, 0.0, coarsest
    for _ in range(8):
        knots = rng.uniform(0, 1, int(frequency) + 3).astype(np.float32)
        place = x * frequency + float(rng.uniform(0, 1))
        wave = np.interp(place, np.arange(knots.size, dtype=np.float32), knots)
        total += weight * (1 - np.abs(2 * wave.astype(np.float32) - 1))
        reach += weight
        weight *= roughness
        frequency *= 2.1
    return total / reach * 2 - 1


def smooth(low: float, high: float, value: Array) -> Array:
    """0 below `low`, 1 above `high`, an even curve between."""
    t: Array = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def chance(rng: np.random.Generator, part: float) -> bool:
    """True in that part of all pictures."""
    return bool(rng.uniform() < part)
