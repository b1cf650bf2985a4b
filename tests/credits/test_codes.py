"""Redeem codes, one sentence each: for whoever brings one first, while it lasts."""

from dataclasses import replace
from datetime import timedelta

import pytest

from kernel.clock import new_id
from kernel.errors import Error
from services.credits.domain import (
    CODE,
    Account,
    Code,
    CodeIssued,
    CodeRedeemed,
    GrantEntered,
    Redeem,
    redeem,
)
from tests.credits.test_domain import NOW, PAYER
from tests.credits.test_posting import OPEN

ISSUED = CodeIssued("ab12", 70, new_id(), NOW, expires_at=NOW + timedelta(days=1))
FRESH = Code(ISSUED)
REDEEM = Redeem("ab12", PAYER, NOW)


def refusal(code: Code, account: Account = OPEN, command: Redeem = REDEEM) -> str:
    with pytest.raises(Error) as refused:
        redeem(command, code, account)
    return refused.value.code


def test_a_code_grants_what_it_is_worth() -> None:
    redeemed, entry = redeem(REDEEM, FRESH, OPEN)
    assert redeemed == CodeRedeemed("ab12", PAYER, NOW)
    assert isinstance(entry, GrantEntered)
    assert (entry.amount_units, entry.granted_after, entry.reason) == (70, 170, "code")
    assert entry.expires_at is None


def test_what_a_code_grants_may_end() -> None:
    ends_at = NOW + timedelta(days=30)
    _, entry = redeem(replace(REDEEM, grant_ends_at=ends_at), FRESH, OPEN)
    assert isinstance(entry, GrantEntered)
    assert entry.expires_at == ends_at


def test_a_code_is_good_once() -> None:
    spent = CODE.evolve(FRESH, CodeRedeemed("ab12", PAYER, NOW))
    assert refusal(spent) == "code_redeemed"
    assert refusal(spent, command=replace(REDEEM, account_id=new_id())) == "code_redeemed"


def test_a_code_is_good_until_it_ends() -> None:
    assert refusal(FRESH, command=replace(REDEEM, now=NOW + timedelta(days=1))) == "code_expired"


def test_there_is_no_such_code() -> None:
    assert refusal(Code()) == "code_not_found"


def test_an_account_that_is_not_open_spends_no_code() -> None:
    assert refusal(FRESH, Account()) == "account_not_found"
