"""A plan: what an account is granted each month. Each change is a version; none is forgotten."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from kernel.messages import Aggregate, Decider


@dataclass(frozen=True, slots=True)
class PlanTerms:
    """`monthly_units` come with each period; what is left of them ends with it, unless they
    `roll_over`. A plan that is not `offered` takes nobody new."""

    name: str
    monthly_units: int
    roll_over: bool = False
    offered: bool = True


@dataclass(frozen=True, slots=True)
class PlanDefined:
    """From `at` on. `by` is the admin; None for what the product brings."""

    plan_id: str
    terms: PlanTerms
    at: datetime
    by: UUID | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    terms: PlanTerms | None = None


def _evolve_plan(_: Plan, event: PlanDefined) -> Plan:
    return Plan(event.terms)


PLAN: Aggregate[PlanDefined, Plan] = Aggregate(
    name="plan", state=Plan, initial_state=Plan, evolve=_evolve_plan, events=(PlanDefined,)
)


@dataclass(frozen=True, slots=True)
class DefinePlan:
    """`if_new` leaves a plan that is there as it is."""

    plan_id: str
    terms: PlanTerms
    at: datetime
    by: UUID | None = None
    if_new: bool = False


def _define(command: DefinePlan, plan: Plan) -> Sequence[PlanDefined]:
    if plan.terms == command.terms or (command.if_new and plan.terms is not None):
        return ()
    return (PlanDefined(command.plan_id, command.terms, command.at, command.by),)


PLANS: Decider[DefinePlan, PlanDefined, Plan] = Decider(PLAN, _define)
