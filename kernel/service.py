"""A running service: its app, what it hears and says, its workers; and the platform under it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from typing import Protocol

import structlog
from starlette.types import ASGIApp

from kernel.bus import Bus
from kernel.clock import Clock, SystemClock
from kernel.encryption import Encryption
from kernel.event_store import EventStore
from kernel.http.identity import InternalTokens
from kernel.inbox import Inbox
from kernel.links import MediaLinks
from kernel.outbox import Publisher
from kernel.projections import ReadModel, ensure
from kernel.secrets import Secrets
from kernel.sql import Database
from kernel.telemetry.backlog import Backlog
from kernel.waiting import Waiters

FLUSH_TIMEOUT_S = 2.0

_log = structlog.get_logger(__name__)

Worker = Callable[[], Awaitable[None]]
"""A loop that runs until it is cancelled."""


class Endable(Protocol):
    def end(self) -> None:
        """Whoever waits here is answered now."""
        ...


class Closable(Protocol):
    async def aclose(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What a process offers to a service that has no tables.

    `sole_owner`: no other process shares the database. `vendors_url`: where vendors that have no
    key are played.
    """

    bus: Bus
    clock: Clock
    encryption: Encryption
    internal_tokens: InternalTokens
    links: MediaLinks
    public_base_url: str
    vendors_url: str | None = None
    sole_owner: bool = False

    @classmethod
    def of(
        cls, secrets: Secrets, bus: Bus, public_base_url: str, vendors_url: str | None = None
    ) -> "Ground":
        """Of a process that shares its database. All processes of one system have the same
        secrets, so each reads the tokens and opens the links of the others."""
        clock = SystemClock()
        encryption = Encryption(secrets.master_keys)
        return cls(
            bus=bus,
            clock=clock,
            encryption=encryption,
            internal_tokens=InternalTokens(
                encryption.derived_secret("internal"), clock, encryption.former_secrets("internal")
            ),
            links=MediaLinks(
                encryption.derived_secret("links"),
                public_base_url,
                encryption.former_secrets("links"),
            ),
            public_base_url=public_base_url,
            vendors_url=vendors_url,
        )


@dataclass(frozen=True, kw_only=True)
class Platform(Ground):
    """The same with a database, for services that remember."""

    database: Database

    @classmethod
    def on(cls, ground: Ground, database: Database, *, sole_owner: bool = False) -> "Platform":
        parts = {part.name: getattr(ground, part.name) for part in fields(ground)}
        return cls(**parts | {"database": database, "sole_owner": sole_owner})


@dataclass
class Service:
    """One service in this process, started and ended in the order that loses nothing.

    `prepare` is run before anything else of it, and must end; `workers` run all the time; `ends`
    are what lets clients wait, besides `waiters`.
    """

    name: str
    app: ASGIApp | None = None
    store: EventStore | None = None
    read_model: ReadModel | None = None
    inbox: Inbox | None = None
    publisher: Publisher | None = None
    waiters: Waiters | None = None
    ends: Sequence[Endable] = ()
    prepare: Sequence[Callable[[], Awaitable[object]]] = ()
    workers: Sequence[Worker] = ()
    resources: Sequence[Closable] = ()
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _worker_tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def start(self, bus: Bus, failed: Callable[[str], None]) -> None:
        """Make the read model, subscribe, and start the loops; `failed` is told if one dies."""
        if self.store is not None and self.read_model is not None:
            async with self.store.database.connection() as connection:
                await ensure(connection, self.read_model)
        for step in self.prepare:
            await step()
        if self.inbox is not None:
            await self.inbox.maintain()
            bus.subscribe(self.name, self.inbox.receive, self.inbox.keep_crashed)
            self._tasks.append(self._spawn(self.inbox.run, failed))
        if self.publisher is not None:
            self._tasks.append(self._spawn(self.publisher.run, failed))
        if self.store is not None:
            backlog = Backlog(self.name, self.store.database, self.store.schema)
            self._tasks.append(self._spawn(backlog.run, failed))
        self._worker_tasks = [self._spawn(worker, failed) for worker in self.workers]

    def end_waits(self) -> None:
        """Whoever waits is answered now."""
        if self.waiters is not None:
            self.waiters.end()
        for one in self.ends:
            one.end()

    async def quiesce(self) -> None:
        """End waits and workers: nothing new is begun."""
        self.end_waits()
        await _cancel(self._worker_tasks)

    async def flush(self) -> None:
        """Publish what is left, at most `FLUSH_TIMEOUT_S`; the rest stays in the outbox."""
        if self.publisher is not None and not await self.publisher.drain(FLUSH_TIMEOUT_S):
            _log.warning("outbox_not_empty", service=self.name)

    async def stop(self) -> None:
        await _cancel(self._tasks)
        for resource in self.resources:
            await resource.aclose()

    def _spawn(self, worker: Worker, failed: Callable[[str], None]) -> asyncio.Task[None]:
        async def guarded() -> None:
            try:
                await worker()
                _log.error("worker_ended", service=self.name)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                _log.exception("worker_died", service=self.name)  # of another's cancellation
            except Exception:  # noqa: BLE001 - a dead loop must end the process, not hide
                _log.exception("worker_died", service=self.name)
            failed(self.name)

        return asyncio.create_task(guarded(), name=f"{self.name}:{worker!r}")


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task
    tasks.clear()
