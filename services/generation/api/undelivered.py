"""Route to what the object store would not take; other surfaces give it to clients."""

import base64

from fastapi import APIRouter
from pydantic import BaseModel

from kernel.http import Caller
from services.generation.adapters.input_images import kind_of
from services.generation.adapters.undelivered import Undelivered
from services.generation.api.task_ids import task_id_of
from services.generation.api.tasks import Tasks

ANYTHING = "application/octet-stream"


class UndeliveredOutput(BaseModel):
    index: int
    mime_type: str
    content_base64: str


class UndeliveredList(BaseModel):
    success: bool
    outputs: list[UndeliveredOutput]


def undelivered_routes(tasks: Tasks, undelivered: Undelivered) -> APIRouter:
    router = APIRouter(prefix="/api/v2/generation", tags=["generation"])

    @router.get("/tasks/{task_id}/undelivered")
    async def list_undelivered(task_id: str, caller: Caller) -> UndeliveredList:
        """The bytes of outputs that were made and could not be stored, as their vendor made them;
        none of a task that has its outputs, or a few minutes later."""
        row = await tasks.find(task_id_of(task_id), caller.user_id)
        found = await undelivered.of(row["task_id"])
        outputs = [
            UndeliveredOutput(
                index=index,
                mime_type=kind_of(content) or ANYTHING,
                content_base64=base64.b64encode(content).decode(),
            )
            for index, content in found.items()
        ]
        return UndeliveredList(success=True, outputs=outputs)

    return router
