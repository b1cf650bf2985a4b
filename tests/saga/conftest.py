"""Credits and generation together over one bus that repeats, delays and swaps what it is given."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from contracts.envelope import Envelope
from contracts.events import EVENTS
from contracts.generation import OutputProduced
from contracts.keys import UserRegistered
from contracts.storage import FileFacts, OutputStored
from kernel.bus import MemoryBus, Receive, Unroutable
from kernel.clock import SystemClock, new_id
from kernel.http import Identity, InternalTokens
from kernel.http.identity import HEADER
from kernel.inbox import Inbox
from kernel.service import Platform, Service
from kernel.settings import read_settings
from kernel.testing import envelope_of
from services.credits import app as credits_app
from services.credits.inbox import Terms
from services.credits.inbox import subscriptions as credits_hears
from services.credits.read_model import Balance, balance
from services.credits.settings import CreditsSettings
from services.generation import app as generation_app
from services.generation.adapters.providers import (
    Accepted,
    Fault,
    Job,
    Look,
    Refused,
    Running,
    Submission,
    Succeeded,
)
from services.generation.adapters.vendors import Vendors
from services.generation.inbox import subscriptions as generation_hears
from services.generation.settings import GenerationSettings
from tests.own_keys import FakeKeys
from tests.reused_database import database_dsn, suite_dsn

__all__ = ["database_dsn", "suite_dsn"]

GRANT_UNITS = 100_000
TRIES_AFTER_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
DELAY_MAX_S = 0.05


class MischievousBus(MemoryBus):
    """Confirms at once, as a broker does; delivers `copies` of each message, each at a moment of
    its own, so that any two may be swapped. What `held` consumers are to hear waits for `let_go`;
    `refused` types are not taken at all.
    """

    def __init__(self, seed: int, copies: int, delay_max_s: float) -> None:
        super().__init__()
        self.held: set[str] = set()
        self.refused: set[str] = set()
        self.waiting: list[tuple[str, Envelope]] = []
        self.deliveries: set[asyncio.Task[None]] = set()
        self._receivers: dict[str, Receive] = {}
        self._dice = random.Random(seed)  # noqa: S311 - repeatable mischief, no secret
        self._copies = copies
        self._delay_max_s = delay_max_s

    def subscribe(self, consumer: str, receive: Receive, keep_crashed: Receive) -> None:
        self._receivers[consumer] = receive

    async def publish(self, envelope: Envelope) -> None:
        if envelope.type in self.refused:
            raise Unroutable(envelope.type)
        await self.broadcast(envelope)
        for consumer in EVENTS[envelope.type].consumers:
            if consumer in self.held:
                self.waiting.append((consumer, envelope))
            else:
                self._post(consumer, envelope)

    async def let_go(self, *, newest_first: bool = False) -> None:
        """Deliver what waited one by one, and hold nothing back from now on."""
        self.held.clear()
        waiting, self.waiting = self.waiting, []
        for consumer, envelope in reversed(waiting) if newest_first else waiting:
            await self._receivers[consumer](envelope)

    def _post(self, consumer: str, envelope: Envelope) -> None:
        for _ in range(self._copies):
            delay_s = self._dice.uniform(0, self._delay_max_s)
            task = asyncio.create_task(self._deliver_later(consumer, envelope, delay_s))
            self.deliveries.add(task)
            task.add_done_callback(self.deliveries.discard)

    async def _deliver_later(self, consumer: str, envelope: Envelope, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        await self._receivers[consumer](envelope)


class Vendor:
    """Does at once what the prompt says: `fails`, `slow` (never ends), or makes a picture."""

    def __init__(self) -> None:
        self.prompts: list[str] = []

    def under(self, api_key: str) -> "Vendor":
        return self

    async def submit(self, job: Job) -> Submission:
        self.prompts.append(job.prompt)
        return Accepted(f"{job.prompt} {len(self.prompts)}")

    async def look(self, provider_job_id: str) -> Look:
        match provider_job_id.split():
            case ["fails", *_]:
                return Refused(Fault.FAILED, "It could not be made.")
            case ["slow", *_]:
                return Running(10)
            case _:
                return Succeeded(("https://cdn.test/a.png",))

    async def cancel(self, provider_job_id: str) -> bool:
        del provider_job_id
        return False

    async def find(self, job: Job) -> Submission | None:
        del job
        return None

    async def aclose(self) -> None:
        pass


def stored(event: OutputProduced) -> OutputStored:
    facts = FileFacts(
        key=f"images/generated/{event.task_id}_{event.index}.png",
        mime_type="image/png",
        size=1_000,
        sha256="0" * 64,
        width=event.width,
        height=event.height,
        duration_seconds=None,
        thumbnail_key=None,
    )
    return OutputStored(task_id=event.task_id, user_id=event.user_id, index=event.index, file=facts)


@dataclass(frozen=True)
class Together:
    """Both services, started; storage is played."""

    platform: Platform
    bus: MischievousBus
    credits: Service
    generation: Service
    client: httpx.AsyncClient
    vendor: Vendor
    who: Identity

    async def register(self) -> None:
        event = UserRegistered(
            user_id=self.who.user_id,
            account_id=self.who.account_id,
            plan="free",
            role="user",
            registered_at=SystemClock().now(),
        )
        await self.bus.publish(envelope_of(event))

    async def call(self, method: str, path: str, body: Any = None) -> httpx.Response:
        headers = {HEADER: self.platform.internal_tokens.mint(self.who)}
        return await self.client.request(
            method, f"/api/v2/generation{path}", json=body, headers=headers
        )

    async def create(self, prompt: str, **options: Any) -> httpx.Response:
        body = {"model_id": "nano-banana-pro", "prompt": prompt, "options": options}
        return await self.call("POST", "/generate", body)

    async def stages(self) -> dict[str, str]:
        """The stage of each task, by its id as it is shown."""
        rows = await self.rows("SELECT task_id, stage FROM generation_read.generation_tasks")
        return {f"task_{row['task_id'].hex}": row["stage"] for row in rows}

    async def balance(self) -> Balance:
        found, _ = await balance(self.platform.database, self.who.account_id, SystemClock().now())
        return found

    async def is_quiet(self) -> bool:
        """Nothing is on its way: no delivery, no message that waits to be said or heard again."""
        if self.bus.deliveries:
            return False
        left = await self.rows(
            "SELECT event_id FROM credits.outbox UNION ALL SELECT event_id FROM generation.outbox"
            " UNION ALL SELECT message_id FROM credits.inbox WHERE state = 'retry'"
            " UNION ALL SELECT message_id FROM generation.inbox WHERE state = 'retry'"
        )
        return not left and not self.bus.deliveries

    async def parked(self) -> list[Any]:
        inboxes = (self.credits.inbox, self.generation.inbox)
        return [letter for inbox in inboxes if inbox is not None for letter in await inbox.parked()]

    async def rows(self, query: str) -> list[Mapping[str, Any]]:
        async with self.platform.database.connection() as connection:
            return [dict(row) for row in await connection.fetch(query)]


Start = Callable[..., AbstractAsyncContextManager[Together]]


@pytest.fixture
def start(platform: Platform, tmp_path: Path) -> Start:
    """Begin: `seed` chooses the delays, `copies` of each message are delivered. `who` acts."""

    @asynccontextmanager
    async def started(
        *,
        seed: int = 0,
        copies: int = 1,
        delay_max_s: float = DELAY_MAX_S,
        reserve_timeout_s: float = 30.0,
        who: Identity | None = None,
    ) -> AsyncIterator[Together]:
        clock = SystemClock()
        bus = MischievousBus(seed, copies, delay_max_s)
        tokens = InternalTokens(platform.encryption.derived_secret("internal"), clock)
        own = replace(platform, bus=bus, clock=clock, internal_tokens=tokens)
        vendor = Vendor()
        settings = read_settings(
            GenerationSettings,
            SMARTSPEC_RESERVE_TIMEOUT_S=reserve_timeout_s,
            SMARTSPEC_FIRST_LOOK_S=0.01,
        )
        generation = generation_app.create_service(
            settings, own, Vendors({"kie": vendor}, FakeKeys(own).own_keys)
        )
        assert generation.app is not None
        credits_settings = read_settings(
            CreditsSettings, SMARTSPEC_FREE_PLAN_CREDITS="10", SMARTSPEC_HOME=tmp_path
        )
        credits_service = credits_app.create_service(
            credits_settings,
            own,
            credits_app.generation_of(credits_settings, own, {"generation": generation.app}),
        )
        _hear_patiently(credits_service, generation)
        storage = _storage_on(bus)
        bus.subscribe("storage", storage, storage)
        died: list[str] = []
        for service in (credits_service, generation):
            await service.start(bus, died.append)
        transport = httpx.ASGITransport(generation.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://generation") as client:
            someone = who or Identity(new_id(), new_id(), "user", "free", frozenset())
            yield Together(own, bus, credits_service, generation, client, vendor, someone)
        for service in (generation, credits_service):
            await service.quiesce()
        await asyncio.gather(*bus.deliveries)
        for service in (generation, credits_service):
            await service.stop()
        assert died == []

    return started


def _hear_patiently(credits_service: Service, generation: Service) -> None:
    """What is early is tried again within the test's patience, not in ten seconds."""
    assert credits_service.store is not None
    assert generation.store is not None
    credits_service.inbox = Inbox(
        "credits",
        credits_service.store,
        credits_hears(Terms()),
        tries_after_s=TRIES_AFTER_S,
    )
    generation.inbox = Inbox(
        "generation",
        generation.store,
        generation_hears(),
        tries_after_s=TRIES_AFTER_S,
    )


def _storage_on(bus: MischievousBus) -> Receive:
    """Storage that keeps everything at once, and says so each time that it is asked."""

    async def receive(envelope: Envelope) -> None:
        event = OutputProduced.model_validate(envelope.data)
        await bus.publish(envelope_of(stored(event)))

    return receive
