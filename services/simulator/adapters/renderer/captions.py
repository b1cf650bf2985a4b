"""Captions: a speech in short lines, each at its time, drawn at the foot of a frame."""

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageDraw, ImageFont

WIDEST: Final = 0.86
"""A line's width, as part of the frame's."""
FOOT: Final = 0.06
"""What stays free below, as part of the frame's height."""
LETTER: Final = 0.55
"""A letter's usual width, as part of the font's size."""
LINES: Final = 2


@dataclass(frozen=True, slots=True)
class Caption:
    """One to LINES lines, shown between two seconds."""

    text: str
    begins_s: float
    ends_s: float


def captions_of(
    sentences: Iterable[tuple[str, float, float]], size: tuple[int, int]
) -> tuple[Caption, ...]:
    """The sentences (with the second each begins and ends) in parts that fit the frame.

    Within a sentence time is shared out by letters.
    """
    columns = max(8, int(size[0] * WIDEST / (_font_px(size) * LETTER)))
    captions = []
    for sentence, begins_s, ends_s in sentences:
        lines = textwrap.wrap(sentence, columns)
        parts = ["\n".join(lines[at : at + LINES]) for at in range(0, len(lines), LINES)]
        per_letter_s = (ends_s - begins_s) / sum(len(part) for part in parts)
        at_s = begins_s
        for part in parts:
            captions.append(Caption(part, at_s, at_s + len(part) * per_letter_s))
            at_s = captions[-1].ends_s
    return tuple(captions)


def drawn(caption: Caption, size: tuple[int, int]) -> Image.Image:
    """White letters on a dark plate, on an RGBA picture of the frame's `size`."""
    layer = Image.new("RGBA", size)
    pen = ImageDraw.Draw(layer)
    font_px = _font_px(size)
    font = ImageFont.load_default(font_px)
    place = (size[0] / 2, size[1] * (1 - FOOT))
    box = pen.multiline_textbbox(place, caption.text, font, anchor="md", align="center")
    gap = font_px * 0.35
    plate = (box[0] - gap, box[1] - gap, box[2] + gap, box[3] + gap)
    pen.rounded_rectangle(plate, gap, fill=(0, 0, 0, 150))
    pen.multiline_text(place, caption.text, (255, 255, 255, 240), font, anchor="md", align="center")
    return layer


def _font_px(size: tuple[int, int]) -> float:
    return max(8.0, min(size) / 20)
