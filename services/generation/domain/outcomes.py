"""The outcome policy: how a task can end, and who pays for it. Each ended task names one row."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """With `user_pays` the whole price is charged, otherwise nothing."""

    name: str
    user_pays: bool
    meaning: str


_PAID = (("completed", "Every output is stored and can be downloaded."),)
_FREE = (
    ("declined", "The balance, or the key's monthly limit, did not cover it; nothing was asked."),
    ("credits_unavailable", "The ledger did not answer in time."),
    ("input_refused", "The provider refused the request."),
    ("output_moderated", "The provider withheld the result, or it is not safe to be shown."),
    ("provider_failed", "The provider could not make it."),
    ("provider_unknown", "The provider's answer was lost, and not found again."),
    ("delivery_failed", "The result could not be fetched, or was not what was asked."),
    ("deadline_missed", "It took longer than its kind of task may."),
    ("cancelled", "The user cancelled it before a provider was asked."),
    ("cancelled_after_submit", "The user cancelled it when a provider was at work on it already."),
)

OUTCOMES: Mapping[str, Outcome] = {
    name: Outcome(name, user_pays, meaning)
    for user_pays, rows in ((True, _PAID), (False, _FREE))
    for name, meaning in rows
}


def charged_units(outcome: str, price_units: int) -> int:
    """What the user owes for a task that ended so."""
    return price_units if OUTCOMES[outcome].user_pays else 0
