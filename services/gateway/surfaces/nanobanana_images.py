"""NanoBanana (seed 004): `/v1/generate`, one picture for one request, answered when it is made."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from services.gateway.surfaces.fault import Fault
from services.gateway.surfaces.translation import (
    Asked,
    Ended,
    Native,
    Said,
    Strict,
    Translation,
    read,
)

MODEL: Final = "gemini-image"
TASKS: Final = "/api/v2/generation/tasks"
WAITS_S: Final = (60, 55)
"""One wait of the native surface after the other; with what is around them, at most 120 s."""
TIMEOUT_S: Final = 125.0
SUFFIXES: Final = {
    "natural": "",
    "artistic": ", in an expressive, painterly style with visible brushwork",
}
_REFUSED: Final = frozenset({"input_refused", "content_moderated"})


class GenerateRequest(Strict):
    """`size` is `WxH` in pixels, 256 to 4096 a side."""

    prompt: Annotated[str, Field(min_length=1, max_length=10_000)]
    size: Annotated[str, Field(pattern=r"^[0-9]{1,4}x[0-9]{1,4}$")] = "1024x1024"
    style: Literal["natural", "artistic"] = "natural"


class GenerateResponse(BaseModel):
    id: str
    url: str
    prompt: str
    created_at: datetime


async def _generate(asked: Asked, native: Native) -> Said:
    """The picture, or why there is none: 422 for what was refused, 502 where the provider failed,
    504 with the id while it is still being made."""
    body = read(GenerateRequest, asked.body)
    wanted = {
        "model_id": MODEL,
        "prompt": body.prompt + SUFFIXES[body.style],
        "options": {"resolution": body.size},
    }
    task = (await native("POST", "/api/v2/generation/generate", wanted))["task"]
    for wait_s in WAITS_S:
        if task["status"] in {"completed", "failed", "cancelled"}:
            break
        waited = await native("GET", f"{TASKS}/{task['id']}/wait", query=b"timeout=%d" % wait_s)
        task = waited["task"]
    if task["status"] != "completed":
        raise Ended(_ending(task))
    made = GenerateResponse(
        id=_shown(task["id"]),
        url=task["output_url"],
        prompt=body.prompt,
        created_at=task["created_at"],
    )
    return Said(200, made)


def _ending(task: dict[str, Any]) -> Fault:
    match task["status"]:
        case "failed":
            error = task["error"]
            status = 422 if error["code"] in _REFUSED else 502
            return Fault(status, error["code"], error["message"])
        case "cancelled":
            return Fault(409, "task_cancelled", "The task was cancelled.")
        case _:
            words = f"{_shown(task['id'])} is still being made; its task goes on."
            return Fault(504, "timed_out", words)


def _shown(task_id: str) -> str:
    """`gen_<uuid>` of a native task's id."""
    return f"gen_{UUID(task_id.removeprefix('task_'))}"


GENERATE: Final = Translation(_generate, 200, GenerateRequest, GenerateResponse, TIMEOUT_S)
