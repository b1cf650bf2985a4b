"""A mark isn't seen, outlives what pictures go through, and is never found where none is."""

import io
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from services.simulator.adapters.renderer import render
from services.storage.adapters.watermark import MARK_BITS, CannotMark, embed, read

SECRET, OTHER = b"s" * 32, b"o" * 32
MARK = 0xBADC0FFEE0DD
UNMARKED = 1_000


@lru_cache
def rendered(prompt: str) -> Image.Image:
    return Image.open(io.BytesIO(render(prompt, 1, 512, 512, "png"))).convert("RGB")


def noise(side: int, grain: int = 1, seed: int = 3) -> Image.Image:
    chance = np.random.default_rng(seed)
    pixels = chance.integers(0, 256, (side // grain, side // grain, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC)


def gradient(width: int, height: int) -> Image.Image:
    down, across = np.mgrid[0:height, 0:width]
    channels = [across * 255 / width, down * 255 / height, (across + down) % 256]
    return Image.fromarray(np.stack(channels, 2).astype(np.uint8))


def flat(side: int, *colour: int) -> Image.Image:
    return Image.new("RGB", (side, side), colour)


PICTURES: Final[Mapping[str, Callable[[], Image.Image]]] = {
    "sea": lambda: rendered("a sunset over the sea"),
    "city": lambda: rendered("a neon city at night"),
    "snow": lambda: rendered("mountains in snow"),
    "space": lambda: rendered("a ringed planet in space"),
    "small sea": lambda: rendered("a sunset over the sea").resize((256, 256)),
    "noise": lambda: noise(512),
    "coarse noise": lambda: noise(512, 16),
    "small noise": lambda: noise(256, 4),
    "gradient": lambda: gradient(512, 512),
    "wide": lambda: gradient(1200, 300),
    "odd": lambda: gradient(517, 389),
    "black": lambda: flat(512, 0, 0, 0),
    "white": lambda: flat(512, 255, 255, 255),
    "grey": lambda: flat(256, 128, 128, 128),
    "red": lambda: flat(512, 255, 0, 0),
    "blue": lambda: flat(512, 0, 0, 255),
    "grey scale": lambda: noise(512, 32).convert("L"),
}


def saved(image: Image.Image, kind: str, **options: int) -> Image.Image:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return Image.open(io.BytesIO(out.getvalue()))


def halved(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)


FATES: Final[Mapping[str, Callable[[Image.Image], Image.Image]]] = {
    "PNG": lambda image: saved(image, "PNG"),
    "JPEG 75": lambda image: saved(image, "JPEG", quality=75),
    "JPEG 50": lambda image: saved(image, "JPEG", quality=50),
    "WebP 80": lambda image: saved(image, "WEBP", quality=80),
    "half": halved,
    "half by averages": lambda image: image.reduce(2),
    "half, then JPEG 50": lambda image: saved(halved(image), "JPEG", quality=50),
    "JPEG 50, then half": lambda image: halved(saved(image, "JPEG", quality=50)),
}


def decibels(one: Image.Image, other: Image.Image) -> float:
    apart = np.asarray(one, np.float64) - np.asarray(other, np.float64)
    return float(10 * np.log10(255**2 / np.square(apart).mean()))


@pytest.mark.parametrize("name", PICTURES)
def test_a_mark_is_not_seen_and_outlives_each_fate(name: str) -> None:
    image = PICTURES[name]()

    marked = embed(image, MARK, SECRET)

    assert decibels(image, marked) >= 40.0
    assert {fate: read(meet(marked), [SECRET]) for fate, meet in FATES.items()} == dict.fromkeys(
        FATES, MARK
    )


@settings(max_examples=25, deadline=None)
@given(mark=st.integers(1, (1 << MARK_BITS) - 1), secret=st.binary(min_size=16, max_size=64))
def test_any_mark_by_any_secret_is_read_again(mark: int, secret: bytes) -> None:
    assert read(embed(noise(192, 8), mark, secret), [secret]) == mark


def unmarked(number: int) -> Image.Image:
    """Noise of its own in each, from fine to coarse, over nothing, a render or a flat colour."""
    own = noise(256, 1 << number % 7, seed=number)
    match number % 3:
        case 0:
            return own
        case 1:
            prompt = ("a forest", "the sea", "a desert", "a city")[number % 4]
            return Image.blend(own, rendered(prompt).resize((256, 256)), 0.6)
        case _:
            return Image.blend(own, flat(256, *(number * step % 256 for step in (3, 5, 7))), 0.9)


def test_no_mark_is_found_in_a_thousand_unmarked_pictures() -> None:
    found = [read(unmarked(number), [SECRET]) for number in range(UNMARKED)]

    assert found == [None] * UNMARKED


def test_another_secret_reads_nothing_and_of_several_the_right_one_does() -> None:
    marked = embed(noise(256, 8), MARK, SECRET)

    assert read(marked, [OTHER]) is None
    assert read(marked, [OTHER, SECRET]) == MARK
    assert read(marked, []) is None


def test_the_same_picture_is_marked_alike_each_time() -> None:
    assert embed(noise(256, 8), MARK, SECRET) == embed(noise(256, 8), MARK, SECRET)


def test_a_picture_that_is_marked_already_takes_the_new_mark() -> None:
    twice = embed(embed(noise(256, 8), 1, SECRET), MARK, SECRET)

    assert read(twice, [SECRET]) == MARK


def test_what_can_be_seen_through_stays_so() -> None:
    image = noise(256, 8).convert("RGBA")
    image.putalpha(Image.linear_gradient("L"))

    marked = embed(image, MARK, SECRET)

    assert marked.mode == "RGBA"
    assert marked.getchannel("A") == image.getchannel("A")
    assert read(saved(marked, "PNG"), [SECRET]) == MARK


@pytest.mark.parametrize(
    ("mode", "becomes"),
    [("L", "L"), ("LA", "LA"), ("P", "RGB"), ("1", "L"), ("CMYK", "RGB"), ("RGBA", "RGBA")],
)
def test_pictures_of_any_mode_are_marked(mode: str, becomes: str) -> None:
    image = noise(256, 8).convert(mode)

    marked = embed(image, MARK, SECRET)

    assert marked.mode == becomes
    assert read(marked, [SECRET]) == MARK


def test_a_palette_with_a_colour_that_is_clear_keeps_it() -> None:
    image = noise(256, 8).quantize(16)
    image.info["transparency"] = 0

    marked = embed(image, MARK, SECRET)

    assert marked.getchannel("A").getextrema() == (0, 255)
    assert read(marked, [SECRET]) == MARK


def test_what_has_too_little_to_be_marked_is_left_as_it_is() -> None:
    clear = Image.new("RGBA", (256, 256), (0, 0, 0, 0))

    for image in (noise(256).resize((512, 127)), clear):
        with pytest.raises(CannotMark):
            embed(image, MARK, SECRET)


def test_pictures_too_small_for_a_mark_have_none() -> None:
    assert read(noise(64).resize((63, 2_000)), [SECRET]) is None
    assert read(Image.new("RGB", (1, 1)), [SECRET]) is None


@pytest.mark.parametrize("mark", [0, -1, 1 << MARK_BITS])
def test_a_mark_has_48_bits_and_is_not_0(mark: int) -> None:
    with pytest.raises(ValueError, match="48 bits"):
        embed(noise(256), mark, SECRET)
