"""What a rule of the ledger is: a condition that no row of a look may fulfil, in SQL.

The rules are written anew here, over sets of rows, and share nothing with the code that writes the
ledger: what is wrong there must not be wrong here in the same way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import asyncpg

from kernel.identifiers import shown

FAULTS_MAX: Final = 100
"""That one look tells of; the first is enough to know that something is wrong."""


@dataclass(frozen=True, slots=True)
class Rule:
    """`says` is what holds; `broken` is true of a row that breaks it, `found` tells in words what
    is there. Both are SQL over the rows of the look."""

    name: str
    says: str
    broken: str
    found: str = "''"


@dataclass(frozen=True, slots=True)
class Look:
    """`rows` is a SELECT with `position`, `account_id`, `task_id` and `entry_id`, null where a row
    has none, and what the rules need; `arguments` are its `$1`, `$2`..."""

    name: str
    rows: str
    rules: Sequence[Rule]
    arguments: Sequence[Any] = ()

    @property
    def query(self) -> str:
        """The first rows that break a rule, each with the rules that it breaks.

        `+ 0` keeps the server from walking an index of positions for the sake of the limit: it
        expects to find what is sought soon, and nothing is there."""
        broken = " OR ".join(f"({rule.broken})" for rule in self.rules)
        faults = ", ".join(
            f"CASE WHEN {rule.broken}"
            f" THEN jsonb_build_array('{rule.name}', ({rule.found})::text) END"
            for rule in self.rules
        )
        return f"""
            SELECT position, account_id::text, task_id::text, entry_id::text,
                jsonb_build_array({faults}) AS faults
            FROM ({self.rows}) AS looked_at
            WHERE {broken}
            ORDER BY position + 0, account_id, task_id LIMIT {FAULTS_MAX}"""


@dataclass(frozen=True, slots=True)
class SharedScan:
    """Looks whose SELECTs read `name` as a table: `events` is scanned once for all of them. They
    are one statement, so what can't be read for one of them ends them all."""

    name: str
    events: str
    looks: Sequence[Look]
    arguments: Sequence[Any] = ()

    @property
    def rules(self) -> Sequence[Rule]:
        return [rule for look in self.looks for rule in look.rules]

    @property
    def query(self) -> str:
        parts = " UNION ALL ".join(f"({look.query})" for look in self.looks)
        return f"WITH {self.name} AS MATERIALIZED ({self.events}) {parts}"


@dataclass(frozen=True, slots=True)
class Fault:
    """A broken rule, and where: `position` is the event's, `entry_id` its id."""

    rule: str
    found: str
    position: int | None = None
    account_id: UUID | None = None
    task_id: UUID | None = None
    entry_id: UUID | None = None

    def words(self) -> str:
        """The rule, where, and what was found."""
        whose = (("account", self.account_id), ("task", self.task_id), ("entry", self.entry_id))
        where = [shown(prefix, identity) for prefix, identity in whose if identity is not None]
        if self.position is not None:
            where.append(f"position {self.position}")
        return ": ".join(part for part in (self.rule, ", ".join(where), self.found) if part)


def faults_of(look: Look | SharedScan, rows: Sequence[asyncpg.Record]) -> list[Fault]:
    says = {rule.name: rule.says for rule in look.rules}
    return [
        Fault(
            name,
            f"{says[name]}: {found}" if found else says[name],
            row["position"],
            *(_id(row[column]) for column in ("account_id", "task_id", "entry_id")),
        )
        for row in rows
        for name, found in _told(row["faults"])
    ]


def _told(faults: Sequence[Any]) -> list[tuple[str, str]]:
    return [(fault[0], fault[1] or "") for fault in faults if fault is not None]


def _id(text: str | None) -> UUID | None:
    """None also for what is no id: then the words have it."""
    try:
        return None if text is None else UUID(text)
    except ValueError:
        return None
