"""What is said of a picture by its looks: a score of what is unsafe, and a hash of its colours."""

import pytest
from blurhash_rs import blurhash_decode
from PIL import Image

from services.storage.adapters.blurhashes import blurhash_of
from services.storage.adapters.media import Bands
from services.storage.adapters.nsfw import score
from tests.storage.test_pictures import BLUE, GREEN, RED, WHITE, close, quarters

CLEAR = (0, 0, 0, 0)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("size", [(1, 1), (64, 48), (512, 1), (1, 512), (512, 512)])
def test_every_thumbnail_has_a_score_and_a_hash(mode: str, size: tuple[int, int]) -> None:
    image = quarters(64, 64).resize(size).convert(mode)

    assert 0 <= score(image) < 0.8
    assert len(blurhash_of(image)) == 6 + 2 * (4 * 3 - 1)


def test_a_score_is_that_of_the_models_makers() -> None:
    assert score(Image.new("RGB", (512, 512))) == pytest.approx(0.067, abs=0.01)
    assert score(Image.new("RGB", (512, 512), WHITE)) == pytest.approx(0.014, abs=0.01)


def test_what_is_transparent_is_seen_on_white() -> None:
    clear, white = (Image.new(mode, (64, 64), colour) for mode, colour in PAPERS)

    assert score(clear) == score(white)
    assert blurhash_of(clear) == blurhash_of(white)


PAPERS = (("RGBA", CLEAR), ("RGB", WHITE))


@pytest.mark.parametrize("size", [(64, 48), (48, 64)])
def test_a_hash_shows_where_the_colours_are(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, RED)
    image.paste(BLUE, (size[0] // 2, 0, size[0], size[1]))

    shown = blurhash_decode(blurhash_of(image), 20, 20)

    left, right = shown.getpixel((1, 10)), shown.getpixel((18, 10))
    assert isinstance(left, tuple)
    assert isinstance(right, tuple)
    assert left[0] > left[2] + 80
    assert right[2] > right[0] + 80


def test_a_single_colour_stays_itself() -> None:
    shown = blurhash_decode(blurhash_of(Image.new("RGB", (40, 40), GREEN)), 4, 4)
    assert close(shown.getpixel((2, 2)), GREEN)


@pytest.mark.parametrize(
    ("points", "verdict"),
    [(0.0, "allow"), (0.1999, "allow"), (0.2, "review"), (0.7999, "review"), (0.8, "block")],
)
def test_bands_begin_at_their_bounds(points: float, verdict: str) -> None:
    assert Bands(0.2, 0.8).verdict(points) == verdict
