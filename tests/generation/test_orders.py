"""What a request comes to: sizes, lengths and a price, for each kind of model."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.errors import Invalid
from services.generation.adapters.catalogue_file import read_catalogue
from services.generation.domain.films import film_size, speech_s
from services.generation.domain.orders import Order, order_of
from services.generation.domain.prices import LengthPrice

CATALOGUE = read_catalogue()
AVATAR = {"avatar_id": "a", "voice_id": "v"}


def order(model_id: str, options: dict[str, Any], text: str = "Hello") -> Order:
    return order_of(CATALOGUE.find(model_id), options, text, 100)


@pytest.mark.parametrize(
    ("duration_s", "units"), [(5, 50_000), (10, 100_000), (15, 100_000), (None, 50_000)]
)
def test_a_film_costs_twice_as_much_beyond_five_seconds(duration_s: int | None, units: int) -> None:
    film = order("wan-2.6", {"duration_seconds": duration_s})
    assert (film.price_units, film.duration_s) == (units, float(duration_s or 5))


@pytest.mark.parametrize(
    ("resolution", "ratio", "size"),
    [
        ("720p", "16:9", (1_280, 720)),
        ("1080p", "9:16", (1_080, 1_920)),
        ("720p", "1:1", (720, 720)),
        ("480p", "16:9", (854, 480)),
        ("720p", "3:4", (720, 960)),
    ],
)
def test_a_film_is_as_large_as_its_name_says(
    resolution: str, ratio: str, size: tuple[int, int]
) -> None:
    assert film_size(resolution, ratio) == size


def test_a_film_is_as_large_as_its_vendor_makes_it_where_the_book_says_so() -> None:
    for ratio, size in (("16:9", (832, 480)), ("9:16", (480, 832)), ("1:1", (480, 480))):
        film = order("leonardo-motion-2", {"resolution": "480p", "aspect_ratio": ratio})
        assert (film.width, film.height) == size


def test_speech_costs_by_each_half_minute_that_begins() -> None:
    price = LengthPrice(30, 5_000, 5_000, 30)
    lengths = [0.1, 30, 30.1, 60, 61]
    assert [price.of(length) for length in lengths] == [5_000, 5_000, 10_000, 10_000, 15_000]


def test_speech_is_priced_for_the_time_that_its_text_takes() -> None:
    assert order("elevenlabs-tts", {}, "x" * 360).price_units == 5_000
    assert order("elevenlabs-tts", {}, "x" * 361).price_units == 10_000
    assert order("elevenlabs-tts", {"speed": 1.2}, "x" * 361).price_units == 5_000


def test_a_wide_character_takes_longer_than_a_letter() -> None:
    assert speech_s("語" * 10, 1.0) == speech_s("x" * 30, 1.0)


def test_what_is_spoken_needs_its_text_for_its_price() -> None:
    for text in (None, " "):
        with pytest.raises(Invalid) as refusal:
            order_of(CATALOGUE.find("elevenlabs-tts"), {}, text, 100)
        assert refusal.value.details == {"field": "prompt"}


def test_an_avatar_costs_as_a_film_of_its_length() -> None:
    assert order("heygen-avatar", AVATAR, "x" * 60).price_units == 50_000
    assert order("heygen-avatar", AVATAR, "x" * 61).price_units == 100_000


def test_the_smallest_avatar_is_as_large_as_its_vendor_makes_it() -> None:
    assert order("heygen-avatar", {**AVATAR, "quality": "low"}).width is None
    assert order("heygen-avatar", {**AVATAR, "dimension": "9:16"}).width == 720


REFUSED: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "an unknown option": ("flux-2", {"steps": 4}, "steps", "num_images"),
    "an option of another model": ("flux-2", {"voice_id": "x"}, "voice_id", "num_images"),
    "a length that is not made": ("wan-2.6", {"duration_seconds": 7}, "duration_seconds", "5, 10"),
    "a length as text": ("wan-2.6", {"duration_seconds": "5"}, "duration_seconds", "5, 10, 15"),
    "a film too large": ("leonardo-motion-2", {"resolution": "1080p"}, "resolution", "480p, 720p"),
    "a number for a truth": ("heygen-avatar", {**AVATAR, "caption": 1}, "caption", "boolean"),
    "too fast": ("elevenlabs-tts", {"speed": 3}, "speed", "at most 1.2"),
    "a voice with a slash": ("elevenlabs-tts", {"voice_id": "../x"}, "voice_id", "letters"),
    "no avatar": ("heygen-avatar", {"voice_id": "v"}, "avatar_id", "letters"),
    "nothing for an avatar": ("heygen-avatar", {**AVATAR, "avatar_id": None}, "avatar_id", "type"),
    "a list for a word": ("wan-2.6", {"resolution": ["720p"]}, "resolution", "720p, 1080p"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses_an_option_outside_its_schema_and_says_what_is_allowed(case: str) -> None:
    model_id, options, named, allowed = REFUSED[case]
    with pytest.raises(Invalid) as refusal:
        order(model_id, options)
    assert refusal.value.details == {"field": f"options.{named}"}
    assert allowed in refusal.value.message


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
_NAMES = sorted({name for model in CATALOGUE.models.values() for name in model.options.properties})


@given(
    st.sampled_from(sorted(CATALOGUE.models)),
    st.dictionaries(st.sampled_from(_NAMES), _JSON, max_size=4),
    st.text(min_size=1, max_size=40),
)
def test_whatever_is_asked_is_refused_by_name_or_has_a_price(
    model_id: str, options: dict[str, Any], text: str
) -> None:
    try:
        made = order(model_id, options, text)
    except Invalid as refusal:
        assert "field" in refusal.details  # noqa: PT017 - either is right
    else:
        assert made.price_units > 0
