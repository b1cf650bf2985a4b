"""The ledger against a tiny model, whatever comes in whatever order and however often."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kernel.clock import new_id
from kernel.errors import Deferred, Error, Rejected
from services.credits.domain import (
    ACCOUNT,
    BUDGET,
    CODE,
    HOLD,
    INSUFFICIENT,
    LIMIT_REACHED,
    POSTING,
    STORAGE_METER,
    SUBSCRIPTION,
    Account,
    AccountEvent,
    Budget,
    BudgetEvent,
    CatchUp,
    Code,
    CodeEvent,
    CodeIssued,
    Commit,
    Entry,
    Event,
    GrantEntered,
    Hold,
    HoldCommitted,
    HoldEvent,
    HoldPlaced,
    HoldRefused,
    HoldReleased,
    HoldStatus,
    LedgerCommand,
    LossEntered,
    MeterStorage,
    MonthlyLimit,
    OpenAccount,
    Plan,
    PlanTerms,
    Posting,
    PostingKind,
    PostingMade,
    RecordLateDelivery,
    Redeem,
    Release,
    Reserve,
    StorageMeter,
    StorageMetered,
    Subscription,
    SubscriptionEvent,
    TransferKind,
    catch_up,
    decide,
    meter_storage,
    month_of,
    open_account,
    post,
    redeem,
    transfer_of,
)
from tests.credits.ledger_model import Model, Pile

ACCOUNTS = [new_id() for _ in range(2)]
TASKS = [new_id() for _ in range(6)]
PRICES = dict(zip(TASKS, (1, 40, 60, 100, 25, 30), strict=True))
PAYERS = {task: ACCOUNTS[nth % 2] for nth, task in enumerate(TASKS)}
PLAN = Plan(PlanTerms("Free", 100))
KEY = new_id()
"""Of the first account; it asks for each of its tasks, and may spend `LIMIT` a month."""
LIMIT = 60
LIMITED = {task for task, payer in PAYERS.items() if payer == ACCOUNTS[0]}
ADMIN = new_id()
CODE_UNITS = 17
BEGIN = datetime(2026, 11, 15, 12, tzinfo=UTC)
UNIT_DAY = 24 * 10**9 * 30
"""Byte-hours that cost one unit a day at a price of one."""

some_task = st.sampled_from(TASKS)
some_account = st.sampled_from(ACCOUNTS)
some_accounts = st.sets(some_account)
an_id = st.integers(1, 40).map(str)


class LedgerMachine(RuleBasedStateMachine):
    """Tasks ask, end and repeat themselves, what is early is kept and tried again later; admins
    post, months turn, grants end, files are charged for, codes are redeemed."""

    @initialize(opened=st.sampled_from([ACCOUNTS, ACCOUNTS, ACCOUNTS[:1], []]))
    def begin(self, opened: Sequence[UUID] = ()) -> None:
        self.now = BEGIN
        self.accounts = {account: Account() for account in ACCOUNTS}
        self.subscriptions = {account: Subscription() for account in ACCOUNTS}
        self.meters = {account: StorageMeter() for account in ACCOUNTS}
        self.holds = {task: Hold() for task in TASKS}
        self.postings: dict[str, Posting] = {}
        self.code = Code(CodeIssued("ab", CODE_UNITS, ADMIN, BEGIN))
        self.budget = Budget()
        self.events: list[Event] = []
        self.early: list[LedgerCommand] = []
        self.model = Model({account: Pile() for account in ACCOUNTS})
        self.charged_in: dict[str, int] = {}
        for account in opened:
            self.open_an_account(account)

    # What may happen. Few rules with many arguments: each run of Hypothesis leaves some rules out.

    @rule(account=some_account)
    def open_an_account(self, account: UUID) -> None:
        command = OpenAccount(account, account, "free", self.now)
        events = open_account(command, self.accounts[account], PLAN)
        assert bool(events) != self.model.piles[account].is_open
        self.model.piles[account].is_open = True
        self.take(events)
        self.give_what_was_granted(account, events)

    @rule(hours=st.sampled_from([1, 24, 24 * 9, 24 * 40]), caught_up=some_accounts)
    def let_time_pass(self, hours: int, caught_up: Iterable[UUID] = ()) -> None:
        """Then somebody notices what is due in some accounts, and what was early is tried again."""
        self.now += timedelta(hours=hours)
        for account in caught_up:
            self.catch_up(account)
        early, self.early = self.early, []
        for command in early:
            assert not isinstance(command, RecordLateDelivery)
            self.give(replace(command, now=self.now))

    def catch_up(self, account: UUID) -> None:
        events = catch_up(
            CatchUp(account, self.now), self.subscriptions[account], self.accounts[account], PLAN
        )
        self.model.piles[account].drop_ended(self.now)
        self.take(events)
        self.give_what_was_granted(account, events)

    @rule(task=some_task)
    def reserve(self, task: UUID) -> None:
        limit = MonthlyLimit(KEY, LIMIT) if task in LIMITED else None
        self.give(Reserve(PAYERS[task], task, PRICES[task], self.now, limit))

    @rule(task=some_task, percent=st.sampled_from([0, 0, 30, 100, 100, 101]))
    def end(self, task: UUID, percent: int) -> None:
        """By a charge of so much of the price; of nothing: by a release."""
        charged = -(-PRICES[task] * percent // 100)
        if charged:
            self.give(Commit(PAYERS[task], task, charged, self.now))
        else:
            self.give(Release(PAYERS[task], task, self.now))

    @rule(
        task=some_task,
        posting_id=an_id,
        units=st.integers(1, 120),
        kind=st.sampled_from(["grant", "take", "refund"]),
        days=st.sampled_from([0, 5, 30]),
    )
    def post_by_hand(self, task: UUID, posting_id: str, units: int, kind: str, days: int) -> None:
        """A grant of no days is one without an end."""
        account = PAYERS[task]
        match kind:
            case "grant":
                self.grant(account, posting_id, units, days)
            case "take":
                self.take_away(account, posting_id, units)
            case _:
                self.refund(task, posting_id, units)

    def grant(self, account: UUID, posting_id: str, units: int, days: int) -> None:
        ends_at = self.now + timedelta(days=days) if days else None
        asked = PostingMade(
            posting_id, account, PostingKind.GRANT, units, "gift", ADMIN, expires_at=ends_at
        )
        if self.posted(asked):
            self.model.piles[account].drop_ended(self.now)
            self.model.give(account, posting_id, units, ends_at)

    def take_away(self, account: UUID, posting_id: str, units: int) -> None:
        asked = PostingMade(
            posting_id, account, PostingKind.ADJUST, units, "error", ADMIN, taken=True
        )
        fits = self.posted(asked, refused_by=INSUFFICIENT)
        if fits is not None:
            assert self.model.take(account, units, self.now, used=False) is fits

    def refund(self, task: UUID, posting_id: str, units: int) -> None:
        account = PAYERS[task]
        asked = PostingMade(
            posting_id, account, PostingKind.REFUND, units, "bad", ADMIN, task_id=task
        )
        fits = self.posted(asked, self.holds[task], refused_by="exceeds_charge")
        if fits:
            self.model.piles[account].drop_ended(self.now)
        if fits is not None:
            assert self.model.refund(account, task, units) is fits

    @rule(account=some_account, day=st.integers(0, 5), units=st.integers(0, 30))
    def charge_for_files(self, account: UUID, day: int, units: int) -> None:
        meter, pile = self.meters[account], self.model.piles[account]
        command = MeterStorage(
            account, BEGIN.date() + timedelta(days=day), units * UNIT_DAY, 1, self.now
        )
        try:
            events = meter_storage(command, meter, self.accounts[account])
        except Deferred:
            assert not pile.is_open
            return
        if events:
            pile.drop_ended(self.now)
            due = units + meter.unpaid_units
            assert self.model.take(account, min(due, pile.available), self.now, used=True)
        self.take(events)

    @rule(account=some_account)
    def redeem_the_code(self, account: UUID) -> None:
        state = self.accounts[account]
        if self.code.redeemed_by is not None or not state.is_open:
            with pytest.raises(Error):
                redeem(Redeem("ab", account, self.now), self.code, state)
            return
        events = redeem(Redeem("ab", account, self.now), self.code, state)
        self.model.piles[account].drop_ended(self.now)
        self.model.give(account, "", CODE_UNITS, None)
        self.take(events)

    # How it is told to the domain and to the model.

    def posted(
        self, asked: PostingMade, hold: Hold | None = None, refused_by: str = ""
    ) -> bool | None:
        """Whether it was posted; None when the model has nothing to say of it."""
        posting = self.postings.get(asked.posting_id, Posting())
        try:
            events = post(asked, self.now, posting, self.accounts[asked.account_id], hold or Hold())
        except Error as refusal:
            return False if refusal.code == refused_by else None
        self.take(events)
        return True if events else None

    def give(self, command: LedgerCommand) -> None:
        account, hold = self.accounts[command.account_id], self.holds[command.task_id]
        try:
            events = decide(command, account, hold, self.budget)
        except Deferred:
            self.early.append(command)
            return
        except Rejected:
            return
        self.expect(command, events)
        self.take(events)

    def expect(self, command: LedgerCommand, events: Iterable[Event]) -> None:
        """The model does what the command asks for, and the events say so."""
        task, payer = command.task_id, command.account_id
        for event in events:
            match event:
                case HoldPlaced():
                    assert task not in self.model.carried, "a task holds once"
                    if task in LIMITED:
                        assert self.taken() + event.amount_units <= LIMIT
                    assert self.model.hold(payer, task, event.amount_units, self.now)
                case HoldCommitted():
                    held = sum(units for *_, units in self.model.carried[task][1])
                    assert event.amount_units + event.released_units == held
                    self.model.end(task, event.amount_units, self.now)
                    if task in LIMITED:
                        month = month_of(self.now)
                        before = self.charged_in.get(month, 0)
                        self.charged_in[month] = before + event.amount_units
                case HoldReleased():
                    self.model.end(task, 0, self.now)
                case HoldRefused(reason=reason):
                    assert task not in self.model.carried
                    if reason == LIMIT_REACHED:
                        assert event.used_units == self.taken()
                        assert self.taken() + event.required_units > LIMIT
                        self.model.piles[payer].drop_ended(self.now)
                    elif reason == INSUFFICIENT:
                        assert not self.model.hold(payer, task, event.required_units, self.now)
                case LossEntered():
                    self.model.lost += event.amount_units
                case _:
                    pass

    def taken(self) -> int:
        """What the key has spent this month, and holds."""
        held = sum(
            units
            for task, (_, purses) in self.model.carried.items()
            if task in LIMITED
            for *_, units in purses
        )
        return held + self.charged_in.get(month_of(self.now), 0)

    def give_what_was_granted(self, account: UUID, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, GrantEntered):
                assert event.amount_units == PLAN.terms.monthly_units if PLAN.terms else 0
                self.model.give(account, event.grant_id, event.amount_units, event.expires_at)

    def take(self, events: Iterable[Event]) -> None:
        for event in events:
            self.events.append(event)
            if isinstance(event, HoldEvent):
                self.holds[event.task_id] = HOLD.evolve(self.holds[event.task_id], event)
            elif isinstance(event, BudgetEvent):
                self.budget = BUDGET.evolve(self.budget, event)
            elif isinstance(event, AccountEvent):
                account = self.accounts[event.account_id]
                self.accounts[event.account_id] = ACCOUNT.evolve(account, event)
            elif isinstance(event, SubscriptionEvent):
                state = self.subscriptions[event.account_id]
                self.subscriptions[event.account_id] = SUBSCRIPTION.evolve(state, event)
            elif isinstance(event, StorageMetered):
                meter = self.meters[event.account_id]
                self.meters[event.account_id] = STORAGE_METER.evolve(meter, event)
            elif isinstance(event, PostingMade):
                self.postings[event.posting_id] = POSTING.evolve(Posting(), event)
            elif isinstance(event, CodeEvent):
                self.code = CODE.evolve(self.code, event)

    # What must hold.

    @invariant()
    def the_model_has_the_same(self) -> None:
        for account, state in self.accounts.items():
            pile = self.model.piles[account]
            assert state.available_units == pile.available
            assert state.used_units == pile.used
            assert {lot.grant_id: lot.units for lot in state.lots} == pile.by_name()
            held = [p for payer, p in self.model.carried.values() if payer == account]
            assert state.held_units == sum(units for purses in held for *_, units in purses)
        for task, hold in self.holds.items():
            assert (hold.status == HoldStatus.HELD) == (task in self.model.carried)
            assert hold.committed_units - hold.refunded_units == self.model.charged.get(task, 0)

    @invariant()
    def nothing_is_ever_overdrawn(self) -> None:
        for event in self.entries():
            assert event.available_after >= 0
            assert min(event.granted_after, event.used_after, event.held_after) >= 0

    @invariant()
    def each_entry_moves_the_balance_by_its_own_amount(self) -> None:
        """Posted and held, both counted anew from the transfers alone."""
        posted = dict.fromkeys(map(str, ACCOUNTS), 0)
        held = dict.fromkeys(map(str, ACCOUNTS), 0)
        for event in self.entries():
            transfer, account = transfer_of(event), str(event.account_id)
            sign = 1 if transfer.credit == account else -1
            if not transfer.pending:
                posted[account] += sign * transfer.units
            match transfer.kind:
                case TransferKind.HOLD | TransferKind.RELEASE:
                    held[account] -= sign * transfer.units
                case TransferKind.COMMIT:
                    held[account] -= transfer.units + getattr(event, "released_units", 0)
                case _:
                    pass
            assert event.granted_after - event.used_after == posted[account]
            assert event.held_after == held[account]

    @invariant()
    def what_accounts_have_platform_accounts_lack(self) -> None:
        books: dict[str, int] = {}
        for event in self.events:
            if isinstance(event, Entry | LossEntered):
                transfer = transfer_of(event)
                if not transfer.pending:
                    books[transfer.debit] = books.get(transfer.debit, 0) - transfer.units
                    books[transfer.credit] = books.get(transfer.credit, 0) + transfer.units
        assert sum(books.values()) == 0
        for account, state in self.accounts.items():
            assert books.get(str(account), 0) == state.granted_units - state.used_units
        assert books.get("platform:losses", 0) == -self.model.lost

    @invariant()
    def a_budget_holds_what_its_keys_tasks_hold(self) -> None:
        held = {task for task in self.model.carried if task in LIMITED}
        assert self.budget.held_units == sum(PRICES[task] for task in held)
        assert self.budget.used_units == self.charged_in.get(self.budget.month, 0)

    @invariant()
    def a_hold_ends_at_most_once_and_a_refusal_stays(self) -> None:
        ends: list[UUID] = [
            event.task_id
            for event in self.events
            if isinstance(event, HoldCommitted | HoldReleased | HoldRefused)
        ]
        assert len(ends) == len(set(ends))

    def entries(self) -> list[Entry]:
        return [event for event in self.events if isinstance(event, Entry)]


LedgerMachine.TestCase.settings = settings(
    max_examples=120, stateful_step_count=40, deadline=None, derandomize=True
)
"""At least 2,000 steps."""


TestLedger = LedgerMachine.TestCase


def begun(*accounts: UUID) -> LedgerMachine:
    machine = LedgerMachine()
    machine.begin(accounts)
    return machine


def test_a_charge_that_came_early_is_taken_once_its_reservation_is_there() -> None:
    task = TASKS[1]
    machine = begun(PAYERS[task])
    machine.end(task, 100)
    machine.reserve(task)
    machine.let_time_pass(1)
    assert machine.holds[task].status == HoldStatus.COMMITTED
    machine.the_model_has_the_same()


def test_a_limited_key_may_spend_again_when_the_month_has_turned() -> None:
    machine = begun(ACCOUNTS[0])
    cheap, dear = TASKS[0], TASKS[2]
    machine.reserve(dear)
    machine.end(dear, 100)
    machine.let_time_pass(24 * 20)
    machine.reserve(cheap)
    assert machine.holds[cheap].status == HoldStatus.HELD
    machine.a_budget_holds_what_its_keys_tasks_hold()


def test_a_limited_key_may_not_spend_more_within_the_month() -> None:
    machine = begun(ACCOUNTS[0])
    cheap, dear = TASKS[0], TASKS[2]
    machine.reserve(dear)
    machine.end(dear, 100)
    machine.reserve(cheap)
    assert machine.holds[cheap].status == HoldStatus.REFUSED
