"""Credits on a fresh database: hears events as the bus would bring them, asked as the gateway
asks it."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from contracts.envelope import Envelope, PublicEvent
from contracts.generation import TaskCancelled, TaskCompleted, TaskCreated, TaskFailed
from contracts.keys import UserRegistered
from kernel.clock import SystemClock, new_id
from kernel.http import Identity
from kernel.http.identity import HEADER
from kernel.inbox import RETRIES_AFTER_S, Inbox
from kernel.projections import ensure
from kernel.service import Platform, Service
from kernel.settings import read_settings
from kernel.testing import FakeClock, envelope_of
from services.credits import read_model
from services.credits.app import create_service
from services.credits.domain import PLAN, PLANS, DefinePlan, PlanTerms
from services.credits.inbox import Terms, subscriptions
from services.credits.settings import CreditsSettings
from tests.fake_generation import FakeGeneration
from tests.reused_database import database_dsn, suite_dsn

__all__ = ["database_dsn", "suite_dsn"]

GRANT_UNITS = 100_000
"""Of the free plan, each month."""
TERMS = Terms(low_below_units=20_000, storage_units_per_gb_month=100)
NOW = SystemClock().now()


def registered(account_id: UUID, plan: str = "free") -> UserRegistered:
    return UserRegistered(
        user_id=new_id(), account_id=account_id, plan=plan, role="user", registered_at=NOW
    )


def created(
    account_id: UUID,
    task_id: UUID,
    price_units: int,
    *,
    key_id: UUID | None = None,
    limit_units: int | None = None,
) -> TaskCreated:
    return TaskCreated(
        task_id=task_id,
        user_id=account_id,
        account_id=account_id,
        key_id=key_id,
        monthly_credit_limit_units=limit_units,
        task_type="image",
        model_id="flux-2",
        price_units=price_units,
        created_at=NOW,
    )


def completed(account_id: UUID, task_id: UUID, charged_units: int) -> TaskCompleted:
    return TaskCompleted(
        task_id=task_id,
        user_id=account_id,
        account_id=account_id,
        model_id="flux-2",
        charged_units=charged_units,
        outcome="completed",
        completed_at=NOW,
    )


def failed(account_id: UUID, task_id: UUID, charged_units: int = 0) -> TaskFailed:
    return TaskFailed(
        task_id=task_id,
        user_id=account_id,
        account_id=account_id,
        code="provider_failed",
        charged_units=charged_units,
        outcome="provider_failed",
        failed_at=NOW,
    )


def cancelled(account_id: UUID, task_id: UUID) -> TaskCancelled:
    return TaskCancelled(
        task_id=task_id,
        user_id=account_id,
        account_id=account_id,
        charged_units=0,
        outcome="cancelled",
        cancelled_at=NOW,
    )


def person(account_id: UUID, key_id: UUID | None = None) -> Identity:
    """Somebody signed in, or their key."""
    scopes = frozenset({"credits:read"})
    return Identity(new_id(), account_id, "user", "free", scopes, key_id=key_id)


ADMIN = Identity(new_id(), new_id(), "admin", "free", frozenset({"admin"}))


@dataclass(frozen=True)
class Credits:
    """The service, not started: a message is handled when it is given."""

    service: Service
    platform: Platform
    clock: FakeClock
    client: httpx.AsyncClient
    generation: FakeGeneration

    @property
    def inbox(self) -> Inbox:
        assert self.service.inbox is not None
        return self.service.inbox

    async def hear(self, *events: PublicEvent) -> list[Envelope]:
        """The messages are handled, kept or parked when this returns."""
        envelopes = [envelope_of(event) for event in events]
        for envelope in envelopes:
            await self.inbox.receive(envelope)
        return envelopes

    async def retry_all(self) -> None:
        """Let every retry of the schedule come due."""
        for delay_s in RETRIES_AFTER_S:
            self.clock.turn(timedelta(seconds=delay_s))
            await self.inbox.retry_due()

    async def balance(self, account_id: UUID) -> read_model.Balance:
        balance, _ = await read_model.balance(self.platform.database, account_id, self.clock.now())
        return balance

    async def define(self, plan_id: str, units: int) -> None:
        """A plan that grants so much a month."""
        assert self.service.store is not None
        terms = PlanTerms(plan_id, units)
        await self.service.store.handle(
            PLANS, PLAN.stream_id(plan_id), DefinePlan(plan_id, terms, self.clock.now())
        )

    async def said(self) -> list[str]:
        """The types of all public events, in the order of their writing."""
        rows = await self.rows("SELECT envelope FROM credits.outbox ORDER BY id")
        return [row["envelope"]["type"] for row in rows]

    async def rows(self, query: str) -> list[Mapping[str, Any]]:
        async with self.platform.database.connection() as connection:
            return [dict(row) for row in await connection.fetch(query)]

    async def get(self, path: str, account_id: UUID | None) -> httpx.Response:
        """Ask as `account_id`; without one, as nobody that the gateway knows."""
        who = None if account_id is None else person(account_id)
        return await self.call("GET", f"/api/v2/generation/credits{path}", who)

    async def call(
        self,
        method: str,
        path: str,
        who: Identity | None,
        body: object = None,
        *,
        content: str | None = None,
        key: str | None = None,
    ) -> httpx.Response:
        """`content` is a body as it stands, `key` an Idempotency-Key."""
        headers = {} if who is None else {HEADER: self.platform.internal_tokens.mint(who)}
        if key is not None:
            headers["Idempotency-Key"] = key
        return await self.client.request(method, path, json=body, content=content, headers=headers)


@pytest.fixture
async def credits_service(
    platform: Platform, clock: FakeClock, tmp_path: Path
) -> AsyncIterator[Credits]:
    settings = read_settings(
        CreditsSettings, SMARTSPEC_FREE_PLAN_CREDITS="10", SMARTSPEC_HOME=tmp_path
    )
    generation = FakeGeneration(platform)
    service = create_service(settings, platform, generation.peer)
    assert service.store is not None
    assert service.read_model is not None
    assert service.app is not None
    service.inbox = Inbox("credits", service.store, subscriptions(TERMS), tries_after_s=())
    async with platform.database.connection() as connection:
        await ensure(connection, service.read_model)
    await service.inbox.maintain()
    for step in service.prepare:
        await step()
    transport = httpx.ASGITransport(service.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://credits") as client:
        yield Credits(service, platform, clock, client, generation)
