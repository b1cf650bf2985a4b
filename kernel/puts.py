"""Rows of read models that are written whole, many with one statement.

A `Put` says what a row is from now on, not how it changes, so that of several in one commit only
the last is sent, and all tables are filled by the statement that appends the events: one round
trip, one commit. Values travel as JSON and become the column's type on the server.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, groupby
from operator import itemgetter
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.schema import Table

from kernel.sql import Connection, Statement, quoted, render

TABLE_SETS_MAX = 256

SchemaMap = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Put:
    """Insert this row, or replace the one with the same primary key; of several in one commit the
    last wins.

    `values` are by column name, the primary key's among them; a column that is left out is NULL,
    whatever its default. They must have a form in JSON: no bytes, no Decimal.
    """

    table: Table
    values: Mapping[str, Any]


Projected = Put | Statement
"""What a service's `project` yields."""
Repeated = tuple[str, Sequence[Sequence[Any]]]
"""A statement, and the values of each time that it is run."""


class _Shape(NamedTuple):
    """What of a table is asked for with each of its rows."""

    columns: frozenset[str]
    key: tuple[str, ...]


class Projection:
    """What was yielded for the events of one commit, or of one batch of a rebuild.

    On each table its order is kept: what is put after a statement on the same table is run after
    it. Between tables there is none, so that what is alike is sent together.
    """

    def __init__(self, schema_map: SchemaMap | None = None) -> None:
        """`schema_map`: the tables of one schema are written in another."""
        self._schema_map = schema_map or {}
        self._rows: dict[Table, dict[Hashable, Mapping[str, Any]]] = {}
        self._later: dict[Hashable, list[tuple[str, Sequence[Any]]]] = {}

    def add(self, item: Projected) -> None:
        if not isinstance(item, Put):
            statement, parameters = item
            table = statement.table if isinstance(statement, UpdateBase) else None
            rendered = render(statement, parameters, self._schema_map)
            self._later.setdefault(table, []).append(rendered)
            return
        key = _key(item)
        later = self._later.get(item.table)
        if later is None:
            self._rows.setdefault(item.table, {})[key] = item.values
        else:
            later.append((writing((item.table,), self._schema_map), (_json((item.values,)),)))

    @property
    def tables(self) -> tuple[Table, ...]:
        """Those with rows to put."""
        return tuple(self._rows)

    @property
    def only_rows(self) -> bool:
        return not self._later

    def rows(self) -> list[str]:
        """The rows of each of `tables`, as `writing` takes them."""
        return [_json(tuple(rows.values())) for rows in self._rows.values()]

    def later(self, others: Sequence[tuple[str, Sequence[Any]]] = ()) -> list[Repeated]:
        """The statements to run once the rows are put, `others` last; equal neighbours are one."""
        statements = chain(*self._later.values(), others)
        return [
            (text, [values for _, values in equal])
            for text, equal in groupby(statements, key=itemgetter(0))
        ]

    async def write(self, connection: Connection) -> None:
        """Everything, without events; in the caller's transaction."""
        if self._rows:
            await connection.execute(writing(self.tables, self._schema_map), *self.rows())
        await run(connection, self.later())


def writing(tables: Sequence[Table], schema_map: SchemaMap, append: str = "") -> str:
    """SQL that puts rows into `tables`, the JSON of each a parameter.

    With `append`, a call with its parameters numbered from 1, that call comes first, once, and
    what it raises leaves nothing written: each row is made of its result.
    """
    return _writing(tuple(tables), tuple(schema_map.items()), append)


async def run(connection: Connection, statements: Sequence[Repeated]) -> None:
    """One after the other, each as often as it has values."""
    for text, rows in statements:
        if len(rows) == 1:
            await connection.execute(text, *rows[0])
        else:
            await connection.executemany(text, rows)


@lru_cache(maxsize=TABLE_SETS_MAX)
def _writing(
    tables: tuple[Table, ...], schema_map: tuple[tuple[str, str], ...], append: str
) -> str:
    if not tables:
        return f"SELECT {append}"
    source = "appended, " if append else ""
    parts = [f"appended AS MATERIALIZED (SELECT {append})"] if append else []
    first = append.count("$") + 1
    parts += [
        f"put_{nth} AS ({_put(table, dict(schema_map), source, nth)})"
        for nth, table in enumerate(tables, first)
    ]
    return f"WITH {', '.join(parts)} SELECT{' FROM appended' if append else ''}"


def _put(table: Table, schema_map: SchemaMap, source: str, parameter: int) -> str:
    schema = table.schema or ""
    name = f"{quoted(schema_map.get(schema, schema))}.{quoted(table.name)}"
    columns = [quoted(column.name) for column in table.columns]
    key = [quoted(column.name) for column in table.primary_key]
    changed = [f"{column} = excluded.{column}" for column in columns if column not in key]
    return (
        f"INSERT INTO {name} ({', '.join(columns)})"
        f" SELECT {', '.join(f'new.{column}' for column in columns)}"
        f" FROM {source}json_populate_recordset(NULL::{name}, ${parameter}::text::json) AS new"
        f" ON CONFLICT ({', '.join(key)})"
        f" DO {'UPDATE SET ' + ', '.join(changed) if changed else 'NOTHING'}"
    )


def _key(put: Put) -> Hashable:
    """The row's primary key. Raises ValueError for a row that its table can't hold."""
    shape = _shape(put.table)
    if not shape.columns.issuperset(put.values):
        raise ValueError(f"{put.table.name} has no {put.values.keys() - shape.columns}")
    return tuple([put.values[name] for name in shape.key])


@lru_cache(maxsize=TABLE_SETS_MAX)
def _shape(table: Table) -> _Shape:
    key = tuple(column.name for column in table.primary_key)
    if not key:
        raise ValueError(f"{table.name} has no primary key, so no row of it can be put")
    return _Shape(frozenset(column.name for column in table.columns), key)


def _json(rows: Sequence[Mapping[str, Any]]) -> str:
    return orjson.dumps(rows, default=_id).decode()


def _id(value: object) -> str:
    """An id as asyncpg reads it, which is a UUID of its own kind."""
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")
