"""HTTP in: plans, and which of them an account has."""

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Annotated, Final, Literal

import asyncpg
from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from kernel.event_store import EventStore
from kernel.http import Caller, Identity
from kernel.identifiers import parsed, shown
from kernel.money import to_units
from kernel.unit import Unit
from services.credits import read_model
from services.credits.adapters.due_accounts import book
from services.credits.api.answers import BalanceBody, balance_body
from services.credits.api.exact_json import Credits, ExactResponse, ExactRoute, exact_credits
from services.credits.api.postings import account_of, user_not_found
from services.credits.api.words import Amount, Name, StrictRequest
from services.credits.domain import (
    ACCOUNT,
    PLAN,
    PLANS,
    SUBSCRIPTION,
    ChangePlan,
    DefinePlan,
    PlanTerms,
    change_plan,
)

PLAN_ID: Final = r"^[a-z0-9-]{1,50}$"


class PlanRequest(StrictRequest):
    """`monthly_credits` come with each period; what is left of them ends with it, unless they
    `roll_over`. A plan that is not `offered` takes nobody new."""

    name: Name
    monthly_credits: Amount
    roll_over: Annotated[bool, Field(strict=True)] = False
    offered: Annotated[bool, Field(strict=True)] = True


class PlanVersionBody(BaseModel):
    """`defined_by` is the admin; null for what the product brings."""

    version: int
    name: str
    monthly_credits: Credits
    roll_over: bool
    offered: bool
    defined_at: datetime
    defined_by: str | None


class PlanBody(PlanVersionBody):
    """The terms of now, and `versions`: they and all before them, newest first."""

    plan_id: str
    versions: list[PlanVersionBody]


class PlansAnswer(BaseModel):
    success: Literal[True] = True
    plans: list[PlanBody]


class PlanAnswer(BaseModel):
    success: Literal[True] = True
    plan: PlanBody


class ChangePlanRequest(StrictRequest):
    plan_id: Annotated[str, Field(pattern=PLAN_ID)]


class SubscriptionAnswer(BaseModel):
    success: Literal[True] = True
    user_id: str
    plan_id: str
    period_ends_at: datetime | None
    balance: BalanceBody


def plan_routes(store: EventStore) -> APIRouter:
    router = APIRouter(prefix="/api/admin/credits/plans", tags=["admin"], route_class=ExactRoute)

    @router.get("", response_model=PlansAnswer)
    async def list_plans(caller: Caller) -> ExactResponse:
        """Every plan, with every version of it."""
        caller.require_admin()
        plans = _plan_bodies(await read_model.plans(store.database))
        return ExactResponse(PlansAnswer(plans=plans))

    @router.put("/{plan_id}", response_model=PlanAnswer)
    async def define_plan(
        caller: Caller, plan_id: Annotated[str, Path(pattern=PLAN_ID)], body: PlanRequest
    ) -> ExactResponse:
        """A new plan, or new terms of one: they count from the next period on. The same terms
        again change nothing."""
        caller.require_admin()
        terms = PlanTerms(body.name, to_units(body.monthly_credits), body.roll_over, body.offered)
        command = DefinePlan(plan_id, terms, store.clock.now(), caller.user_id)
        await store.handle(PLANS, PLAN.stream_id(plan_id), command)
        versions = await read_model.plans(store.database, plan_id)
        return ExactResponse(PlanAnswer(plan=_plan_bodies(versions)[0]))

    return router


def subscription_routes(store: EventStore) -> APIRouter:
    router = APIRouter(prefix="/api/admin/users", tags=["admin"])

    @router.put("/{user_id}/plan", response_model=SubscriptionAnswer)
    async def put_users_plan(
        caller: Caller, user_id: str, body: ChangePlanRequest
    ) -> ExactResponse:
        """The plan's first period begins at once, and what is left of the grant of the plan before
        ends; the same plan again changes nothing. 404 `user_not_found`, `plan_not_found`; 409
        `plan_not_offered`."""
        caller.require_admin()
        return ExactResponse(await _change_plan(store, caller, user_id, body.plan_id))

    return router


async def _change_plan(
    store: EventStore, caller: Identity, shown_user: str, plan_id: str
) -> SubscriptionAnswer:
    user_id = parsed("user", shown_user)
    if user_id is None:
        raise user_not_found()
    account_id = await account_of(store.database, user_id)

    async def work(unit: Unit) -> None:
        command = ChangePlan(account_id, user_id, plan_id, caller.user_id, unit.now)
        recorded = await unit.decide_on(
            (
                (SUBSCRIPTION, SUBSCRIPTION.stream_id(account_id)),
                (ACCOUNT, ACCOUNT.stream_id(account_id)),
                (PLAN, PLAN.stream_id(plan_id)),
            ),
            lambda subscription, account, plan: change_plan(command, subscription, account, plan),
        )
        book(unit, recorded)

    await store.transact(work)
    subscription, _ = await store.read(SUBSCRIPTION, SUBSCRIPTION.stream_id(account_id))
    balance, _ = await read_model.balance(store.database, account_id, store.clock.now())
    return SubscriptionAnswer(
        user_id=shown_user,
        plan_id=subscription.plan_id,
        period_ends_at=subscription.ends_at,
        balance=balance_body(balance),
    )


def _plan_bodies(rows: Sequence[asyncpg.Record]) -> list[PlanBody]:
    bodies = []
    for plan_id, of_plan in groupby(rows, key=itemgetter("plan_id")):
        versions = [_version_body(row) for row in of_plan]
        bodies.append(PlanBody(plan_id=plan_id, versions=versions, **versions[0].model_dump()))
    return bodies


def _version_body(row: asyncpg.Record) -> PlanVersionBody:
    by = row["defined_by"]
    return PlanVersionBody(
        version=row["version"],
        name=row["name"],
        monthly_credits=exact_credits(row["monthly_units"]),
        roll_over=row["roll_over"],
        offered=row["offered"],
        defined_at=row["defined_at"],
        defined_by=None if by is None else shown("user", by),
    )
