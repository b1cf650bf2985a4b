"""Bugs that are planted, and rows that are touched: `ledger verify` names each of them."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kernel.clock import new_id
from kernel.event_store import EventStore
from kernel.objects import LocalObjectStore
from services.credits.domain import (
    Account,
    Budget,
    Commit,
    Hold,
    HoldStatus,
    LedgerEvent,
    Release,
    ledger,
)
from tests.credits.conftest import GRANT_UNITS, Credits, completed, created, failed
from tests.credits.ledger_world import LedgerWorld


@pytest.fixture
async def world(credits_service: Credits, tmp_path: Path) -> AsyncIterator[LedgerWorld]:
    objects = LocalObjectStore(tmp_path / "objects")
    yield await LedgerWorld.lived(credits_service, objects)
    objects.close()


# Six seeded faults of code and rows.


async def test_catches_a_balance_that_is_not_checked(
    world: LedgerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Account, "available_units", property(lambda _: 10**15))
    await world.credits.hear(created(world.poor, new_id(), GRANT_UNITS + 1))
    assert "overdraft" in await world.broken()


async def test_catches_a_hold_that_is_resolved_twice(
    world: LedgerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second ending under another message finds no trace of the first."""
    release = ledger._release

    def again(
        command: Release, account: Account, hold: Hold, budget: Budget
    ) -> Sequence[LedgerEvent]:
        return release(command, account, replace(hold, status=HoldStatus.HELD), budget)

    monkeypatch.setattr(ledger, "_release", again)
    await world.credits.hear(failed(world.rich, world.charged))
    assert {"ended_twice", "entry_twice"} <= await world.broken()


async def test_catches_an_inbox_that_was_dropped(
    world: LedgerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    transact = EventStore.transact

    async def forgetful(self: EventStore, work: Any, *, heard: Any = None) -> Any:
        return await transact(self, work)

    monkeypatch.setattr(EventStore, "transact", forgetful)
    await world.credits.hear(created(world.poor, new_id(), 100))
    assert await world.broken() == {"not_in_inbox"}


async def test_catches_a_ledger_that_charges_a_hold_for_each_message(
    world: LedgerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing makes the ending of a hold the only one: neither its status nor its stream."""
    commit = ledger._commit

    def blindly(
        command: Commit, account: Account, hold: Hold, budget: Budget
    ) -> Sequence[LedgerEvent]:
        return commit(command, account, replace(hold, status=HoldStatus.HELD), budget)

    monkeypatch.setattr(ledger, "_commit", blindly)
    await world.credits.hear(completed(world.rich, world.charged, 40_000))
    broken = await world.broken()
    assert {"ended_twice", "entry_twice", "held_elsewhere"} <= broken


async def test_catches_a_lost_entry(world: LedgerWorld) -> None:
    await world.sql(
        "DELETE FROM credits.events WHERE type = 'CommitEntered' AND data->>'task_id' = $1",
        str(world.charged),
    )
    broken = await world.broken()
    assert {"version_gap", "wrong_balance", "entry_missing", "row_removed"} <= broken


async def test_catches_an_edited_row(world: LedgerWorld) -> None:
    await world.sql(
        """
        UPDATE credits.events SET data = data || '{"amount_units": 39999}'
        WHERE type = 'CommitEntered' AND data->>'task_id' = $1""",
        str(world.charged),
    )
    broken = await world.broken()
    assert {"wrong_balance", "entry_missing", "row_edited"} <= broken


# More that must not go unseen.

EDITS = [
    (
        "UPDATE credits_read.credits_balances SET used_units = used_units - 1",
        "credits_balances_differs",
    ),
    ("DELETE FROM credits_read.credit_transactions", "credit_transactions_differs"),
    ("UPDATE credits_read.usage_records SET charged_units = 1", "usage_records_differs"),
    ("DELETE FROM credits_read.losses", "losses_differs"),
    (
        "UPDATE credits_read.subscription_plans SET monthly_units = 1",
        "subscription_plans_differs",
    ),
    ("DELETE FROM credits_read.subscriptions", "subscriptions_differs"),
    ("UPDATE credits_read.accounts SET opened_with_plan = 'x'", "accounts_differs"),
    (
        """
        UPDATE credits.streams SET state = state || '{"granted_units": 99000000}'
        WHERE stream_id LIKE 'account-%'""",
        "account_head",
    ),
    (
        """
        UPDATE credits.streams SET state = jsonb_set(state, '{status}', '"held"')
        WHERE stream_id LIKE 'hold-%' AND state->>'status' = 'committed'""",
        "hold_head",
    ),
    (
        """
        UPDATE credits.streams SET state = state || '{"held_units": 1}'
        WHERE stream_id LIKE 'budget-%'""",
        "budget_held",
    ),
    ("DELETE FROM credits.streams WHERE stream_id LIKE 'hold-%'", "head_version"),
    (
        "UPDATE credits.streams SET version = version + 1 WHERE stream_id LIKE 'account-%'",
        "head_version",
    ),
    (
        """
        UPDATE credits.streams SET state = '{"terms": null}' WHERE stream_id LIKE 'plan-%'""",
        "head_differs",
    ),
    ("DELETE FROM credits.seals WHERE seal_no = 1", "seal_missing"),
    ("UPDATE credits.seals SET digest = sha256('x') WHERE seal_no = 1", "chain_broken"),
    (
        """
        UPDATE credits.seals SET digest = sha256('x'), head = sha256(previous || sha256('x'))
        WHERE seal_no = 1""",
        "row_edited",
    ),
    (
        """
        DELETE FROM credits.events WHERE position >=
            (SELECT first_position FROM credits.seals ORDER BY seal_no DESC LIMIT 1)""",
        "row_removed",
    ),
    (
        """
        UPDATE credits.events SET recorded_at = recorded_at + interval '1 microsecond'
        WHERE type = 'GrantEntered'""",
        "row_edited",
    ),
    ("DELETE FROM credits.inbox WHERE state = 'done'", "not_in_inbox"),
]


@pytest.mark.parametrize(
    ("edit", "rule"), EDITS, ids=[f"{rule}-{n}" for n, (_, rule) in enumerate(EDITS)]
)
async def test_catches_what_was_touched(world: LedgerWorld, edit: str, rule: str) -> None:
    await world.sql(edit)
    assert rule in await world.broken()


async def test_catches_seals_that_were_all_made_anew(world: LedgerWorld) -> None:
    """Who edits a row and seals everything again is given away by the head kept outside."""
    await world.seals.publish()
    await world.sql("DELETE FROM credits.seals")
    await world.sql(
        "UPDATE credits.events SET data = data || '{\"reason\": \"x\"}' WHERE type = 'GrantEntered'"
    )
    await world.seal()
    assert "witness_differs" in await world.broken()


async def test_names_the_first_fault_with_its_place(world: LedgerWorld) -> None:
    await world.sql(
        """
        UPDATE credits.events SET data = data || '{"held_after": 1}'
        WHERE type = 'HoldEntered' AND data->>'task_id' = $1""",
        str(world.charged),
    )
    first, *others = await world.faults()
    [row] = await world.credits.rows(
        "SELECT position, event_id FROM credits.events"
        f" WHERE type = 'HoldEntered' AND data->>'task_id' = '{world.charged}'"
    )
    assert (first.position, first.entry_id) == (row["position"], row["event_id"])
    assert (first.account_id, first.task_id) == (world.rich, world.charged)
    here = {fault.rule for fault in (first, *others) if fault.position == first.position}
    assert here == {"credit_transactions_differs", "wrong_balance"}
    assert f"task_{world.charged.hex}" in first.words()
