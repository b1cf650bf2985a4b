"""Light by the hour, and the sky that goes with it."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from services.simulator.adapters.renderer.noise import Array, resized, sample, smooth, tile
from services.simulator.domain.brief import Brief

Colour = tuple[float, float, float]
LOW_SUN: Final = 0.5
"""Below this height (of the sky) windows are lit and sails are dark."""


@dataclass(frozen=True, slots=True)
class Light:
    """Colours in linear-looking 0..1; heights as fractions of the sky above the horizon."""

    zenith: Colour
    middle: Colour
    horizon: Colour
    sun: Colour
    sun_height: float
    glow: float
    haze: Colour
    shade: Colour
    lit: Colour
    cover: float = 0.56
    sun_x: float = 0.5
    dark: bool = False
    disc: bool = True


LIGHTS: Final = {
    "day": Light(
        zenith=(0.13, 0.38, 0.78),
        middle=(0.38, 0.64, 0.93),
        horizon=(0.80, 0.90, 0.97),
        sun=(1.0, 0.97, 0.88),
        sun_height=0.72,
        glow=0.45,
        haze=(0.70, 0.81, 0.92),
        shade=(0.50, 0.57, 0.68),
        lit=(1.0, 1.0, 0.99),
    ),
    "sunset": Light(
        zenith=(0.15, 0.13, 0.36),
        middle=(0.76, 0.31, 0.38),
        horizon=(1.0, 0.64, 0.27),
        sun=(1.0, 0.72, 0.36),
        sun_height=0.16,
        glow=0.95,
        haze=(0.97, 0.55, 0.34),
        shade=(0.42, 0.19, 0.33),
        lit=(1.0, 0.64, 0.42),
        cover=0.5,
    ),
    "dawn": Light(
        zenith=(0.30, 0.43, 0.70),
        middle=(0.84, 0.66, 0.73),
        horizon=(1.0, 0.85, 0.66),
        sun=(1.0, 0.90, 0.72),
        sun_height=0.2,
        glow=0.7,
        haze=(0.95, 0.79, 0.74),
        shade=(0.58, 0.47, 0.62),
        lit=(1.0, 0.87, 0.80),
    ),
    "night": Light(
        zenith=(0.012, 0.022, 0.075),
        middle=(0.035, 0.065, 0.17),
        horizon=(0.10, 0.15, 0.30),
        sun=(0.86, 0.91, 1.0),
        sun_height=0.66,
        glow=0.28,
        haze=(0.11, 0.16, 0.30),
        shade=(0.03, 0.045, 0.11),
        lit=(0.20, 0.25, 0.38),
        cover=0.6,
        dark=True,
    ),
}
GREY: Final[Colour] = (0.46, 0.49, 0.53)


def light_for(brief: Brief) -> Light:
    light = LIGHTS[brief.time]
    if brief.weather in {"storm", "rain"}:
        depth = 0.72 if brief.weather == "storm" else 0.55
        return replace(
            light,
            zenith=toned(light.zenith, (0.10, 0.12, 0.16), depth),
            middle=toned(light.middle, (0.25, 0.28, 0.33), depth),
            horizon=toned(light.horizon, (0.55, 0.57, 0.58), depth * 0.8),
            haze=toned(light.haze, GREY, depth * 0.8),
            shade=toned(light.shade, (0.10, 0.11, 0.14), depth),
            lit=toned(light.lit, (0.42, 0.44, 0.48), depth),
            glow=light.glow * 0.4,
            cover=0.33,
            disc=False,
        )
    if brief.weather in {"cloudy", "fog", "snow"}:
        return replace(light, cover=0.42, glow=light.glow * 0.7)
    return light


def toned(a: Colour, b: Colour, amount: float) -> Colour:
    """A colour `amount` (0..1) of the way from `a` to `b`."""
    red, green, blue = (p + (q - p) * amount for p, q in zip(a, b, strict=True))
    return red, green, blue


def blank(height: int, width: int) -> Array:
    """Room for an image of rows x columns x 3 whose channels lie apart in memory: arithmetic
    with a mask is then three long loops, not a million short ones.
    """
    return np.empty((3, height, width), np.float32).transpose(1, 2, 0)


def between(low: Colour | Array, high: Colour | Array, amount: Array) -> Array:
    """An image that runs from one colour (0) to another (1)."""
    out = blank(*amount.shape)
    for channel in range(3):
        start = float(low[channel])
        out[..., channel] = amount * (float(high[channel]) - start) + start
    return out


def mix(a: Array, b: Array | Colour, amount: Array) -> Array:
    """Blend an image with another, or with a colour, by a mask of rows x columns."""
    out = blank(*a.shape[:2])
    for channel in range(3):
        other = b[..., channel] if isinstance(b, np.ndarray) and b.ndim > 1 else b[channel]
        here = a[..., channel]
        out[..., channel] = here + (other - here) * amount
    return out


def add(picture: Array, colour: Colour | Array, amount: Array) -> None:
    """Pour light of one colour over an image, in place."""
    for channel in range(3):
        picture[..., channel] += amount * float(colour[channel])


def draw_sky(rng: np.random.Generator, brief: Brief, light: Light, size: tuple[int, int]) -> Array:
    """A sky of (rows, columns) whose last row is the horizon."""
    height, width = size
    rows, columns = max(8, height // 2), max(8, width // 2)
    y = np.linspace(0, 1, rows, dtype=np.float32)[:, None]
    x = np.linspace(0, 1, columns, dtype=np.float32)[None, :]
    picture = _gradient(light, y, columns)
    away = np.sqrt(((x - light.sun_x) * width / height) ** 2 + (y - 1 + light.sun_height) ** 2)
    add(picture, light.sun, light.glow * 0.62 * np.exp(-away / 0.30))
    add(picture, light.sun, light.glow * 0.45 * np.exp(-((away / 0.11) ** 2)))
    picture = mix(picture, *_clouds(rng, light, x, y, away))
    if "aurora" in brief.extras:
        picture += _aurora(rng, x, y)
    full = blank(height, width)
    for channel in range(3):
        full[..., channel] = resized(np.ascontiguousarray(picture[..., channel]), height, width)
    if light.dark:
        _stars(rng, full)
    if light.disc:
        full = _disc(full, light, (height, width))
    return full


def _row(colour: Colour) -> Array:
    return np.asarray(colour, dtype=np.float32)


def _gradient(light: Light, y: Array, columns: int) -> Array:
    upper = smooth(0.0, 0.62, y)
    lower = smooth(0.45, 1.0, y)
    line = _row(light.zenith) + (_row(light.middle) - _row(light.zenith)) * upper
    line = line + (_row(light.horizon) - line) * lower
    return np.repeat(line[:, None, :], columns, axis=1).astype(np.float32)


def _clouds(
    rng: np.random.Generator, light: Light, x: Array, y: Array, away: Array
) -> tuple[Array, Array]:
    """Clouds on a plane overhead: (colour, how much of it)."""
    depth = 1.0 / (1.06 - y)
    start = rng.uniform(0, 512, 2).astype(np.float32)
    across = (x - 0.5) * depth * 75 + start[0]
    along = depth * 68 + start[1] + 0 * x
    field = tile(2.9)
    here = sample(field, along, across)
    finer = sample(tile(2.2), along * 2.7, across * 2.7)
    body = here * 0.78 + finer * 0.22
    amount = smooth(light.cover - 0.04, light.cover + 0.17, body) * smooth(1.0, 0.86, y)
    thick = smooth(light.cover, light.cover + 0.26, body)
    bright = np.clip(1.05 - 0.85 * thick + 0.45 * np.exp(-away / 0.25), 0, 1)
    return between(light.shade, light.lit, bright), amount * 0.92


def _aurora(rng: np.random.Generator, x: Array, y: Array) -> Array:
    total = np.zeros((y.shape[0], x.shape[1], 3), np.float32)
    for _ in range(3):
        bend = sample(tile(3.4), x * 90 + float(rng.uniform(0, 512)), 0 * x + 3)
        foot = 0.48 + (bend - 0.5) * 1.0 + float(rng.uniform(-0.12, 0.12))
        folds = sample(tile(2.0), x * 260 + float(rng.uniform(0, 512)), 0 * x + 90)
        above = np.clip(foot - y, 0, 1)
        curtain = np.exp(-above / 0.17) * smooth(-0.025, 0.012, foot - y)
        curtain = curtain * (0.25 + 1.1 * folds)
        hue = np.clip(above / 0.32, 0, 1)[..., None]
        total += curtain[..., None] * (
            (1 - hue) * _row((0.12, 0.85, 0.45)) + hue * _row((0.5, 0.2, 0.75))
        )
    return total * 0.62


def _stars(rng: np.random.Generator, sky: Array) -> None:
    height, width = sky.shape[:2]
    count = height * width // 520
    rows = (rng.uniform(0, 1, count) ** 1.3 * (height - 1)).astype(np.int32)
    columns = rng.integers(0, width, count)
    power = rng.uniform(0, 1, count).astype(np.float32) ** 5
    tint = 0.85 + 0.15 * rng.uniform(0, 1, (count, 3)).astype(np.float32)
    sky[rows, columns] += tint * (0.15 + 0.95 * power)[:, None]


def _disc(full: Array, light: Light, size: tuple[int, int]) -> Array:
    height, width = size
    radius = 0.036 * min(width, height * 1.4)
    centre_y, centre_x = height * (1 - light.sun_height), width * light.sun_x
    y = np.arange(height, dtype=np.float32)[:, None]
    x = np.arange(width, dtype=np.float32)[None, :]
    edge = np.clip(radius - np.hypot(x - centre_x, y - centre_y) + 0.5, 0, 1)
    if light.dark:
        blotch = sample(tile(2.6), (y - centre_y) * 1.6 + 40, (x - centre_x) * 1.6 + 40)
        return mix(full, between((0, 0, 0), light.sun, 0.72 + 0.5 * blotch), edge)
    return mix(full, toned(light.sun, (1.0, 0.98, 0.9), 0.75), edge)
