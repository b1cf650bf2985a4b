"""Space, and pictures of nothing in particular: flowing colour."""

import numpy as np

from services.simulator.adapters.renderer.ground import Size
from services.simulator.adapters.renderer.noise import (
    Array,
    chance,
    patch,
    resized,
    sample,
    smooth,
    tile,
)
from services.simulator.adapters.renderer.sky import Colour, add, between, blank, mix
from services.simulator.domain.brief import Brief

PALETTES: tuple[tuple[Colour, ...], ...] = (
    ((0.03, 0.08, 0.22), (0.05, 0.42, 0.55), (0.95, 0.80, 0.55), (0.90, 0.33, 0.25)),
    ((0.10, 0.03, 0.22), (0.52, 0.13, 0.55), (0.98, 0.45, 0.45), (1.0, 0.86, 0.62)),
    ((0.02, 0.14, 0.16), (0.06, 0.42, 0.36), (0.68, 0.82, 0.48), (0.98, 0.94, 0.78)),
    ((0.07, 0.07, 0.10), (0.34, 0.30, 0.42), (0.83, 0.66, 0.42), (0.97, 0.93, 0.86)),
    ((0.05, 0.10, 0.35), (0.18, 0.40, 0.92), (0.58, 0.80, 1.0), (1.0, 0.96, 0.92)),
)


def _palette(rng: np.random.Generator, brief: Brief) -> Array:
    chosen = PALETTES[int(rng.integers(0, len(PALETTES)))]
    if brief.colours:
        asked = np.asarray(brief.colours, np.float32)
        first, last = asked[0], asked[-1]
        return np.stack([first * 0.12, first * 0.75, last, 0.35 * last + 0.65]).astype(np.float32)
    return np.asarray(chosen, np.float32)


def _along(palette: Array, t: Array) -> Array:
    """Colours of a palette at places 0..1."""
    steps = np.linspace(0, 1, 256)
    stops = np.linspace(0, 1, len(palette))
    table = np.stack([np.interp(steps, stops, palette[:, c]) for c in range(3)], axis=-1)
    index = (np.clip(t, 0, 1) * 255).astype(np.int32)
    out = blank(*t.shape)
    for channel in range(3):
        out[..., channel] = table[:, channel].astype(np.float32)[index]
    return out


def abstract(rng: np.random.Generator, brief: Brief, size: Size) -> Array:
    """Ink in water: noise read through noise, lit as if it had folds."""
    height, width = size
    unit = 250.0 / max(height, width)
    y = np.arange(height, dtype=np.float32)[:, None] * unit + float(rng.uniform(0, 512))
    x = np.arange(width, dtype=np.float32)[None, :] * unit + float(rng.uniform(0, 512))
    first = patch(rng, 3.6, size, (3.0, 3.0))
    second = patch(rng, 3.6, size, (3.0, 3.0))
    pull = float(rng.uniform(130, 260))
    flow = sample(tile(3.9), y + first * pull, x + second * pull)
    bands = 0.5 + 0.5 * np.sin(flow * float(rng.uniform(14, 24)) + second * 6)
    value = np.clip(0.62 * bands + 0.75 * (flow - 0.5) + 0.22, 0, 1)
    picture = _along(_palette(rng, brief), value)
    fold = (np.roll(value, 2, 0) - value) + (np.roll(value, 2, 1) - value)
    picture *= (1 + np.clip(fold * 3.6, -0.5, 0.6))[..., None]
    return mix(picture, (1.0, 0.97, 0.92), smooth(0.05, 0.14, fold) * 0.45)


def space(rng: np.random.Generator, brief: Brief, size: Size) -> Array:
    height, width = size
    palette = _palette(rng, brief)
    gas = patch(rng, 2.9, size, (1.7, 1.7))
    veil = patch(rng, 2.4, size, (1.3, 1.3))
    hue = patch(rng, 3.4, size, (2.4, 2.4))
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    tilt = float(rng.uniform(-0.8, 0.8))
    band = np.exp(-(((y - x * tilt + (hue - 0.5) * 1.3) / 0.62) ** 2))
    cloud = smooth(0.40, 0.82, gas * 0.75 + 0.25 * band + 0.08) * (0.25 + band)
    tint = _along(palette[1:], smooth(0.3, 0.7, hue))
    picture = between((0.008, 0.010, 0.026), (0, 0, 0), 0 * gas)
    picture += tint * (cloud * (0.35 + 1.0 * veil))[..., None]
    picture *= (1 - 0.75 * smooth(0.55, 0.75, veil) * band)[..., None]
    _starfield(rng, picture, band)
    return _planet(rng, picture, palette)


def _starfield(rng: np.random.Generator, stars: Array, band: Array) -> None:
    height, width = stars.shape[:2]
    count = height * width // 260
    rows, columns = rng.integers(0, height, count), rng.integers(0, width, count)
    power = rng.uniform(0, 1, count).astype(np.float32) ** 6 * (0.6 + 0.7 * band[rows, columns])
    tint = 0.75 + 0.25 * rng.uniform(0, 1, (count, 3)).astype(np.float32)
    stars[rows, columns] += tint * (0.1 + power)[:, None]
    for _ in range(9):
        r, c = int(rng.integers(8, height - 8)), int(rng.integers(8, width - 8))
        dy = np.abs(np.arange(-8, 9, dtype=np.float32))[:, None]
        dx = np.abs(np.arange(-8, 9, dtype=np.float32))[None, :]
        flare = np.exp(-(dx * dx + dy * dy) / 3) + 0.5 * np.exp(-(dx * 4 + dy) / 3)
        flare += 0.5 * np.exp(-(dx + dy * 4) / 3)
        stars[r - 8 : r + 9, c - 8 : c + 9] += flare[..., None] * 0.7


TILT = 0.38
"""Radians by which a planet leans."""


def _planet(rng: np.random.Generator, picture: Array, palette: Array) -> Array:
    height, width = picture.shape[:2]
    radius = min(height, width) * float(rng.uniform(0.20, 0.28))
    cx, cy = width * float(rng.uniform(0.3, 0.7)), height * float(rng.uniform(0.36, 0.62))
    y = (np.arange(height, dtype=np.float32)[:, None] - cy) / radius
    x = (np.arange(width, dtype=np.float32)[None, :] - cx) / radius
    outside = np.clip(np.sqrt(x * x + y * y) - 1, 0, None)
    air = np.exp(-outside / 0.07) * np.clip(-x * 0.6 - y * 0.5 + 0.3, 0, 0.5) * (outside > 0)
    add(picture, palette[2], air)
    ringed = chance(rng, 0.62)
    if ringed:
        back, front = _ring(x, y)
        picture = mix(picture, palette[2] * 0.8 + 0.15, back)
    rows = slice(max(0, int(cy - radius) - 1), int(cy + radius) + 2)
    columns = slice(max(0, int(cx - radius) - 1), int(cx + radius) + 2)
    globe, disc = _globe(palette, y[rows], x[:, columns], radius)
    picture[rows, columns] = mix(picture[rows, columns], globe, disc)
    if ringed:
        picture = mix(picture, palette[2] * 0.8 + 0.15, front)
    return picture


def _globe(palette: Array, y: Array, x: Array, radius: float) -> tuple[Array, Array]:
    """A banded ball lit from the upper left, places given in radii: (colours, mask)."""
    square = x * x + y * y
    z = np.sqrt(np.clip(1 - square, 0, 1))
    latitude = y * np.cos(TILT) - x * np.sin(TILT)
    wind = sample(tile(3.0), y * 90 + 200 + 0 * x, x * 60 + 100 + 0 * y)
    bands = sample(tile(2.4), latitude * 120 + wind * 55 + 250, wind * 20)
    body = _along(palette, smooth(0.32, 0.68, bands))
    sunlit = np.clip(z * 0.60 - x * 0.62 - y * 0.50 + 0.06, 0, 1)
    body *= (0.02 + 1.15 * sunlit)[..., None]
    add(body, palette[3] * 0.6, np.clip(1 - z, 0, 1) ** 3 * sunlit)
    return body, np.clip((1 - np.sqrt(square)) * radius + 0.5, 0, 1)


def _ring(x: Array, y: Array) -> tuple[Array, Array]:
    """Masks of the ring's far and near halves, in planet radii."""
    along = x * np.cos(TILT) + y * np.sin(TILT)
    across = (y * np.cos(TILT) - x * np.sin(TILT)) / 0.26
    reach = np.hypot(along, across)
    grooves = 0.62 + 0.38 * np.sin(reach * 34) * np.sin(reach * 13 + 1)
    mask = smooth(1.34, 1.40, reach) * smooth(2.2, 2.1, reach) * grooves * 0.85
    return mask * (across < 0), mask * (across >= 0)


def backdrop(rng: np.random.Generator, size: Size, low: Colour, high: Colour) -> Array:
    """A soft studio wall with out-of-focus lights."""
    height, width = size
    small = (max(16, height // 8), max(16, width // 8))
    y = np.linspace(0, 1, small[0], dtype=np.float32)[:, None]
    x = np.linspace(0, 1, small[1], dtype=np.float32)[None, :]
    glow = np.exp(-(((x - 0.5) ** 2) / 0.18 + ((y - 0.42) ** 2) / 0.16))
    wall = between(low, high, glow)
    for _ in range(10):
        cx, cy, r = rng.uniform(0, 1), rng.uniform(0, 0.8), rng.uniform(0.03, 0.09)
        aspect = width / height
        spot = smooth(float(r), float(r) * 0.8, np.hypot((x - float(cx)) * aspect, y - float(cy)))
        wall += (spot * float(rng.uniform(0.02, 0.08)))[..., None]
    full = blank(height, width)
    for channel in range(3):
        full[..., channel] = resized(np.ascontiguousarray(wall[..., channel]), height, width)
    return full
