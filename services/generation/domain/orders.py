"""What a request comes to: exact sizes and lengths, and its whole price, or a refusal that names
the field."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any, assert_never

from kernel.errors import Invalid
from services.generation.domain.catalogue import Model, TaskType
from services.generation.domain.films import film_size, speech_s
from services.generation.domain.pictures import picture_size
from services.generation.domain.prices import LengthPrice, QualityPrice

MIME_TYPES = {"mp3": "audio/mpeg", "wav": "audio/wav"}
AVATAR_RESOLUTION = {"medium": "720p", "high": "1080p"}
"""By quality; "low" is whatever the vendor's smallest is, because not all have 480p."""


@dataclass(frozen=True, slots=True)
class Order:
    """`options` are those that say something. `duration_s` is exact where it was asked for; of what
    is spoken it is None, and `estimated_s` is what the price was made for: `meter` then says what
    is owed for the real length, never more than `price_units`."""

    model: Model
    options: Mapping[str, Any]
    price_units: int
    outputs: int = 1
    width: int | None = None
    height: int | None = None
    quality: str | None = None
    duration_s: float | None = None
    estimated_s: float | None = None
    mime_type: str | None = None
    meter: LengthPrice | None = None


def order_of(model: Model, options: Mapping[str, Any], text: str | None, percent: int) -> Order:
    """Of which `percent` of the price is asked. `text` is the prompt, which only what is spoken
    needs for its price. Raises `Invalid`."""
    options = model.options.checked(options)
    price = model.price
    if isinstance(price, QualityPrice):
        return _picture(model, options, price, percent)
    price = price.at(percent)
    match model.task_type:
        case TaskType.VIDEO:
            return _film(model, options, price)
        case TaskType.AUDIO:
            return _speech(model, options, price, text)
        case TaskType.AVATAR:
            return _avatar(model, options, price, text)
        case TaskType.IMAGE:
            raise AssertionError("the catalogue's reader prices pictures by quality")
        case _:
            assert_never(model.task_type)


def _picture(model: Model, options: Mapping[str, Any], price: QualityPrice, percent: int) -> Order:
    size = picture_size(
        aspect_ratio=options.get("aspect_ratio"),
        resolution=options.get("resolution"),
        quality=options.get("quality"),
    )
    outputs = options.get("num_images", 1)
    units = price.of(size.quality, outputs, percent)
    if units is None:
        raise Invalid(
            "no_price",
            f"{model.id} is not offered in {size.quality} quality.",
            {"field": "options.quality"},
        )
    return Order(
        model,
        options,
        units,
        outputs=outputs,
        width=size.width,
        height=size.height,
        quality=size.quality.value,
    )


def _film(model: Model, options: Mapping[str, Any], price: LengthPrice) -> Order:
    resolution, ratio = (_said(model, options, name) for name in ("resolution", "aspect_ratio"))
    width, height = model.sizes.get((resolution, ratio)) or film_size(resolution, ratio)
    duration_s = float(_said(model, options, "duration_seconds"))
    return Order(
        model,
        options,
        price.of(duration_s),
        width=width,
        height=height,
        quality=resolution,
        duration_s=duration_s,
    )


def _speech(
    model: Model, options: Mapping[str, Any], price: LengthPrice, text: str | None
) -> Order:
    estimated_s = _estimated_s(text, options)
    kind = _said(model, options, "format")
    return Order(
        model,
        options,
        price.of(estimated_s),
        estimated_s=estimated_s,
        mime_type=MIME_TYPES[kind],
        meter=price,
    )


def _avatar(
    model: Model, options: Mapping[str, Any], price: LengthPrice, text: str | None
) -> Order:
    quality = _said(model, options, "quality")
    resolution = AVATAR_RESOLUTION.get(quality)
    width = height = None
    if resolution is not None:
        width, height = film_size(resolution, _said(model, options, "dimension"))
    estimated_s = _estimated_s(text, options)
    return Order(
        model,
        options,
        price.of(estimated_s),
        width=width,
        height=height,
        quality=quality,
        estimated_s=estimated_s,
        meter=price,
    )


def _estimated_s(text: str | None, options: Mapping[str, Any]) -> float:
    if text is None or not text.strip():
        raise Invalid(
            "invalid_request", "prompt: the text to speak decides the price.", {"field": "prompt"}
        )
    return float(ceil(speech_s(text, options.get("speed", 1.0))))


def _said(model: Model, options: Mapping[str, Any], name: str) -> Any:
    """The option, or what its schema says it is when nothing is said."""
    return options.get(name, model.options.default(name))
