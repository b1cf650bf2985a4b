"""Scores what is shown where an order says so: not everybody has it, and the model takes 100 MB."""

from collections.abc import Callable, Mapping
from typing import Any

from PIL import Image

Score = Callable[[Image.Image], float]
"""0 (safe) to 1, of a picture in L, LA, RGB or RGBA."""


def prepare(order: Mapping[str, Any]) -> None:
    """Load the model, before the fork."""
    if order["scored"]:
        from services.storage.adapters import nsfw  # noqa: PLC0415 - 0.4 s

        nsfw.load()


def score_of(order: Mapping[str, Any]) -> Score | None:
    if not order["scored"]:
        return None
    from services.storage.adapters import nsfw  # noqa: PLC0415 - it is loaded: see prepare

    return nsfw.score
