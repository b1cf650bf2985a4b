"""Routes of the v2 generation API: request -> command, query -> response."""

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

import asyncpg
import orjson
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from kernel.clock import new_id
from kernel.http import Attempt, Caller, Replay, Resumed, idempotency_key, problem
from kernel.money import to_credits
from services.generation.api.bodies import (
    EstimateBody,
    EstimateRequest,
    GenerateBody,
    GenerateRequest,
    ModelAnswer,
    ModelList,
    TaskAnswer,
    model_body,
)
from services.generation.api.events import Feed, add_events
from services.generation.api.outcomes import add_outcomes
from services.generation.api.task_ids import task_id_of
from services.generation.api.task_list import add_task_list
from services.generation.api.tasks import Tasks, asked, subject_of

WAIT_DEFAULT_S, WAIT_MAX_S = 60, 120
RETRY_AFTER_S = "1"
WORDS = ("prompt", "options", "metadata")


def routes(tasks: Tasks, feed: Feed) -> APIRouter:
    router = APIRouter(prefix="/api/v2/generation", tags=["generation"])
    _add_creation(router, tasks)
    add_task_list(router, tasks)
    _add_tasks(router, tasks)
    add_events(router, feed)
    _add_models(router, tasks)
    add_outcomes(router)
    return router


def _add_creation(router: APIRouter, tasks: Tasks) -> None:
    @router.post("/generate", status_code=201, response_model=GenerateBody)
    async def generate(body: GenerateRequest, caller: Caller, request: Request) -> Response:
        """Create a generation task; its credits are reserved when this answers 201."""
        attempt = await idempotency_key(request, str(caller.user_id))
        match await tasks.idempotency.earlier(attempt):
            case Replay(status, answer):
                answer = _with_words(answer, asked(body))
                return JSONResponse(answer, status, {"Idempotency-Replayed": "true"})
            case Resumed(resource):
                task_id = UUID(hex=resource)
                with tasks.waiters.subscribed(task_id) as changed:
                    row = await tasks.reserved(task_id, caller.user_id, changed)
            case None:
                row = await tasks.create(new_id(), body, caller, attempt)
        return await _creation_answer(tasks, row, body, attempt)

    @router.post("/estimate")
    async def estimate(body: EstimateRequest, caller: Caller) -> EstimateBody:
        """What a task like this costs, exactly, and a quote that binds; nothing is created.
        `own_key`: it would be made under the caller's own key of the provider, for a part of the
        price."""
        plan = await tasks.plan(body, caller)
        order = plan.order
        subject = subject_of(caller.user_id, plan, body.prompt)
        quote_id, expires_at = await tasks.quotes.give(subject, order.price_units)
        return EstimateBody(
            success=True,
            credits=to_credits(order.price_units),
            breakdown={
                "model_id": order.model.id,
                "quality": order.quality,
                "width": order.width,
                "height": order.height,
                "outputs": order.outputs,
                "credits_each": to_credits(order.price_units // order.outputs),
                "duration_seconds": order.duration_s,
                "estimated_seconds": order.estimated_s,
                "own_key": plan.own_key,
            },
            quote_id=quote_id,
            expires_at=expires_at,
        )


async def _creation_answer(
    tasks: Tasks, row: asyncpg.Record, request: GenerateRequest, attempt: Attempt | None
) -> JSONResponse:
    """201 with what is reserved, 402 when the ledger declined, 503 when it was silent."""
    if row["declined"]:
        units = row["error_details"].items()
        details = {name.removesuffix("_units"): to_credits(amount) for name, amount in units}
        answer = problem(402, row["error_code"], row["error_message"], details)
    elif row["outcome"] == "credits_unavailable":
        # Nothing came of it, so the same key may try anew.
        await tasks.idempotency.forget(attempt, row["task_id"].hex)
        return problem(
            503,
            "credits_unavailable",
            "The ledger did not answer in time; nothing was charged.",
            Retry_After=RETRY_AFTER_S,
        )
    else:
        body = GenerateBody(
            success=True,
            task=await tasks.body_after_creation(row, request),
            credits_reserved=to_credits(row["price_units"]),
        )
        answer = JSONResponse(body.model_dump(mode="json"), 201)
    kept = _with_words(orjson.loads(answer.body), {})
    await tasks.idempotency.answered(attempt, answer.status_code, kept)
    return answer


def _add_tasks(router: APIRouter, tasks: Tasks) -> None:
    @router.get("/tasks/{task_id}")
    async def get_task(task_id: str, caller: Caller) -> TaskAnswer:
        """The task as it is now, with fresh links to its outputs."""
        row = await tasks.find(task_id_of(task_id), caller.user_id)
        return TaskAnswer(success=True, task=await tasks.body(row))

    @router.get("/tasks/{task_id}/wait")
    async def wait_for_task(
        task_id: str,
        caller: Caller,
        timeout: Annotated[float, Query(ge=1, le=WAIT_MAX_S)] = WAIT_DEFAULT_S,  # noqa: ASYNC109 - the parameter's public name
    ) -> TaskAnswer:
        """The task once it has ended; after `timeout` seconds, as it is."""
        row = await tasks.wait(task_id_of(task_id), caller.user_id, timeout)
        return TaskAnswer(success=True, task=await tasks.body(row))

    @router.delete("/tasks/{task_id}")
    async def delete_task(task_id: str, caller: Caller) -> TaskAnswer:
        """Cancel an active task: its credits go back as the outcome policy says. One that has ended
        is removed with its outputs, and there is none from then on; what it cost stays."""
        body = await tasks.delete(task_id_of(task_id), caller.user_id)
        return TaskAnswer(success=True, task=body)


def _add_models(router: APIRouter, tasks: Tasks) -> None:
    @router.get("/models")
    async def list_models(_: Caller) -> ModelList:
        models = [model_body(model) for model in tasks.catalogue.models.values()]
        return ModelList(success=True, models=models)

    @router.get("/models/{model_id:path}")
    async def get_model(model_id: str, _: Caller) -> ModelAnswer:
        return ModelAnswer(success=True, model=model_body(tasks.catalogue.find(model_id)))


def _with_words(answer: dict[str, Any], words: Mapping[str, Any]) -> dict[str, Any]:
    """The answer with the user's own words in its task, or without them: an idempotency record
    keeps none, and a repeat brings them along."""
    if "task" not in answer:
        return answer
    return answer | {"task": answer["task"] | {name: words.get(name) for name in WORDS}}
