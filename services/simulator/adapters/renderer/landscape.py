"""Mountains and deserts, painted from the far layers to the near ones."""

from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw

from services.simulator.adapters.renderer.ground import (
    MIDDLE,
    Size,
    below,
    depth_below,
    ink,
    reflect,
    sun_place,
    with_sky,
)
from services.simulator.adapters.renderer.noise import (
    Array,
    chance,
    patch,
    ridge,
    smooth,
)
from services.simulator.adapters.renderer.sky import (
    Light,
    between,
    light_for,
    mix,
    toned,
)
from services.simulator.adapters.renderer.trees import pines_in_front
from services.simulator.domain.brief import Brief

SNOW_UNTIL = 0.6
"""Layers nearer than this are too low for snow."""


def mountain(rng: np.random.Generator, brief: Brief, size: Size) -> Array:
    height, width = size
    light = light_for(brief)
    clear_of_peaks = max(light.sun_height, 0.52)
    light = replace(light, sun_height=clear_of_peaks, sun_x=sun_place(rng))
    shore = int(height * (0.70 if "lake" in brief.extras or chance(rng, 0.35) else 0.99))
    horizon = int(min(shore, height * 0.80))
    picture = with_sky(rng, brief, light, size, horizon)
    snowy = "snowcap" in brief.extras or brief.weather == "snow" or chance(rng, 0.5)
    layers = 5
    for i in range(layers):
        near = i / (layers - 1)
        base = shore * (0.60 + 0.34 * near)
        tall = shore * (0.35 - 0.18 * near)
        profile = base - tall * (0.30 + 0.80 * ridge(rng, width, 0.46, 1.5 + 2.2 * near))
        top = max(0, int(profile.min()) - 1)
        rock = _rock(rng, light, profile - top, height - top, near)
        if snowy and near < SNOW_UNTIL:
            rock = _snowcap(rng, light, rock, profile - top, tall)
        depth = depth_below(profile - top, height - top)
        valley = smooth(0, tall * 1.3, depth) * (0.55 - 0.35 * near)
        rock = mix(rock, light.haze, np.clip(0.66 * (1 - near) ** 0.8 + valley, 0, 0.93))
        picture[top:] = mix(picture[top:], rock, below(profile - top, height - top))
    if shore < height * 0.9:
        picture = reflect(rng, picture, light, shore, 0.72)
    return pines_in_front(rng, picture, light, 0.10 if shore < height * 0.9 else 0.2)


def _rock(
    rng: np.random.Generator, light: Light, profile: Array, height: int, near: float
) -> Array:
    """Slopes lit from the sun's side: broad ribs of noise that follow the mountain's own fall."""
    field = patch(rng, 3.1, (height, profile.size), (2.4, 1.1 + near))
    fine = patch(rng, 2.2, (height, profile.size), (1.6, 1.0))
    lean = 5 if light.sun_x > MIDDLE else -5
    facing = field - np.roll(field, lean, axis=1)
    slope = np.gradient(np.convolve(profile, np.ones(15) / 15, mode="same")).astype(np.float32)
    toward = slope if light.sun_x < MIDDLE else -slope
    lit = np.clip(0.40 + facing * 7.5 - toward[None, :] * 0.22 + (fine - 0.5) * 0.5, 0, 1)
    dark = toned(light.shade, (0.03, 0.045, 0.075), 0.60 + 0.32 * near)
    bright = toned(toned(light.lit, light.sun, 0.3), (0.15, 0.17, 0.17), 0.58 + 0.30 * near)
    return between(dark, bright, lit)


def _snowcap(
    rng: np.random.Generator, light: Light, rock: Array, profile: Array, tall: float
) -> Array:
    height, width = rock.shape[:2]
    rough = patch(rng, 2.3, (height, width), (1.8, 1.0))
    peak = (profile.min() + tall * 0.55 - np.arange(height, dtype=np.float32)[:, None]) / tall
    amount = smooth(-0.06, 0.10, peak + (rough - 0.5) * 1.7) * 0.92
    bright = rock[..., 1]
    level = np.clip(0.42 + bright / max(float(bright.max()), 0.01) * 0.72, 0, 1)
    white = toned(light.lit, (1.0, 1.0, 1.0), 0.0 if light.dark else 0.45)
    return mix(rock, between((0, 0, 0), white, level), amount)


def desert(rng: np.random.Generator, brief: Brief, size: Size) -> Array:
    height, width = size
    light = replace(light_for(brief), sun_x=sun_place(rng))
    horizon = int(height * 0.56)
    picture = with_sky(rng, brief, light, size, horizon)
    if "pyramid" in brief.extras:
        picture = _pyramids(rng, picture, light, horizon)
    sand_lit = toned((0.95, 0.70, 0.40), light.horizon, 0.3)
    sand_dark = toned((0.42, 0.20, 0.13), light.shade, 0.45)
    if light.dark:
        sand_lit, sand_dark = toned(light.lit, (0.4, 0.36, 0.4), 0.3), light.shade
    layers = 5
    for i in range(layers):
        near = i / (layers - 1)
        profile = _dune(rng, size, horizon + height * (0.015 + 0.36 * near**1.3), 0.05 + 0.1 * near)
        top = max(0, int(profile.min()) - 1)
        rows = height - top
        depth = depth_below(profile - top, rows)
        slope = np.gradient(profile).astype(np.float32) * (1 if light.sun_x < MIDDLE else -1)
        soft = np.convolve(slope, np.ones(13) / 13, mode="same").astype(np.float32)
        crest = np.exp(-np.clip(depth, 0, None) / (height * (0.06 + 0.16 * near)))
        ripples = patch(rng, 2.2, (rows, width), (0.8 + 0.5 * near, 3 + 3 * near)) - 0.5
        broad = patch(rng, 3.4, (rows, width), (2.0, 3.0)) - 0.5
        lit = np.clip(0.62 - soft[None, :] * 1.5 * crest + ripples * 0.35 + broad * 0.6, 0, 1)
        sand = between(sand_dark, sand_lit, lit)
        sand = mix(sand, light.haze, np.full((rows, width), 0.5 * (1 - near) ** 1.3, np.float32))
        picture[top:] = mix(picture[top:], sand, below(profile - top, rows))
    return picture


def _dune(rng: np.random.Generator, size: Size, base: float, tall: float) -> Array:
    """A crest made of a few long waves, steep on one side."""
    height, width = size
    x = np.linspace(0, 1, width, dtype=np.float32)
    total = np.zeros(width, np.float32)
    for frequency in (1.1, 2.3, 4.1):
        phase = x * frequency + float(rng.uniform(0, 1))
        saw = phase % 1.0
        total += (smooth(0, 0.72, saw) - smooth(0.72, 1.0, saw)) / frequency
    return (base - total * height * tall).astype(np.float32)


def _pyramids(rng: np.random.Generator, picture: Array, light: Light, horizon: int) -> Array:
    height, width = picture.shape[:2]
    image = Image.fromarray((np.clip(picture, 0, 1) * 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for place, scale in ((0.62, 0.26), (0.32, 0.36)):
        cx = width * (place + float(rng.uniform(-0.05, 0.05)))
        half = min(width, height) * scale
        top, foot = horizon - half * 0.95, horizon + height * 0.06
        split = cx + half * (0.28 if light.sun_x < MIDDLE else -0.28)
        lit = toned((0.90, 0.68, 0.42), light.haze, 0.35)
        dark = toned((0.36, 0.22, 0.16), light.haze, 0.3)
        first, second = (lit, dark) if light.sun_x < MIDDLE else (dark, lit)
        pen.polygon([(cx, top), (cx - half, foot), (split, foot)], fill=ink(first))
        pen.polygon([(cx, top), (split, foot), (cx + half, foot)], fill=ink(second))
    return np.asarray(image, np.float32) / 255
