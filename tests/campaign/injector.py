"""Plays faults on a world, each to its end: what it breaks it mends, and says what it did."""

import asyncio
import contextlib
import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Final

import aio_pika
import asyncpg

from services.separate import INNER
from tests.campaign.crash_points import POINTS
from tests.campaign.faults import Fault, Kind
from tests.campaign.proxy import FaultProxy
from tests.campaign.repeats import repeat
from tests.campaign.world import World

MISSING_S: Final = 60.0
CRASH_WAIT_S: Final = 12.0
LATE_AFTER: Final = timedelta(seconds=60)
REPEATS: Final = 40
QUEUE_EMPTY_WAIT_S: Final = 10.0
QUEUE_GONE_S: Final = 6.0
STOPPABLE: Final = ("gateway", *INNER)
KILLABLE: Final = (*STOPPABLE, "simulator")
LOOK_EVERY_S: Final = 0.1
EMPTY_LOOKS: Final = 5


class NotPlayed(Exception):
    """It found nothing to break."""


@dataclass
class Injector:
    """`played` counts the faults that took place, by kind."""

    world: World
    played: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._exclusive: dict[str, asyncio.Lock] = {}

    async def play(self, fault: Fault) -> None:
        name, part = self._parts()[fault.kind]
        try:
            async with self._lock(part):  # two faults of one part would mend each other
                detail = await name(fault)
        except (NotPlayed, OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return  # another fault had it already
        except aio_pika.exceptions.AMQPError:
            return
        self.played[f"{fault.kind}{f': {detail}' if detail else ''}"] += 1

    def _parts(self) -> Mapping[Kind, tuple[Callable[[Fault], Awaitable[str]], str]]:
        return {
            Kind.KILL: (self._kill, "services"),
            Kind.MISSING: (self._missing, "missing"),
            Kind.STOP: (self._stop, "stopped"),
            Kind.CRASH: (self._crash, "crash"),
            Kind.BROKER_KILL: (self._kill_broker, "broker"),
            Kind.BROKER_STALL: (self._stall_broker, "broker"),
            Kind.BROKER_RESTART: (self._restart_broker, "broker"),
            Kind.BROKER_CUT: (self._cut_broker, "broker"),
            Kind.BROKER_HALF_OPEN: (self._half_open_broker, "broker"),
            Kind.BROKER_RESET: (self._reset_broker, "broker"),
            Kind.BROKER_SLOW: (self._slow_broker, "broker"),
            Kind.QUEUE_GONE: (self._delete_queue, "broker"),
            Kind.POSTGRES_KILL: (self._kill_postgres, "postgres"),
            Kind.POSTGRES_SESSIONS: (self._terminate_sessions, "sessions"),
            Kind.POSTGRES_CUT: (self._cut_postgres, "postgres"),
            Kind.POSTGRES_RESET: (self._reset_postgres, "postgres"),
            Kind.POSTGRES_SLOW: (self._slow_postgres, "postgres"),
            Kind.HELD_TRANSACTION: (self._hold_transaction, "transaction"),
            Kind.LOCKED_HEAD: (self._lock_head, "head"),
            Kind.DUPLICATE: (self._repeat_now, "repeat"),
            Kind.LATE: (self._repeat_late, "late"),
        }

    def _lock(self, part: str) -> asyncio.Lock:
        return self._exclusive.setdefault(part, asyncio.Lock())

    async def _kill(self, fault: Fault) -> str:
        service = fault.one_of("service", KILLABLE)
        os.kill(self._pid(fault, service), signal.SIGKILL)
        return service

    async def _missing(self, fault: Fault) -> str:
        service = fault.one_of("service", INNER)
        absent = self.world.absent(service)
        absent.touch()
        try:
            for name, pid in self.world.supervisor.pids().items():
                if name.partition("-")[0] == service:
                    os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(MISSING_S)
        finally:
            absent.unlink(missing_ok=True)
        return service

    async def _stop(self, fault: Fault) -> str:
        service = fault.one_of("service", STOPPABLE)
        pid = self._pid(fault, service)
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(fault.between("for", 3, 15))
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        return service

    async def _crash(self, fault: Fault) -> str:
        point = fault.one_of("point", POINTS)
        self.world.armed.arm(point)
        try:
            async with asyncio.timeout(CRASH_WAIT_S):
                while self.world.armed.is_armed(point):  # noqa: ASYNC110 - another process takes it
                    await asyncio.sleep(LOOK_EVERY_S)
        finally:
            missed = self.world.armed.disarm(point)
        if missed:
            raise NotPlayed
        return point

    async def _kill_broker(self, _: Fault) -> str:
        await asyncio.to_thread(self.world.broker.kill)
        await asyncio.to_thread(self.world.broker.start)
        return ""

    async def _stall_broker(self, fault: Fault) -> str:
        """What was written to it meanwhile dies with it."""
        pid = self.world.broker.pid
        if pid is None:
            raise NotPlayed
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(fault.between("for", 1, 4))
        return await self._kill_broker(fault)

    async def _restart_broker(self, _: Fault) -> str:
        await asyncio.to_thread(self.world.broker.stop)
        await asyncio.to_thread(self.world.broker.start)
        return ""

    async def _cut_broker(self, fault: Fault) -> str:
        return await self._cut(self.world.to_broker, fault.between("for", 1, 12))

    async def _half_open_broker(self, fault: Fault) -> str:
        proxy = self.world.to_broker
        proxy.half_open()
        await self._heal_after(proxy, fault.between("for", 2, 25))
        return ""

    async def _reset_broker(self, _: Fault) -> str:
        self.world.to_broker.reset()
        return ""

    async def _slow_broker(self, fault: Fault) -> str:
        return await self._slow(self.world.to_broker, fault)

    async def _kill_postgres(self, _: Fault) -> str:
        pid = self.world.postgres.pid
        if pid is None:
            raise NotPlayed
        os.kill(pid, signal.SIGKILL)
        while self.world.postgres.pid is not None:  # noqa: ASYNC110 - until it has really gone
            await asyncio.sleep(LOOK_EVERY_S)
        self.world.postgres.start()  # half a second, and only from the main thread
        return ""

    async def _terminate_sessions(self, fault: Fault) -> str:
        share = fault.between("share", 0.05, 1.0)
        connection = await asyncpg.connect(self.world.dsn, timeout=3)
        try:
            ended = await connection.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND datname = current_database()"
                " AND mod(pid, 1000) < $1::float * 1000",
                share,
                timeout=5,
            )
        finally:
            await connection.close(timeout=3)
        if not ended:
            raise NotPlayed
        return ""

    async def _cut_postgres(self, fault: Fault) -> str:
        return await self._cut(self.world.to_postgres, fault.between("for", 0.5, 6))

    async def _reset_postgres(self, _: Fault) -> str:
        self.world.to_postgres.reset()
        return ""

    async def _slow_postgres(self, fault: Fault) -> str:
        return await self._slow(self.world.to_postgres, fault)

    async def _hold_transaction(self, fault: Fault) -> str:
        """Whoever reads by snapshot horizon would stand still meanwhile."""
        connection = await asyncpg.connect(self.world.dsn, timeout=3)
        try:
            await connection.execute("CREATE TABLE IF NOT EXISTS public.held (at timestamptz)")
            async with connection.transaction():
                await connection.execute("INSERT INTO public.held VALUES (clock_timestamp())")
                await asyncio.sleep(fault.between("for", 5, 20))
        finally:
            await connection.close(timeout=3)
        return ""

    async def _lock_head(self, fault: Fault) -> str:
        connection = await asyncpg.connect(self.world.dsn, timeout=3)
        try:
            async with connection.transaction():
                await connection.fetch(
                    "SELECT 1 FROM credits.streams WHERE stream_id LIKE 'account-%'"
                    " ORDER BY stream_id DESC LIMIT 2 FOR UPDATE"
                )
                await asyncio.sleep(fault.between("for", 1, 8))
        finally:
            await connection.close(timeout=3)
        return ""

    async def _repeat_now(self, _: Fault) -> str:
        return await self._repeat(timedelta(0))

    async def _repeat_late(self, _: Fault) -> str:
        return await self._repeat(LATE_AFTER)

    async def _repeat(self, older_than: timedelta) -> str:
        world = self.world
        sent = await repeat(
            world.dsn, world.broker_url, world.topology, older_than=older_than, count=REPEATS
        )
        if not sent:
            raise NotPlayed
        return ""

    async def _delete_queue(self, fault: Fault) -> str:
        """Its consumer is away, and it is empty: what is said meanwhile has nowhere to go, and so
        must stay with who says it. Nobody says anything while that is brought about."""
        service = fault.one_of("service", ("credits", "storage"))
        queue, absent = self.world.topology.inbox(service), self.world.absent(service)
        pids = self.world.supervisor.pids()
        speakers = [pid for name, pid in pids.items() if name.partition("-")[0] != service]
        absent.touch()
        try:
            for pid in speakers:
                os.kill(pid, signal.SIGSTOP)
            try:
                await self._empty(queue)
                for name, pid in pids.items():
                    if name.partition("-")[0] == service:
                        os.kill(pid, signal.SIGKILL)
                await self._delete(queue)
            finally:
                for pid in speakers:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGCONT)
            await asyncio.sleep(QUEUE_GONE_S)
        finally:
            absent.unlink(missing_ok=True)
        return service

    async def _delete(self, queue: str) -> None:
        """Raises `NotPlayed` when something came back into it from its consumers' hands."""
        connection = await aio_pika.connect(self.world.broker_url, timeout=3)
        async with connection:
            channel = await connection.channel()
            found = await channel.declare_queue(queue, passive=True)
            if found.declaration_result.message_count:
                raise NotPlayed
            await channel.queue_delete(queue)  # a quorum queue knows no `if_empty`

    async def _empty(self, queue: str) -> None:
        """Wait until nothing is in the queue, nor in the hands of its consumers, as far as that can
        be seen. Raises TimeoutError."""
        connection = await aio_pika.connect(self.world.broker_url, timeout=3)
        async with connection, asyncio.timeout(QUEUE_EMPTY_WAIT_S):
            channel = await connection.channel()
            empty_for = 0
            while empty_for < EMPTY_LOOKS:
                found = await channel.declare_queue(queue, passive=True)
                empty_for = 0 if found.declaration_result.message_count else empty_for + 1
                await asyncio.sleep(LOOK_EVERY_S)

    async def _cut(self, proxy: FaultProxy, for_s: float) -> str:
        proxy.cut()
        await self._heal_after(proxy, for_s)
        return ""

    async def _slow(self, proxy: FaultProxy, fault: Fault) -> str:
        rng = Random(fault.seed * 1_000 + fault.number)  # noqa: S311 - repeatable, no secret
        proxy.latency(fault.between("latency", 0.01, 0.3), 0.05, rng)
        proxy.slow(fault.between("rate", 50_000, 1_000_000))
        await self._heal_after(proxy, fault.between("for", 2, 12))
        return ""

    async def _heal_after(self, proxy: FaultProxy, for_s: float) -> None:
        try:
            await asyncio.sleep(for_s)
        finally:
            proxy.heal()

    def _pid(self, fault: Fault, service: str) -> int:
        """Of one of its replicas. Raises `NotPlayed` when none lives."""
        pids = self.world.supervisor.pids()
        replicas = sorted(name for name in pids if name.partition("-")[0] == service)
        if not replicas:
            raise NotPlayed
        return pids[fault.one_of("replica", replicas)]
