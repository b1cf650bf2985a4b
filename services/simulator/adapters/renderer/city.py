"""A skyline with lit windows above wet ground."""

from dataclasses import replace

import numpy as np

from services.simulator.adapters.renderer.ground import Size, reflect
from services.simulator.adapters.renderer.noise import Array, chance
from services.simulator.adapters.renderer.sky import (
    LOW_SUN,
    Colour,
    Light,
    blank,
    draw_sky,
    light_for,
    mix,
    toned,
)
from services.simulator.domain.brief import Brief

NEON: tuple[Colour, ...] = (
    (1.0, 0.15, 0.62),
    (0.1, 0.85, 1.0),
    (0.62, 0.25, 1.0),
    (1.0, 0.75, 0.2),
)
WARM: tuple[Colour, ...] = ((1.0, 0.82, 0.50), (1.0, 0.90, 0.70), (0.80, 0.90, 1.0))

NARROWEST_PX = 6
LOWEST_PX = 10
TOWER_PX = 90
"""From this height a building may carry a mast."""
SIGNS_FROM = 0.3
"""Only the nearer rows carry signs."""


def city(rng: np.random.Generator, brief: Brief, size: Size) -> Array:
    height, width = size
    neon = brief.style == "neon"
    light = replace(light_for(brief), sun_x=float(rng.uniform(0.3, 0.7)))
    horizon = int(height * 0.74)
    picture = blank(height, width)
    picture[:horizon] = draw_sky(rng, brief, light, (horizon, width))
    picture[horizon:] = picture[horizon - 1]
    if neon:
        _glow_over_town(picture, horizon)
    layers = 4
    for i in range(layers):
        near = i / (layers - 1)
        _row_of_buildings(rng, picture, light, horizon, near, neon=neon)
        fog = np.linspace(0, 1, horizon, dtype=np.float32)[:, None] ** 4
        haze = toned(light.haze, NEON[0], 0.35) if neon else light.haze
        picture[:horizon] = mix(picture[:horizon], haze, fog * 0.42 * (1 - near))
    return reflect(rng, picture, light, horizon, 0.82)


def _glow_over_town(picture: Array, horizon: int) -> None:
    rise = np.linspace(0, 1, horizon, dtype=np.float32)[:, None, None] ** 2.2
    picture[:horizon] += rise * np.asarray((0.42, 0.06, 0.36), np.float32)


def _row_of_buildings(
    rng: np.random.Generator,
    picture: Array,
    light: Light,
    horizon: int,
    near: float,
    *,
    neon: bool,
) -> None:
    width = picture.shape[1]
    x = -int(rng.integers(0, 20))
    while x < width:
        wide = int(width * rng.uniform(0.045, 0.10) * (0.7 + 0.6 * near))
        middle = 1 - abs((x + wide / 2) / width - 0.5) * 1.1
        tall = int(horizon * (0.20 + 0.50 * rng.uniform() ** 1.7 * middle) * (1.12 - 0.34 * near))
        _building(rng, picture, light, (x, horizon - tall, x + wide, horizon), near, neon=neon)
        x += wide + int(rng.integers(-4, 8))


def _building(
    rng: np.random.Generator,
    picture: Array,
    light: Light,
    box: tuple[int, int, int, int],
    near: float,
    *,
    neon: bool,
) -> None:
    left, top, right, foot = box
    left, right = max(0, left), min(picture.shape[1], right)
    if right - left < NARROWEST_PX or foot - top < LOWEST_PX:
        return
    wall = toned(light.haze, toned(light.shade, (0.05, 0.06, 0.09), 0.55), 0.25 + 0.7 * near)
    wall = toned(wall, (0.30, 0.22, 0.18), float(rng.uniform(0, 0.25)) * near)
    face = np.broadcast_to(np.asarray(wall, np.float32), (foot - top, right - left, 3)).copy()
    face *= np.linspace(1.10, 0.84, right - left, dtype=np.float32)[None, :, None]
    _windows(rng, face, light, near, neon=neon)
    if chance(rng, 0.35):
        face[:2] *= 1.35
    picture[top:foot, left:right] = face
    if chance(rng, 0.3) and foot - top > TOWER_PX:
        mast = (left + right) // 2
        picture[max(0, top - 24) : top, mast : mast + 2] = wall
    if neon and near > SIGNS_FROM and chance(rng, 0.6):
        _sign(rng, picture, box)


def _windows(
    rng: np.random.Generator, face: Array, light: Light, near: float, *, neon: bool
) -> None:
    rows, columns = face.shape[:2]
    pitch_y, pitch_x = int(5 + 3 * near), int(4 + 3 * near)
    grid = ((rows - 6) // pitch_y, (columns - 4) // pitch_x)
    if min(grid) < 1:
        return
    low = light.dark or light.sun_height < LOW_SUN
    share = 0.46 if light.dark or neon else (0.30 if low else 0.0)
    lit = rng.uniform(0, 1, grid) < share
    palette = np.asarray(NEON[:3] + WARM[:2] if neon else WARM, np.float32)
    tint = palette[rng.integers(0, len(palette), grid)]
    power = rng.uniform(0.45, 1.0, (*grid, 1)).astype(np.float32)
    glass = np.asarray(toned(light.middle, light.shade, 0.55), np.float32)
    glass = glass * rng.uniform(0.75, 1.15, (*grid, 1)).astype(np.float32)
    colour = np.where(lit[..., None], tint * power, glass)
    fill = 1.0 if light.dark else 0.75
    for dy in range(max(2, pitch_y - 3)):
        for dx in range(max(2, pitch_x - 2)):
            target = face[
                4 + dy : 4 + dy + grid[0] * pitch_y : pitch_y,
                2 + dx : 2 + dx + grid[1] * pitch_x : pitch_x,
            ]
            target += (colour[: target.shape[0], : target.shape[1]] - target) * fill


def _sign(rng: np.random.Generator, picture: Array, box: tuple[int, int, int, int]) -> None:
    left, top, right, foot = box
    x = int(rng.integers(left, max(left + 1, right - 4)))
    y = int(rng.integers(top + 4, max(top + 5, (top + foot) // 2)))
    colour = np.asarray(NEON[int(rng.integers(0, len(NEON)))], np.float32)
    height, width = picture.shape[:2]
    y0, y1 = max(0, y - 26), min(height, y + 66)
    x0, x1 = max(0, x - 28), min(width, x + 34)
    if x1 <= x0:
        return
    rows = np.arange(y0, y1, dtype=np.float32)[:, None]
    columns = np.arange(x0, x1, dtype=np.float32)[None, :]
    away = np.hypot(
        np.clip(np.abs(rows - y - 20) - 20, 0, None), np.clip(np.abs(columns - x - 2) - 2, 0, None)
    )
    picture[y0:y1, x0:x1] += (np.exp(-away / 6.5) * 0.55)[..., None] * colour
    picture[max(0, y) : y + 40, max(0, x) : x + 4] = colour * 0.6 + 0.4
