"""Google's image models over generateContent: what a request may say, what it costs, how large.

Rules from Google's public Gemini API documentation; refusals carry the API's own status words.
Prices are in cents (US). The API has no cancel, no callback and no job to look at.
"""

from collections.abc import Mapping
from typing import Any, Final

from services.simulator.domain.commissions import Picture
from services.simulator.domain.kie import SCALES, size_of
from services.simulator.domain.orders import Fields, Order, Refused
from services.simulator.domain.scenarios import without_scenarios

PREFIX: Final = "/google"
PROMPT_CHARS_MAX: Final = 30_000
RATIOS: Final = frozenset({"1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"})
PRICES_CENTS: Final[Mapping[str, Mapping[str, int]]] = {
    "gemini-3.1-flash-image": {"1K": 7, "2K": 10, "4K": 15},
    "gemini-3-pro-image": {"1K": 14, "2K": 14, "4K": 24},
}
"""For one image, by model and `imageSize`."""

EXHAUSTED: Final = Refused(429, "You exceeded your current quota.", "RESOURCE_EXHAUSTED")
DENIED: Final = Refused(403, "Method doesn't allow unregistered callers.", "PERMISSION_DENIED")
FAULTS: Final[Mapping[str, Refused]] = {
    "unauthorized": Refused(400, "API key not valid.", "INVALID_ARGUMENT"),
    "no_credits": EXHAUSTED,
    "rate_limited_then_ok": Refused(429, EXHAUSTED.message, EXHAUSTED.word, retry_after_s=1),
    "server_error": Refused(500, "An internal error has occurred.", "INTERNAL"),
    "maintenance": Refused(503, "The model is overloaded. Please try again later.", "UNAVAILABLE"),
}


def read_order(model: str, body: object) -> Order:
    """Read generateContent's body, or raise `Refused` with what is wrong."""
    prices = PRICES_CENTS.get(model)
    if prices is None:
        raise Refused(404, f"models/{model[:100]} is not found for API version v1.", "NOT_FOUND")
    if not isinstance(body, dict):
        raise _invalid("Invalid JSON payload received.")
    prompt = _prompt(body)
    config = Fields(body, _refuse).within("generationConfig")
    modalities = config.given.get("responseModalities", ["TEXT", "IMAGE"])
    if not isinstance(modalities, list) or "IMAGE" not in modalities:
        raise _invalid("generationConfig.responseModalities must hold IMAGE.")
    image = config.within("imageConfig")
    ratio = image.one_of("aspectRatio", RATIOS, "1:1")
    size = image.one_of("imageSize", SCALES, "1K")
    width, height = size_of(ratio, size)
    words = without_scenarios(prompt)
    picture = Picture(words, config.seed(prompt, -(2**31), 2**31 - 1), width, height, "jpg")
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


def _refuse(field: str, problem: str) -> Refused:
    return _invalid(f"generationConfig: {field} {problem}.")


def _invalid(message: str) -> Refused:
    return Refused(400, message, "INVALID_ARGUMENT")
