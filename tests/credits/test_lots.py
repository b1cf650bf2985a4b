"""Grants that end: spent soonest-ending first, and gone when they end unless they are held."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from services.credits.domain import (
    ACCOUNT,
    HOLD,
    INSUFFICIENT,
    Account,
    AccountEvent,
    AccountOpened,
    Budget,
    Commit,
    ExpiryEntered,
    GrantEntered,
    Hold,
    HoldEntered,
    HoldEvent,
    HoldRefused,
    LedgerCommand,
    LedgerEvent,
    Lot,
    Release,
    Reserve,
    decide,
)
from tests.credits.test_domain import NOW, PAYER, TASK

SOON, LATER = NOW + timedelta(days=1), NOW + timedelta(days=9)
AFTER_SOON, AFTER_ALL = SOON + timedelta(seconds=1), LATER + timedelta(days=1)


def granted(account: Account, grant_id: str, units: int, ends_at: datetime | None) -> GrantEntered:
    return GrantEntered(
        account_id=PAYER,
        grant_id=grant_id,
        reason="a gift",
        amount_units=units,
        expires_at=ends_at,
        **account.after(granted=units),
    )


class Life:
    """One account and one hold, living through commands."""

    def __init__(self, *grants: tuple[str, int, datetime | None]) -> None:
        self.account = ACCOUNT.fold([AccountOpened(PAYER, PAYER, "free")])
        self.hold = Hold()
        for grant in grants:
            self.account = ACCOUNT.evolve(self.account, granted(self.account, *grant))

    def give(self, command: LedgerCommand) -> Sequence[LedgerEvent]:
        events = decide(command, self.account, self.hold, Budget())
        for event in events:
            if isinstance(event, AccountEvent):
                self.account = ACCOUNT.evolve(self.account, event)
            elif isinstance(event, HoldEvent):
                self.hold = HOLD.evolve(self.hold, event)
        return events

    def left(self) -> dict[str, int]:
        """Of each lot; `*` is what never ends."""
        lots = {lot.grant_id: lot.units for lot in self.account.lots}
        return {**lots, "*": self.account.available_units - sum(lots.values())}


def three() -> Life:
    return Life(("late", 20, LATER), ("ever", 30, None), ("soon", 10, SOON))


def test_a_hold_takes_what_ends_soonest_first() -> None:
    life = three()
    life.give(Reserve(PAYER, TASK, 25, NOW))
    assert life.left() == {"late": 5, "*": 30}
    life = three()
    life.give(Reserve(PAYER, TASK, 45, NOW))
    assert life.left() == {"*": 15}


def test_a_release_gives_each_lot_back_what_it_gave() -> None:
    life = three()
    before = life.account
    life.give(Reserve(PAYER, TASK, 45, NOW))
    life.give(Release(PAYER, TASK, NOW))
    assert life.account == before


def test_a_charge_of_a_part_spends_what_ends_soonest_and_gives_back_the_rest() -> None:
    life = three()
    life.give(Reserve(PAYER, TASK, 45, NOW))
    life.give(Commit(PAYER, TASK, 12, NOW))
    assert life.left() == {"late": 18, "*": 30}


def test_what_has_ended_can_not_be_held_even_if_nobody_has_entered_its_end() -> None:
    life = three()
    events = life.give(Reserve(PAYER, TASK, 55, AFTER_SOON))
    ended = ExpiryEntered(
        account_id=PAYER,
        grant_id="soon",
        amount_units=10,
        granted_after=50,
        used_after=0,
        held_after=0,
    )
    assert events == (ended, HoldRefused(TASK, PAYER, INSUFFICIENT, 55, 50))


def test_what_is_held_outlives_the_end_of_its_grant_and_can_be_charged() -> None:
    life = Life(("soon", 10, SOON))
    life.give(Reserve(PAYER, TASK, 10, NOW))
    life.give(Commit(PAYER, TASK, 10, AFTER_SOON))
    assert (life.account.used_units, life.account.granted_units) == (10, 10)


def test_what_is_given_back_after_its_end_ends_at_once() -> None:
    life = Life(("soon", 10, SOON), ("ever", 5, None))
    life.give(Reserve(PAYER, TASK, 12, NOW))
    events = life.give(Release(PAYER, TASK, AFTER_SOON))
    assert [type(event).__name__ for event in events] == [
        "ReleaseEntered",
        "ExpiryEntered",
        "HoldReleased",
    ]
    assert life.left() == {"*": 5}
    assert life.account.granted_units == 5


def test_a_charge_of_a_part_after_the_end_gives_back_only_what_has_no_end() -> None:
    life = Life(("soon", 10, SOON), ("ever", 5, None))
    life.give(Reserve(PAYER, TASK, 13, NOW))
    life.give(Commit(PAYER, TASK, 4, AFTER_SOON))
    assert life.left() == {"*": 5}
    assert (life.account.used_units, life.account.granted_units) == (4, 9)


def test_two_grants_that_end_together_are_spent_in_one_order() -> None:
    life = Life(("b", 10, SOON), ("a", 10, SOON))
    life.give(Reserve(PAYER, TASK, 12, NOW))
    assert life.account.lots == (Lot("b", SOON, 8),)


def test_says_that_the_balance_is_low_once_when_it_falls_below() -> None:
    life = Life(("ever", 100, None))
    first, *_ = life.give(Reserve(PAYER, TASK, 30, NOW, low_below_units=71))
    assert isinstance(first, HoldEntered)
    assert first.low_below_units == 71
    life.hold = Hold()
    second, *_ = life.give(Reserve(PAYER, TASK, 30, NOW, low_below_units=71))
    assert isinstance(second, HoldEntered)
    assert second.low_below_units is None


def test_a_balance_at_the_threshold_is_not_low() -> None:
    life = Life(("ever", 100, None))
    first, *_ = life.give(Reserve(PAYER, TASK, 30, NOW, low_below_units=70))
    assert isinstance(first, HoldEntered)
    assert first.low_below_units is None
