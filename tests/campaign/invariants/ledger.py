"""Invariants 2 and 3: holds and balances, counted anew from the amounts alone."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from tests.campaign.final_reads import Event, FinalReads
from tests.campaign.invariants.violation import Violation

ENTRY_BY_HOLD_EVENT: Final = {
    "HoldPlaced": "HoldEntered",
    "HoldCommitted": "CommitEntered",
    "HoldReleased": "ReleaseEntered",
}
ENDINGS: Final = frozenset({"HoldCommitted", "HoldReleased"})


@dataclass(frozen=True, slots=True)
class Sums:
    """In 1/10,000 credit."""

    granted: int = 0
    used: int = 0
    held: int = 0

    @property
    def sound(self) -> bool:
        return min(self.granted - self.used - self.held, self.used, self.held) >= 0


def holds_end_once(reads: FinalReads) -> Iterable[Violation]:
    """2: what was placed has ended once, in the account too, and nothing is held any more."""
    for task_id, events in reads.holds.items():
        placed = [event.type for event in events if event.type == "HoldPlaced"]
        endings = [event.type for event in events if event.type in ENDINGS]
        if len(placed) > 1 or len(endings) != len(placed):
            words = f"placed {len(placed)} times, ended: {', '.join(endings) or 'never'}"
            yield Violation(2, f"hold-{task_id}", words)
    yield from _entries_match_holds(reads)
    for account, head in reads.services["credits"].heads.items():
        if account in reads.accounts and head.state["held_units"] != 0:
            yield Violation(2, account, f"holds {head.state['held_units']} when nothing is asked")


def _entries_match_holds(reads: FinalReads) -> Iterable[Violation]:
    by_holds = Counter(
        (event.data["task_id"], ENTRY_BY_HOLD_EVENT[event.type], event.data["amount_units"])
        for events in reads.holds.values()
        for event in events
        if event.type in ENTRY_BY_HOLD_EVENT
    )
    by_accounts = Counter(
        (event.data["task_id"], event.type, event.data["amount_units"])
        for events in reads.accounts.values()
        for event in events
        if event.type in ENTRY_BY_HOLD_EVENT.values()
    )
    for task_id, kind, amount in by_holds.keys() | by_accounts.keys():
        key = (task_id, kind, amount)
        if by_holds[key] != by_accounts[key]:
            words = f"{kind} of {amount}: {by_accounts[key]} entries for {by_holds[key]} events"
            yield Violation(2, f"hold-{task_id}", words)


def balances_add_up(reads: FinalReads) -> Iterable[Violation]:
    """3: at every entry of every account, and in its head and its read models at the end."""
    shown = {f"account-{row['account_id']}": row for row in reads.balances}
    for account, events in reads.accounts.items():
        yield from _gaps(account, [event.version for event in events])
        sums = Sums()
        for event in events:
            sums = _after(sums, event)
            yield from _at_entry(account, event, sums)
        state = reads.services["credits"].heads[account].state
        head = Sums(state["granted_units"], state["used_units"], state["held_units"])
        if head != sums:
            yield Violation(3, account, f"the head says {head}, the entries come to {sums}")
        row = shown.pop(account, None)
        balance = row and Sums(row["granted_units"], row["used_units"], row["held_units"])
        if balance != sums:
            yield Violation(3, account, f"shown as {balance}, the entries come to {sums}")
    for account in shown:
        yield Violation(3, account, "is shown, and is not in the history")
    yield from _listed(reads)


def _gaps(account: str, versions: Sequence[int]) -> Iterable[Violation]:
    for before, version in pairwise((0, *versions)):
        if version != before + 1:
            yield Violation(3, account, f"version {version} follows {before}")


def _after(sums: Sums, event: Event) -> Sums:
    amount = event.data.get("amount_units", 0)
    match event.type:
        case "GrantEntered":
            return replace(sums, granted=sums.granted + amount)
        case "HoldEntered":
            return replace(sums, held=sums.held + amount)
        case "CommitEntered":
            back = event.data["released_units"]
            return replace(sums, used=sums.used + amount, held=sums.held - amount - back)
        case "ReleaseEntered":
            return replace(sums, held=sums.held - amount)
        case _:
            return sums


def _at_entry(account: str, event: Event, sums: Sums) -> Iterable[Violation]:
    if "granted_after" not in event.data:
        return
    data = event.data
    said = Sums(data["granted_after"], data["used_after"], data["held_after"])
    where = f"{event.type} at version {event.version}"
    if said != sums:
        yield Violation(3, account, f"{where} says {said}, the entries come to {sums}")
    if not (sums.sound and said.sound):
        yield Violation(3, account, f"{where} leaves less than nothing: {said}")


def _listed(reads: FinalReads) -> Iterable[Violation]:
    """The list that clients see has each entry of the ledger, and no other."""
    entries = {
        (account, event.version, event.data["amount_units"])
        for account, events in reads.accounts.items()
        for event in events
        if "amount_units" in event.data
    }
    listed = {
        (f"account-{row['account_id']}", row["account_version"], row["amount_units"])
        for row in reads.transactions
    }
    for account, version, amount in entries ^ listed:
        yield Violation(3, account, f"entry {version} of {amount} is not both kept and listed")
