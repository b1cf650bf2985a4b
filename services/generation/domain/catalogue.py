"""Models and prices as data: who makes what, with which options, for how many credits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from kernel.errors import NotFound
from services.generation.domain.fairness import UNLIMITED, LaneLimits
from services.generation.domain.options import OptionSchema
from services.generation.domain.prices import Price


class TaskType(StrEnum):
    """What comes out. An avatar is a film of somebody who speaks the text."""

    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"
    AVATAR = "avatar"

    @property
    def speaks(self) -> bool:
        """The prompt is spoken, so that its length is that of the result."""
        return self in {TaskType.AUDIO, TaskType.AVATAR}


@dataclass(frozen=True, slots=True)
class ProviderModel:
    """A provider that makes the model, and the name that it has there; `with_image` where an input
    image makes it another. `only` are the options that it does not take in full, with the values
    that it takes."""

    provider: str
    name: str
    with_image: str | None = None
    only: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def takes(self, options: Mapping[str, Any]) -> bool:
        return all(options[name] in self.only[name] for name in options if name in self.only)

    def name_for(self, options: Mapping[str, Any]) -> str:
        with_image = self.with_image if options.get("input_image") else None
        return with_image or self.name


@dataclass(frozen=True, slots=True)
class Model:
    """`providers` in the order in which they are asked; `deadline_s` from the request to the stored
    output; `examples` are requests that are known to be good; `sizes` are the pixels of a film by
    resolution and aspect ratio, where its vendor makes others than their names say."""

    id: str
    name: str
    task_type: TaskType
    description: str
    aliases: tuple[str, ...]
    providers: tuple[ProviderModel, ...]
    options: OptionSchema
    price: Price
    prompt_length_max: int
    deadline_s: int
    examples: tuple[Mapping[str, Any], ...] = ()
    sizes: Mapping[tuple[str, str], tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Catalogue:
    """All models by id; `version` names the price book that a task was priced by; `limits` are
    what each provider takes of one key."""

    version: str
    models: Mapping[str, Model]
    limits: Mapping[str, LaneLimits] = field(default_factory=dict)

    def find(self, model_id: str) -> Model:
        """By id or alias. Raises `NotFound`."""
        for model in self.models.values():
            if model_id == model.id or model_id in model.aliases:
                return model
        raise NotFound("model_not_found", "There is no such model.", {"field": "model_id"})

    def limits_of(self, provider: str) -> LaneLimits:
        return self.limits.get(provider, UNLIMITED)

    def others_after(
        self, model_id: str, provider: str, options: Mapping[str, Any]
    ) -> Sequence[ProviderModel]:
        """Who else makes the model with these options, in the order in which they are asked when
        `provider` can't."""
        model = self.models.get(model_id)
        sources = [] if model is None else list(model.providers)
        names = [source.provider for source in sources]
        if provider not in names:
            return []
        return [source for source in sources[names.index(provider) + 1 :] if source.takes(options)]
