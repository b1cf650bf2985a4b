"""A camera over a still picture: where it looks at each moment, and what it sees there."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from services.simulator.adapters.renderer.reel import Planes, planes_of

ROOM: Final = 1.2
"""How much larger than the frame the picture is, each way: what a camera has to move in."""
Box = tuple[float, float, float, float]
"""Left, top, right, bottom in parts of the picture."""

WHOLE: Final[Box] = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Move:
    """From one view to another, gently at both ends."""

    start: Box
    end: Box

    def at(self, part: float) -> Box:
        """The view when `part` (0..1) of the time is over."""
        eased = 0.35 * part + 0.65 * part * part * (3 - 2 * part)
        left, top, right, bottom = (
            a + (b - a) * eased for a, b in zip(self.start, self.end, strict=True)
        )
        return left, top, right, bottom


def chosen_move(rng: np.random.Generator, prompt: str, *, begins_whole: bool) -> Move:
    """The move the words ask for (zoom out, pan left, pan right), else one of the seed's.

    A film that `begins_whole` begins with the whole picture and moves into it.
    """
    across, down = (float(part) for part in rng.uniform(0.25, 0.75, 2))
    near = 1 / ROOM
    left, top = (1 - near) * across, (1 - near) * down
    close: Box = (left, top, left + near, top + near)
    west: Box = (0.0, top, near, top + near)
    east: Box = (1 - near, top, 1.0, top + near)
    moves = {
        "zoom in": Move(WHOLE, close),
        "zoom out": Move(close, WHOLE),
        "pan right": Move(west, east),
        "pan left": Move(east, west),
    }
    drawn = list(moves.values())[int(rng.integers(0, len(moves)))]
    if begins_whole:
        return moves["zoom in"]
    asked = (move for words, move in moves.items() if words in prompt.lower())
    return next(asked, drawn)


class Camera:
    """Frames of one size out of one RGB picture of even sides and of the frame's shape."""

    def __init__(self, image: Image.Image, size: tuple[int, int]) -> None:
        self._planes = [Image.fromarray(plane) for plane in planes_of(image)]
        self._size = size

    def see(self, view: Box) -> Planes:
        """What lies in `view`, at the frame's size; fractions of a pixel count."""
        width, height = self._size
        sizes = ((width, height), (width // 2, height // 2), (width // 2, height // 2))
        luma, blue, red = (
            _cut(plane, view, size) for plane, size in zip(self._planes, sizes, strict=True)
        )
        return luma, blue, red


def _cut(plane: Image.Image, view: Box, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    across, down = plane.size
    box = (view[0] * across, view[1] * down, view[2] * across, view[3] * down)
    seen = plane.resize(size, Image.Resampling.BILINEAR, box=box)
    return np.asarray(seen).copy()


class Overlay:
    """An RGBA picture of the frame's size laid over frames, only where it shows anything."""

    def __init__(self, layer: Image.Image) -> None:
        alpha = layer.getchannel("A")
        left, top, right, bottom = alpha.getbbox() or (0, 0, 2, 2)
        left, top = left - left % 2, top - top % 2
        right, bottom = right + right % 2, bottom + bottom % 2
        self._left, self._top = left, top
        patch = layer.crop((left, top, right, bottom))
        planes = planes_of(patch.convert("RGB"))
        cover = patch.getchannel("A")
        halves = cover.reduce(2)
        shares = [np.asarray(one, np.uint16) for one in (cover, halves, halves)]
        self._hidden = [255 - share for share in shares]
        self._shown = [
            plane.astype(np.uint16) * share for plane, share in zip(planes, shares, strict=True)
        ]

    def over(self, planes: Planes) -> None:
        """Lay it over the frame, in place."""
        for plane, hidden, shown, scale in zip(
            planes, self._hidden, self._shown, (1, 2, 2), strict=True
        ):
            top, left = self._top // scale, self._left // scale
            rows, columns = hidden.shape
            part = plane[top : top + rows, left : left + columns]
            part[:] = (part * hidden + shown) // 255


def covering(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture cropped around its middle to the shape of `size` and brought to it."""
    width, height = size
    scale = min(image.width / width, image.height / height)
    across, down = width * scale, height * scale
    left, top = (image.width - across) / 2, (image.height - down) / 2
    box = (left, top, left + across, top + down)
    return image.convert("RGB").resize(size, Image.Resampling.BICUBIC, box=box)
