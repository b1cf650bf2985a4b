"""The first API (seed 001): `/api/generation`, with tasks as the columns of its table."""

import re
from datetime import datetime
from typing import Annotated, Any, Final
from urllib.parse import quote

from pydantic import BaseModel, Field

from kernel.errors import Invalid
from services.gateway.surfaces.generating import GENERATE, TASKS
from services.gateway.surfaces.translation import Asked, Native, Said, Strict, Translation, read

MODELS: Final = "/api/v2/generation/models"
PARAMETERS_MAX: Final = 32
_WHOLE_SIDES: Final = ("width", "height")


class GenerationRequest(Strict):
    """`parameters` are the model's options; `width` and `height` (pixels) come together."""

    task_type: Annotated[str, Field(min_length=1, max_length=20)]
    model_id: Annotated[str, Field(min_length=1, max_length=100)]
    prompt: Annotated[str, Field(min_length=1, max_length=10_000)]
    parameters: Annotated[dict[str, Any], Field(max_length=PARAMETERS_MAX)] = Field(
        default_factory=dict
    )


class GenerationTask(BaseModel):
    id: str
    task_id: str
    task_type: str
    model_id: str
    model_name: str
    prompt: str | None
    parameters: dict[str, Any] | None
    status: str
    progress: int
    output_url: str | None
    thumbnail_url: str | None
    error_message: str | None
    credits_used: float
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None


class TaskResponse(BaseModel):
    success: bool = True
    task: GenerationTask


class GenerationModel(BaseModel):
    """`parameters` is a JSON Schema."""

    id: str
    name: str
    task_type: str
    description: str
    credits: dict[str, float | None]
    parameters: dict[str, Any]


class ModelsResponse(BaseModel):
    models: list[GenerationModel]


async def _generate(asked: Asked, native: Native) -> Said:
    body = read(GenerationRequest, asked.body)
    model = await _model(native, body.model_id)
    if body.task_type != model["task_type"]:
        raise Invalid(
            "invalid_request",
            f"task_type: {model['id']} makes {model['task_type']}.",
            {"field": "task_type"},
        )
    wanted = {
        "model_id": body.model_id,
        "prompt": body.prompt,
        "options": _options(body.parameters),
    }
    task = (await native("POST", GENERATE, wanted))["task"]
    return Said(201, TaskResponse(task=_shown(task, model)))


async def _task(asked: Asked, native: Native) -> Said:
    task = (await native("GET", f"{TASKS}/{asked.last_segment}"))["task"]
    return Said(200, TaskResponse(task=_shown(task, await _model(native, task["model_id"]))))


async def _models(_: Asked, native: Native) -> Said:
    listed = (await native("GET", MODELS))["models"]
    models = [
        GenerationModel(
            id=item["id"],
            name=item["name"],
            task_type=item["task_type"],
            description=item["description"],
            credits=item["credits"],
            parameters=item["options"],
        )
        for item in listed
    ]
    return Said(200, ModelsResponse(models=models))


async def _model(native: Native, model_id: str) -> dict[str, Any]:
    if not re.fullmatch(r"[A-Za-z0-9._/-]+", model_id):
        raise Invalid("invalid_request", "model_id: no such model.", {"field": "model_id"})
    found: dict[str, Any] = (await native("GET", f"{MODELS}/{quote(model_id)}"))["model"]
    return found


def _options(parameters: dict[str, Any]) -> dict[str, Any]:
    """`width` and `height` are the native `resolution`; all else has the same name."""
    options = {name: value for name, value in parameters.items() if name not in _WHOLE_SIDES}
    sides = [parameters.get(name) for name in _WHOLE_SIDES]
    if sides == [None, None]:
        return options
    for name, side in zip(_WHOLE_SIDES, sides, strict=True):
        if not isinstance(side, int) or isinstance(side, bool):
            field = f"parameters.{name}"
            raise Invalid("invalid_option", f"{field}: a whole number.", {"field": field})
    return {**options, "resolution": f"{sides[0]}x{sides[1]}"}


def _shown(task: dict[str, Any], model: dict[str, Any]) -> GenerationTask:
    error = task["error"]
    return GenerationTask(
        id=task["id"],
        task_id=task["id"],
        task_type=task["task_type"],
        model_id=task["model_id"],
        model_name=model["name"],
        prompt=task["prompt"],
        parameters=task["options"],
        status=task["status"],
        progress=task["progress"],
        output_url=task["output_url"],
        thumbnail_url=task["thumbnail_url"],
        error_message=error["message"] if error else None,
        credits_used=task["credits_used"] or 0.0,
        created_at=task["created_at"],
        updated_at=task["completed_at"] or task["started_at"] or task["created_at"],
        completed_at=task["completed_at"],
    )


CREATE: Final = Translation(
    _generate, 201, GenerationRequest, TaskResponse, fields={"options.": "parameters."}
)
TASK: Final = Translation(_task, 200, None, TaskResponse)
LIST_MODELS: Final = Translation(_models, 200, None, ModelsResponse)
