"""What a vendor is asked for: the task, its user's own words, and the picture to begin with."""

import json
from dataclasses import dataclass
from typing import Any, Final

from kernel.encryption import Personal
from kernel.sql import Database
from services.generation.adapters.callbacks import Callbacks
from services.generation.adapters.due_list import DueJob
from services.generation.adapters.input_images import InputImages
from services.generation.adapters.providers import Job, Refused
from services.generation.domain.task import Task

SEEDS: Final = 2**31


@dataclass(frozen=True, slots=True)
class JobRequests:
    database: Database
    personal: Personal
    input_images: InputImages
    callbacks: Callbacks

    async def of(self, job: DueJob, task: Task) -> Job | Refused | None:
        """None when the owner's texts have been erased, `Refused` when the picture to begin with
        can't be had."""
        ref = f"task-{job.task_id}"
        async with self.database.connection() as connection:
            text = (await self.personal.read(connection, task.user_id, [ref])).get(ref)
        if text is None:
            return None
        request: dict[str, Any] = json.loads(text)
        options = dict(request["options"])
        if task.outputs > 1:  # vendors may answer the same words with the same picture
            given = options.get("seed")
            first = task.task_id.int if given is None else given
            options["seed"] = (first + job.output_index) % SEEDS
        reference = options.get("input_image")
        image = reference and await self.input_images.read(task.user_id, reference)
        if isinstance(image, Refused):
            return image
        return Job(
            job.model,
            request["prompt"],
            task.width,
            task.height,
            options,
            task_type=task.task_type,
            duration_s=task.duration_s,
            input_image=image,
            key=str(job.job_id),
            callback_url=self.callbacks.url(job.provider, job.job_id),
        )
