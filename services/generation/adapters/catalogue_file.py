"""Reads the model catalogue and price book from YAML; a wrong file stops the start."""

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from kernel.errors import Error
from kernel.money import to_units
from services.generation.domain.catalogue import Catalogue, Model, ProviderModel, TaskType
from services.generation.domain.fairness import LaneLimits
from services.generation.domain.options import OptionSchema
from services.generation.domain.orders import order_of
from services.generation.domain.prices import (
    WHOLE_PERCENT,
    LengthPrice,
    Price,
    Quality,
    QualityPrice,
)

DEFAULT_FILE: Final = Path(__file__).parents[1] / "models.yaml"
OWED: Final[Mapping[TaskType, frozenset[str]]] = {
    TaskType.IMAGE: frozenset(),
    TaskType.VIDEO: frozenset({"duration_seconds", "resolution", "aspect_ratio"}),
    TaskType.AUDIO: frozenset({"format"}),
    TaskType.AVATAR: frozenset({"dimension", "quality"}),
}
"""Options that decide what a task comes to: they need a default."""

Credits = Annotated[Decimal, Field(gt=0)]
ProviderName = Literal["kie", "google", "heygen", "leonardo", "elevenlabs"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Provider(_Strict):
    provider: ProviderName
    name: str
    with_image: str | None = None
    only: dict[str, tuple[Any, ...]] = Field(default_factory=dict)


class _QualityPrice(_Strict):
    standard: Credits
    hd: Credits | None = None
    uhd: Credits | None = Field(None, alias="4k")

    def price(self) -> Price:
        named = ((Quality.STANDARD, self.standard), (Quality.HD, self.hd), (Quality.UHD, self.uhd))
        return QualityPrice({quality: to_units(price) for quality, price in named if price})


class _LengthPrice(_Strict):
    first_s: float = Field(gt=0)
    first: Credits
    each: Credits
    each_s: float | None = Field(None, gt=0)

    def price(self) -> Price:
        return LengthPrice(self.first_s, to_units(self.first), to_units(self.each), self.each_s)


class _Size(_Strict):
    resolution: str
    aspect_ratio: str
    width: int = Field(ge=2, multiple_of=2)
    height: int = Field(ge=2, multiple_of=2)


class _Example(_Strict):
    prompt: str
    options: dict[str, Any] = Field(default_factory=dict)


class _Model(_Strict):
    id: str
    name: str
    task_type: TaskType
    description: str
    aliases: tuple[str, ...] = ()
    providers: tuple[_Provider, ...] = Field(min_length=1)
    options: dict[str, dict[str, Any]]
    required: tuple[str, ...] = ()
    price: _QualityPrice | _LengthPrice
    prompt_length_max: int = Field(ge=1, le=10_000)
    deadline_s: int = Field(ge=1)
    examples: tuple[_Example, ...] = Field(min_length=1)
    sizes: tuple[_Size, ...] = ()


class _Limits(_Strict):
    at_once: int | None = Field(None, ge=1)
    submits: int | None = Field(None, ge=1)
    window_s: float | None = Field(None, gt=0)
    looks_per_s: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _has_a_window(self) -> Self:
        if (self.submits is None) != (self.window_s is None):
            raise ValueError("submits and window_s belong together")
        return self

    def limits(self) -> LaneLimits:
        return LaneLimits(self.at_once, self.submits, self.window_s or 0.0, self.looks_per_s)


class _Book(_Strict):
    version: str
    common: dict[str, Any] = Field(default_factory=dict)
    """Where YAML's anchors are; nothing reads it."""
    providers: dict[ProviderName, _Limits]
    models: tuple[_Model, ...] = Field(min_length=1)


def read_catalogue(path: Path = DEFAULT_FILE) -> Catalogue:
    """Raises ValueError (pydantic's names the place) for a malformed file, a name used twice, a
    provider without limits, or a model whose options, price and examples do not fit each other."""
    book = _Book.model_validate(yaml.safe_load(path.read_text()))
    names = [name for model in book.models for name in (model.id, *model.aliases)]
    if len(names) != len(set(names)):
        raise ValueError(f"{path.name}: a model id or alias is used twice")
    for model in book.models:
        for source in model.providers:
            if source.provider not in book.providers:
                raise ValueError(f"{model.id}: nothing says what {source.provider} takes at once")
    return Catalogue(
        book.version,
        {raw.id: _checked(_model(raw)) for raw in book.models},
        {name: raw.limits() for name, raw in book.providers.items()},
    )


def _model(raw: _Model) -> Model:
    return Model(
        id=raw.id,
        name=raw.name,
        task_type=raw.task_type,
        description=raw.description,
        aliases=raw.aliases,
        providers=tuple(ProviderModel(**dict(provider)) for provider in raw.providers),
        options=OptionSchema(raw.options, raw.required),
        price=raw.price.price(),
        prompt_length_max=raw.prompt_length_max,
        deadline_s=raw.deadline_s,
        examples=tuple(example.model_dump() for example in raw.examples),
        sizes={(one.resolution, one.aspect_ratio): (one.width, one.height) for one in raw.sizes},
    )


def _checked(model: Model) -> Model:
    if isinstance(model.price, QualityPrice) != (model.task_type == TaskType.IMAGE):
        raise ValueError(f"{model.id}: pictures, and nothing else, are priced by quality")
    if model.providers[0].only:
        raise ValueError(f"{model.id}: its first provider takes all options in full")
    undecided = sorted(
        name for name in OWED[model.task_type] if model.options.default(name) is None
    )
    if undecided:
        raise ValueError(f"{model.id}: {', '.join(undecided)} without a default")
    for example in model.examples:
        try:
            order_of(model, example["options"], example["prompt"], WHOLE_PERCENT)
        except Error as error:
            raise ValueError(f"{model.id}: an example is refused: {error.message}") from error
    return model
