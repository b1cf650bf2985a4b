import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from services.simulator.adapters.renderer import render
from services.simulator.domain.brief import SCENES, STYLES


def picture(prompt: str, seed: int = 5, size: tuple[int, int] = (160, 160)) -> Image.Image:
    image = Image.open(io.BytesIO(render(prompt, seed, *size, "png")))
    image.load()
    return image


def mean_colour(prompt: str, top: int = 0) -> tuple[float, float, float]:
    """Of the rows from `top` (of 160) down."""
    pixels = np.asarray(picture(prompt), float)[top:]
    red, green, blue = pixels.reshape(-1, 3).mean(axis=0)
    return float(red), float(green), float(blue)


def test_the_same_seed_gives_the_same_bytes() -> None:
    first, again, other = (
        hashlib.sha256(render("sea at sunset", seed, 200, 120, "png")).hexdigest()
        for seed in (7, 7, 8)
    )
    assert first == again != other


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_makes_exactly_the_size_and_kind_asked_for(kind: str) -> None:
    image = Image.open(io.BytesIO(render("a forest", 1, 1376, 768, kind)))
    assert image.size == (1376, 768)
    assert image.format == {"png": "PNG", "jpg": "JPEG"}[kind]
    image.load()


@pytest.mark.parametrize(
    "scene", [*SCENES, "cat", "dog", "fox", "robot", "woman", "mug", "vase", "bottle"]
)
def test_every_scene_is_a_picture_and_not_a_flat_field(scene: str) -> None:
    pixels = np.asarray(picture(scene, size=(96, 96)), float)
    assert pixels.std() > 12


@pytest.mark.parametrize("style", sorted(STYLES))
def test_every_style_changes_the_picture(style: str) -> None:
    words = f"mountain {STYLES[style].split()[0]}"
    plain, styled = (np.asarray(picture(text), float) for text in ("mountain", words))
    assert np.abs(plain - styled).mean() > 3


def test_a_sunset_is_warmer_than_a_day_and_brighter_than_a_night() -> None:
    sunset, day, night = (
        mean_colour(f"mountains at {time}") for time in ("sunset", "noon", "night")
    )
    assert sunset[0] - sunset[2] > 40 > day[0] - day[2]
    assert sum(sunset) > 2 * sum(night)


def test_a_sea_is_blue_a_desert_is_yellow_and_a_forest_is_green() -> None:
    sea, desert, forest = (mean_colour(words, 110) for words in ("sea", "desert", "forest"))
    assert sea[2] > sea[0] + 40
    assert desert[0] > desert[2] + 40
    assert forest[1] > forest[0] + 5


def test_a_colour_word_colours_the_product() -> None:
    red, blue = (mean_colour(f"a {colour} mug") for colour in ("red", "blue"))
    assert red[0] - red[2] > 20
    assert blue[2] - blue[0] > 20


def test_rain_and_snow_are_seen() -> None:
    plain, snowy = (np.asarray(picture(words), float) for words in ("city", "city in snow"))
    assert np.abs(plain - snowy).mean() > 3


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_says_in_its_metadata_that_an_algorithm_made_it(kind: str) -> None:
    image = Image.open(io.BytesIO(render("a cat", 1, 128, 128, kind)))
    assert "digitalsourcetype/algorithmicMedia" in str(image.info.get("xmp"))


def test_carries_the_sandbox_mark_in_its_corner() -> None:
    corner = np.asarray(
        picture("white abstract", size=(512, 512)).crop((420, 480, 512, 512)), float
    )
    assert corner.std() > 10
