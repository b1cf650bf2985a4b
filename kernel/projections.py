"""Read models: made with their schema, rebuilt from the events, and heads proved against them."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
from sqlalchemy import MetaData

from kernel.codec import EventCodec
from kernel.context import Origin
from kernel.event_store import Project
from kernel.messages import Aggregate
from kernel.puts import Projection
from kernel.sql import Connection, Database, create_tables
from kernel.unit import Recorded

BATCH = 1_000
REBUILT_AT_ONCE = 20_000
"""Events. Until a rebuild commits, no version of a row is removed, and a write of it may go past
all of them: a row that every statement writes could cost the square of their number."""


class Outdated(SystemExit):
    """The read model of `service` was made by an older version."""

    def __init__(self, service: str, lacking: Sequence[str]) -> None:
        super().__init__(
            f"SmartSpec can't start: the read model of {service} is an older version's and lacks"
            f" {', '.join(lacking)}. Make it anew: python -m services rebuild {service}"
        )


@dataclass(frozen=True)
class ReadModel:
    """`tables` live in schema `<service>_read`, outside the migrations; `project` fills them."""

    tables: MetaData
    project: Project

    @property
    def schema(self) -> str:
        assert self.tables.schema is not None
        return self.tables.schema


@dataclass(frozen=True)
class History:
    """What a service remembers: its schema, the aggregates in it, and the read model over them."""

    schema: str
    aggregates: Sequence[Aggregate[Any, Any]]
    read_model: ReadModel


async def ensure(connection: Connection, model: ReadModel) -> None:
    """Make the schema and tables that are missing.

    Raises `Outdated` when a table that is there lacks a column: filling it takes the whole history,
    and who starts the product decides when that is read.
    """
    lacking = await _lacking(connection, model)
    if lacking:
        raise Outdated(model.schema.removesuffix("_read"), lacking)
    if await _is_missing_something(connection, model):
        await _create(connection, model, model.schema)


async def rebuild(
    database: Database, schema: str, model: ReadModel, aggregates: Sequence[Aggregate[Any, Any]]
) -> int:
    """Fill the read model anew from all events and put it in place; how many events there were.

    Offline: writers wait until it is done, so that no event is missed. Events of one stream come
    in their order; between streams no order is promised, and a projection may not need one.
    """
    fresh = f"{model.schema}_new"
    codec = EventCodec(aggregates)
    total = 0
    async with database.transaction() as connection:
        await connection.execute(f"LOCK TABLE {schema}.events IN SHARE MODE")
        await connection.execute(f"DROP SCHEMA IF EXISTS {fresh} CASCADE")
        await _create(connection, model, fresh)
        batch = Projection({model.schema: fresh})
        async for recorded in replay(connection, schema, codec):
            for item in model.project(recorded):
                batch.add(item)
            total += 1
            if total % REBUILT_AT_ONCE == 0:
                await batch.write(connection)
                batch = Projection({model.schema: fresh})
        await batch.write(connection)
        await connection.execute(f"DROP SCHEMA IF EXISTS {model.schema} CASCADE")
        await connection.execute(f"ALTER SCHEMA {fresh} RENAME TO {model.schema}")
    return total


async def verify(
    database: Database, schema: str, aggregates: Sequence[Aggregate[Any, Any]]
) -> list[str]:
    """Prove each head equal to the fold of its events; what is wrong, in words, else nothing.

    Finds an edited state or version, a missing or surplus head, and a gap in a stream.
    """
    codec = EventCodec(aggregates)
    faults: list[str] = []
    folded: dict[str, tuple[int, Any]] = {}
    async with database.transaction() as connection:
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        async for recorded in replay(connection, schema, codec):
            aggregate = codec.aggregate_of(recorded.event)
            version, state = folded.get(recorded.stream_id, (0, aggregate.initial_state()))
            if recorded.version != version + 1:
                faults.append(f"{recorded.stream_id}: version {recorded.version} after {version}")
            folded[recorded.stream_id] = (
                recorded.version,
                aggregate.evolve(state, recorded.event),
            )
        async for row in connection.cursor(
            f"SELECT stream_id, version, state FROM {schema}.streams ORDER BY stream_id"
        ):
            faults.extend(_compare(codec, folded, row))
    faults.extend(f"{stream_id}: events without a head" for stream_id in folded)
    return faults


def _compare(
    codec: EventCodec, folded: dict[str, tuple[int, Any]], row: asyncpg.Record
) -> list[str]:
    stream_id = row["stream_id"]
    if stream_id not in folded:
        return [f"{stream_id}: a head without events"]
    version, state = folded.pop(stream_id)
    faults = []
    if row["version"] != version:
        faults.append(f"{stream_id}: head says version {row['version']}, events say {version}")
    if row["state"] != codec.encode_state(codec.aggregate_of_stream(stream_id), state):
        faults.append(f"{stream_id}: head is not the fold of its events")
    return faults


async def replay(
    connection: Connection, schema: str, codec: EventCodec
) -> AsyncIterator[Recorded[Any]]:
    """Every event of the service, by position, as its commit recorded it. Needs a transaction."""
    async for row in connection.cursor(
        "SELECT event_id, stream_id, version, type, schema_version, data, metadata, recorded_at"
        f" FROM {schema}.events ORDER BY position",
        prefetch=BATCH,
    ):
        yield recorded_of(row, codec)


async def history_of(
    connection: Connection, schema: str, codec: EventCodec, stream_id: str, limit: int
) -> list[Recorded[Any]]:
    """The first `limit` events of one stream, in order."""
    rows = await connection.fetch(
        "SELECT event_id, stream_id, version, type, schema_version, data, metadata, recorded_at"
        f" FROM {schema}.events WHERE stream_id = $1 ORDER BY version LIMIT $2",
        *(stream_id, limit),
    )
    return [recorded_of(row, codec) for row in rows]


def recorded_of(row: asyncpg.Record, codec: EventCodec) -> Recorded[Any]:
    """A row of a service's events, as its commit recorded it."""
    return Recorded(
        row["event_id"],
        row["stream_id"],
        row["version"],
        codec.decode(row["type"], row["schema_version"], row["data"]),
        row["recorded_at"],
        Origin(**row["metadata"]),
    )


async def _lacking(connection: Connection, model: ReadModel) -> list[str]:
    """Columns (`table.column`) that tables which are there do not have."""
    rows = await connection.fetch(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = $1",
        model.schema,
    )
    there = {(row["table_name"], row["column_name"]) for row in rows}
    tables = {table for table, _ in there}
    return [
        f"{table.name}.{column.name}"
        for table in model.tables.sorted_tables
        if table.name in tables
        for column in table.columns
        if (table.name, column.name) not in there
    ]


async def _is_missing_something(connection: Connection, model: ReadModel) -> bool:
    """A table or an index. Where all is there, nothing has to be allowed to be made."""
    rows = await connection.fetch(
        "SELECT relname FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace"
        " WHERE n.nspname = $1",
        model.schema,
    )
    names = {table.name for table in model.tables.sorted_tables}
    names |= {str(index.name) for table in model.tables.sorted_tables for index in table.indexes}
    return not names <= {row["relname"] for row in rows}


async def _create(connection: Connection, model: ReadModel, schema: str) -> None:
    """In one execution, which is one transaction, because two processes may start at once."""
    tables = create_tables(model.tables.sorted_tables, {model.schema: schema})
    await connection.execute(
        f"SELECT pg_advisory_xact_lock(hashtext('{schema}'));"
        f" CREATE SCHEMA IF NOT EXISTS {schema}; {tables}"
    )
