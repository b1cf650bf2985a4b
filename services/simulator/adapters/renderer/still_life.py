"""One thing on a studio table: bodies turned on a lathe, lit by two soft boxes."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from services.simulator.adapters.renderer.cosmos import backdrop
from services.simulator.adapters.renderer.figure import CLOTHES, INK, WHITE, pick
from services.simulator.adapters.renderer.ground import Size
from services.simulator.adapters.renderer.noise import Array, smooth
from services.simulator.adapters.renderer.sky import (
    Colour,
    add,
    between,
    mix,
    toned,
)
from services.simulator.domain.brief import Brief


@dataclass(frozen=True, slots=True)
class Turned:
    """A body turned on a lathe: radii at heights (0 the top, 1 the foot), in heights."""

    heights: tuple[float, ...]
    radii: tuple[float, ...]
    tall: float


FORMS = {
    "bottle": Turned(
        (0, 0.16, 0.161, 0.20, 0.26, 0.36, 0.40, 0.96, 1.0),
        (0.085, 0.085, 0.065, 0.065, 0.085, 0.18, 0.20, 0.20, 0.185),
        0.60,
    ),
    "mug": Turned((0, 0.02, 0.1, 0.9, 1.0), (0.41, 0.43, 0.42, 0.40, 0.33), 0.34),
    "vase": Turned(
        (0, 0.04, 0.16, 0.30, 0.48, 0.62, 0.85, 1.0),
        (0.17, 0.15, 0.10, 0.13, 0.26, 0.29, 0.20, 0.14),
        0.58,
    ),
}


def product(rng: np.random.Generator, brief: Brief, size: Size) -> Array:
    """One thing on a studio table, with its shadow and its reflection."""
    height, width = size
    form = FORMS.get(brief.subject, FORMS["bottle"])
    colour = brief.colours[0] if brief.colours else pick(rng, (*CLOTHES, (0.85, 0.45, 0.42)))
    wall = toned(colour, (0.93, 0.91, 0.88), 0.72)
    picture = backdrop(rng, size, toned(wall, INK, 0.22), toned(wall, WHITE, 0.6))
    tall = min(height, width * 1.15) * form.tall
    foot = height * 0.80
    y = np.arange(height, dtype=np.float32)[:, None]
    table = smooth(height * 0.66, height * 0.72, y)
    picture = mix(picture, toned(wall, WHITE, 0.35), table * 0.55)
    picture = _cast_shadow(picture, foot, tall, form)
    body, mask = _lathe(form, size, foot, tall, colour)
    row = int(foot)
    depth = min(height - row, row)
    fade = np.linspace(0.30, 0.0, depth, dtype=np.float32)[:, None]
    low = slice(row, row + depth)
    picture[low] = mix(
        picture[low], body[row - depth : row][::-1], mask[row - depth : row][::-1] * fade
    )
    return mix(picture, body, mask)


def _cast_shadow(picture: Array, foot: float, tall: float, form: Turned) -> Array:
    height, width = picture.shape[:2]
    small = Image.new("L", (width // 4, height // 4))
    reach = tall * form.radii[-1] / 4
    cx, cy = width / 8, foot / 4
    box = (cx - reach * 1.1, cy - reach * 0.22, cx + reach * 2.6, cy + reach * 0.34)
    ImageDraw.Draw(small).ellipse(box, fill=255)
    soft = small.filter(ImageFilter.GaussianBlur(max(1.0, reach * 0.22)))
    mask = np.asarray(soft.resize((width, height), Image.Resampling.BILINEAR), np.float32) / 255
    return mix(picture, (0.05, 0.04, 0.05), mask * 0.55)


def _lathe(
    form: Turned, size: Size, foot: float, tall: float, colour: Colour
) -> tuple[Array, Array]:
    """The turned body lit by two soft boxes: (colours, mask)."""
    height, width = size
    y = np.arange(height, dtype=np.float32)
    x = np.arange(width, dtype=np.float32)[None, :] - width / 2
    t = (y - (foot - tall)) / tall
    radius = np.interp(t, form.heights, form.radii).astype(np.float32) * tall
    radius = np.where((t < 0) | (t > 1), 0.001, radius)[:, None]
    across = np.clip(x / radius, -1, 1)
    mask = np.clip(radius - np.abs(x) + 0.5, 0, 1) * (radius > 1)
    facing = np.sqrt(1 - across * across)
    key = np.clip(facing * 0.75 - across * 0.65, 0, 1)
    strip = smooth(0.10, 0.04, np.abs(across + 0.58)) * 0.55
    rim = smooth(0.72, 0.98, across) * 0.30
    body = between((0, 0, 0), colour, 0.20 + 0.95 * key)
    add(body, (1, 1, 1), strip + rim)
    rows = t[:, None] + 0 * x
    if form is FORMS["mug"]:
        ring = np.hypot((x - tall * 0.47) / (tall * 0.22), (rows - 0.48) / 0.30)
        grip = smooth(0.66, 0.70, ring) * smooth(1.04, 1.0, ring) * (x > tall * 0.38)
        tone = np.clip(0.95 - 0.5 * np.abs(ring - 0.85) / 0.2, 0.2, 1)
        body = mix(body, between((0, 0, 0), colour, tone), grip * (1 - mask))
        return body, np.clip(mask + grip, 0, 1)
    label = smooth(0.50, 0.51, rows) * smooth(0.82, 0.81, rows) * (form is FORMS["bottle"])
    paper = between((0, 0, 0), WHITE, 0.32 + 0.75 * key)
    lines = label * smooth(0.006, 0.003, np.abs(rows - 0.60)) * smooth(0.51, 0.49, np.abs(across))
    lines += label * smooth(0.016, 0.012, np.abs(rows - 0.67)) * smooth(0.33, 0.31, np.abs(across))
    body = mix(mix(body, paper, label * 0.95), toned(colour, INK, 0.5), np.clip(lines, 0, 1))
    cap = (smooth(0.162, 0.158, rows)) * (form is FORMS["bottle"])
    metal = between((0, 0, 0), (0.80, 0.70, 0.48), 0.25 + 0.9 * key + strip)
    return mix(body, metal, cap), mask
