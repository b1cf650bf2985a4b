"""Invariant 7: heads are the fold of their events, and read models their replay.

The only check that writes: it rebuilds each read model in its place.
"""

from collections import Counter
from collections.abc import Iterable

import asyncpg

from kernel.projections import ReadModel, rebuild, verify
from kernel.sql import Database
from tests.campaign.final_reads import HISTORIES
from tests.campaign.invariants.violation import Violation

Rows = dict[str, Counter[str]]


async def heads_are_folds(database: Database) -> list[Violation]:
    """7, first half."""
    found = []
    for schema, (history, _) in HISTORIES.items():
        for words in await verify(database, schema, history.aggregates):
            subject, _, rest = words.partition(": ")
            found.append(Violation(7, subject, rest))
    return found


async def read_models_rebuild_alike(database: Database) -> list[Violation]:
    """7, second half: every row as it was, and no other."""
    found = []
    for schema, (history, _) in HISTORIES.items():
        before = await _rows(database, history.read_model)
        try:
            await rebuild(database, schema, history.read_model, history.aggregates)
        except asyncpg.PostgresError as error:
            found.append(Violation(7, history.read_model.schema, f"can't be rebuilt: {error}"))
            continue
        after = await _rows(database, history.read_model)
        found.extend(_differences(history.read_model.schema, before, after))
    return found


async def _rows(database: Database, model: ReadModel) -> Rows:
    async with database.connection() as connection:
        return {
            table.name: Counter(
                str(row["row"])
                for row in await connection.fetch(
                    f"SELECT to_jsonb(t)::text AS row FROM {model.schema}.{table.name} AS t"
                )
            )
            for table in model.tables.sorted_tables
        }


def _differences(schema: str, before: Rows, after: Rows) -> Iterable[Violation]:
    for table, rows in before.items():
        subject = f"{schema}.{table}"
        for row in (rows - after[table]).elements():
            yield Violation(7, subject, f"a rebuild does not give {row}")
        for row in (after[table] - rows).elements():
            yield Violation(7, subject, f"only a rebuild gives {row}")
