"""What a film's or avatar's options come to: exact pixels; and how long a spoken text will last."""

import unicodedata
from collections.abc import Mapping
from typing import Final

from services.generation.domain.pictures import RATIOS

SHORT_SIDE_PX: Final[Mapping[str, int]] = {"480p": 480, "720p": 720, "1080p": 1_080}
CHARACTERS_PER_S: Final = 12.0
"""Slow speech: what was estimated too long is given back, what was too short can't be charged."""
WIDE_AS: Final = 3
"""Characters of alphabets that one of Chinese, Japanese or Korean takes the time of."""


def film_size(resolution: str, aspect_ratio: str) -> tuple[int, int]:
    """Width and height in whole, even pixels; `resolution` names the short side."""
    across, down = RATIOS[aspect_ratio]
    short_px = SHORT_SIDE_PX[resolution]
    long_px = 2 * round(short_px * max(across, down) / min(across, down) / 2)
    return (long_px, short_px) if across >= down else (short_px, long_px)


def speech_s(text: str, speed: float) -> float:
    """Seconds that the text takes to be spoken, at most."""
    wide = sum(unicodedata.east_asian_width(mark) in "WF" for mark in text)
    return (len(text) + (WIDE_AS - 1) * wide) / CHARACTERS_PER_S / speed
