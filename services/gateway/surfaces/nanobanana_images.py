"""NanoBanana (seed 004): `/v1/generate`, one picture for one request, answered when it is made."""

from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from services.gateway.surfaces.generating import TIMEOUT_S, ending, made
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
    if task["status"] != "completed":
        raise Ended(ending(task, _shown(task["id"])))
    answer = GenerateResponse(
        id=_shown(task["id"]),
        url=task["output_url"],
        prompt=body.prompt,
        created_at=task["created_at"],
    )
    return Said(200, answer)


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
)
