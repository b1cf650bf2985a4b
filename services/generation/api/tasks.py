"""What the task routes do: price, create, wait for the ledger, read, cancel."""

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg

from kernel.encryption import Personal
from kernel.errors import Invalid, NotFound, Unavailable
from kernel.event_store import EventStore
from kernel.http import Attempt, Idempotency, Identity
from kernel.objects import ObjectStore
from kernel.outbox import Publisher
from kernel.unit import Unit
from kernel.waiting import Turns, Waiters
from services.generation import read_model
from services.generation.adapters.due_list import (
    DueList,
    record_cancel,
    record_deadline,
    record_met,
    record_silence,
)
from services.generation.adapters.input_images import InputImages
from services.generation.adapters.queue import Queue
from services.generation.adapters.quotes import Quotes, Subject
from services.generation.adapters.vendors import Vendors
from services.generation.api.bodies import (
    EstimateRequest,
    GenerateRequest,
    TaskBody,
    task_body,
)
from services.generation.api.screening import Screening
from services.generation.domain.catalogue import Catalogue, ProviderModel
from services.generation.domain.messages import (
    CancelTask,
    CreateTask,
    GiveUpReserving,
    RemoveTask,
)
from services.generation.domain.orders import Order, order_of
from services.generation.domain.prices import WHOLE_PERCENT
from services.generation.domain.task import SAGA, TASK

ENDED = frozenset({"completed", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class Plan:
    """An order, and the provider that is asked for it, if it `has_key`; with `own_key` that is the
    user's own, and the price a part of it."""

    order: Order
    source: ProviderModel
    has_key: bool
    own_key: bool


@dataclass(frozen=True)
class Tasks:
    """The tasks of generation, as its API offers them."""

    store: EventStore
    due: DueList
    queue: Queue
    personal: Personal
    idempotency: Idempotency
    publisher: Publisher
    waiters: Waiters
    turns: Turns
    objects: ObjectStore
    catalogue: Catalogue
    screening: Screening
    vendors: Vendors
    quotes: Quotes
    input_images: InputImages
    own_key_price_percent: int
    reserve_timeout_s: float
    deadline_s: int | None

    async def plan(self, request: EstimateRequest | GenerateRequest, who: Identity) -> Plan:
        """Raises `NotFound` (model), `Invalid` (options, no price), `Unavailable` when it can't be
        said whether the user has a key of their own, and so what it costs."""
        model = self.catalogue.find(request.model_id)
        text = request.prompt
        if text is not None and len(text) > model.prompt_length_max:
            raise Invalid(
                "invalid_request",
                f"prompt: at most {model.prompt_length_max} characters for {model.id}.",
                {"field": "prompt"},
            )
        order = order_of(model, request.options, text, WHOLE_PERCENT)
        if (reference := order.options.get("input_image")) is not None:
            await self.input_images.check(who.user_id, reference)
        sources = [source for source in model.providers if source.takes(order.options)]
        if await self.vendors.has_own_key(who.user_id, sources[0].provider):
            part = order_of(model, request.options, text, self.own_key_price_percent)
            return Plan(part, sources[0], has_key=True, own_key=True)
        for source in sources:
            if source.provider in self.vendors.providers:
                return Plan(order, source, has_key=True, own_key=False)
        return Plan(order, sources[0], has_key=False, own_key=False)

    async def create(
        self, task_id: UUID, request: GenerateRequest, who: Identity, attempt: Attempt | None
    ) -> asyncpg.Record:
        """Create the task and wait until the ledger has answered, or for `reserve_timeout_s`."""
        self.screening.refuse(request)
        plan = await self._quoted(await self.plan(request, who), request, who)
        if not plan.has_key:
            raise Unavailable(
                "provider_not_configured",
                f"No provider of {plan.order.model.id} has a key here.",
            )
        if self.publisher.behind:
            raise Unavailable("busy", "Too much is waiting; try again.", retry_after_s=5)
        async with self.turns.taken():
            return await self._create_in_turn(task_id, request, plan, who, attempt)

    async def _quoted(self, plan: Plan, request: GenerateRequest, who: Identity) -> Plan:
        """The plan at the price that was promised for it, where that is less. Raises `Invalid`."""
        if request.quote_id is None:
            return plan
        subject = subject_of(who.user_id, plan, request.prompt)
        promised = await self.quotes.promised_units(request.quote_id, subject)
        order = replace(plan.order, price_units=min(plan.order.price_units, promised))
        return replace(plan, order=order)

    async def _create_in_turn(
        self,
        task_id: UUID,
        request: GenerateRequest,
        plan: Plan,
        who: Identity,
        attempt: Attempt | None,
    ) -> asyncpg.Record:
        with self.waiters.subscribed(task_id) as changed:
            await self.store.transact(self._creation(task_id, request, plan, who, attempt))
            return await self.reserved(task_id, who.user_id, changed)

    async def reserved(self, task_id: UUID, user_id: UUID, changed: Any) -> asyncpg.Record:
        """The task once the ledger has answered; after the time-out it is told to give up, and
        what is true then counts: a reservation heard meanwhile wins."""
        read = self._reading(task_id, user_id)
        row = await self.waiters.until(
            changed, read, lambda row: row["stage"] != "pending", self.reserve_timeout_s
        )
        if row["stage"] == "pending":
            stream_id = TASK.stream_id(task_id)
            await self.store.handle(SAGA, stream_id, GiveUpReserving(self.store.clock.now()))
            row = await read()
        return row

    async def find(self, task_id: UUID, user_id: UUID) -> asyncpg.Record:
        return await self._reading(task_id, user_id)()

    async def wait(self, task_id: UUID, user_id: UUID, timeout_s: float) -> asyncpg.Record:
        """The task when it has ended, or as it is at the time-out."""
        with self.waiters.subscribed(task_id) as changed:
            return await self.waiters.until(
                changed,
                self._reading(task_id, user_id),
                lambda row: row["stage"] in ENDED,
                timeout_s,
            )

    async def delete(self, task_id: UUID, user_id: UUID) -> TaskBody:
        """Cancel an active task, remove one that has ended; the task as it is then, or last was.

        One that ends while it is being cancelled is not removed: who asked has not seen its end.
        Raises `NotFound`.
        """
        row = await self.find(task_id, user_id)
        if row["stage"] in ENDED:
            body = await self.body(row)
            await self.store.transact(self._removal(task_id, user_id))
            return body

        async def work(unit: Unit) -> None:
            recorded = await unit.decide(SAGA, TASK.stream_id(task_id), CancelTask(unit.now))
            record_met(unit, task_id)
            if recorded:
                record_cancel(unit, task_id)

        await self.store.transact(work)
        return await self.body(await self.find(task_id, user_id))

    async def bodies(self, rows: Sequence[asyncpg.Record]) -> list[TaskBody]:
        """Rows of one user as they are shown, with what the user asked and fresh links."""
        if not rows:
            return []
        refs = [_ref(row["task_id"]) for row in rows]
        async with self.store.database.connection() as connection:
            texts = await self.personal.read(connection, rows[0]["user_id"], refs)
        active = [row["task_id"] for row in rows if row["stage"] not in ENDED]
        progress = await self.due.progress_of(active) if active else {}
        queued = [row["task_id"] for row in rows if row["stage"] == "queued"]
        places = await self.queue.places(queued)
        now = self.store.clock.now()
        return [
            task_body(
                row,
                json.loads(text) if (text := texts.get(_ref(row["task_id"]))) else None,
                progress.get(row["task_id"], 0),
                self.objects,
                now,
                place=places.get(row["task_id"]),
            )
            for row in rows
        ]

    async def body(self, row: asyncpg.Record) -> TaskBody:
        return (await self.bodies([row]))[0]

    async def body_after_creation(self, row: asyncpg.Record, request: GenerateRequest) -> TaskBody:
        """The same without reading back what was just said, while nothing more has happened."""
        if row["stage"] != "queued":
            return await self.body(row)
        return task_body(row, asked(request), 0, self.objects, self.store.clock.now())

    def _creation(
        self,
        task_id: UUID,
        request: GenerateRequest,
        plan: Plan,
        who: Identity,
        attempt: Attempt | None,
    ) -> Callable[[Unit], Awaitable[None]]:
        order, words = plan.order, asked(request)

        async def work(unit: Unit) -> None:
            await self.idempotency.claim(unit, attempt, task_id.hex)
            deadline_s = self.deadline_s or order.model.deadline_s
            deadline_at = unit.now + timedelta(seconds=deadline_s)
            command = CreateTask(
                task_id=task_id,
                user_id=who.user_id,
                account_id=who.account_id,
                key_id=who.key_id,
                monthly_credit_limit_units=who.monthly_credit_limit_units,
                task_type=order.model.task_type.value,
                model_id=order.model.id,
                provider=plan.source.provider,
                price_units=order.price_units,
                outputs=order.outputs,
                width=order.width,
                height=order.height,
                prompt_sha256=hashlib.sha256(request.prompt.encode()).hexdigest(),
                deadline_at=deadline_at,
                at=unit.now,
                own_key=plan.own_key,
                duration_s=order.duration_s,
                mime_type=order.mime_type,
                meter=order.meter,
                price_book=self.catalogue.version,
                vendor_model=plan.source.name_for(order.options),
            )
            await unit.decide(SAGA, TASK.stream_id(task_id), command)
            await self.personal.keep(unit, who.user_id, _ref(task_id), json.dumps(words))
            record_deadline(unit, task_id, deadline_at)

        return work

    def _removal(self, task_id: UUID, user_id: UUID) -> Callable[[Unit], Awaitable[None]]:
        """With the words that it was asked in, and those that vendors said of it."""

        async def work(unit: Unit) -> None:
            await unit.decide(SAGA, TASK.stream_id(task_id), RemoveTask(unit.now))
            self.personal.remove(unit, user_id, _ref(task_id))
            record_silence(unit, task_id)

        return work

    def _reading(self, task_id: UUID, user_id: UUID) -> Callable[[], Awaitable[asyncpg.Record]]:
        async def read() -> asyncpg.Record:
            row = await read_model.find(self.store.database, task_id, user_id)
            if row is None:
                raise NotFound("task_not_found", "There is no such task.")
            return row

        return read


def asked(request: GenerateRequest) -> Mapping[str, Any]:
    """The user's own words: kept encrypted, as a personal record, and nowhere else.

    Named as in the task's body.
    """
    return {
        "prompt": request.prompt,
        "options": {name: value for name, value in request.options.items() if value is not None},
        "metadata": request.metadata,
    }


def subject_of(user_id: UUID, plan: Plan, text: str | None) -> Subject:
    """What a quote is given for: the text too, where it is spoken."""
    order = plan.order
    spoken = text if order.model.task_type.speaks else None
    return Subject(user_id, order.model.id, order.options, spoken, plan.own_key)


def _ref(task_id: UUID) -> str:
    """The personal record that holds what the user asked."""
    return f"task-{task_id}"
