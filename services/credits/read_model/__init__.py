"""Read models of credits: balances, the ledger as clients see it, usage, plans and losses."""

from collections.abc import Iterable
from typing import Final, assert_never

from kernel.projections import ReadModel
from kernel.puts import Projected
from kernel.unit import Recorded
from services.credits.domain import (
    AccountOpened,
    AdjustmentEntered,
    BudgetHeld,
    BudgetReleased,
    BudgetSpent,
    ChargeEntered,
    CodeIssued,
    CodeRedeemed,
    CommitEntered,
    Event,
    ExpiryEntered,
    GrantEntered,
    HoldBarred,
    HoldCommitted,
    HoldEntered,
    HoldPlaced,
    HoldRefunded,
    HoldRefused,
    HoldReleased,
    LossEntered,
    PeriodBegun,
    PlanChanged,
    PlanDefined,
    PostingMade,
    RefundEntered,
    ReleaseEntered,
    StorageMetered,
)
from services.credits.read_model.balances import (
    Balance,
    Ending,
    account_of_user,
    balance,
    project_balance,
    project_opening,
)
from services.credits.read_model.holds import history_of_hold
from services.credits.read_model.losses import losses_page, project_loss
from services.credits.read_model.plans import plans, project_period, project_plan
from services.credits.read_model.proofs import (
    OPEN_HOLDS_MAX,
    HoldEnding,
    OpenHold,
    Proof,
    proof,
)
from services.credits.read_model.tables import TABLES
from services.credits.read_model.transactions import (
    Transaction,
    entries_of_task,
    entry_made_with,
    history,
    project_entry,
    version_as_of,
    with_changes,
)
from services.credits.read_model.usage import (
    project_refund,
    project_usage,
    usage_page,
    usage_totals,
)

__all__ = [
    "OPEN_HOLDS_MAX",
    "READ_MODEL",
    "Balance",
    "Ending",
    "HoldEnding",
    "OpenHold",
    "Proof",
    "Transaction",
    "account_of_user",
    "balance",
    "entries_of_task",
    "entry_made_with",
    "history",
    "history_of_hold",
    "losses_page",
    "plans",
    "project",
    "proof",
    "usage_page",
    "usage_totals",
    "version_as_of",
    "with_changes",
]


def project(recorded: Recorded[Event]) -> Iterable[Projected]:
    match recorded.event:
        case AccountOpened() as opened:
            yield from project_opening(recorded, opened)
        case (
            GrantEntered()
            | HoldEntered()
            | CommitEntered()
            | ReleaseEntered()
            | RefundEntered()
            | AdjustmentEntered()
            | ChargeEntered()
            | ExpiryEntered()
        ) as entry:
            yield project_balance(recorded, entry)
            yield project_entry(recorded, entry)
        case HoldCommitted() as committed:
            yield project_usage(recorded, committed)
        case HoldRefunded() as refunded:
            yield project_refund(refunded)
        case LossEntered() as loss:
            yield project_loss(recorded, loss)
        case PlanDefined() as defined:
            yield project_plan(recorded, defined)
        case PeriodBegun() as begun:
            yield project_period(begun)
        case HoldPlaced() | HoldRefused() | HoldBarred() | HoldReleased() | PostingMade():
            return
        case BudgetHeld() | BudgetSpent() | BudgetReleased() | StorageMetered():
            return
        case CodeIssued() | CodeRedeemed() | PlanChanged():
            return
        case _:
            assert_never(recorded.event)


READ_MODEL: Final = ReadModel(TABLES, project)
