"""What credits does with each public event that it hears, and with those that come early."""

import asyncio

from contracts.envelope import PublicEvent
from kernel.clock import new_id
from kernel.inbox import Inbox
from kernel.projections import verify
from kernel.testing import envelope_of
from services.credits.app import AGGREGATES
from services.credits.inbox import subscriptions
from services.credits.read_model import Balance
from tests.credits.conftest import (
    GRANT_UNITS,
    TERMS,
    Credits,
    cancelled,
    completed,
    created,
    failed,
    registered,
)


async def test_a_registration_opens_the_account_with_its_grant(credits_service: Credits) -> None:
    account = new_id()
    await credits_service.hear(registered(account))
    assert await credits_service.balance(account) == Balance(GRANT_UNITS, 0, 0)
    assert await credits_service.said() == ["AccountOpened", "CreditsGranted"]


async def test_a_repeated_registration_grants_once(credits_service: Credits) -> None:
    account = new_id()
    await credits_service.hear(registered(account), registered(account))
    assert await credits_service.balance(account) == Balance(GRANT_UNITS, 0, 0)


async def test_a_registration_with_a_plan_that_nobody_has_defined_waits_for_it(
    credits_service: Credits,
) -> None:
    account = new_id()
    await credits_service.hear(registered(account, plan="studio"))
    assert await credits_service.said() == []
    await credits_service.define("studio", 0)
    await credits_service.retry_all()
    await credits_service.hear(created(account, new_id(), 1))
    assert await credits_service.said() == ["AccountOpened", "CreditsDeclined"]


async def test_a_reservation_is_two_round_trips_to_the_database(credits_service: Credits) -> None:
    """Heads are read; then one statement writes events, heads, read models, inbox and outbox."""
    account = new_id()
    await credits_service.hear(registered(account))
    asked: list[str] = []
    async with credits_service.platform.database.connection() as connection:
        connection.add_query_logger(lambda query: asked.append(query.query))
    await credits_service.hear(created(account, new_id(), 15_000))
    assert [text[:16] for text in asked] == ["SELECT stream_id", "WITH appended AS"]


async def test_a_completed_task_is_charged_its_price(credits_service: Credits) -> None:
    account, task = new_id(), new_id()
    await credits_service.hear(
        registered(account), created(account, task, 15_000), completed(account, task, 15_000)
    )
    assert await credits_service.balance(account) == Balance(GRANT_UNITS, 15_000, 0)


async def test_failed_and_cancelled_tasks_cost_nothing(credits_service: Credits) -> None:
    account, first, second = new_id(), new_id(), new_id()
    await credits_service.hear(
        registered(account),
        *(created(account, first, 15_000), created(account, second, 15_000)),
        *(failed(account, first), cancelled(account, second)),
    )
    assert await credits_service.balance(account) == Balance(GRANT_UNITS, 0, 0)
    assert (await credits_service.said())[-2:] == ["CreditsReleased", "CreditsReleased"]


async def test_a_failed_task_whose_policy_charges_a_part_costs_that_part(
    credits_service: Credits,
) -> None:
    account, task = new_id(), new_id()
    await credits_service.hear(
        registered(account), created(account, task, 15_000), failed(account, task, 5_000)
    )
    assert await credits_service.balance(account) == Balance(GRANT_UNITS, 5_000, 0)


async def test_a_message_that_comes_twice_has_its_effects_once(credits_service: Credits) -> None:
    account, task = new_id(), new_id()
    heard = await credits_service.hear(
        registered(account), created(account, task, 15_000), completed(account, task, 15_000)
    )
    for envelope in heard * 2:
        await credits_service.inbox.receive(envelope)
    assert await credits_service.balance(account) == Balance(GRANT_UNITS, 15_000, 0)
    assert len(await credits_service.said()) == 4


async def test_a_task_of_an_account_that_is_not_known_yet_is_kept_never_declined(
    credits_service: Credits,
) -> None:
    account, task = new_id(), new_id()
    await credits_service.hear(created(account, task, 15_000))
    assert await credits_service.said() == []
    await credits_service.hear(registered(account))
    await credits_service.retry_all()
    assert await credits_service.balance(account) == Balance(GRANT_UNITS, 0, 15_000)


async def test_an_ending_before_its_reservation_leaves_nothing_held(
    credits_service: Credits,
) -> None:
    account, task = new_id(), new_id()
    await credits_service.hear(
        registered(account), failed(account, task), created(account, task, 15_000)
    )
    assert await credits_service.balance(account) == Balance(GRANT_UNITS, 0, 0)
    assert (await credits_service.said())[-1] == "CreditsDeclined"


async def test_a_charge_before_its_reservation_is_taken_after_it(credits_service: Credits) -> None:
    account, task = new_id(), new_id()
    await credits_service.hear(
        registered(account), completed(account, task, 15_000), created(account, task, 15_000)
    )
    await credits_service.retry_all()
    assert await credits_service.balance(account) == Balance(GRANT_UNITS, 15_000, 0)


async def test_a_contradiction_is_parked_for_a_person_and_changes_nothing(
    credits_service: Credits,
) -> None:
    account, task = new_id(), new_id()
    await credits_service.hear(
        *(registered(account), created(account, task, 15_000)),
        *(completed(account, task, 15_000), failed(account, task)),
    )
    assert await credits_service.balance(account) == Balance(GRANT_UNITS, 15_000, 0)
    [parked] = await credits_service.inbox.parked()
    assert parked["envelope"]["type"] == "TaskFailed"


async def test_a_message_naming_a_stranger_cannot_touch_an_accounts_hold(
    credits_service: Credits,
) -> None:
    account, stranger, task = new_id(), new_id(), new_id()
    await credits_service.hear(
        *(registered(account), registered(stranger), created(account, task, 15_000)),
        failed(stranger, task),
    )
    assert await credits_service.balance(account) == Balance(GRANT_UNITS, 0, 15_000)
    assert await credits_service.balance(stranger) == Balance(GRANT_UNITS, 0, 0)
    assert len(await credits_service.inbox.parked()) == 1


async def test_many_tasks_at_once_are_promised_each_credit_once(credits_service: Credits) -> None:
    """Two processes hear one account's tasks at once, each more than once: 6 of 10 can be paid."""
    account = new_id()
    await credits_service.hear(registered(account))
    tasks = [new_id() for _ in range(10)]
    events: list[PublicEvent] = [created(account, task, 15_000) for task in tasks]
    messages = [envelope_of(event) for event in events]
    assert credits_service.service.store is not None
    other = Inbox("credits", credits_service.service.store, subscriptions(TERMS))
    await asyncio.gather(
        *(
            inbox.receive(message)
            for message in messages
            for inbox in (credits_service.inbox, other)
        )
    )
    assert await credits_service.balance(account) == Balance(GRANT_UNITS, 0, 90_000)
    said = await credits_service.said()
    assert (said.count("CreditsReserved"), said.count("CreditsDeclined")) == (6, 4)
    database = credits_service.platform.database
    assert await verify(database, "credits", AGGREGATES) == []
