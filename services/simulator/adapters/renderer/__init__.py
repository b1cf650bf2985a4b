"""Draws the picture a prompt asks for, by rule and not by model; knows nothing of vendors.

Imports numpy and Pillow, so only worker processes import it. A scene is painted at most
CANVAS pixels on its long side and enlarged: nothing in it is finer than that.
"""

from typing import Any, Final

import numpy as np

from services.simulator.adapters.renderer import (
    city,
    cosmos,
    figure,
    finish,
    landscape,
    sea,
    still_life,
    trees,
)
from services.simulator.adapters.renderer.encode import encode
from services.simulator.domain.brief import read_brief

CANVAS: Final = 576
_SCENES: Final = {
    "mountain": landscape.mountain,
    "sea": sea.sea,
    "desert": landscape.desert,
    "forest": trees.forest,
    "city": city.city,
    "space": cosmos.space,
    "abstract": cosmos.abstract,
    "portrait": figure.portrait,
    "product": still_life.product,
}


def make(order: dict[str, Any]) -> bytes:
    """The file that `order`, the fields of a commission, asks for; raises what forbids it."""
    medium = order.pop("medium")
    if medium != "picture":
        raise NotImplementedError(medium)
    return render(**order)


def render(prompt: str, seed: int, width: int, height: int, kind: str) -> bytes:
    """A file of exactly `width` x `height` pixels; `kind` is png or jpg.

    The same arguments give the same bytes (on the same numpy, Pillow and zlib).
    """
    brief = read_brief(prompt)
    rng = np.random.default_rng(seed)
    scale = min(1.0, CANVAS / max(width, height))
    size = (max(16, round(height * scale)), max(16, round(width * scale)))
    picture = _SCENES[brief.scene](rng, brief, size)
    picture = finish.weathered(rng, picture, brief)
    image = finish.styled(rng, finish.developed(picture, brief), brief)
    image = finish.enlarged(image, width, height, brief)
    finish.mark(image)
    return encode(image, kind)
