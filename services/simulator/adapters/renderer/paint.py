"""Paints a scene from a prompt's words, at most CANVAS pixels on its long side, and enlarges it."""

from typing import Final

import numpy as np
from PIL import Image

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
from services.simulator.domain.brief import read_brief

CANVAS: Final = 576
"""Nothing in a scene is finer than that."""
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


def painted(prompt: str, seed: int, width: int, height: int) -> Image.Image:
    """An RGB picture of exactly `width` x `height` pixels, without the sandbox mark."""
    brief = read_brief(prompt)
    rng = np.random.default_rng(seed)
    scale = min(1.0, CANVAS / max(width, height))
    size = (max(16, round(height * scale)), max(16, round(width * scale)))
    picture = _SCENES[brief.scene](rng, brief, size)
    picture = finish.weathered(rng, picture, brief)
    image = finish.styled(rng, finish.developed(picture, brief), brief)
    return finish.enlarged(image, width, height, brief)
