"""Models and prices as data: which providers make what, in which sizes, for how many credits.

No price for a combination is a refusal, never zero.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from kernel.errors import Invalid, NotFound


class Quality(StrEnum):
    """Of an image, by its long side: under 1024 px, under 2048 px, from 2048 px."""

    STANDARD = "standard"
    HD = "hd"
    UHD = "4k"


@dataclass(frozen=True, slots=True)
class ProviderModel:
    """A provider that makes the model, and the name that it has there."""

    provider: str
    name: str


@dataclass(frozen=True, slots=True)
class Model:
    """`price_units` (1/10,000 credit) is for one output of each quality; `deadline_s` from the
    request to the stored output."""

    id: str
    name: str
    task_type: str
    description: str
    aliases: tuple[str, ...]
    providers: tuple[ProviderModel, ...]
    price_units: Mapping[Quality, int]
    outputs_max: int
    prompt_length_max: int
    deadline_s: int


@dataclass(frozen=True)
class Catalogue:
    """All models by id; `version` names the price book that a task was priced by."""

    version: str
    models: Mapping[str, Model]

    def find(self, model_id: str) -> Model:
        """By id or alias. Raises `NotFound`."""
        for model in self.models.values():
            if model_id == model.id or model_id in model.aliases:
                return model
        raise NotFound("model_not_found", "There is no such model.", {"field": "model_id"})


WHOLE_PERCENT = 100


def price_units(model: Model, quality: Quality, outputs: int, percent: int = WHOLE_PERCENT) -> int:
    """The price of all outputs, of which `percent` is asked; each is rounded up. Raises `Invalid`
    when the book has none."""
    each = model.price_units.get(quality)
    if each is None:
        raise Invalid(
            "no_price",
            f"{model.id} is not offered in {quality} quality.",
            {"field": "options.quality"},
        )
    return -(-each * percent // WHOLE_PERCENT) * outputs
