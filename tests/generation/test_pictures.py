"""What a picture's options come to: exact pixels and a quality, or a refusal naming the field."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.errors import Invalid
from services.generation.domain.pictures import (
    RATIO_TOLERANCE,
    RATIOS,
    SIDE_MAX_PX,
    SIDE_MIN_PX,
    PictureSize,
    nearest_ratio,
    picture_size,
    quality_of,
)
from services.generation.domain.prices import Quality


def size(
    aspect_ratio: str | None = None, resolution: str | None = None, quality: str | None = None
) -> PictureSize:
    return picture_size(aspect_ratio=aspect_ratio, resolution=resolution, quality=quality)


def refused_field(
    aspect_ratio: str | None = None, resolution: str | None = None, quality: str | None = None
) -> object:
    with pytest.raises(Invalid) as refusal:
        size(aspect_ratio, resolution, quality)
    return refusal.value.details["field"]


def test_says_nothing_gets_a_standard_square() -> None:
    assert size() == PictureSize(768, 768, Quality.STANDARD)


def test_the_seeds_example_is_hd() -> None:
    assert size(resolution="1024x576") == PictureSize(1_024, 576, Quality.HD)


@pytest.mark.parametrize(
    ("long_side", "quality"),
    [
        (SIDE_MIN_PX, Quality.STANDARD),
        (1_023, Quality.STANDARD),
        (1_024, Quality.HD),
        (2_047, Quality.HD),
        (2_048, Quality.UHD),
        (SIDE_MAX_PX, Quality.UHD),
    ],
)
def test_quality_goes_by_the_long_side(long_side: int, quality: Quality) -> None:
    assert quality_of(long_side, SIDE_MIN_PX) == quality
    assert quality_of(SIDE_MIN_PX, long_side) == quality


@pytest.mark.parametrize("quality", Quality)
@pytest.mark.parametrize("ratio", RATIOS)
def test_a_ratio_and_a_quality_come_to_pixels_of_both(ratio: str, quality: Quality) -> None:
    found = size(aspect_ratio=ratio, quality=quality.value)
    across, down = RATIOS[ratio]
    assert found.quality == quality == quality_of(found.width, found.height)
    assert abs(found.width * down / (found.height * across) - 1) <= RATIO_TOLERANCE
    assert min(found.width, found.height) >= SIDE_MIN_PX
    assert max(found.width, found.height) <= SIDE_MAX_PX
    assert nearest_ratio(found.width, found.height) == ratio


def test_takes_a_resolution_that_agrees_with_the_rest() -> None:
    assert size("16:9", "1366x768", "hd") == PictureSize(1_366, 768, Quality.HD)


def test_refuses_a_resolution_that_contradicts_the_ratio() -> None:
    assert refused_field("1:1", "1024x576") == "options.resolution"


def test_refuses_a_quality_that_contradicts_the_resolution() -> None:
    assert refused_field(None, "512x512", "hd") == "options.quality"


@pytest.mark.parametrize("ratio", ["5:4", "", "16x9", "16:9 "])
def test_refuses_an_unknown_ratio(ratio: str) -> None:
    assert refused_field(ratio) == "options.aspect_ratio"


@pytest.mark.parametrize("quality", ["HD", "ultra", ""])
def test_refuses_an_unknown_quality(quality: str) -> None:
    assert refused_field(None, None, quality) == "options.quality"


@pytest.mark.parametrize(
    "resolution",
    [
        *("", "x", "1024", "1024x", "x1024", "1024X576", "1024x576x3", " 1024x576", "-512x512"),
        *("512.5x512", "255x512", "512x4097", "0x0", "\u0665\u0661\u0662x512", "1" * 5_000 + "x1"),
    ],
)
def test_refuses_what_is_no_resolution(resolution: str) -> None:
    assert refused_field(None, resolution) == "options.resolution"


@given(width=st.integers(SIDE_MIN_PX, SIDE_MAX_PX), height=st.integers(SIDE_MIN_PX, SIDE_MAX_PX))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_every_resolution_in_bounds_comes_in_exactly_its_pixels(width: int, height: int) -> None:
    found = size(resolution=f"{width}x{height}")
    assert (found.width, found.height) == (width, height)
    assert nearest_ratio(width, height) in RATIOS
