"""Reads the model catalogue and price book from YAML; a wrong file stops the start."""

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from kernel.money import to_units
from services.generation.domain.catalogue import Catalogue, Model, ProviderModel, Quality

DEFAULT_FILE = Path(__file__).parents[1] / "models.yaml"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Provider(_Strict):
    provider: Literal["kie", "google"]
    name: str


class _Model(_Strict):
    id: str
    name: str
    task_type: Literal["image"]
    description: str
    aliases: tuple[str, ...] = ()
    providers: tuple[_Provider, ...] = Field(min_length=1)
    price: dict[Quality, Annotated[Decimal, Field(gt=0)]] = Field(min_length=1)
    outputs_max: int = Field(ge=1, le=4)
    prompt_length_max: int = Field(ge=1, le=10_000)
    deadline_s: int = Field(ge=1)


class _Book(_Strict):
    version: str
    models: tuple[_Model, ...] = Field(min_length=1)


def read_catalogue(path: Path = DEFAULT_FILE) -> Catalogue:
    """Raises ValueError (pydantic's names the place) for a malformed file or a name used twice."""
    book = _Book.model_validate(yaml.safe_load(path.read_text()))
    names = [name for model in book.models for name in (model.id, *model.aliases)]
    if len(names) != len(set(names)):
        raise ValueError(f"{path.name}: a model id or alias is used twice")
    return Catalogue(book.version, {model.id: _model(model) for model in book.models})


def _model(raw: _Model) -> Model:
    return Model(
        id=raw.id,
        name=raw.name,
        task_type=raw.task_type,
        description=raw.description,
        aliases=raw.aliases,
        providers=tuple(ProviderModel(item.provider, item.name) for item in raw.providers),
        price_units={quality: to_units(price) for quality, price in raw.price.items()},
        outputs_max=raw.outputs_max,
        prompt_length_max=raw.prompt_length_max,
        deadline_s=raw.deadline_s,
    )
