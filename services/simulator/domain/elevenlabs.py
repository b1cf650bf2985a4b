"""ElevenLabs' speech: what an order may say, and what it costs in characters (its credits).

Rules from ElevenLabs' public API reference; refusals carry its own status words. Of the output
formats mp3_* and wav_* are made, whatever bit rate is asked for; of a longer text only the first
MAX_TEXT_CHARS are spoken, and all are charged. The voices here speak English only. One call is
one answer: there is no cancel, no callback and no job to look at.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from services.simulator.domain.commissions import MAX_TEXT_CHARS, Speech
from services.simulator.domain.orders import Fields, Order, Refused
from services.simulator.domain.scenarios import without_scenarios
from services.simulator.domain.voices import Unspeakable, check_language

PREFIX: Final = "/elevenlabs"


@dataclass(frozen=True, slots=True)
class Model:
    name: str
    chars_max: int
    credits_per_1000: int


MODELS: Final[Mapping[str, Model]] = {
    "eleven_multilingual_v2": Model("Eleven Multilingual v2", 10_000, 1_000),
    "eleven_v3": Model("Eleven v3", 5_000, 1_000),
    "eleven_flash_v2_5": Model("Eleven Flash v2.5", 40_000, 500),
    "eleven_turbo_v2_5": Model("Eleven Turbo v2.5", 40_000, 500),
}
DEFAULT_MODEL: Final = "eleven_multilingual_v2"
VOICES: Final[Mapping[str, tuple[str, str, str]]] = {
    "21m00Tcm4TlvDq8ikWAM": ("Rachel", "female", "heart"),
    "pNInz6obpgDQGcFmaJgB": ("Adam", "male", "deep"),
    "EXAVITQu4vr4xnSDxMaL": ("Sarah", "female", "bright"),
    "ErXwobaYiN019PkySvjV": ("Antoni", "male", "narrator"),
    "XB0fDUnXU5powFXDhCwa": ("Charlotte", "female", "child"),
    "onwK4e9ZLuTAKqWW03F9": ("Daniel", "male", "male"),
}
"""Name, gender and the voice of `domain.voices` by voice_id."""
FORMATS: Final[Mapping[str, Literal["mp3", "wav"]]] = {
    "mp3_22050_32": "mp3",
    "mp3_44100_32": "mp3",
    "mp3_44100_64": "mp3",
    "mp3_44100_96": "mp3",
    "mp3_44100_128": "mp3",
    "mp3_44100_192": "mp3",
    "wav_16000": "wav",
    "wav_22050": "wav",
    "wav_24000": "wav",
    "wav_44100": "wav",
}
DEFAULT_FORMAT: Final = "mp3_44100_128"

UNAUTHORIZED: Final = Refused(401, "Invalid API key", "invalid_api_key")
TOO_MANY_AT_ONCE: Final = Refused(
    429,
    "Too many concurrent requests. Your current subscription is associated with a maximum of "
    "concurrent requests that you have exceeded.",
    "too_many_concurrent_requests",
)
FAULTS: Final[Mapping[str, Refused]] = {
    "unauthorized": UNAUTHORIZED,
    "no_credits": Refused(401, "This request exceeds your quota.", "quota_exceeded"),
    "rate_limited_then_ok": Refused(
        429, "The system is busy, please try again.", "system_busy", retry_after_s=1
    ),
    "too_many_at_once": TOO_MANY_AT_ONCE,
    "server_error": Refused(500, "Internal server error", "internal_error"),
    "maintenance": Refused(503, "Service unavailable", "service_unavailable", retry_after_s=1),
}
ENDS: Final[Mapping[str, Refused]] = {
    "moderated": Refused(400, "The text violates our terms of service.", "content_against_policy"),
    "failed": Refused(500, "The speech could not be generated.", "generation_failed"),
    "late": Refused(504, "The request took too long.", "timeout"),
}


def read_order(voice_id: str, output_format: str, body: object) -> Order:
    """Read POST /v1/text-to-speech/{voice_id}, or raise `Refused` 400 or 422."""
    if voice_id not in VOICES:
        raise Refused(
            400, f"A voice for the voice_id {voice_id[:100]} was not found.", "voice_not_found"
        )
    kind = FORMATS.get(output_format or DEFAULT_FORMAT)
    if kind is None:
        raise Refused(400, "This output format is not supported.", "output_format_not_allowed")
    if not isinstance(body, dict):
        raise _refuse("body", "Input should be a valid dictionary")
    fields = Fields(body, _refuse)
    model = fields.text("model_id", 0, 100) or DEFAULT_MODEL
    if model not in MODELS:
        raise Refused(400, f"A model with model ID {model} does not exist.", "model_not_found")
    text = fields.text("text", 1, 1_000_000)
    known = MODELS[model]
    if len(text) > known.chars_max:
        message = f"A single request can have at most {known.chars_max} characters."
        raise Refused(400, message, "max_character_limit_exceeded")
    settings = fields.within("voice_settings")
    for setting in ("stability", "similarity_boost", "style"):
        settings.number(setting, 0, 1, 0)
    words = without_scenarios(text)
    speed = settings.number("speed", 0.7, 1.2, 1.0)
    language = fields.text("language_code", 0, 10) or "en"
    try:
        check_language(words, language)
    except Unspeakable as unspeakable:
        raise Refused(400, str(unspeakable), "unsupported_language") from None
    seed = fields.seed(text, 0, 2**32 - 1)
    speech = Speech(words[:MAX_TEXT_CHARS], VOICES[voice_id][2], speed, language, kind, seed)
    return Order(model, text, speech, -(-len(words) * known.credits_per_1000 // 1000))


def voice(voice_id: str) -> dict[str, Any]:
    name, gender, _ = VOICES[voice_id]
    return {
        "voice_id": voice_id,
        "name": name,
        "category": "premade",
        "labels": {"gender": gender, "language": "en"},
        "description": None,
        "preview_url": None,
        "available_for_tiers": [],
    }


def model(model_id: str) -> dict[str, Any]:
    known = MODELS[model_id]
    return {
        "model_id": model_id,
        "name": known.name,
        "can_do_text_to_speech": True,
        "can_do_voice_conversion": False,
        "maximum_text_length_per_request": known.chars_max,
        "languages": [{"language_id": "en", "name": "English"}],
        "model_rates": {"character_cost_multiplier": known.credits_per_1000 / 1000},
    }


def _refuse(field: str, problem: str) -> Refused:
    return Refused(422, problem, "value_error", field)
