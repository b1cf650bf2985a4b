"""What all outdoor scenes share: where the sun stands, skylines as masks, still water."""

import numpy as np

from services.simulator.adapters.renderer.noise import (
    Array,
    chance,
    patch,
)
from services.simulator.adapters.renderer.sky import (
    Colour,
    Light,
    add,
    blank,
    draw_sky,
    mix,
    toned,
)
from services.simulator.domain.brief import Brief

Size = tuple[int, int]
"""Rows, columns."""
MIDDLE = 0.5
"""The sun stands left or right of it."""


def sun_place(rng: np.random.Generator) -> float:
    side = 0.3 if chance(rng, 0.5) else 0.7
    return float(side + rng.uniform(-0.07, 0.07))


def below(profile: Array, height: int) -> Array:
    """A mask of what lies under a skyline given in pixels, its edge softened."""
    y = np.arange(height, dtype=np.float32)[:, None]
    return np.clip(y - profile[None, :] + 0.5, 0, 1)


def depth_below(profile: Array, height: int) -> Array:
    """Pixels below the skyline."""
    return np.arange(height, dtype=np.float32)[:, None] - profile[None, :]


def with_sky(
    rng: np.random.Generator, brief: Brief, light: Light, size: Size, horizon: int
) -> Array:
    height, width = size
    picture = blank(height, width)
    picture[:horizon] = draw_sky(rng, brief, light, (horizon, width))
    picture[horizon:] = picture[horizon - 1]
    return picture


def reflect(
    rng: np.random.Generator, picture: Array, light: Light, shore: int, strength: float
) -> Array:
    """Still water from row `shore` down: the picture turned over, stretched by ripples."""
    height, width = picture.shape[:2]
    rows = height - shore
    depth = np.linspace(0, 1, rows, dtype=np.float32)[:, None]
    waves = patch(rng, 2.3, (rows, width), (0.9, 6.0)) - 0.5
    mirrored = shore - 1 - np.arange(rows, dtype=np.float32)[:, None] * 0.97
    source = np.clip(mirrored + waves * (6 + 60 * depth), 0, shore - 1).astype(np.int32)
    columns = np.clip(
        np.arange(width)[None, :] + (waves * 14 * depth).astype(np.int32), 0, width - 1
    )
    water = picture[source, columns]
    deep = toned(light.middle, (0.02, 0.07, 0.10), 0.7)
    water = mix(water, deep, 1 - strength * (1 - 0.35 * depth) + 0 * waves)
    add(water, light.horizon, (np.clip(waves, 0.10, 1) - 0.10) * 0.35)
    out = picture.copy()
    out[shore:] = water
    out[shore : shore + 2] = out[shore : shore + 2] * 0.6 + np.asarray(light.haze) * 0.4
    return out


def ink(colour: Colour) -> tuple[int, int, int]:
    red, green, blue = (max(0, min(255, int(part * 255))) for part in colour)
    return red, green, blue
