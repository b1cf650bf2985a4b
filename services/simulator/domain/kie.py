"""kie.ai's image models: what an order may say, what it costs, how large the picture is.

Rules from kie.ai's public documentation; refusals carry the vendor's own codes and words.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from services.simulator.domain.commissions import Picture
from services.simulator.domain.scenarios import without_scenarios

PREFIX: Final = "/kie"

SIZES_1K: Final[Mapping[str, tuple[int, int]]] = {
    "1:1": (1024, 1024),
    "2:3": (848, 1264),
    "3:2": (1264, 848),
    "3:4": (896, 1200),
    "4:3": (1200, 896),
    "4:5": (928, 1152),
    "5:4": (1152, 928),
    "9:16": (768, 1376),
    "16:9": (1376, 768),
    "21:9": (1584, 672),
}
SCALES: Final[Mapping[str, int]] = {"1K": 1, "2K": 2, "4K": 4}
SUCCESS: Final = 200


class Refused(Exception):
    """A vendor's refusal: its code and message as they stand in the body."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Model:
    prices_credits: Mapping[str, int]
    """By resolution; the keys are the resolutions the model knows."""
    prompt_chars: tuple[int, int]
    ratios: frozenset[str]
    kinds: frozenset[str] = frozenset({"png"})
    required: frozenset[str] = frozenset()
    max_images: int = 0


_FLUX_RATIOS: Final = frozenset({"1:1", "4:3", "3:4", "16:9", "9:16", "3:2", "2:3", "auto"})
_FLUX_NEEDS: Final = frozenset({"aspect_ratio", "resolution"})
MODELS: Final[Mapping[str, Model]] = {
    "nano-banana-pro": Model(
        {"1K": 18, "2K": 18, "4K": 24},
        (1, 10_000),
        frozenset({*SIZES_1K, "auto"}),
        frozenset({"png", "jpg"}),
        max_images=8,
    ),
    "flux-2/pro-text-to-image": Model(
        {"1K": 5, "2K": 7}, (3, 5000), _FLUX_RATIOS, required=_FLUX_NEEDS
    ),
    "flux-2/flex-text-to-image": Model(
        {"1K": 14, "2K": 24}, (3, 5000), _FLUX_RATIOS, required=_FLUX_NEEDS
    ),
}


@dataclass(frozen=True, slots=True)
class Order:
    """A request that the vendor would accept."""

    model: str
    prompt: str
    param: str
    """The order as recordInfo repeats it: JSON text."""
    picture: Picture
    price_credits: int


def read_order(body: object) -> Order:
    """Read createTask's body, or raise `Refused` 422 with what is wrong."""
    if not isinstance(body, dict):
        raise Refused(422, "The request body must be a JSON object")
    name, given = body.get("model"), body.get("input")
    model = MODELS.get(name) if isinstance(name, str) else None
    if model is None or not isinstance(name, str):
        raise Refused(
            422, "The model name you specified is not supported. Please use another model."
        )
    if not isinstance(given, dict):
        raise Refused(422, "input is required")
    callback = body.get("callBackUrl", "")
    if not isinstance(callback, str):
        raise Refused(422, "callBackUrl must be a string")
    return _order(name, model, given)


def _order(name: str, model: Model, given: Mapping[str, Any]) -> Order:
    missing = sorted(field for field in model.required if field not in given)
    if missing:
        raise Refused(422, f"{missing[0]} is required")
    prompt = _prompt(given, model)
    ratio = _one_of(given, "aspect_ratio", model.ratios, "1:1")
    resolution = _one_of(given, "resolution", model.prices_credits, "1K")
    kind: Literal["png", "jpg"] = "png"
    if _one_of(given, "output_format", model.kinds, "png") == "jpg":
        kind = "jpg"
    _check_images(given, model)
    width, height = size_of(ratio, resolution)
    picture = Picture(without_scenarios(prompt), _seed(given, prompt), width, height, kind)
    param = json.dumps({"model": name, "input": given})
    return Order(name, prompt, param, picture, model.prices_credits[resolution])


def size_of(ratio: str, resolution: str) -> tuple[int, int]:
    """Pixels across and down; `auto` is square."""
    width, height = SIZES_1K.get(ratio, SIZES_1K["1:1"])
    return width * SCALES[resolution], height * SCALES[resolution]


def _prompt(given: Mapping[str, Any], model: Model) -> str:
    prompt = given.get("prompt")
    low, high = model.prompt_chars
    if not isinstance(prompt, str) or not prompt.strip():
        raise Refused(422, "prompt is required")
    if not low <= len(prompt) <= high:
        raise Refused(422, f"prompt must have between {low} and {high} characters")
    return prompt


def _one_of(
    given: Mapping[str, Any], field: str, known: frozenset[str] | Mapping[str, int], default: str
) -> str:
    value = given.get(field, default)
    if not isinstance(value, str) or value not in known:
        raise Refused(422, f"{field} is not within the range of allowed options")
    return value


def _check_images(given: Mapping[str, Any], model: Model) -> None:
    images = given.get("image_input") or []
    well_formed = isinstance(images, list) and all(isinstance(one, str) for one in images)
    if not well_formed or len(images) > model.max_images:
        raise Refused(422, f"image_input must be a list of at most {model.max_images} URLs")


def _seed(given: Mapping[str, Any], prompt: str) -> int:
    """The seed asked for, else one that the prompt's own words decide."""
    seed = given.get("seed")
    if seed is None:
        words = without_scenarios(prompt).encode("utf-8", "replace")
        return int.from_bytes(hashlib.sha256(words).digest()[:8], "big")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise Refused(422, "seed must be an integer that is not negative")
    return seed
