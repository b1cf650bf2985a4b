"""Bodies of the v2 generation API, and how a task's row becomes one."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any

import asyncpg
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from kernel.identifiers import shown
from kernel.links import MediaLinks
from kernel.money import to_credits
from services.generation.domain.catalogue import Model
from services.generation.domain.pictures import RATIOS, SIDE_MAX_PX, SIDE_MIN_PX

PROMPT_LENGTH_MAX = 10_000
NEGATIVE_PROMPT_LENGTH_MAX = 2_000
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
MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PictureOptions(_Strict):
    """`resolution` is WIDTHxHEIGHT in pixels; it and `quality` say the same, or one is left out."""

    aspect_ratio: str | None = Field(None, examples=["16:9"])
    resolution: str | None = Field(None, examples=["1024x576"])
    quality: str | None = Field(None, examples=["hd"])
    num_images: int = Field(1, ge=1, le=4)
    seed: int | None = Field(None, ge=0, le=2**31 - 1)
    negative_prompt: str | None = Field(None, max_length=NEGATIVE_PROMPT_LENGTH_MAX)


class EstimateRequest(_Strict):
    model_id: str = Field(min_length=1, max_length=100, examples=["nano-banana-pro"])
    options: PictureOptions = PictureOptions()


class GenerateRequest(EstimateRequest):
    prompt: str = Field(min_length=1, max_length=PROMPT_LENGTH_MAX)
    metadata: dict[MetadataKey, MetadataValue] = Field(
        default_factory=dict, max_length=METADATA_PAIRS_MAX
    )

    @field_validator("prompt")
    @classmethod
    def _not_blank(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("must not be blank")
        return value


class OutputBody(BaseModel):
    key: str
    url: str
    thumbnail_url: str | None
    mime_type: str
    width: int | None
    height: int | None
    duration_seconds: float | None
    size: int
    sha256: str


class ErrorBody(BaseModel):
    code: str
    message: str


class TaskBody(BaseModel):
    """`status` goes pending, processing, then completed, failed or cancelled."""

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
    success: bool
    credits: float
    breakdown: dict[str, Any]


class ModelBody(BaseModel):
    id: str
    name: str
    task_type: str
    description: str
    aliases: list[str]
    providers: list[str]
    credits: dict[str, float]
    options: dict[str, Any]


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
    links: MediaLinks,
    now: datetime,
) -> TaskBody:
    """`request` is what its owner asked (prompt, options, metadata), None once erased."""
    asked = request or {}
    outputs = [
        _output_body(file, links, now)
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
        error=error,
        created_at=row["created_at"],
        started_at=row["started_at"],
        completed_at=row["completed_at"],
    )


def _output_body(file: Mapping[str, Any], links: MediaLinks, now: datetime) -> OutputBody:
    thumbnail = file["thumbnail_key"]
    expires_at = now + LINK_LIFETIME
    return OutputBody(
        key=file["key"],
        url=links.sign(file["key"], expires_at=expires_at),
        thumbnail_url=links.sign(thumbnail, expires_at=expires_at) if thumbnail else None,
        mime_type=file["mime_type"],
        width=file["width"],
        height=file["height"],
        duration_seconds=file["duration_seconds"],
        size=file["size"],
        sha256=file["sha256"],
    )


def model_body(model: Model) -> ModelBody:
    return ModelBody(
        id=model.id,
        name=model.name,
        task_type=model.task_type,
        description=model.description,
        aliases=list(model.aliases),
        providers=[source.provider for source in model.providers],
        credits={quality.value: to_credits(units) for quality, units in model.price_units.items()},
        options=_option_schema(model),
    )


def _option_schema(model: Model) -> dict[str, Any]:
    schema = PictureOptions.model_json_schema()
    properties = schema["properties"]
    properties["aspect_ratio"]["enum"] = [*RATIOS, None]
    properties["quality"]["enum"] = [*(quality.value for quality in model.price_units), None]
    properties["num_images"]["maximum"] = model.outputs_max
    properties["resolution"]["description"] = (
        f"WIDTHxHEIGHT, each side {SIDE_MIN_PX} to {SIDE_MAX_PX} pixels"
    )
    return schema
