"""Misty woods, and the firs that stand in front of mountains."""

from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw

from services.simulator.adapters.renderer.ground import (
    Size,
    depth_below,
    sun_place,
    with_sky,
)
from services.simulator.adapters.renderer.noise import (
    Array,
    patch,
    ridge,
)
from services.simulator.adapters.renderer.sky import (
    Colour,
    Light,
    add,
    light_for,
    mix,
    toned,
)
from services.simulator.domain.brief import Brief


def forest(rng: np.random.Generator, brief: Brief, size: Size) -> Array:
    height, width = size
    light = replace(light_for(brief), sun_x=sun_place(rng))
    picture = with_sky(rng, brief, light, size, int(height * 0.9))
    green: Colour = (0.06, 0.20, 0.11)
    if "autumn" in brief.extras:
        green = (0.52, 0.20, 0.05)
    near_colour = toned(green, (0.01, 0.02, 0.04), 0.70 if light.dark else 0.25)
    layers = 6
    for i in range(layers):
        near = i / (layers - 1)
        foot = height * (0.58 + 0.44 * near) + ridge(rng, width, 0.4, 2) * height * 0.05
        tall = height * (0.13 + 0.42 * near**1.5)
        mask = pines(rng, size, foot.astype(np.float32), tall, int(width / (tall * 0.26)) + 2)
        glow = toned(light.haze, light.horizon, 0.35)
        varied = toned(near_colour, (0.72, 0.42, 0.07), float(rng.uniform(0, 0.35)))
        base = varied if "autumn" in brief.extras else near_colour
        top = max(0, int(foot.min() - tall * 1.2))
        part = mix(picture[top:], toned(glow, base, 0.20 + 0.80 * near**0.7), mask[top:])
        if i < layers - 1:
            away = np.clip(depth_below(foot.astype(np.float32) - top, height - top), -tall * 2, 0)
            mist = np.exp(-((away / (tall * 0.42)) ** 2))
            drift = patch(rng, 3.0, (height - top, width), (2, 4))
            amount = mist * (0.62 - 0.50 * near) * (0.35 + drift)
            part = mix(part, glow, np.clip(amount, 0, 0.85))
        picture[top:] = part
    return _shafts(picture, light)


def _shafts(picture: Array, light: Light) -> Array:
    height, width = picture.shape[:2]
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(0, 1, width, dtype=np.float32)[None, :]
    angle = np.arctan2(x - light.sun_x, y + 0.25)
    rays = 0.5 + 0.5 * np.sin(angle * 23) * np.sin(angle * 41 + 1.3)
    power = 0.10 if light.dark else 0.30
    beam = rays * np.exp(-np.abs(x - light.sun_x) / 0.34) * (1 - y) * power
    add(picture, light.sun, beam)
    return picture


def pines(rng: np.random.Generator, size: Size, foot: Array, tall: float, count: int) -> Array:
    """A mask of a row of firs standing on `foot` (pixels, per column)."""
    height, width = size
    mask = Image.new("L", (width * 2, height * 2))
    pen = ImageDraw.Draw(mask)
    places = np.sort(rng.uniform(-0.03, 1.03, count)) * width
    for x in places:
        ground = float(foot[int(np.clip(x, 0, width - 1))]) + tall * 0.05
        pen.polygon(_fir(rng, float(x), ground, tall * float(rng.uniform(0.6, 1.1))), fill=255)
    outline = np.stack([np.arange(width, dtype=np.float32) * 2, foot * 2], axis=-1)
    edge = [(float(x), float(y)) for x, y in outline[::4]]
    pen.polygon(
        [(0.0, height * 2.0), *edge, (width * 2.0, edge[-1][1]), (width * 2.0, height * 2.0)],
        fill=255,
    )
    small = mask.reduce(2)
    return np.asarray(small, np.float32) / 255


def _fir(
    rng: np.random.Generator, x: float, ground: float, tall: float
) -> list[tuple[float, float]]:
    """A fir's outline in doubled pixels: boughs that widen and droop towards the ground."""
    tiers = 9
    top = ground - tall
    wide = tall * float(rng.uniform(0.15, 0.20))
    wobble = rng.uniform(0.8, 1.2, (2, tiers))
    left, right = [(x, top)], []
    for i in range(1, tiers):
        reach = wide * (i / tiers) ** 0.9
        y = top + tall * 0.94 * i / tiers
        left += [(x - reach * wobble[0, i], y), (x - reach * 0.45, y - tall * 0.02)]
        right += [(x + reach * wobble[1, i], y), (x + reach * 0.45, y - tall * 0.02)]
    trunk = [(x - wide * 0.1, ground), (x + wide * 0.1, ground)]
    return [(px * 2, py * 2) for px, py in [*left, *trunk, *reversed(right)]]


def pines_in_front(
    rng: np.random.Generator, picture: Array, light: Light, tall_part: float
) -> Array:
    height, width = picture.shape[:2]
    x = np.linspace(-1, 1, width, dtype=np.float32)
    bank = height * (1.0 - 0.07 * np.abs(x) ** 1.5 + 0.012 * ridge(rng, width, 0.5, 4))
    tall = height * tall_part
    mask = pines(rng, (height, width), bank.astype(np.float32), tall, int(width / tall * 2.6))
    return mix(picture, toned(light.shade, (0.01, 0.02, 0.03), 0.86), mask)
