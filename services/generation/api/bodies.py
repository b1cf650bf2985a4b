"""Bodies of the v2 generation API, and how a task's row becomes one."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any

import asyncpg
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from kernel.identifiers import shown
from kernel.money import to_credits
from kernel.objects import ObjectLinks
from services.generation.adapters.queue import Place
from services.generation.domain.catalogue import Model
from services.generation.domain.prices import Price, QualityPrice

PROMPT_LENGTH_MAX = 10_000
OPTIONS_MAX = 32
METADATA_PAIRS_MAX = 16
LINK_LIFETIME = timedelta(hours=24)

STATUS_BY_STAGE: Mapping[str, str] = {
    "pending": "pending",
    "queued": "pending",
    "processing": "processing",
    "storing": "processing",
    "completed": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
}
OptionName = Annotated[str, StringConstraints(min_length=1, max_length=64)]
MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]


Options = Annotated[dict[OptionName, Any], Field(max_length=OPTIONS_MAX)]


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


Prompt = Annotated[
    str, Field(min_length=1, max_length=PROMPT_LENGTH_MAX), AfterValidator(_not_blank)
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class EstimateRequest(_Strict):
    """`options` are the model's own, by the schema that it shows; what is spoken needs its `prompt`
    for its price."""

    model_id: str = Field(min_length=1, max_length=100, examples=["nano-banana-pro"])
    prompt: Prompt | None = None
    options: Options = Field(default_factory=dict)


class GenerateRequest(_Strict):
    model_id: str = Field(min_length=1, max_length=100, examples=["nano-banana-pro"])
    prompt: Prompt
    options: Options = Field(default_factory=dict)
    quote_id: str | None = Field(None, min_length=1, max_length=64)
    metadata: dict[MetadataKey, MetadataValue] = Field(
        default_factory=dict, max_length=METADATA_PAIRS_MAX
    )


class OutputBody(BaseModel):
    """One whose file was `deleted` has no links."""

    key: str
    url: str | None
    thumbnail_url: str | None
    mime_type: str
    width: int | None
    height: int | None
    duration_seconds: float | None
    size: int
    sha256: str
    blurhash: str | None
    safety: str | None
    deleted: bool = False


class ErrorBody(BaseModel):
    code: str
    message: str


class TaskBody(BaseModel):
    """`status` goes pending, processing, then completed, failed or cancelled. While it waits for
    its provider, `queue_position` (1 is next) and `estimated_seconds` say for how long."""

    id: str
    status: str
    progress: int
    task_type: str
    model_id: str
    provider: str
    prompt: str | None
    options: dict[str, Any] | None
    metadata: dict[str, str] | None
    output_url: str | None
    thumbnail_url: str | None
    outputs: list[OutputBody]
    credits_reserved: float
    credits_used: float | None
    outcome: str | None
    queue_position: int | None
    estimated_seconds: int | None
    error: ErrorBody | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None


class GenerateBody(BaseModel):
    success: bool
    task: TaskBody
    credits_reserved: float


class TaskAnswer(BaseModel):
    success: bool
    task: TaskBody


class TaskList(BaseModel):
    success: bool
    tasks: list[TaskBody]
    next_cursor: str | None


class EstimateBody(BaseModel):
    """`quote_id` binds: the same request, made with it before `expires_at`, never costs more."""

    success: bool
    credits: float
    breakdown: dict[str, Any]
    quote_id: str
    expires_at: datetime


class ModelBody(BaseModel):
    """`options` is a JSON Schema; `credits` is the price of one output by its quality, or of its
    length; `examples` are requests that can be sent as they are."""

    id: str
    name: str
    task_type: str
    description: str
    aliases: list[str]
    providers: list[str]
    credits: dict[str, float | None]
    options: dict[str, Any]
    prompt_length_max: int
    deadline_seconds: int
    examples: list[dict[str, Any]]


class ModelAnswer(BaseModel):
    success: bool
    model: ModelBody


class ModelList(BaseModel):
    success: bool
    models: list[ModelBody]


def task_body(
    row: asyncpg.Record | Mapping[str, Any],
    request: Mapping[str, Any] | None,
    progress: int,
    objects: ObjectLinks,
    now: datetime,
    *,
    place: Place | None = None,
) -> TaskBody:
    """`request` is what its owner asked (prompt, options, metadata), None once erased; `place` is
    where it stands in the queue, None once it has left it."""
    asked = request or {}
    outputs = [
        _output_body(file, objects, now)
        for _, file in sorted(row["outputs"].items(), key=lambda item: int(item[0]))
    ]
    ready = outputs if row["stage"] == "completed" else []
    charged = row["charged_units"]
    error = None
    if row["error_code"] is not None:
        error = ErrorBody(code=row["error_code"], message=row["error_message"])
    return TaskBody(
        id=shown("task", row["task_id"]),
        status=STATUS_BY_STAGE[row["stage"]],
        progress=100 if row["stage"] == "completed" else min(progress, 99),
        task_type=row["task_type"],
        model_id=row["model_id"],
        provider=row["provider"],
        prompt=asked.get("prompt"),
        options=asked.get("options"),
        metadata=asked.get("metadata"),
        output_url=ready[0].url if ready else None,
        thumbnail_url=ready[0].thumbnail_url if ready else None,
        outputs=ready,
        credits_reserved=to_credits(row["price_units"]) if charged is None else 0.0,
        credits_used=None if charged is None else to_credits(charged),
        outcome=row["outcome"],
        queue_position=None if place is None else place.position,
        estimated_seconds=None if place is None else place.wait_s,
        error=error,
        created_at=row["created_at"],
        started_at=row["started_at"],
        completed_at=row["completed_at"],
    )


def _output_body(file: Mapping[str, Any], objects: ObjectLinks, now: datetime) -> OutputBody:
    deleted = file.get("deleted", False)
    thumbnail = None if deleted else file["thumbnail_key"]
    expires_at = now + LINK_LIFETIME
    return OutputBody(
        key=file["key"],
        url=None if deleted else objects.link(file["key"], expires_at=expires_at),
        thumbnail_url=objects.link(thumbnail, expires_at=expires_at) if thumbnail else None,
        mime_type=file["mime_type"],
        width=file["width"],
        height=file["height"],
        duration_seconds=file["duration_seconds"],
        size=file["size"],
        sha256=file["sha256"],
        blurhash=file.get("blurhash"),
        safety=file.get("safety"),
        deleted=deleted,
    )


def model_body(model: Model) -> ModelBody:
    return ModelBody(
        id=model.id,
        name=model.name,
        task_type=model.task_type.value,
        description=model.description,
        aliases=list(model.aliases),
        providers=[source.provider for source in model.providers],
        credits=_credits(model.price),
        options=dict(model.options.schema),
        prompt_length_max=model.prompt_length_max,
        deadline_seconds=model.deadline_s,
        examples=[{"model_id": model.id, **example} for example in model.examples],
    )


def _credits(price: Price) -> dict[str, float | None]:
    if isinstance(price, QualityPrice):
        return {quality.value: to_credits(units) for quality, units in price.units.items()}
    return {
        "first_seconds": price.first_s,
        "first": to_credits(price.first_units),
        "each_seconds": price.each_s,
        "each": to_credits(price.each_units),
    }
