"""Leonardo's pictures and films: what an order may say, and what it costs in API credits.

Rules from Leonardo's public documentation (docs.leonardo.ai). One result per generation: a
`quantity` above 1 is refused here. A generation can be deleted; what was not begun is then not
made and costs nothing (our reading: the documentation is silent on the price).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from services.simulator.domain.commissions import Film, Picture
from services.simulator.domain.orders import Fields, Order, Refused, frame_size
from services.simulator.domain.scenarios import without_scenarios

PREFIX: Final = "/leonardo"
PROMPT_CHARS_MAX: Final = 1_500
CONCURRENT_MAX: Final = 10
QUEUED_MAX: Final = 200
"""Orders beyond those at work wait in this queue; what exceeds it is refused with 429."""


@dataclass(frozen=True, slots=True)
class ImageModel:
    price_credits: int
    sides_px: tuple[int, int]


@dataclass(frozen=True, slots=True)
class FilmModel:
    credits_per_s: Mapping[str, int]
    """By resolution."""
    durations_s: tuple[int, ...]
    """The first is what an order gets that says nothing."""


IMAGES: Final[Mapping[str, ImageModel]] = {
    "gemini-image-2": ImageModel(40, (256, 4_096)),
    "nano-banana-2": ImageModel(25, (256, 4_096)),
    "flux-pro-2.0": ImageModel(12, (256, 1_440)),
}
_MOTION: Final = FilmModel({"480p": 20, "720p": 30}, (5,))
_VEO: Final = FilmModel({"720p": 214, "1080p": 214}, (8, 4, 6))
_KLING: Final = FilmModel({"720p": 70, "1080p": 120}, (5, 10))
FILMS: Final[Mapping[str, FilmModel]] = {
    "MOTION2": _MOTION,
    "MOTION2FAST": _MOTION,
    "VEO3": _VEO,
    "VEO3FAST": _VEO,
    "KLING2_1": _KLING,
    "KLING2_5": _KLING,
}
"""As v1 calls them."""
FILMS_V2: Final[Mapping[str, str]] = {
    "motion_2.0": "MOTION2",
    "veo-3.1-generate": "VEO3",
    "veo-3.1-fast": "VEO3FAST",
    "kling-2.5": "KLING2_5",
}
"""v1's name by v2's."""
RATIOS: Final = frozenset({"16:9", "9:16", "1:1"})
SIZES: Final = {("480p", "16:9"): (832, 480), ("480p", "9:16"): (480, 832)}
"""Pixels of films that are not what the names say."""
EXTENSIONS: Final = frozenset({"png", "jpg", "jpeg", "webp"})

UNAUTHORIZED: Final = Refused(401, "Authentication hook unauthorized this request", "access-denied")
FAULTS: Final[Mapping[str, Refused]] = {
    "unauthorized": UNAUTHORIZED,
    "no_credits": Refused(
        402, "not enough api credits, please upgrade your plan or purchase more", "unexpected"
    ),
    "rate_limited_then_ok": Refused(429, "Too many requests", "unexpected", retry_after_s=1),
    "server_error": Refused(500, "Internal error, please try again", "unexpected"),
    "maintenance": Refused(503, "Service unavailable", "unexpected", retry_after_s=1),
}
QUEUE_FULL: Final = Refused(
    429, "Too many pending generations, please try again later", "unexpected", retry_after_s=10
)
ENDS: Final[Mapping[str, tuple[str, str]]] = {
    "moderated": ("PROMPT_MODERATION_BLOCKED", "Generation blocked due to moderation"),
    "failed": ("GENERATION_FAILED", "The generation failed"),
    "download_failed": ("INIT_IMAGE_FAILED", "The init image could not be read"),
}
"""Type and message of a generation's failedReason."""


def read_v2(body: object) -> Order:
    """Read POST /v2/generations, or raise `Refused` 400."""
    fields = _fields(body)
    model = fields.one_of("model", {*IMAGES, *FILMS_V2})
    parameters = fields.within("parameters")
    if model in FILMS_V2:
        start = _guides(parameters.within("guidances"), "start_frame")
        order = _film(FILMS_V2[model], parameters, start)
        return Order(model, order.prompt, order.commission, order.price_credits, inputs=start)
    prompt = parameters.text("prompt", 1, PROMPT_CHARS_MAX)
    if parameters.whole("quantity", 1, 8, 1) != 1:
        raise _refuse("quantity", "above 1 is not supported by the simulator")
    known = IMAGES[model]
    width, height = (parameters.whole(side, *known.sides_px, 1024) for side in ("width", "height"))
    picture = Picture(
        without_scenarios(prompt), parameters.seed(prompt, 0, 2**31 - 1), width, height, "jpg"
    )
    guides = _guides(parameters.within("guidances"), "image_reference")
    return Order(model, prompt, picture, known.price_credits, inputs=guides)


def read_text_to_video(body: object) -> Order:
    """Read POST /v1/generations-text-to-video, or raise `Refused` 400."""
    fields = _fields(body)
    return _film(fields.one_of("model", FILMS, "MOTION2"), fields, ())


def read_image_to_video(body: object) -> Order:
    """Read POST /v1/generations-image-to-video, or raise `Refused` 400."""
    fields = _fields(body)
    fields.one_of("imageType", {"UPLOADED", "GENERATED"})
    start = (fields.text("imageId", 1, 100),)
    return _film(fields.one_of("model", FILMS, "MOTION2"), fields, start)


def read_extension(body: object) -> str:
    """Read POST /v1/init-image, or raise `Refused` 400."""
    fields = _fields(body)
    if fields.given.get("extension") not in EXTENSIONS:
        raise Refused(400, "Invalid file extension", "invalid-file-extension", "extension")
    return fields.one_of("extension", EXTENSIONS)


def _film(model: str, fields: Fields, start: tuple[str, ...]) -> Order:
    known = FILMS[model]
    prompt = fields.text("prompt", 1, PROMPT_CHARS_MAX)
    resolutions = {f"RESOLUTION_{name.removesuffix('p')}": name for name in known.credits_per_s}
    resolution = resolutions[fields.one_of("resolution", resolutions, next(iter(resolutions)))]
    duration_s = fields.whole("duration", 1, 60, known.durations_s[0])
    if duration_s not in known.durations_s:
        raise _refuse("duration", f"must be one of {', '.join(map(str, known.durations_s))}")
    ratio = _ratio(fields)
    width, height = SIZES.get((resolution, ratio)) or frame_size(resolution, ratio)
    seed = fields.seed(prompt, 0, 2**31 - 1)
    film = Film(without_scenarios(prompt), seed, width, height, duration_s)
    return Order(model, prompt, film, duration_s * known.credits_per_s[resolution], inputs=start)


def _ratio(fields: Fields) -> str:
    """The nearest of the models' ratios to the width and height asked for."""
    width, height = (fields.whole(side, 1, 4_096, px) for side, px in _WIDE.items())
    if width == height:
        return "1:1"
    return "16:9" if width > height else "9:16"


_WIDE: Final = {"width": 1280, "height": 720}


def _guides(guidances: Fields, name: str) -> tuple[str, ...]:
    """The ids of the pictures that a generation is to look at."""
    given: Any = guidances.given.get(name) or []
    try:
        ids = tuple(one["image"]["id"] for one in given[:8])
    except (KeyError, TypeError):
        raise _refuse(f"guidances.{name}", "must be a list of images with ids") from None
    if not all(isinstance(one, str) and one for one in ids):
        raise _refuse(f"guidances.{name}", "must be a list of images with ids")
    return ids


def _fields(body: object) -> Fields:
    if not isinstance(body, dict):
        raise Refused(400, "The body must be a JSON object", "validation-failed")
    return Fields(body, _refuse)


def _refuse(field: str, problem: str) -> Refused:
    return Refused(400, f"{field} {problem}", "validation-failed", field)
