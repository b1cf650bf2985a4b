"""A silent film: a camera that moves over a painted scene, or over the picture it begins with."""

import hashlib
import warnings
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from services.simulator.adapters.label import ALGORITHMIC
from services.simulator.adapters.renderer import finish
from services.simulator.adapters.renderer.camera import ROOM, Camera, Overlay, chosen_move, covering
from services.simulator.adapters.renderer.paint import painted
from services.simulator.adapters.renderer.reel import Reel
from services.simulator.domain.commissions import Film

GIVEN_PX_MAX: Final = 40_000_000
GIVEN_FORMATS: Final = ("PNG", "JPEG", "WEBP")


def film_file(film: Film, scratch: Path, first_frame_path: Path | None = None) -> bytes:
    """An MP4 of exactly the film's size, frame rate and number of frames.

    With `first_frame_path` it begins with that picture, cropped to the frame's shape. Raises
    OSError or ValueError for a file that is no picture, and for one of over GIVEN_PX_MAX pixels.
    """
    size = (film.width, film.height)
    room = (_even(film.width * ROOM), _even(film.height * ROOM))
    rng = np.random.default_rng(_seed(film))
    if first_frame_path is None:
        still = painted(film.prompt, film.seed, *room)
    else:
        still = covering(_given(first_frame_path), room)
    move = chosen_move(rng, film.prompt, begins_whole=first_frame_path is not None)
    camera = Camera(still, size)
    mark = Overlay(finish.marked_layer(size))
    last = max(1, film.frames - 1)
    with Reel(scratch, size, film.fps, ALGORITHMIC) as reel:
        for number in range(film.frames):
            frame = camera.see(move.at(number / last))
            mark.over(frame)
            reel.add(frame)
    return reel.content()


def _even(length: float) -> int:
    return max(2, 2 * round(length / 2))


def _seed(film: Film) -> int:
    digest = hashlib.sha256(f"{film.seed}:{film.first_frame}".encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[:8], "big")


def _given(path: Path) -> Image.Image:
    """A stranger's picture: its size is checked before it is unpacked."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own bound is lower
        with Image.open(path, formats=GIVEN_FORMATS) as image:
            if image.width * image.height > GIVEN_PX_MAX:
                raise ValueError(f"the first frame has over {GIVEN_PX_MAX} pixels")
            return image.convert("RGB")
