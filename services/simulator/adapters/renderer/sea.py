"""The sea: waves that mirror the sky, a path of light, a beach, a headland, a boat."""

from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from services.simulator.adapters.renderer.ground import (
    Size,
    below,
    depth_below,
    with_sky,
)
from services.simulator.adapters.renderer.noise import (
    Array,
    chance,
    patch,
    ridge,
    sample,
    smooth,
    tile,
)
from services.simulator.adapters.renderer.sky import (
    LOW_SUN,
    Light,
    add,
    between,
    light_for,
    mix,
    toned,
)
from services.simulator.domain.brief import Brief


def sea(rng: np.random.Generator, brief: Brief, size: Size) -> Array:
    height, width = size
    light = replace(light_for(brief), sun_x=float(rng.uniform(0.36, 0.64)))
    horizon = int(height * rng.uniform(0.48, 0.56))
    picture = with_sky(rng, brief, light, size, horizon)
    picture[horizon:] = _water(rng, picture[:horizon], light, (height - horizon, width))
    if "beach" in brief.extras:
        picture = _beach(rng, picture, light)
    if chance(rng, 0.5):
        picture = _headland(rng, picture, light, horizon)
    if "boat" in brief.extras:
        picture = _boat(rng, picture, light, horizon)
    return picture


def _water(rng: np.random.Generator, sky: Array, light: Light, size: Size) -> Array:
    rows, width = size
    y = np.linspace(0, 1, rows, dtype=np.float32)[:, None]
    x = np.linspace(0, 1, width, dtype=np.float32)[None, :]
    far = 1.0 / (y + 0.035)
    place_r = far * 34 + float(rng.uniform(0, 512)) + 0 * x
    place_c = (x - 0.5) * far * 15 + float(rng.uniform(0, 512))
    swell = sample(tile(2.6), place_r, place_c)
    chop = sample(tile(1.7), place_r * 3.1, place_c * 2.2)
    wave = ((swell - 0.5) * 0.65 + (chop - 0.5) * 0.5) * smooth(0, 0.25, y + 0.06)
    up = np.clip(1 - y * 0.85 - wave * 1.1, 0.0, 1) * (sky.shape[0] - 1)
    columns = np.clip((x + wave * 0.10) * (width - 1), 0, width - 1)
    mirror = sky[up.astype(np.int32), columns.astype(np.int32)]
    deep = toned((0, 0, 0), toned(light.zenith, (0.0, 0.10, 0.15), 0.55), 0.62)
    fresnel = np.clip(0.90 - 0.62 * y - wave * 1.5, 0.10, 0.96)
    water = mix(mirror, deep, 1 - fresnel)
    spread = 0.025 + 0.13 * y
    path = np.exp(-(((x - light.sun_x) / spread) ** 2)) if light.disc else 0 * x * y
    spark = smooth(0.035, 0.16, wave + 0.05 * (1 - y)) * path * (1.15 if not light.dark else 0.7)
    add(water, light.sun, spark)
    crest = smooth(0.15, 0.26, wave) * y * 0.4
    return mix(water, toned(light.lit, (1, 1, 1), 0.3), crest)


def _beach(rng: np.random.Generator, picture: Array, light: Light) -> Array:
    height, width = picture.shape[:2]
    curve = ridge(rng, width, 0.25, 1.2) * height * 0.02
    slant = np.linspace(-0.06, 0.06, width, dtype=np.float32) * height
    profile = (height * 0.85 + curve + slant * (1 if chance(rng, 0.5) else -1)).astype(np.float32)
    grain = patch(rng, 1.6, (height, width), (1.0, 2.4))
    sand = toned((0.88, 0.76, 0.56), light.shade, 0.62 if light.dark else 0.14)
    warm = toned((1, 1, 1), light.horizon, 0.5)
    tone = (sand[0] * warm[0], sand[1] * warm[1], sand[2] * warm[2])
    ground = between((0, 0, 0), tone, 0.82 + 0.36 * grain)
    depth = depth_below(profile, height)
    wet = np.clip(1 - depth / (height * 0.045), 0, 1)
    ground = mix(ground, toned(light.middle, (0.30, 0.24, 0.18), 0.4), wet * 0.55)
    out = mix(picture, ground, below(profile, height))
    lace = patch(rng, 1.8, (height, width), (0.8, 2.0))
    foam = np.exp(-(((depth + 4) / 4.5) ** 2)) * smooth(0.38, 0.56, lace + 0.06)
    return mix(out, toned(light.lit, (1, 1, 1), 0.5), foam * 0.85)


def _headland(rng: np.random.Generator, picture: Array, light: Light, horizon: int) -> Array:
    height, width = picture.shape[:2]
    x = np.linspace(0, 1, width, dtype=np.float32)
    left = chance(rng, 0.5)
    fall = smooth(0.42, 0.0, x) if left else smooth(0.58, 1.0, x)
    shape = fall * height * 0.10 * (0.8 + 0.5 * ridge(rng, width, 0.5, 5))
    mask = below((horizon + 1 - shape).astype(np.float32), height)
    mask[horizon + 1 :] = 0
    mask *= (shape > 1.0)[None, :]
    return mix(picture, toned(light.shade, light.haze, 0.35), mask)


def _boat(rng: np.random.Generator, picture: Array, light: Light, horizon: int) -> Array:
    height, width = picture.shape[:2]
    unit = width * 0.055
    cx = width * float(rng.uniform(0.3, 0.7))
    cy = horizon + height * 0.07
    mask = Image.new("L", (width, height))
    pen = ImageDraw.Draw(mask)
    hull = [(-1.25, -0.3), (1.35, -0.36), (0.9, 0.12), (-0.95, 0.12)]
    main = [(0.0, -3.4), (0.0, -0.5), (-1.2, -0.5)]
    jib = [(0.1, -3.1), (0.1, -0.5), (1.2, -0.5)]
    for outline in (hull, main, jib):
        pen.polygon([(cx + x * unit, cy + y * unit) for x, y in outline], fill=255)
    shape = np.asarray(mask.filter(ImageFilter.GaussianBlur(0.6)), np.float32) / 255
    row = int(cy + unit * 0.12)
    depth = min(height - row, row)
    mirrored = np.zeros_like(shape)
    mirrored[row : row + depth] = shape[row - depth : row][::-1] * 0.45
    rows = np.arange(height)[:, None]
    sway = (np.sin(rows * 0.7) * 3).astype(np.int32)
    mirrored = mirrored[rows, (np.arange(width)[None, :] + sway) % width]
    sails = toned(light.shade, (0.04, 0.04, 0.07), 0.6)
    if not light.dark and light.sun_height > LOW_SUN:
        sails = toned(light.lit, (0.9, 0.9, 0.88), 0.5)
    return mix(mix(picture, toned(sails, (0.05, 0.08, 0.12), 0.4), mirrored), sails, shape)
