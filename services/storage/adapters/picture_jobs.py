"""What children are asked to do with pictures: an order as of JSON in, facts out.

What reads and writes pictures is loaded here, so that the process that forks has it.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from PIL import Image, MpoImagePlugin, WebPImagePlugin

from services.storage.adapters import pictures, reencoding
from services.storage.adapters.blurhashes import blurhash_of
from services.storage.adapters.media import Wanted
from services.storage.adapters.scoring import prepare, score_of

__all__ = ["look", "prepare", "take_in"]

Order = Mapping[str, Any]
Facts = Mapping[str, Any]

Image.preinit()  # or each child would do it: 15 ms
assert MpoImagePlugin
assert WebPImagePlugin


def look(order: Order) -> Facts:
    path, small, fitted = (Path(order[name]) for name in ("path", "thumbnail", "fitted"))
    return _facts(pictures.look(path, small, fitted, Wanted(**order["wanted"])), order)


def take_in(order: Order) -> Facts:
    path, small, clean = (Path(order[name]) for name in ("path", "thumbnail", "clean"))
    return _facts(reencoding.take_in(path, clean, small, order["mime_type"]), order)


def _facts(looked: pictures.Looked, order: Order) -> Facts:
    score = score_of(order)
    facts = replace(
        looked.facts,
        blurhash=blurhash_of(looked.small),
        nsfw_score=None if score is None else score(looked.small),
    )
    return asdict(facts)
