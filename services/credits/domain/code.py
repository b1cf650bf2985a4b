"""A redeem code: credits for whoever brings it first. It is known by its hash alone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias, assert_never
from uuid import UUID

from kernel.errors import NotFound, Rejected
from kernel.messages import Aggregate
from services.credits.domain.account import Account, AccountEvent, ended_lots
from services.credits.domain.posting import Grant, account_not_found, granted


@dataclass(frozen=True, slots=True)
class CodeIssued:
    """`code_hash` is hex SHA-256; good until `expires_at`. What it gives ends `grant_days` after
    it was redeemed."""

    code_hash: str
    amount_units: int
    by: UUID
    at: datetime
    note: str = ""
    expires_at: datetime | None = None
    grant_days: int | None = None


@dataclass(frozen=True, slots=True)
class CodeRedeemed:
    code_hash: str
    account_id: UUID
    at: datetime


CodeEvent: TypeAlias = CodeIssued | CodeRedeemed


@dataclass(frozen=True, slots=True)
class Code:
    issued: CodeIssued | None = None
    redeemed_by: UUID | None = None


def _evolve_code(state: Code, event: CodeEvent) -> Code:
    match event:
        case CodeIssued():
            return Code(event)
        case CodeRedeemed():
            return replace(state, redeemed_by=event.account_id)
        case _:
            assert_never(event)


CODE: Aggregate[CodeEvent, Code] = Aggregate(
    name="code",
    state=Code,
    initial_state=Code,
    evolve=_evolve_code,
    events=(CodeIssued, CodeRedeemed),
)


@dataclass(frozen=True, slots=True)
class Redeem:
    """What it gives ends at `grant_ends_at`, if the code says that it ends."""

    code_hash: str
    account_id: UUID
    now: datetime
    grant_ends_at: datetime | None = None


def redeem(command: Redeem, code: Code, account: Account) -> Sequence[CodeEvent | AccountEvent]:
    """Raises `NotFound` (no such code), `Rejected` (redeemed, also by oneself; past its end)."""
    if code.issued is None:
        raise NotFound("code_not_found", "There is no such code.")
    if code.redeemed_by is not None:
        raise Rejected("code_redeemed", "This code has been redeemed.")
    expires_at = code.issued.expires_at
    if expires_at is not None and expires_at <= command.now:
        raise Rejected("code_expired", "This code has ended.")
    if not account.is_open:
        raise account_not_found()
    ended, account = ended_lots(command.account_id, account, command.now)
    grant = Grant(
        command.account_id,
        f"code:{command.code_hash}",
        code.issued.amount_units,
        "code",
        command.grant_ends_at,
    )
    redeemed = CodeRedeemed(command.code_hash, command.account_id, command.now)
    return [redeemed, *ended, granted(grant, account, command.now)]
