"""SQL: SQLAlchemy Core declares and compiles statements, asyncpg executes them.

The one place that knows both. Mind: `IN` compiles to a placeholder that asyncpg can't expand, so
write `= ANY(:array)`; bind processors don't run, so the jsonb codec is set on each connection;
every table is schema-qualified, nothing relies on `search_path`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import lru_cache
from time import monotonic
from typing import Any, TypeAlias, TypeVar, cast

import asyncpg
import orjson
import structlog
from asyncpg.pool import PoolConnectionProxy
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect
from sqlalchemy.schema import CreateIndex, CreateTable, DDLElement
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.schema import Table

from kernel.telemetry.metrics import POOL_WAIT
from kernel.telemetry.pools import POOLS

T = TypeVar("T")
Connection: TypeAlias = asyncpg.Connection | PoolConnectionProxy
Statement: TypeAlias = tuple[ClauseElement, Mapping[str, Any]]
"""A Core statement and the values of its parameters."""

POOL_SIZE_MIN = 4
POOL_SIZE_MAX = 12
AGAIN_AFTER_S = 0.5
COMPILED_STATEMENTS_MAX = 1_024
COMMAND_TIMEOUT_S = 30.0
IDLE_IN_TRANSACTION_MS = "10000"

DATABASE_LOST = (
    ConnectionError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InternalClientError,  # a connection whose end is on its way, and not here yet
)
"""What it looks like when the server is gone, going or coming: nothing is wrong with the work."""

DATABASE_AWAY = (OSError, *DATABASE_LOST)
"""The same for a loop that does nothing but ask the server: any fault of the network counts."""

_log = structlog.get_logger(__name__)
_DIALECT = asyncpg_dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]


@lru_cache(maxsize=COMPILED_STATEMENTS_MAX)
def _compiled(
    statement: ClauseElement, keys: tuple[str, ...], schema_map: tuple[tuple[str, str], ...]
) -> tuple[str, tuple[str, ...], Mapping[str, Any]]:
    compiled = cast(
        "SQLCompiler",
        statement.compile(
            dialect=_DIALECT,
            column_keys=list(keys) or None,
            **_translation(dict(schema_map)),
            compile_kwargs={"render_postcompile": True},
        ),
    )
    return compiled.string, tuple(compiled.positiontup or ()), compiled.params


def _translation(schema_map: Mapping[str, str]) -> dict[str, Any]:
    if not schema_map:
        return {}
    return {"schema_translate_map": schema_map, "render_schema_translate": True}


def render(
    statement: ClauseElement,
    parameters: Mapping[str, Any],
    schema_map: Mapping[str, str] | None = None,
) -> tuple[str, list[Any]]:
    """The statement as asyncpg takes it: text with `$n`, and the values in that order."""
    keys = tuple(sorted(parameters))
    text, names, defaults = _compiled(statement, keys, tuple((schema_map or {}).items()))
    return text, [parameters.get(name, defaults.get(name)) for name in names]


async def fetch(
    connection: Connection, statement: ClauseElement, **parameters: Any
) -> list[asyncpg.Record]:
    text, values = render(statement, parameters)
    return await connection.fetch(text, *values)


async def fetch_row(
    connection: Connection, statement: ClauseElement, **parameters: Any
) -> asyncpg.Record | None:
    text, values = render(statement, parameters)
    return await connection.fetchrow(text, *values)


def quoted(name: str) -> str:
    """A table's, column's or schema's name, as SQL text has it."""
    return _DIALECT.identifier_preparer.quote(name)


def create_tables(tables: Sequence[Table], schema_map: Mapping[str, str] | None = None) -> str:
    """DDL that makes `tables` and their indexes where they are missing."""
    parts: list[DDLElement] = []
    for table in tables:
        parts.append(CreateTable(table, if_not_exists=True))
        parts.extend(
            CreateIndex(index, if_not_exists=True)
            for index in sorted(table.indexes, key=lambda index: str(index.name))
        )
    translation = _translation(schema_map or {})
    return ";\n".join(str(part.compile(dialect=_DIALECT, **translation)) for part in parts)


async def _prepare_connection(connection: asyncpg.Connection) -> None:
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        format="binary",
        encoder=lambda value: b"\x01" + orjson.dumps(value),
        decoder=lambda data: orjson.loads(data[1:]),
    )


async def _keep_as_it_is(_: asyncpg.Connection) -> None:
    """No session state is ever set here, so a released connection needs no round trip to reset."""


async def until_there(ask: Callable[[], Awaitable[T]]) -> T:
    """What `ask` returns, asked again while the server is away: a service may start first."""
    while True:
        try:
            return await ask()
        except DATABASE_AWAY as error:
            _log.warning("database_not_there_yet", error=type(error).__name__)
            await asyncio.sleep(AGAIN_AFTER_S)


class Database:
    """One PostgreSQL database, one asyncpg pool in this process."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        POOLS.watch(self)

    @classmethod
    async def connect(
        cls, dsn: str, *, application: str = "smartspec", connections_max: int = POOL_SIZE_MAX
    ) -> "Database":
        """Open the pool (at most `connections_max`, `COMMAND_TIMEOUT_S` a command)."""
        pool = await asyncpg.create_pool(
            dsn,
            min_size=min(POOL_SIZE_MIN, connections_max),
            max_size=connections_max,
            init=_prepare_connection,
            reset=_keep_as_it_is,
            command_timeout=COMMAND_TIMEOUT_S,
            server_settings={
                "application_name": application,
                "jit": "off",  # every statement is short
                "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_MS,
            },
        )
        return cls(pool)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """One of the pool's. A connection that the server has given up is thrown away: it may look
        alive for as long as its last bytes are on their way."""
        asked_s = monotonic()
        async with self._pool.acquire() as connection:
            POOL_WAIT.observe(monotonic() - asked_s)
            try:
                yield connection
            except DATABASE_LOST as error:
                if not isinstance(error, ValueError):  # that is a value that does not fit
                    with suppress(asyncpg.InterfaceError):  # the pool was faster
                        connection.terminate()
                raise

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def fetch(self, statement: ClauseElement, **parameters: Any) -> list[asyncpg.Record]:
        async with self.connection() as connection:
            return await fetch(connection, statement, **parameters)

    async def fetch_row(self, statement: ClauseElement, **parameters: Any) -> asyncpg.Record | None:
        async with self.connection() as connection:
            return await fetch_row(connection, statement, **parameters)

    async def answers(self) -> bool:
        """Whether the server answers right now; for `/readyz`."""
        try:
            async with self._pool.acquire(timeout=2) as connection:
                return bool(await connection.fetchval("SELECT true", timeout=2))
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False

    def connections(self) -> tuple[int, int]:
        """How many of the pool's connections are idle, and how many in use; for `/metrics`."""
        idle = self._pool.get_idle_size()
        return idle, self._pool.get_size() - idle

    async def close(self, timeout_s: float = 2.0) -> None:
        """Close politely, then firmly."""
        POOLS.forget(self)
        try:
            async with asyncio.timeout(timeout_s):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()
