"""The ledger against a tiny model, whatever comes in whatever order and however often."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kernel.clock import new_id
from kernel.errors import Deferred, Rejected
from services.credits.domain import (
    ACCOUNT,
    BUDGET,
    HOLD,
    LIMIT_REACHED,
    Account,
    AccountEvent,
    Budget,
    BudgetEvent,
    Commit,
    CommitEntered,
    GrantEntered,
    Hold,
    HoldCommitted,
    HoldEntered,
    HoldEvent,
    HoldPlaced,
    HoldRefused,
    HoldReleased,
    HoldStatus,
    LedgerCommand,
    LedgerEvent,
    MonthlyLimit,
    OpenAccount,
    Plan,
    PlanTerms,
    RecordLateDelivery,
    Release,
    ReleaseEntered,
    Reserve,
    decide,
    month_of,
    open_account,
)

ACCOUNTS = [new_id() for _ in range(2)]
TASKS = [new_id() for _ in range(4)]
PRICES = dict(zip(TASKS, (1, 40, 60, 100), strict=True))
PAYERS = {task: ACCOUNTS[nth % 2] for nth, task in enumerate(TASKS)}
GRANT = 100
KEY = new_id()
"""Of the first account; it asks for each of its tasks, and may spend `LIMIT` a month."""
LIMIT = 60
LIMITED = {task for task, payer in PAYERS.items() if payer == ACCOUNTS[0]}

some_task = st.sampled_from(TASKS)


class LedgerMachine(RuleBasedStateMachine):
    """Tasks ask, end and repeat themselves; what is early is kept and tried again later.

    The model is three sets and a sum: who holds, who was charged how much, who was refused; and
    what a limited key was charged in each month.
    """

    @initialize()
    def begin(self) -> None:
        self.accounts = {account: Account() for account in ACCOUNTS}
        self.holds = {task: Hold() for task in TASKS}
        self.budget = Budget()
        self.month = 1
        self.charged_in: dict[str, int] = {}
        self.events: list[LedgerEvent] = []
        self.early: list[LedgerCommand] = []
        self.granted = dict.fromkeys(ACCOUNTS, 0)
        self.open: dict[UUID, int] = {}
        self.charged: dict[UUID, int] = {}
        self.ended: set[UUID] = set()

    @rule(account=st.sampled_from(ACCOUNTS))
    def open_an_account(self, account: UUID) -> None:
        command = OpenAccount(account, account, "free", self.now)
        plan = Plan(PlanTerms("Free", GRANT, roll_over=True))
        events = open_account(command, self.accounts[account], plan)
        self.granted[account] = GRANT
        self.take([event for event in events if isinstance(event, AccountEvent)])

    @rule()
    def turn_the_month(self) -> None:
        self.month += 1

    @property
    def now(self) -> datetime:
        return datetime(2000 + self.month // 12, 1 + self.month % 12, 1, tzinfo=UTC)

    @rule(task=some_task)
    def reserve(self, task: UUID) -> None:
        limit = MonthlyLimit(KEY, LIMIT) if task in LIMITED else None
        self.give(Reserve(PAYERS[task], task, PRICES[task], self.now, limit))

    @rule(task=some_task)
    def charge_it_all(self, task: UUID) -> None:
        self.give(Commit(PAYERS[task], task, PRICES[task], self.now))

    @rule(task=some_task)
    def charge_a_part(self, task: UUID) -> None:
        self.give(Commit(PAYERS[task], task, max(1, PRICES[task] // 3), self.now))

    @rule(task=some_task)
    def release(self, task: UUID) -> None:
        self.give(Release(PAYERS[task], task, self.now))

    @rule(task=some_task)
    def charge_too_much(self, task: UUID) -> None:
        self.give(Commit(PAYERS[task], task, PRICES[task] + 1, self.now))

    @rule()
    def try_again_what_was_early(self) -> None:
        early, self.early = self.early, []
        for command in early:
            if not isinstance(command, RecordLateDelivery):
                self.give(replace(command, now=self.now))

    def give(self, command: LedgerCommand) -> None:
        account, hold = self.accounts[command.account_id], self.holds[command.task_id]
        try:
            events = decide(command, account, hold, self.budget)
        except Deferred:
            self.early.append(command)
            return
        except Rejected:
            return
        self.expect(command, list(events))
        self.take(list(events))

    def expect(self, command: LedgerCommand, events: list[LedgerEvent]) -> None:
        """What the model allows to follow."""
        task, payer = command.task_id, command.account_id
        for event in events:
            match event:
                case HoldPlaced():
                    assert task not in self.ended | self.open.keys(), "a task holds once"
                    held = sum(u for t, u in self.open.items() if PAYERS[t] == payer)
                    used = sum(u for t, u in self.charged.items() if PAYERS[t] == payer)
                    assert self.granted[payer] - held - used >= event.amount_units
                    assert event.key_id == (KEY if task in LIMITED else None)
                    if task in LIMITED:
                        assert self.taken(command) + event.amount_units <= LIMIT
                    self.open[task] = event.amount_units
                case HoldCommitted():
                    held = self.open.pop(task)
                    assert event.amount_units + event.released_units == held
                    self.charged[task] = event.amount_units
                    if task in LIMITED and isinstance(command, Commit):
                        month = month_of(command.now)
                        before = self.charged_in.get(month, 0)
                        self.charged_in[month] = before + event.amount_units
                    self.ended.add(task)
                case HoldReleased():
                    assert event.amount_units == self.open.pop(task)
                    self.ended.add(task)
                case HoldRefused():
                    assert task not in self.open
                    if event.reason == LIMIT_REACHED:
                        assert event.used_units == self.taken(command)
                        assert event.used_units + event.required_units > LIMIT
                    self.ended.add(task)

    def taken(self, command: LedgerCommand) -> int:
        """What the key has spent in the month of the command, and holds."""
        assert isinstance(command, Reserve)
        assert command.limit is not None
        held = sum(units for task, units in self.open.items() if task in LIMITED)
        month = self.budget.in_month(month_of(command.now)).month
        return held + self.charged_in.get(month, 0)

    def take(self, events: list[LedgerEvent]) -> None:
        for event in events:
            self.events.append(event)
            if isinstance(event, HoldEvent):
                self.holds[event.task_id] = HOLD.evolve(self.holds[event.task_id], event)
            elif isinstance(event, BudgetEvent):
                self.budget = BUDGET.evolve(self.budget, event)
            else:
                account = self.accounts[event.account_id]
                self.accounts[event.account_id] = ACCOUNT.evolve(account, event)

    @invariant()
    def nothing_is_ever_overdrawn(self) -> None:
        for event in self.events:
            if isinstance(event, GrantEntered | HoldEntered | CommitEntered | ReleaseEntered):
                assert event.granted_after - event.used_after - event.held_after >= 0
                assert min(event.used_after, event.held_after) >= 0

    @invariant()
    def balances_are_the_sums_of_their_entries(self) -> None:
        for account, state in self.accounts.items():
            granted = used = held = 0
            for event in self.events:
                match event:
                    case GrantEntered(account_id=payer) if payer == account:
                        granted += event.amount_units
                    case HoldEntered(account_id=payer) if payer == account:
                        held += event.amount_units
                    case ReleaseEntered(account_id=payer) if payer == account:
                        held -= event.amount_units
                    case CommitEntered(account_id=payer) if payer == account:
                        held -= event.amount_units + event.released_units
                        used += event.amount_units
                    case _:
                        continue
                assert (event.granted_after, event.used_after, event.held_after) == (
                    granted,
                    used,
                    held,
                )
            assert (state.granted_units, state.used_units, state.held_units) == (
                granted,
                used,
                held,
            )

    @invariant()
    def what_is_held_are_the_open_holds(self) -> None:
        for account, state in self.accounts.items():
            mine = [task for task in TASKS if PAYERS[task] == account]
            assert state.held_units == sum(self.open.get(task, 0) for task in mine)
            assert state.used_units == sum(self.charged.get(task, 0) for task in mine)
        for task, hold in self.holds.items():
            assert (hold.status == HoldStatus.HELD) == (task in self.open)

    @invariant()
    def a_budget_holds_what_its_keys_tasks_hold(self) -> None:
        held = sum(units for task, units in self.open.items() if task in LIMITED)
        assert self.budget.held_units == held
        assert self.budget.used_units == self.charged_in.get(self.budget.month, 0)

    @invariant()
    def a_hold_ends_at_most_once_and_a_refusal_stays(self) -> None:
        for task in TASKS:
            ends = [
                event
                for event in self.events
                if isinstance(event, HoldCommitted | HoldReleased | HoldRefused)
                and event.task_id == task
            ]
            assert len(ends) <= 1


LedgerMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, derandomize=True
)


TestLedger = LedgerMachine.TestCase


def test_a_charge_that_came_early_is_taken_once_its_reservation_is_there() -> None:
    machine = LedgerMachine()
    machine.begin()
    task = TASKS[1]
    machine.open_an_account(PAYERS[task])
    machine.charge_it_all(task)
    machine.reserve(task)
    machine.try_again_what_was_early()
    assert machine.holds[task].status == HoldStatus.COMMITTED
    machine.what_is_held_are_the_open_holds()


def test_a_limited_key_may_spend_again_when_the_month_has_turned() -> None:
    machine = LedgerMachine()
    machine.begin()
    cheap, dear = TASKS[0], TASKS[2]
    machine.open_an_account(ACCOUNTS[0])
    machine.reserve(dear)
    machine.charge_it_all(dear)
    machine.turn_the_month()
    machine.reserve(cheap)
    assert machine.holds[cheap].status == HoldStatus.HELD
    machine.a_budget_holds_what_its_keys_tasks_hold()


def test_a_limited_key_may_not_spend_more_within_the_month() -> None:
    machine = LedgerMachine()
    machine.begin()
    cheap, dear = TASKS[0], TASKS[2]
    machine.open_an_account(ACCOUNTS[0])
    machine.reserve(dear)
    machine.charge_it_all(dear)
    machine.reserve(cheap)
    assert machine.holds[cheap].status == HoldStatus.REFUSED
