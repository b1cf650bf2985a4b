"""What admins post by hand, one sentence each: once under an id, and never beyond what there is."""

from dataclasses import replace
from datetime import timedelta

import pytest

from kernel.clock import new_id
from kernel.errors import Error, Invalid, NotFound, Rejected
from services.credits.domain import (
    ACCOUNT,
    BALANCE_UNITS_MAX,
    HOLD,
    LOTS_MAX,
    NO_TASK,
    Account,
    AdjustmentEntered,
    GrantEntered,
    Hold,
    HoldRefunded,
    Lot,
    Posting,
    PostingEvent,
    PostingKind,
    PostingMade,
    RefundEntered,
    post,
)
from tests.credits.test_domain import COMMITTED, NOW, OPENED, PAYER, RELEASED, STRANGER, TASK

ADMIN = new_id()
GRANT = PostingMade("p-1", PAYER, PostingKind.GRANT, 50, "goodwill", ADMIN)
MORE = replace(GRANT, kind=PostingKind.ADJUST)
LESS = replace(MORE, taken=True)
REFUND = replace(GRANT, kind=PostingKind.REFUND, amount_units=30, task_id=TASK)
OPEN = ACCOUNT.fold(event for event in OPENED if isinstance(event, ACCOUNT.events))
CHARGED = ACCOUNT.fold(event for event in COMMITTED if isinstance(event, ACCOUNT.events))
ENDED = HOLD.fold(event for event in COMMITTED if isinstance(event, HOLD.events))


def posted(
    asked: PostingMade,
    account: Account = OPEN,
    hold: Hold = NO_TASK,
    posting: Posting = Posting(),  # noqa: B008 - frozen
) -> list[PostingEvent]:
    return list(post(asked, NOW, posting, account, hold))


def refused(asked: PostingMade, account: Account = OPEN, hold: Hold = NO_TASK) -> Error:
    with pytest.raises(Error) as refusal:
        posted(asked, account, hold)
    return refusal.value


def test_a_grant_adds_to_what_there_is() -> None:
    entry = GrantEntered(
        account_id=PAYER,
        grant_id="p-1",
        reason="goodwill",
        amount_units=50,
        by=ADMIN,
        granted_after=150,
        used_after=0,
        held_after=0,
    )
    assert posted(GRANT) == [GRANT, entry]


def test_a_grant_may_end() -> None:
    ends_at = NOW + timedelta(days=1)
    *_, entry = posted(replace(GRANT, expires_at=ends_at))
    assert isinstance(entry, GrantEntered)
    assert ACCOUNT.evolve(OPEN, entry).lots == (Lot("p-1", ends_at, 50),)


def test_refuses_a_grant_that_has_ended_already() -> None:
    refusal = refused(replace(GRANT, expires_at=NOW))
    assert isinstance(refusal, Invalid)
    assert refusal.details == {"field": "expires_at"}


def test_refuses_more_grants_with_an_end_than_an_account_can_bear() -> None:
    ends_at = NOW + timedelta(days=1)
    lots = tuple(Lot(str(nth), ends_at, 1) for nth in range(LOTS_MAX))
    full = replace(OPEN, granted_units=LOTS_MAX, lots=lots)
    assert refused(replace(GRANT, expires_at=ends_at), full).code == "too_many_grants"
    assert len(posted(GRANT, full)) == 2


@pytest.mark.parametrize("asked", [GRANT, MORE])
def test_refuses_more_than_an_account_can_have_and_says_how_much_room_there_is(
    asked: PostingMade,
) -> None:
    nearly = replace(OPEN, granted_units=BALANCE_UNITS_MAX - 10_000)
    refusal = refused(replace(asked, amount_units=20_000), nearly)
    assert isinstance(refusal, Rejected)
    assert (refusal.code, refusal.details) == (
        "balance_too_large",
        {"required": 2.0, "available": 1.0},
    )
    assert len(posted(replace(asked, amount_units=10_000), nearly)) == 2


def test_an_adjustment_gives_or_takes() -> None:
    *_, more = posted(MORE)
    *_, less = posted(LESS)
    assert isinstance(more, AdjustmentEntered)
    assert isinstance(less, AdjustmentEntered)
    assert (more.granted_after, less.granted_after) == (150, 50)


def test_an_adjustment_never_takes_what_is_held_or_spent() -> None:
    held = replace(OPEN, held_units=60)
    refusal = refused(LESS, held)
    assert (refusal.status, refusal.code) == (422, "insufficient_credits")
    assert refusal.details == {"field": "amount", "required": 0.005, "available": 0.004}
    assert len(posted(replace(LESS, amount_units=40), held)) == 2


def test_an_adjustment_takes_what_ends_soonest_first() -> None:
    lots = (Lot("soon", NOW + timedelta(days=1), 70),)
    *_, entry = posted(LESS, replace(OPEN, lots=lots))
    assert isinstance(entry, AdjustmentEntered)
    assert ACCOUNT.evolve(replace(OPEN, lots=lots), entry).lots[0].units == 20


def test_a_refund_gives_back_what_a_task_was_charged() -> None:
    entry = RefundEntered(
        account_id=PAYER,
        task_id=TASK,
        amount_units=30,
        reason="goodwill",
        by=ADMIN,
        granted_after=100,
        used_after=0,
        held_after=0,
    )
    assert posted(REFUND, CHARGED, ENDED) == [REFUND, entry, HoldRefunded(TASK, PAYER, 30, 30)]


def test_refunds_of_a_task_are_never_more_than_its_charge_together() -> None:
    *_, refunded = posted(replace(REFUND, amount_units=20), CHARGED, ENDED)
    assert isinstance(refunded, HoldRefunded)
    after = HOLD.evolve(ENDED, refunded)
    refusal = refused(replace(REFUND, posting_id="p-2", amount_units=11), CHARGED, after)
    assert (refusal.code, refusal.details) == (
        "exceeds_charge",
        {"required": 0.0011, "available": 0.001},
    )


def test_nothing_is_refunded_of_a_task_that_was_not_charged() -> None:
    hold = HOLD.fold(event for event in RELEASED if isinstance(event, HOLD.events))
    assert refused(REFUND, OPEN, hold).code == "exceeds_charge"


@pytest.mark.parametrize(
    "asked", [replace(REFUND, account_id=STRANGER), replace(REFUND, task_id=None)]
)
def test_refuses_a_refund_of_no_task_of_the_account(asked: PostingMade) -> None:
    assert isinstance(refused(asked, CHARGED, ENDED), NotFound)


@pytest.mark.parametrize("asked", [GRANT, MORE, LESS, REFUND])
def test_the_same_again_changes_nothing_whoever_asks(asked: PostingMade) -> None:
    assert posted(replace(asked, by=new_id()), posting=Posting(asked)) == []


@pytest.mark.parametrize(
    ("other", "field"),
    [
        (replace(GRANT, amount_units=51), "amount_units"),
        (replace(GRANT, account_id=STRANGER), "account_id"),
        (replace(GRANT, reason="another"), "reason"),
        (replace(GRANT, expires_at=NOW), "expires_at"),
        (MORE, "kind"),
    ],
)
def test_the_same_id_with_other_words_is_refused_and_named(other: PostingMade, field: str) -> None:
    with pytest.raises(Rejected) as refusal:
        posted(other, posting=Posting(GRANT))
    assert (refusal.value.code, refusal.value.details) == ("posting_differs", {"fields": [field]})


def test_there_is_nothing_to_post_for_an_account_that_is_not_open() -> None:
    assert refused(GRANT, Account()).code == "account_not_found"
