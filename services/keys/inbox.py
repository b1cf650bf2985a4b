"""Messages in: public event -> own command, decided in the message's transaction."""

from collections.abc import Sequence

from contracts.credits import PlanChanged
from kernel.inbox import Subscription
from kernel.unit import Unit
from services.keys.domain import USER, USERS, ChangePlan


def subscriptions() -> Sequence[Subscription]:
    """What keys hears. Lanes are users."""
    return (Subscription(PlanChanged, change_plan, _user_of),)


async def change_plan(event: PlanChanged, unit: Unit) -> None:
    """Sessions and keys are of the new plan as soon as a gateway asks for them again."""
    command = ChangePlan(event.user_id, event.plan, event.changed_at)
    await unit.decide(USERS, USER.stream_id(event.user_id), command)


def _user_of(event: PlanChanged) -> str:
    return f"user-{event.user_id}"
