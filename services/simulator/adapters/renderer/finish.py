"""What comes over a finished scene: weather, style, the eye's response and the sandbox mark."""

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from services.simulator.adapters.renderer.noise import Array, chance, patch, smooth
from services.simulator.adapters.renderer.sky import add, light_for, mix
from services.simulator.domain.brief import Brief

INDOORS = frozenset({"portrait", "product", "abstract", "space"})


def weathered(rng: np.random.Generator, picture: Array, brief: Brief) -> Array:
    """Rain, snow, fog and lightning over an outdoor scene."""
    if brief.scene in INDOORS:
        return picture
    light = light_for(brief)
    height, width = picture.shape[:2]
    if brief.weather == "storm":
        picture = _lightning(rng, picture)
    if brief.weather in {"rain", "storm"}:
        streaks = _streaks(rng, height, width)
        return mix(picture * 0.94, light.lit, streaks * 0.30)
    if brief.weather == "snow":
        return mix(picture, (0.97, 0.98, 1.0), _flakes(rng, height, width))
    if brief.weather == "fog":
        drift = patch(rng, 3.2, (height, width), (2.5, 5.0))
        y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
        return mix(picture, light.haze, np.clip(smooth(0.1, 0.8, y) * (0.3 + drift), 0, 0.8))
    return picture


def _streaks(rng: np.random.Generator, height: int, width: int) -> Array:
    mask = Image.new("L", (width, height))
    pen = ImageDraw.Draw(mask)
    for x, y, size in rng.uniform(0, 1, (260, 3)):
        long = height * (0.025 + 0.05 * size)
        start = (x * width * 1.1, y * height)
        pen.line((*start, start[0] - long * 0.22, start[1] + long), fill=int(110 + 140 * size))
    return np.asarray(mask.filter(ImageFilter.GaussianBlur(0.5)), np.float32) / 255


def _flakes(rng: np.random.Generator, height: int, width: int) -> Array:
    mask = Image.new("L", (width, height))
    pen = ImageDraw.Draw(mask)
    for x, y, size in rng.uniform(0, 1, (420, 3)):
        r = min(height, width) * (0.0012 + 0.0062 * size**5)
        cx, cy = x * width, y * height
        pen.ellipse((cx - r, cy - r, cx + r, cy + r), fill=int(150 + 100 * size))
    return np.asarray(mask.filter(ImageFilter.GaussianBlur(0.7)), np.float32) / 255


def _lightning(rng: np.random.Generator, picture: Array) -> Array:
    height, width = picture.shape[:2]
    mask = Image.new("L", (width, height))
    pen = ImageDraw.Draw(mask)
    x, y = width * float(rng.uniform(0.25, 0.75)), 0.0
    while y < height * 0.5:
        step = height * float(rng.uniform(0.02, 0.05))
        turn = x + float(rng.uniform(-1, 1)) * step * 1.1
        pen.line((x, y, turn, y + step), fill=255, width=2)
        if chance(rng, 0.25):
            branch = (turn + step * float(rng.uniform(-2, 2)), y + step * 2.4)
            pen.line((turn, y + step, *branch), fill=170, width=1)
        x, y = turn, y + step
    glow = np.asarray(mask.filter(ImageFilter.GaussianBlur(width / 45)), np.float32) / 255
    core = np.asarray(mask.filter(ImageFilter.GaussianBlur(0.6)), np.float32) / 255
    tint = np.asarray((0.72, 0.76, 1.0), np.float32)
    add(picture, tint, np.clip(glow * 3.2 + core, 0, 1.2))
    return picture


def developed(picture: Array, brief: Brief) -> Image.Image:
    """Tone and vignette, then 8 bits."""
    height, width = picture.shape[:2]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    picture = picture * (1.03 - 0.17 * (x * x + y * y) * 0.5)[..., None]
    np.clip(picture, 0, None, out=picture)
    over = np.clip(picture - 0.85, 0, None)
    picture = np.minimum(picture, 0.85) + over / (1 + over * 6.5)
    if brief.style not in {"mono", "sketch"}:
        grey = picture.mean(axis=-1, keepdims=True)
        picture = grey + (picture - grey) * 1.10
    return Image.fromarray((np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8))


def styled(rng: np.random.Generator, image: Image.Image, brief: Brief) -> Image.Image:
    match brief.style:
        case "watercolor":
            return _watercolor(rng, image)
        case "oil":
            return image.filter(ImageFilter.ModeFilter(5)).filter(
                ImageFilter.UnsharpMask(2, 120, 0)
            )
        case "sketch":
            return _sketch(image)
        case "mono":
            return ImageOps.autocontrast(image.convert("L"), cutoff=1).convert("RGB")
        case "vintage":
            return ImageOps.colorize(image.convert("L"), "#2b1a10", "#f6e7c6", "#a5794c")
        case "anime":
            flat = image.filter(ImageFilter.MedianFilter(5))
            return ImageOps.posterize(Image.blend(flat.convert("L").convert("RGB"), flat, 1.35), 5)
        case _:
            return image


def _watercolor(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    wash = image.filter(ImageFilter.MedianFilter(5))
    tones = np.asarray(wash, np.float32) / 255
    bloom = patch(rng, 2.8, tones.shape[:2], (1.6, 1.6)) - 0.5
    paper = patch(rng, 1.2, tones.shape[:2], (1.0, 1.0)) - 0.5
    edge = np.asarray(wash.convert("L").filter(ImageFilter.FIND_EDGES), np.float32) / 255
    tones = 0.16 + 0.86 * tones + (bloom * 0.42 + paper * 0.10)[..., None] - edge[..., None] * 0.35
    height, width = tones.shape[:2]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    border = smooth(0.97, 0.86, np.maximum(np.abs(x), np.abs(y)) + bloom * 0.16)
    tones = 0.975 + (tones - 0.975) * border[..., None]
    return Image.fromarray((np.clip(tones, 0, 1) * 255).astype(np.uint8))


def _sketch(image: Image.Image) -> Image.Image:
    grey = image.convert("L")
    soft = np.asarray(ImageOps.invert(grey).filter(ImageFilter.GaussianBlur(5)), np.float32)
    dodge = np.asarray(grey, np.float32) * 255 / np.clip(256 - soft, 1, None)
    shade = 0.80 + 0.20 * np.asarray(grey, np.float32) / 255
    paper = np.clip(dodge, 0, 255) * shade
    return ImageOps.colorize(Image.fromarray(paper.astype(np.uint8)), "#23211f", "#faf7ef")


def enlarged(image: Image.Image, width: int, height: int, brief: Brief) -> Image.Image:
    if brief.style == "pixel":
        small = image.resize((max(1, width // 11), max(1, height // 11)), Image.Resampling.BOX)
        few = small.quantize(28, method=Image.Quantize.MEDIANCUT).convert("RGB")
        return few.resize((width, height), Image.Resampling.NEAREST)
    return image.resize((width, height), Image.Resampling.BICUBIC)


@lru_cache(maxsize=8)
def _mark(tall: int) -> Image.Image:
    """The word on a dark plate, as an RGBA stamp `tall` pixels high."""
    font = ImageFont.load_default(tall * 0.58)
    wide = int(font.getlength("sandbox") + tall * 0.7)
    stamp = Image.new("RGBA", (wide, tall))
    pen = ImageDraw.Draw(stamp)
    pen.rounded_rectangle((0, 0, wide - 1, tall - 1), tall * 0.3, fill=(0, 0, 0, 96))
    pen.text((wide / 2, tall / 2), "sandbox", font=font, fill=(255, 255, 255, 215), anchor="mm")
    return stamp


def mark(image: Image.Image) -> None:
    """Say in a corner, visibly, that no model made this."""
    stamp, place = _stamped(image.size)
    image.paste(stamp, place, stamp)


def marked_layer(size: tuple[int, int]) -> Image.Image:
    """The mark alone, on an RGBA picture of `size` that is clear everywhere else."""
    layer = Image.new("RGBA", size)
    stamp, place = _stamped(size)
    layer.paste(stamp, place)
    return layer


def _stamped(size: tuple[int, int]) -> tuple[Image.Image, tuple[int, int]]:
    tall = max(14, min(size) // 36)
    stamp = _mark(tall)
    gap = tall // 2
    return stamp, (size[0] - stamp.width - gap, size[1] - tall - gap)
