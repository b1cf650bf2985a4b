"""A ledger in which everything has happened once, sealed, and how it is looked at and damaged."""

import asyncio
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from uuid import UUID

from contracts.generation import LateOutputProduced, TaskCreated
from contracts.storage import StorageMeasured
from kernel.clock import new_id
from kernel.objects import LocalObjectStore
from kernel.unit import Unit
from services.credits.adapters.due_accounts import DueAccounts
from services.credits.adapters.seals import Seals, chain
from services.credits.adapters.verification import Fault, verified
from services.credits.app import AGGREGATES
from services.credits.domain import (
    ACCOUNT,
    CODE,
    HOLD,
    PLAN,
    POSTING,
    SUBSCRIPTION,
    ChangePlan,
    CodeIssued,
    Hold,
    PostingKind,
    PostingMade,
    Redeem,
    change_plan,
    post,
    redeem,
)
from tests.credits.conftest import Credits, cancelled, completed, created, failed, registered

ADMIN = new_id()
SETTLED_WITHIN_S = 60
GRANTED_FOR = timedelta(days=20)


@dataclass(frozen=True)
class LedgerWorld:
    """`rich` pays for `open_task`; `charged` was charged, and `freed` released."""

    credits: Credits
    seals: Seals
    objects: LocalObjectStore
    rich: UUID
    poor: UUID
    open_task: UUID
    charged: UUID
    freed: UUID

    @classmethod
    async def lived(cls, service: Credits, objects: LocalObjectStore) -> "LedgerWorld":
        database, clock = service.platform.database, service.clock
        seals = Seals(database, clock, objects)
        rich, poor = new_id(), new_id()
        world = cls(service, seals, objects, rich, poor, new_id(), new_id(), new_id())
        await service.define("pro", 400_000)
        await service.hear(registered(rich), registered(poor))
        await world.post(PostingKind.GRANT, 30_000, expires_at=clock.now() + GRANTED_FOR)
        await world.post(PostingKind.ADJUST, 5_000)
        await world.post(PostingKind.ADJUST, 2_500, taken=True)
        await world.tasks()
        await world.post(PostingKind.REFUND, 4_000, task_id=world.charged)
        await world.redeem_code(7_000)
        await service.hear(
            StorageMeasured(account_id=rich, user_id=rich, day=date(2026, 11, 1), byte_hours=10**13)
        )
        await world.change_plan("pro")
        await world.seal()
        clock.turn(GRANTED_FOR)
        await DueAccounts(world.store).catch_up_some()
        await service.hear(created(rich, world.open_task, 12_000))
        await world.seal()
        return world

    @property
    def store(self) -> Any:
        assert self.credits.service.store is not None
        return self.credits.service.store

    async def tasks(self) -> None:
        """Charged, in part, released, refused by balance and by a limit, barred, too late."""
        rich, key, task = self.rich, new_id(), new_id()
        barred, part, held, given_up = (new_id() for _ in range(4))

        def limited(task: UUID, units: int) -> TaskCreated:
            return created(rich, task, units, key_id=key, limit_units=20_000)

        await self.credits.hear(
            *(created(rich, self.charged, 40_000), completed(rich, self.charged, 40_000)),
            *(created(rich, part, 9_000), failed(rich, part, 4_000)),
            *(created(rich, self.freed, 15_000), cancelled(rich, self.freed)),
            completed(rich, self.freed, 15_000),
            *(created(self.poor, new_id(), 10**9), created(self.poor, new_id(), 0)),
            *(failed(rich, barred), created(rich, barred, 100)),
            *(limited(task, 15_000), limited(held, 2_000), limited(new_id(), 9_000)),
            *(completed(rich, task, 15_000), limited(given_up, 1_000), failed(rich, given_up)),
            *(self.late(part, 1), self.late(part, 0)),
        )

    def late(self, task: UUID, index: int) -> LateOutputProduced:
        return LateOutputProduced(
            task_id=task,
            account_id=self.rich,
            index=index,
            provider="kie",
            price_units=700,
            produced_at=self.credits.clock.now(),
        )

    async def post(self, kind: PostingKind, units: int, **more: Any) -> None:
        asked = PostingMade(new_id().hex, self.rich, kind, units, "by hand", ADMIN, **more)
        now = self.credits.clock.now()

        async def work(unit: Unit) -> None:
            parts: list[Any] = [
                (POSTING, POSTING.stream_id(asked.posting_id)),
                (ACCOUNT, ACCOUNT.stream_id(self.rich)),
            ]
            if asked.task_id is not None:
                parts.append((HOLD, HOLD.stream_id(asked.task_id)))
            await unit.decide_on(
                parts,
                lambda posting, account, *hold: post(
                    asked, now, posting, account, *(hold or (Hold(),))
                ),
            )

        await self.store.transact(work)

    async def redeem_code(self, units: int) -> None:
        code, now = new_id().hex, self.credits.clock.now()
        issued = CodeIssued(code, units, ADMIN, now)
        parts = ((CODE, CODE.stream_id(code)), (ACCOUNT, ACCOUNT.stream_id(self.rich)))

        async def issue(unit: Unit) -> None:
            await unit.decide_on(parts, lambda _code, _account: (issued,))

        async def use(unit: Unit) -> None:
            command = Redeem(code, self.rich, now)
            await unit.decide_on(parts, lambda code, account: redeem(command, code, account))

        await self.store.transact(issue)
        await self.store.transact(use)

    async def change_plan(self, plan: str) -> None:
        command = ChangePlan(self.rich, self.rich, plan, ADMIN, self.credits.clock.now())

        async def work(unit: Unit) -> None:
            await unit.decide_on(
                (
                    (SUBSCRIPTION, SUBSCRIPTION.stream_id(self.rich)),
                    (ACCOUNT, ACCOUNT.stream_id(self.rich)),
                    (PLAN, PLAN.stream_id(plan)),
                ),
                lambda *states: change_plan(command, *states),
            )

        await self.store.transact(work)

    async def seal(self) -> None:
        """All that is there. Nothing is settled while any transaction of before runs on the server,
        and other tests run theirs there."""
        async with asyncio.timeout(SETTLED_WITHIN_S):
            while (await chain(self.credits.platform.database))[2]:
                await self.seals.seal_settled()
                await asyncio.sleep(0)

    async def faults(self) -> list[Fault]:
        found, _ = await verified(
            self.credits.platform.database, AGGREGATES, self.objects, self.credits.clock.now()
        )
        return list(found)

    async def broken(self) -> set[str]:
        """The rules that do not hold."""
        return {fault.rule for fault in await self.faults()}

    async def sql(self, text: str, *values: Any) -> None:
        """As somebody who owns the tables, and can switch their guard off."""
        async with self.credits.platform.database.transaction() as connection:
            await connection.execute("SET LOCAL session_replication_role = replica")
            await connection.execute(text, *values)
