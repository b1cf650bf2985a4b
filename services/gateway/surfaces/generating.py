"""What the surfaces share that answer with a result: a task is created, and waited for."""

from collections.abc import Mapping
from typing import Any, Final

from services.gateway.surfaces.fault import Fault
from services.gateway.surfaces.translation import Native

GENERATE: Final = "/api/v2/generation/generate"
TASKS: Final = "/api/v2/generation/tasks"
WAITS_S: Final = (60, 55)
"""One wait of the native surface after the other; with what is around them, at most 120 s."""
TIMEOUT_S: Final = 125.0
ENDED: Final = frozenset({"completed", "failed", "cancelled"})
_REFUSED: Final = frozenset({"input_refused", "content_moderated", "invalid_input_image"})


async def made(native: Native, wanted: Mapping[str, object]) -> dict[str, Any]:
    """The task when it has ended, or as it is after the last wait."""
    task: dict[str, Any] = (await native("POST", GENERATE, wanted))["task"]
    for wait_s in WAITS_S:
        if task["status"] in ENDED:
            break
        waited = await native("GET", f"{TASKS}/{task['id']}/wait", query=b"timeout=%d" % wait_s)
        task = waited["task"]
    return task


def ending(task: Mapping[str, Any], shown: str) -> Fault:
    """Why there is no result: 422 for what was refused, 502 where the provider failed, 504 with the
    id as it is `shown` while it is still being made."""
    match task["status"]:
        case "failed":
            error = task["error"]
            status = 422 if error["code"] in _REFUSED else 502
            return Fault(status, error["code"], error["message"])
        case "cancelled":
            return Fault(409, "task_cancelled", "The task was cancelled.")
        case _:
            return Fault(504, "timed_out", f"{shown} is still being made; its task goes on.")
