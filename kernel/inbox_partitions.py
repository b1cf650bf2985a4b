"""The weekly partitions of an inbox, by the time in the messages' ids; it knows no message."""

from datetime import datetime, timedelta
from uuid import UUID

from kernel.clock import uuid7
from kernel.sql import Connection

KEPT_DAYS = 30
PARTITION_DAYS = 7


async def ensure_partitions(connection: Connection, schema: str, now: datetime) -> None:
    """Weekly partitions from `KEPT_DAYS` ago to two weeks ahead; older ones are dropped."""
    first = _week_of(now - timedelta(days=KEPT_DAYS))
    weeks = [first + timedelta(days=PARTITION_DAYS * n) for n in range(8)]
    names = {f"inbox_{week:%Y%m%d}" for week in weeks}
    rows = await connection.fetch(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
        " WHERE i.inhparent = $1::regclass",
        f"{schema}.inbox",
    )
    existing = {row["relname"] for row in rows}
    for week in weeks:
        name = f"inbox_{week:%Y%m%d}"
        if name not in existing:
            low, high = first_id_of(week), first_id_of(week + timedelta(days=PARTITION_DAYS))
            await connection.execute(
                f"CREATE TABLE {schema}.{name} PARTITION OF {schema}.inbox"
                f" FOR VALUES FROM ('{low}') TO ('{high}')"
            )
    for name in existing - names:
        if name < min(names):
            await connection.execute(f"DROP TABLE {schema}.{name}")


def _week_of(moment: datetime) -> datetime:
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight - timedelta(days=midnight.toordinal() % PARTITION_DAYS)


def first_id_of(moment: datetime) -> UUID:
    """The smallest UUIDv7 of that millisecond."""
    return uuid7(int(moment.timestamp() * 1000), 0, 0)
