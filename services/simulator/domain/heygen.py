"""HeyGen's talking avatars, v3 and v2: what an order may say, and what it costs in cents (US).

Rules from HeyGen's public documentation (docs.heygen.com); refusals carry its own codes. Only a
script is spoken here: audio that a caller brings (`audio_url`, `audio_asset_id`, a voice of type
audio) is refused, and so is webm. No version has a cancel.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from services.simulator.domain.commissions import MAX_FRAME_PX, Avatar
from services.simulator.domain.orders import Fields, Order, Refused, frame_size, spoken_s
from services.simulator.domain.scenarios import without_scenarios
from services.simulator.domain.voices import Unspeakable, check_language

PREFIX: Final = "/heygen"
SCRIPT_CHARS_MAX: Final = 5_000
SCENES_MAX: Final = 50
PAGE_DEFAULT: Final = 50
PAGE_MAX: Final = 100
DIGITS_MAX: Final = 9
SIDE_PX: Final = (128, 3_840)
RATIOS: Final = frozenset({"16:9", "9:16", "1:1"})
RESOLUTIONS: Final = frozenset({"720p", "1080p", "4k"})
ENGINES: Final[Mapping[str, int]] = {"avatar_iii": 2, "avatar_iv": 5, "avatar_v": 7}
"""Cents for each second begun, by engine; our own figures."""
EMOTIONS: Final[Mapping[str, str]] = {"excited": "happy", "friendly": "happy"}
"""A voice's emotion as the face shows it, where its own word says nothing to it."""
PHOTO: Final = "photo"
"""The avatar of an order that brings its own picture of a face."""

VOICES: Final[Mapping[str, tuple[str, str, str]]] = {
    "1bd001e7e50f421d891986aad5158bc8": ("Ada", "female", "heart"),
    "2d5b0e6cf36f460aa7fc47e3eee4ba54": ("Ben", "male", "narrator"),
    "35659e86ce244d8389d525a9648d9c4a": ("Chloe", "female", "bright"),
    "4754e1ec667544b0bd18cdf4bec7d6a7": ("Dan", "male", "male"),
    "5d8c378ba8c3434586081a52ac368738": ("Eve", "female", "child"),
    "6be73833ef9a4eb0aeee399b8fe9d62b": ("Finn", "male", "deep"),
    "f38a635bee7a4d1f9b0a654a31d050d2": ("Brian", "male", "narrator"),
}
"""Name, gender and the voice of `domain.voices` by voice_id; all of them speak English."""
LOOKS: Final[Mapping[str, tuple[str, str, str]]] = {
    f"{name}_{look}_front": (f"{name} in {look}", name, voice)
    for (name, voice), looks in {
        ("Abigail", "1bd001e7e50f421d891986aad5158bc8"): ("Office", "Sofa"),
        ("Bryan", "2d5b0e6cf36f460aa7fc47e3eee4ba54"): ("Office", "Sofa"),
        ("Carlotta", "35659e86ce244d8389d525a9648d9c4a"): ("Studio",),
        ("Darnell", "4754e1ec667544b0bd18cdf4bec7d6a7"): ("Studio",),
    }.items()
    for look in looks
} | {
    "Abigail_expressive_2024112501": (
        "Abigail, expressive",
        "Abigail",
        "1bd001e7e50f421d891986aad5158bc8",
    )
}
"""Name, avatar and default voice by look; a look's id is what an order calls `avatar_id`."""

UNAUTHORIZED: Final = Refused(401, "Invalid API key.", "unauthorized")
FAULTS: Final[Mapping[str, Refused]] = {
    "unauthorized": UNAUTHORIZED,
    "no_credits": Refused(402, "Insufficient credit.", "insufficient_credit"),
    "rate_limited_then_ok": Refused(
        429, "Rate limit exceeded.", "rate_limit_exceeded", retry_after_s=1
    ),
    "server_error": Refused(500, "An internal error occurred.", "internal_error"),
    "maintenance": Refused(503, "Service unavailable.", "service_unavailable", retry_after_s=1),
    "request_in_progress": Refused(
        409, "A request with this idempotency key is in progress.", "request_in_progress"
    ),
}
REUSED_KEY: Final = Refused(
    409, "This idempotency key was used with other parameters.", "conflict", "Idempotency-Key"
)
ENDS: Final[Mapping[str, tuple[str, str]]] = {
    "moderated": ("moderation_policy_violation", "The content violates the moderation policy."),
    "failed": ("rendering_failed", "The video could not be rendered."),
    "download_failed": ("download_failed", "The input could not be downloaded."),
}
"""failure_code and failure_message by how a video ends."""


def read_v3(body: object) -> Order:
    """Read POST /v3/videos, or raise `Refused` 400 or 404."""
    if not isinstance(body, dict):
        raise Refused(400, "The body must be a JSON object.", "validation_error")
    fields = Fields(body, _refuse)
    kind = fields.one_of("type", {"avatar", "image"})
    for unheard in ("audio_url", "audio_asset_id"):
        if unheard in body:
            raise _refuse(unheard, "is not supported by the simulator: send a script")
    fields.one_of("output_format", {"mp4"}, "mp4")
    look = fields.text("avatar_id", 1, 100) if kind == "avatar" else PHOTO
    voice = fields.text("voice_id", 0, 100) or _default_voice(look)
    script = fields.text("script", 1, SCRIPT_CHARS_MAX)
    settings = fields.within("voice_settings")
    resolution = fields.one_of("resolution", RESOLUTIONS, "1080p")
    ratio = fields.one_of("aspect_ratio", RATIOS, "16:9")
    engine = fields.within("engine").one_of("type", ENGINES, "avatar_iv")
    avatar = _avatar(script, look, voice, frame_size(resolution, ratio), (settings, fields))
    param = json.dumps(
        {name: fields.text(name, 0, 500) for name in ("callback_id", "title")}
        | {"caption": avatar.caption}
    )
    price = spoken_s(avatar.script, avatar.speed) * ENGINES[engine]
    images = (_image(fields.within("image")),) if kind == "image" else ()
    return Order(engine, script, avatar, price, param, fields.url("callback_url"), images)


def read_v2(body: object) -> Order:
    """Read POST /v2/video/generate, or raise `Refused` 400 or 404; its scenes are spoken as one."""
    if not isinstance(body, dict):
        raise Refused(400, "The body must be a JSON object.", "invalid_parameter")
    fields = Fields(body, _refuse)
    scenes = body.get("video_inputs")
    if not isinstance(scenes, list) or not 1 <= len(scenes) <= SCENES_MAX:
        raise _refuse("video_inputs", f"must hold between 1 and {SCENES_MAX} scenes")
    read = [_scene(Fields({"scene": scene}, _refuse).within("scene")) for scene in scenes]
    script = "\n".join(text for text, _, _, _ in read)
    _, look, voice, settings = read[0]
    size = fields.within("dimension")
    width, height = (size.whole(side, *SIDE_PX, px) for side, px in _HD.items())
    if width * height > MAX_FRAME_PX:
        raise _refuse("dimension", "is larger than 4K")
    dimensions = width // 2 * 2, height // 2 * 2
    avatar = _avatar(script, look, voice, dimensions, (settings, fields))
    param = json.dumps({"callback_id": fields.text("callback_id", 0, 500), "caption": False})
    unpaid = fields.flag("test")
    price = 0 if unpaid else spoken_s(avatar.script, avatar.speed) * ENGINES["avatar_iii"]
    return Order("avatar_iii", script, avatar, price, param, fields.url("callback_url"))


_HD: Final = {"width": 1280, "height": 720}


def _scene(scene: Fields) -> tuple[str, str, str, Fields]:
    """(what is said, the look, the voice, the voice's settings); a silence says nothing."""
    character, voice = scene.within("character"), scene.within("voice")
    kind = character.one_of("type", {"avatar", "talking_photo"}, "avatar")
    look = character.text("avatar_id", 1, 100) if kind == "avatar" else PHOTO
    if voice.one_of("type", {"text", "silence"}) == "silence":
        return "", look, _default_voice(look), voice
    return (
        voice.text("input_text", 1, SCRIPT_CHARS_MAX),
        look,
        voice.text("voice_id", 1, 100),
        voice,
    )


def _avatar(
    script: str, look: str, voice: str, size: tuple[int, int], fields: tuple[Fields, Fields]
) -> Avatar:
    """`fields` are the voice's settings and the order's own."""
    settings, order = fields
    if look not in {PHOTO, *LOOKS}:
        raise Refused(404, f"Avatar {look} was not found.", "not_found", "avatar_id")
    if voice not in VOICES:
        raise Refused(404, f"Voice {voice} was not found.", "not_found", "voice_id")
    emotion = settings.text("emotion", 0, 40).lower()
    words = without_scenarios(script)[:SCRIPT_CHARS_MAX]
    if not words:
        raise _refuse("script", "is required")
    try:
        check_language(words, settings.text("locale", 0, 20))
    except Unspeakable as unspeakable:
        raise _refuse("script", f"cannot be spoken: {unspeakable}") from None
    return Avatar(
        script=words,
        avatar=look,
        voice=VOICES[voice][2],
        width=size[0],
        height=size[1],
        speed=settings.number("speed", 0.5, 1.5, 1.0),
        caption=order.flag("caption"),
        emotion=EMOTIONS.get(emotion, emotion),
    )


def _default_voice(look: str) -> str:
    return LOOKS[look][2] if look in LOOKS else next(iter(VOICES))


def _image(image: Fields) -> str:
    """A picture's address or its asset's id."""
    match image.one_of("type", {"url", "asset_id", "base64"}):
        case "url":
            if not (url := image.url("url")):
                raise _refuse("image.url", "is required")
            return url
        case "asset_id":
            return image.text("asset_id", 1, 100)
        case _:
            raise _refuse("image.type", "base64 is not supported by the simulator")


def end_of(fail_code: str) -> tuple[str | None, str | None]:
    """failure_code and failure_message; neither where nothing has failed."""
    return ENDS.get(fail_code, ENDS["failed"]) if fail_code else (None, None)


def page(items: list[Any], limit: str, token: str) -> tuple[list[Any], str]:
    """(a page of `items`, the token of the next or ""). Raises `Refused` 400."""
    size = int(limit) if limit.isdecimal() and len(limit) < DIGITS_MAX else 0
    if not 1 <= (size := size if limit else PAGE_DEFAULT) <= PAGE_MAX:
        raise _refuse("limit", f"must be between 1 and {PAGE_MAX}")
    if token and not (token.isdecimal() and len(token) < DIGITS_MAX):
        raise _refuse("token", "is not a token of this list")
    start = int(token or "0")
    end = start + size
    return items[start:end], str(end) if end < len(items) else ""


def _refuse(field: str, problem: str) -> Refused:
    return Refused(400, f"{field} {problem}", "validation_error", field)
