"""An account's whole ledger as CSV (RFC 4180), a page in memory at a time.

Versions of an account do not change, so pages that are read one after the other make one document,
whatever is entered meanwhile; no connection is held while the client reads.
"""

import csv
import io
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from kernel.identifiers import shown
from kernel.money import PLACES, UNITS_PER_CREDIT
from kernel.sql import Database
from services.credits import read_model
from services.credits.api.answers import account_name, shown_task

MEDIA_TYPE: Final = "text/csv; charset=utf-8; header=present"
PAGE: Final = 500
COLUMNS: Final = (
    *("created_at", "id", "kind", "amount", "change", "debit_account", "credit_account"),
    *("task_id", "reason", "ends_at"),
    *("total_after", "used_after", "reserved_after", "available_after"),
)
_FORMULA: Final = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a spreadsheet takes for the beginning of a formula, in half and full width."""


async def statement(
    database: Database, account_id: UUID, before_version: int
) -> AsyncIterator[bytes]:
    """Entries older than `before_version`, newest first, under a row of names."""
    yield _rows([COLUMNS])
    while True:
        entries = await read_model.history(
            database, account_id, before_version=before_version, limit=PAGE + 1
        )
        page = read_model.with_changes(entries)[:PAGE]
        if page:
            yield _rows([_row(entry, change) for entry, change in page])
        if len(entries) <= PAGE:
            return
        before_version = page[-1][0].account_version


def _row(entry: read_model.Transaction, change_units: int) -> Sequence[str]:
    after = entry.after
    return (
        _moment(entry.created_at),
        shown("entry", entry.entry_id),
        entry.kind,
        decimals(entry.amount_units),
        decimals(change_units),
        account_name(entry.debit_account),
        account_name(entry.credit_account),
        shown_task(entry.task_id) or "",
        harmless(entry.reason or ""),
        _moment(entry.expires_at) if entry.expires_at else "",
        decimals(after.total_units),
        decimals(after.used_units),
        decimals(after.reserved_units),
        decimals(after.available_units),
    )


def decimals(units: int) -> str:
    """Credits with all 4 places, by integers alone."""
    whole, rest = divmod(abs(units), UNITS_PER_CREDIT)
    return f"{'-' if units < 0 else ''}{whole}.{rest:0{PLACES}d}"


def harmless(words: str) -> str:
    """Words that no spreadsheet runs as a formula: a quote before them says that they are text."""
    return f"'{words}" if words.lstrip().startswith(_FORMULA) else words


def _moment(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def _rows(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()
