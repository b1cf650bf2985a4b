"""NanoBanana (seed 004): `/v1/generate`, one picture for one request, answered when it is made."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from services.gateway.surfaces.generating import TASKS, TIMEOUT_S, ending, made
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
NOT_STORED: Final = "storage_failed"
PICTURE_BYTES_MAX: Final = 32 * 1_048_576
"""Of a whole one as base64 text, in an answer."""
SUFFIXES: Final = {
    "natural": "",
    "artistic": ", in an expressive, painterly style with visible brushwork",
}


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
    """The picture, or why there is none."""
    body = read(GenerateRequest, asked.body)
    wanted = {
        "model_id": MODEL,
        "prompt": body.prompt + SUFFIXES[body.style],
        "options": {"resolution": body.size},
    }
    task = await made(native, wanted)
    url = task["output_url"] if task["status"] == "completed" else await _undelivered(task, native)
    if url is None:
        raise Ended(ending(task, _shown(task["id"])))
    answer = GenerateResponse(
        id=_shown(task["id"]),
        url=url,
        prompt=body.prompt,
        created_at=task["created_at"],
    )
    return Said(200, answer)


async def _undelivered(task: Mapping[str, Any], native: Native) -> str | None:
    """A picture that was made and could not be stored, as a `data:` URI (RFC 2397): it is as large
    as its vendor makes it, and costs nothing."""
    if task["error"] is None or task["error"]["code"] != NOT_STORED:
        return None
    outputs = (await native("GET", f"{TASKS}/{task['id']}/undelivered"))["outputs"]
    if not outputs:
        return None
    return f"data:{outputs[0]['mime_type']};base64,{outputs[0]['content_base64']}"


def _shown(task_id: str) -> str:
    """`gen_<uuid>` of a native task's id."""
    return f"gen_{UUID(task_id.removeprefix('task_'))}"


GENERATE: Final = Translation(
    _generate,
    200,
    GenerateRequest,
    GenerateResponse,
    TIMEOUT_S,
    fields={"options.resolution": "size"},
    answer_bytes_max=PICTURE_BYTES_MAX,
)
