"""Ids of tasks as they come in paths."""

from uuid import UUID

from kernel.errors import NotFound
from kernel.identifiers import parsed


def task_id_of(text: str) -> UUID:
    """Raises `NotFound` for what is no task's id."""
    task_id = parsed("task", text)
    if task_id is None:
        raise NotFound("task_not_found", "There is no such task.")
    return task_id
