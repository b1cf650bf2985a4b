"""What a picture's options come to: exact pixels and a quality, or a refusal naming the field."""

from collections.abc import Mapping
from dataclasses import dataclass

from services.generation.domain.options import refused
from services.generation.domain.prices import Quality

SIDE_MIN_PX, SIDE_MAX_PX = 256, 4_096
HD_FROM_PX, UHD_FROM_PX = 1_024, 2_048
RATIO_TOLERANCE = 0.01
"""Whole pixels can't meet every ratio: 1366x768 is 16:9 to everybody but arithmetic."""

RATIOS: Mapping[str, tuple[int, int]] = {
    "1:1": (1, 1),
    "16:9": (16, 9),
    "9:16": (9, 16),
    "4:3": (4, 3),
    "3:4": (3, 4),
    "3:2": (3, 2),
    "2:3": (2, 3),
    "21:9": (21, 9),
}
LONG_SIDE_PX: Mapping[Quality, int] = {
    Quality.STANDARD: 768,
    Quality.HD: 1_024,
    Quality.UHD: 3_840,
}


@dataclass(frozen=True, slots=True)
class PictureSize:
    width: int
    height: int
    quality: Quality


def picture_size(
    *, aspect_ratio: str | None, resolution: str | None, quality: str | None
) -> PictureSize:
    """The size asked for; square and standard when nothing is said. Raises `Invalid`."""
    ratio = _ratio(aspect_ratio)
    wanted = _quality(quality)
    if resolution is None:
        width, height = _sized(ratio or (1, 1), LONG_SIDE_PX[wanted or Quality.STANDARD])
        return PictureSize(width, height, wanted or Quality.STANDARD)
    width, height = _pixels(resolution)
    if ratio is not None and abs(width * ratio[1] / (height * ratio[0]) - 1) > RATIO_TOLERANCE:
        raise refused("resolution", f"{resolution} is not {aspect_ratio}.")
    found = quality_of(width, height)
    if wanted is not None and wanted != found:
        raise refused("quality", f"{resolution} is {found} quality, not {wanted}.")
    return PictureSize(width, height, found)


def quality_of(width: int, height: int) -> Quality:
    long_side = max(width, height)
    if long_side < HD_FROM_PX:
        return Quality.STANDARD
    return Quality.HD if long_side < UHD_FROM_PX else Quality.UHD


def nearest_ratio(width: int, height: int) -> str:
    """The named ratio closest to these pixels, for vendors that know only names."""
    return min(RATIOS, key=lambda name: abs(width / height - RATIOS[name][0] / RATIOS[name][1]))


def _ratio(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    if text not in RATIOS:
        raise refused("aspect_ratio", f"One of {', '.join(RATIOS)}.")
    return RATIOS[text]


def _quality(text: str | None) -> Quality | None:
    if text is None:
        return None
    try:
        return Quality(text)
    except ValueError:
        raise refused("quality", f"One of {', '.join(Quality)}.") from None


def _pixels(text: str) -> tuple[int, int]:
    width, separator, height = text.partition("x")
    sides = (width, height)
    if not separator or not all(
        side.isascii() and side.isdigit() and len(side) <= len(str(SIDE_MAX_PX)) for side in sides
    ):
        raise refused("resolution", "Written as WIDTHxHEIGHT, like 1024x576.")
    if not all(SIDE_MIN_PX <= int(side) <= SIDE_MAX_PX for side in sides):
        raise refused("resolution", f"Each side takes {SIDE_MIN_PX} to {SIDE_MAX_PX} pixels.")
    return int(width), int(height)


def _sized(ratio: tuple[int, int], long_side_px: int) -> tuple[int, int]:
    """Whole, even pixels of that ratio."""
    across, down = ratio
    short_px = max(SIDE_MIN_PX, 2 * round(long_side_px * min(ratio) / max(ratio) / 2))
    return (long_side_px, short_px) if across >= down else (short_px, long_side_px)
