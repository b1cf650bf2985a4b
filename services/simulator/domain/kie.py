"""kie.ai's models: what an order may say, what it costs in credits, how large the result is.

Rules from kie.ai's public documentation (docs.kie.ai); refusals carry the vendor's own codes and
words. Which aspect ratios Wan takes, and what it and speech cost, is read off its price page.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from services.simulator.domain.commissions import Film, Picture, Speech
from services.simulator.domain.elevenlabs import VOICES as ELEVENLABS_VOICES
from services.simulator.domain.orders import Fields, Order, Refused, frame_size, is_url
from services.simulator.domain.scenarios import without_scenarios
from services.simulator.domain.voices import Unspeakable, check_language

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

UNAUTHORIZED: Final = Refused(401, "You do not have access permissions")
RATE_LIMITED: Final = Refused(
    429, "Your call frequency is too high. Please try again later.", retry_after_s=1
)
FAULTS: Final[Mapping[str, Refused]] = {
    "unauthorized": UNAUTHORIZED,
    "no_credits": Refused(402, "Credits insufficient. Please top up to continue."),
    "rate_limited_then_ok": RATE_LIMITED,
    "maintenance": Refused(455, "The service is under maintenance. Please try again later."),
}
ENDS: Final[Mapping[str, tuple[str, str]]] = {
    "moderated": ("400", "Your content was flagged as violating content policies."),
    "failed": ("501", "Generation failed: the model could not complete this task."),
    "download_failed": ("422", "The input image could not be downloaded."),
}
"""failCode and failMsg by how a job ends."""
WINDOW_TASKS: Final = 20
WINDOW_S: Final = 10
"""New tasks per account and window; what exceeds it gets 429 and is dropped, not queued."""


@dataclass(frozen=True, slots=True)
class Model:
    """An image model."""

    prices_credits: Mapping[str, int]
    """By resolution; the keys are the resolutions the model knows."""
    prompt_chars: tuple[int, int]
    ratios: frozenset[str]
    kinds: frozenset[str] = frozenset({"png"})
    required: frozenset[str] = frozenset()
    max_images: int = 0


@dataclass(frozen=True, slots=True)
class FilmModel:
    prices_credits: Mapping[str, Mapping[str, int]]
    """By resolution and duration (seconds, as a string)."""
    max_images: int = 0
    """Where it is not 0, one picture is required too: its first frame."""


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
_WAN_PRICES: Final = {
    "720p": {"5": 70, "10": 140, "15": 210},
    "1080p": {"5": 105, "10": 210, "15": 315},
}
FILM_RATIOS: Final = frozenset({"16:9", "9:16", "1:1", "4:3", "3:4"})
FILM_PROMPT_CHARS: Final = (2, 5000)
FILMS: Final[Mapping[str, FilmModel]] = {
    "wan/2-6-text-to-video": FilmModel(_WAN_PRICES),
    "wan/2-6-image-to-video": FilmModel(_WAN_PRICES, max_images=1),
}
VOICES: Final[Mapping[str, str]] = {
    spelling: voice
    for voice_id, (name, _, voice) in ELEVENLABS_VOICES.items()
    for spelling in (voice_id, name)
}
"""The voice of `domain.voices` by ElevenLabs' id or name; any other name is spoken as well."""
SPEECH_CHARS_MAX: Final = 5_000
SPEECHES: Final[Mapping[str, int]] = {
    "elevenlabs/text-to-speech-multilingual-v2": 12,
    "elevenlabs/text-to-speech-turbo-2-5": 6,
}
"""Credits for every thousand characters begun, by model."""


def read_order(body: object) -> Order:
    """Read createTask's body, or raise `Refused` 422 with what is wrong."""
    if not isinstance(body, dict):
        raise Refused(422, "The request body must be a JSON object")
    name, given = body.get("model"), body.get("input")
    if not isinstance(name, str) or name not in {*MODELS, *FILMS, *SPEECHES}:
        raise Refused(
            422, "The model name you specified is not supported. Please use another model."
        )
    if not isinstance(given, dict):
        raise Refused(422, "input is required")
    callback = body.get("callBackUrl") or ""
    if not isinstance(callback, str) or (callback and not is_url(callback)):
        raise Refused(422, "callBackUrl must be a URL")
    fields = Fields(given, _refuse)
    param = json.dumps({"model": name, "input": given})
    if name in FILMS:
        return _film(name, fields, param, callback)
    if name in SPEECHES:
        return _speech(name, fields, param, callback)
    return _picture(name, fields, param, callback)


def _picture(name: str, fields: Fields, param: str, callback: str) -> Order:
    model = MODELS[name]
    for field in sorted(model.required):
        if field not in fields.given:
            raise _refuse(field, "is required")
    prompt = fields.text("prompt", *model.prompt_chars)
    ratio = fields.one_of("aspect_ratio", model.ratios, "1:1")
    resolution = fields.one_of("resolution", model.prices_credits, "1K")
    kind: Literal["png", "jpg"] = "png"
    if fields.one_of("output_format", model.kinds, "png") == "jpg":
        kind = "jpg"
    width, height = size_of(ratio, resolution)
    picture = Picture(without_scenarios(prompt), fields.seed(prompt), width, height, kind)
    images = fields.urls("image_input", model.max_images)
    price = model.prices_credits[resolution]
    return Order(name, prompt, picture, price, param, callback, images)


def _film(name: str, fields: Fields, param: str, callback: str) -> Order:
    model = FILMS[name]
    prompt = fields.text("prompt", *FILM_PROMPT_CHARS)
    resolution = fields.one_of("resolution", model.prices_credits, "1080p")
    duration = fields.one_of("duration", model.prices_credits[resolution], "5")
    ratio = fields.one_of("aspect_ratio", FILM_RATIOS, "16:9")
    fields.flag("multi_shots")
    images = fields.urls("image_urls", model.max_images)
    if model.max_images and not images:
        raise _refuse("image_urls", "is required")
    width, height = frame_size(resolution, ratio)
    words, seed = without_scenarios(prompt), fields.seed(prompt)
    film = Film(words, seed, width, height, int(duration))
    price = model.prices_credits[resolution][duration]
    return Order(name, prompt, film, price, param, callback, images)


def _speech(name: str, fields: Fields, param: str, callback: str) -> Order:
    text = fields.text("text", 1, SPEECH_CHARS_MAX)
    voice = fields.text("voice", 0, 100) or "Rachel"
    for setting in ("stability", "similarity_boost", "style"):
        fields.number(setting, 0, 1, 0)
    speed = fields.number("speed", 0.7, 1.2, 1.0)
    language = fields.text("language_code", 0, 10) or "en"
    words = without_scenarios(text)
    try:
        check_language(words, language)
    except Unspeakable as unspeakable:
        raise Refused(422, str(unspeakable), field="text") from None
    speech = Speech(words, VOICES.get(voice, voice), speed, language, "mp3", fields.seed(text))
    price = -(-len(words) // 1000) * SPEECHES[name]
    return Order(name, text, speech, price, param, callback)


def size_of(ratio: str, resolution: str) -> tuple[int, int]:
    """Pixels across and down; `auto` is square."""
    width, height = SIZES_1K.get(ratio, SIZES_1K["1:1"])
    return width * SCALES[resolution], height * SCALES[resolution]


def upload_name(given: Mapping[str, Any]) -> str:
    """The file's name as an upload's answer repeats it. `uploadPath` is required."""
    fields = Fields(given, _refuse)
    fields.text("uploadPath", 1, 200)
    return fields.text("fileName", 0, 200)


def _refuse(field: str, problem: str) -> Refused:
    return Refused(422, f"{field} {problem}", field=field)
