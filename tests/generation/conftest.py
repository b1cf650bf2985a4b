"""Generation on a fresh database, with a provider, a ledger and a storage that say what they are
told to."""

import asyncio
import json
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from contracts.credits import CreditsDeclined, CreditsReserved
from contracts.envelope import Envelope, PublicEvent
from contracts.generation import TaskCreated
from contracts.storage import FileFacts, OutputStored
from kernel.clock import new_id
from kernel.context import Origin, caused_by
from kernel.encryption import Personal
from kernel.http import Identity
from kernel.http.identity import HEADER
from kernel.inbox import Inbox
from kernel.objects import LocalObjectStore
from kernel.outbound import Outbound
from kernel.projections import ensure
from kernel.service import Platform, Service
from kernel.settings import read_settings
from kernel.testing import FakeClock, envelope_of
from kernel.unit import Unit
from services.generation.adapters.breaker import Breakers
from services.generation.adapters.callbacks import Callbacks
from services.generation.adapters.catalogue_file import read_catalogue
from services.generation.adapters.due_list import DueList, record_deadline
from services.generation.adapters.input_images import InputImages
from services.generation.adapters.job_records import JobRecords
from services.generation.adapters.job_requests import JobRequests
from services.generation.adapters.lanes import Lanes
from services.generation.adapters.provider_jobs import ProviderJobs
from services.generation.adapters.providers import (
    Accepted,
    Job,
    Look,
    Provider,
    Running,
    Submission,
)
from services.generation.adapters.uploaded_files import UploadedFiles
from services.generation.adapters.vendors import Vendors
from services.generation.app import create_service
from services.generation.domain.fairness import LaneLimits
from services.generation.domain.messages import CreateTask, RecordProduced, RecordSubmitted
from services.generation.domain.task import SAGA, TASK, Task
from services.generation.inbox import subscriptions
from services.generation.settings import GenerationSettings
from tests.own_keys import FakeKeys
from tests.reused_database import database_dsn, suite_dsn

__all__ = ["database_dsn", "suite_dsn"]

UNKNOWN_FOR_S = 60.0
PLATFORM_KEY = "the platform's"
PATIENCE_S = 30.0
PROMPT = "A harbour at dawn"
FILE = FileFacts(
    key="images/generated/u/t.png",
    mime_type="image/png",
    size=1_000,
    sha256="0" * 64,
    width=1_024,
    height=576,
    duration_seconds=None,
    thumbnail_key="images/thumbnails/t.webp",
)


@dataclass
class ScriptedProvider:
    """Answers in the order of its scripts; when they are empty it accepts, and is busy."""

    submissions: deque[Submission | BaseException] = field(default_factory=deque)
    looks: deque[Look] = field(default_factory=deque)
    finds: deque[Submission | None] = field(default_factory=deque)
    asked: list[Job] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    sought: list[Job] = field(default_factory=list)
    looked_at: list[str] = field(default_factory=list)
    on_submit: Callable[[], Any] | None = None
    key: str = PLATFORM_KEY
    keys: list[str] = field(default_factory=list)
    """Under which each question was asked."""

    def under(self, api_key: str) -> "ScriptedProvider":
        return replace(self, key=api_key)  # the scripts and lists stay the same ones

    async def submit(self, job: Job) -> Submission:
        self.asked.append(job)
        self.keys.append(self.key)
        if self.on_submit is not None:
            await self.on_submit()
        answer = self.submissions.popleft() if self.submissions else None
        if isinstance(answer, BaseException):
            raise answer
        return answer or Accepted(f"job-{len(self.asked)}")

    async def look(self, provider_job_id: str) -> Look:
        self.looked_at.append(provider_job_id)
        self.keys.append(self.key)
        return self.looks.popleft() if self.looks else Running(10)

    async def cancel(self, provider_job_id: str) -> bool:
        self.cancelled.append(provider_job_id)
        return True

    async def find(self, job: Job) -> Submission | None:
        self.sought.append(job)
        return self.finds.popleft() if self.finds else None

    async def aclose(self) -> None:
        pass


@dataclass
class ScriptedLedger:
    """Consumes TaskCreated as credits would. `answer` is reserve, decline, limit or silent."""

    inbox: Inbox
    answer: str = "reserve"
    heard: list[TaskCreated] = field(default_factory=list)

    async def receive(self, envelope: Envelope) -> None:
        if envelope.type != "TaskCreated":
            return
        event = TaskCreated.model_validate(envelope.data)
        self.heard.append(event)
        if self.answer != "silent":
            await self.say(event, reserved=self.answer == "reserve")

    async def say(self, event: TaskCreated, *, reserved: bool) -> None:
        answer: PublicEvent
        if reserved:
            answer = CreditsReserved(
                task_id=event.task_id, account_id=event.account_id, amount_units=event.price_units
            )
        else:
            answer = CreditsDeclined(
                task_id=event.task_id,
                account_id=event.account_id,
                reason="insufficient_credits",
                required_units=event.price_units,
                available_units=5_000,
            )
        if self.answer == "limit" and isinstance(answer, CreditsDeclined):
            reason = "monthly_credit_limit_reached"
            limited = {"reason": reason, "limit_units": 70_000, "used_units": 65_000}
            answer = answer.model_copy(update=limited)
        await self.inbox.receive(envelope_of(answer))


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    """Wait for what nobody announces, at most `PATIENCE_S`."""
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():  # noqa: ASYNC110 - the condition is in a database
            await asyncio.sleep(0.01)


def person() -> Identity:
    return Identity(new_id(), new_id(), "user", "free", frozenset())


@dataclass(frozen=True)
class Generation:
    """The service on the bus, its provider jobs left to the test."""

    service: Service
    platform: Platform
    clock: FakeClock
    client: httpx.AsyncClient
    ledger: ScriptedLedger
    keys: FakeKeys

    async def call(
        self,
        method: str,
        path: str,
        caller: Identity | None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        sent = {"content-type": "application/json", **(headers or {})}
        if caller is not None:
            sent[HEADER] = self.platform.internal_tokens.mint(caller)
        content = None if body is None else json.dumps(body)
        return await self.client.request(
            method, f"/api/v2/generation{path}", content=content, headers=sent
        )

    async def create(
        self, caller: Identity, headers: Mapping[str, str] | None = None, **body: Any
    ) -> httpx.Response:
        asked = {"model_id": "nano-banana-pro", "prompt": PROMPT, **body}
        return await self.call("POST", "/generate", caller, asked, headers)

    async def begin(self, task_id: UUID) -> None:
        """What a provider would do first."""
        assert self.service.store is not None
        submitted = RecordSubmitted(0, 1, "kie", "job-1", self.clock.now())
        await self.service.store.handle(SAGA, TASK.stream_id(task_id), submitted)

    async def complete(self, task_id: UUID) -> None:
        """What provider and storage would do for a task of one output."""
        store, inbox = self.service.store, self.service.inbox
        assert store is not None
        assert inbox is not None
        await self.begin(task_id)
        url = "https://cdn.test/a.png"
        produced = RecordProduced(0, url, self.clock.now())
        await store.handle(SAGA, TASK.stream_id(task_id), produced)
        stored = OutputStored(task_id=task_id, user_id=new_id(), index=0, file=FILE)
        await inbox.receive(envelope_of(stored))

    async def rows(self, query: str) -> list[Mapping[str, Any]]:
        async with self.platform.database.connection() as connection:
            return [dict(row) for row in await connection.fetch(query)]


@asynccontextmanager
async def generation_on(
    platform: Platform, clock: FakeClock, home: Path, *, reserve_timeout_s: float, **given: object
) -> AsyncIterator[Generation]:
    settings = read_settings(
        GenerationSettings,
        SMARTSPEC_RESERVE_TIMEOUT_S=reserve_timeout_s,
        SMARTSPEC_HOME=home,
        **given,
    )
    keys = FakeKeys(platform)
    vendors = Vendors(
        {"kie": ScriptedProvider()}, keys.own_keys, keyless={"google": ScriptedProvider()}
    )
    service = create_service(settings, platform, vendors)
    assert service.store is not None
    assert service.app is not None
    service.workers = service.workers[1:]  # all but the provider jobs
    service.inbox = Inbox("generation", service.store, subscriptions(), tries_after_s=())
    ledger = ScriptedLedger(service.inbox)
    platform.bus.subscribe("credits", ledger.receive, _hear_nothing)
    platform.bus.subscribe("storage", _hear_nothing, _hear_nothing)
    died: list[str] = []
    await service.start(platform.bus, died.append)
    transport = httpx.ASGITransport(service.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://generation") as client:
        yield Generation(service, platform, clock, client, ledger, keys)
    await service.quiesce()
    await service.stop()
    assert died == []


async def _hear_nothing(_: Envelope) -> None:
    """Storage, where a test says by hand what it stored."""


@pytest.fixture
async def generation(
    platform: Platform, clock: FakeClock, tmp_path: Path
) -> AsyncIterator[Generation]:
    async with generation_on(platform, clock, tmp_path, reserve_timeout_s=30) as found:
        yield found


@pytest.fixture
async def impatient(
    platform: Platform, clock: FakeClock, tmp_path: Path
) -> AsyncIterator[Generation]:
    """Gives the ledger up at once."""
    async with generation_on(platform, clock, tmp_path, reserve_timeout_s=0.1) as found:
        yield found


@dataclass(frozen=True)
class Bench:
    """The provider jobs of a service that is not started: they are attended to by hand."""

    service: Service
    platform: Platform
    clock: FakeClock
    provider: ScriptedProvider
    due: DueList
    jobs: ProviderJobs
    objects: LocalObjectStore
    keys: FakeKeys
    user_id: UUID = field(default_factory=new_id)
    other: ScriptedProvider = field(default_factory=ScriptedProvider)
    """Google, where a test gives the platform a key of it: in `providers`."""
    providers: dict[str, Provider] = field(default_factory=dict)
    limits: dict[str, LaneLimits] = field(default_factory=dict)
    """None, but for what a test says."""

    async def task(
        self,
        outputs: int = 1,
        *,
        deadline_s: int = 300,
        seed: int | None = None,
        input_image: str | None = None,
        traceparent: str | None = None,
        key_id: UUID | None = None,
        own_key: bool = False,
    ) -> UUID:
        """A task whose credits are reserved, so that its jobs are due."""
        store, inbox = self.service.store, self.service.inbox
        assert store is not None
        assert inbox is not None
        task_id, now = new_id(), self.clock.now()
        deadline_at = now + timedelta(seconds=deadline_s)
        command = CreateTask(
            task_id=task_id,
            user_id=self.user_id,
            account_id=self.user_id,
            key_id=key_id,
            monthly_credit_limit_units=None,
            task_type="image",
            model_id="nano-banana-pro",
            provider="kie",
            price_units=15_000,
            outputs=outputs,
            width=1_024,
            height=576,
            prompt_sha256="0" * 64,
            deadline_at=deadline_at,
            at=now,
            own_key=own_key,
            vendor_model="nano-banana-pro",
        )
        options = {"seed": seed, "input_image": input_image}
        words = {"prompt": PROMPT, "options": options, "metadata": {}}

        async def work(unit: Unit) -> None:
            await unit.decide(SAGA, TASK.stream_id(task_id), command)
            personal = Personal("generation", self.platform.encryption)
            await personal.keep(unit, self.user_id, f"task-{task_id}", json.dumps(words))
            record_deadline(unit, task_id, deadline_at)

        with caused_by(Origin("request-1", None, traceparent), "generation"):
            await store.transact(work)
        reserved = CreditsReserved(task_id=task_id, account_id=self.user_id, amount_units=15_000)
        message = envelope_of(reserved).model_copy(update={"traceparent": traceparent})
        await inbox.receive(message)
        return task_id

    async def attend(self, after_s: float = 0) -> int:
        """Turn the clock, attend to what is due then, and wait for the answers."""
        self.clock.turn(timedelta(seconds=after_s))
        await self.due.doubt_lost_submits(self.clock.now())
        begun = await self.jobs.miss_deadlines() + await self.jobs.attend_due()
        await self.jobs.finish(30)
        return begun

    async def state(self, task_id: UUID) -> Task:
        assert self.service.store is not None
        found, _ = await self.service.store.read(TASK, TASK.stream_id(task_id))
        return found

    async def events(self, task_id: UUID) -> list[Mapping[str, Any]]:
        rows = await self.rows(
            "SELECT type, data FROM generation.events WHERE stream_id = $1 ORDER BY version",
            TASK.stream_id(task_id),
        )
        return [{"type": row["type"], **row["data"]} for row in rows]

    async def job_rows(self, task_id: UUID) -> list[Mapping[str, Any]]:
        return await self.rows(
            "SELECT * FROM generation.provider_jobs WHERE task_id = $1"
            " ORDER BY output_index, attempt",
            task_id,
        )

    async def rows(self, query: str, *values: object) -> list[Mapping[str, Any]]:
        async with self.platform.database.connection() as connection:
            return [dict(row) for row in await connection.fetch(query, *values)]


@pytest.fixture
async def bench(platform: Platform, clock: FakeClock, tmp_path: Path) -> Bench:
    provider, other = ScriptedProvider(), ScriptedProvider()
    keys = FakeKeys(platform)
    providers: dict[str, Provider] = {"kie": provider}
    vendors = Vendors(providers, keys.own_keys)
    settings = read_settings(GenerationSettings, SMARTSPEC_HOME=tmp_path)
    service = create_service(settings, platform, vendors)
    assert service.store is not None
    assert service.inbox is not None
    assert service.read_model is not None
    async with platform.database.connection() as connection:
        await ensure(connection, service.read_model)
    await service.inbox.maintain()
    due = DueList(platform.database, timedelta(seconds=UNKNOWN_FOR_S))
    objects = LocalObjectStore(settings.objects_root)
    limits: dict[str, LaneLimits] = {}
    breakers = Breakers("submits")
    jobs = ProviderJobs(
        service.store,
        due,
        Lanes(platform.database, limits, breakers),
        JobRecords(service.store, objects, timedelta(seconds=0.5)),
        JobRequests(
            platform.database,
            Personal("generation", platform.encryption),
            InputImages(
                objects,
                Outbound(ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)),
                UploadedFiles(platform.database),
            ),
            Callbacks(b"a secret of tests, and of nothing else", "https://smartspec.test"),
        ),
        breakers=breakers,
        vendors=vendors,
        catalogue=read_catalogue(),
        first_look_s=0.5,
        sole_owner=True,
    )
    return Bench(
        service,
        platform,
        clock,
        provider,
        due,
        jobs,
        objects,
        keys,
        other=other,
        providers=providers,
        limits=limits,
    )
