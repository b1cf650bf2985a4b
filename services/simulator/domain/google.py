"""Google's image models over generateContent: what a request may say, what it costs, how large.

Rules from Google's public Gemini API documentation; refusals carry the API's own status words.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from services.simulator.domain.commissions import Picture
from services.simulator.domain.kie import SCALES, size_of
from services.simulator.domain.scenarios import without_scenarios

PREFIX: Final = "/google"
PROMPT_CHARS_MAX: Final = 30_000
RATIOS: Final = frozenset({"1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"})
PRICES_CENTS: Final[Mapping[str, Mapping[str, int]]] = {
    "gemini-3.1-flash-image": {"1K": 7, "2K": 10, "4K": 15},
    "gemini-3-pro-image": {"1K": 14, "2K": 14, "4K": 24},
}
"""For one image, by model and `imageSize`."""


class Refused(Exception):
    """An error of the API: its HTTP status, its status word and its message."""

    def __init__(self, http_status: int, status: str, message: str) -> None:
        super().__init__(message)
        self.http_status = http_status
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class Order:
    """A request that the API would accept: one image."""

    model: str
    prompt: str
    picture: Picture
    price_cents: int


def read_order(model: str, body: object) -> Order:
    """Read generateContent's body, or raise `Refused` with what is wrong."""
    prices = PRICES_CENTS.get(model)
    if prices is None:
        raise Refused(404, "NOT_FOUND", f"models/{model[:100]} is not found for API version v1.")
    if not isinstance(body, dict):
        raise _invalid("Invalid JSON payload received.")
    prompt = _prompt(body)
    config = _mapping(body.get("generationConfig", {}), "generationConfig")
    if "IMAGE" not in config.get("responseModalities", ["TEXT", "IMAGE"]):
        raise _invalid("generationConfig.responseModalities must hold IMAGE.")
    image = _mapping(config.get("imageConfig", {}), "generationConfig.imageConfig")
    ratio = _one_of(image, "aspectRatio", RATIOS, "1:1")
    size = _one_of(image, "imageSize", frozenset(SCALES), "1K")
    width, height = size_of(ratio, size)
    seed = _seed(config, prompt)
    picture = Picture(without_scenarios(prompt), seed, width, height, "jpg")
    return Order(model, prompt, picture, prices[size])


def _prompt(body: Mapping[str, Any]) -> str:
    try:
        parts = [part for content in body["contents"] for part in content["parts"]]
        texts = [part["text"] for part in parts if "text" in part]
    except (KeyError, TypeError):
        raise _invalid("contents is not specified") from None
    prompt = "\n".join(text for text in texts if isinstance(text, str))
    if not prompt.strip() or len(prompt) > PROMPT_CHARS_MAX:
        raise _invalid("contents.parts must hold a text of a size that the model takes.")
    return prompt


def _mapping(value: object, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _invalid(f"{name} must be an object.")
    return value


def _one_of(given: Mapping[str, Any], field: str, known: frozenset[str], default: str) -> str:
    value = given.get(field, default)
    if not isinstance(value, str) or value not in known:
        raise _invalid(f"{field} must be one of {', '.join(sorted(known))}.")
    return value


def _seed(config: Mapping[str, Any], prompt: str) -> int:
    """The seed asked for (a signed 32-bit number), else one that the prompt's words decide."""
    seed = config.get("seed")
    if seed is None:
        words = without_scenarios(prompt).encode("utf-8", "replace")
        return int.from_bytes(hashlib.sha256(words).digest()[:4], "big")
    if isinstance(seed, bool) or not isinstance(seed, int) or not -(2**31) <= seed < 2**31:
        raise _invalid("generationConfig.seed must be a 32-bit integer.")
    return seed


def _invalid(message: str) -> Refused:
    return Refused(400, "INVALID_ARGUMENT", message)
