"""Limits that are measured beside the product: what the same server can do at the very best."""

from time import perf_counter
from typing import Any

import asyncpg

from bench.load import latency_ms

ROUNDS = 100
COMMITS = 3
"""Of a creation: the task, its hold, and the reservation as the task hears it."""
BYTES = 600


async def three_commits(dsn: str) -> dict[str, Any]:
    """Three INSERTs, each committed before the next, on one connection: the sum of the fsyncs of
    a creation without a line of our code."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("CREATE SCHEMA bench")
        await connection.execute("CREATE TABLE bench.rows (id bigserial PRIMARY KEY, data text)")
        took_s = []
        for _ in range(ROUNDS):
            began_s = perf_counter()
            for _ in range(COMMITS):
                await connection.execute("INSERT INTO bench.rows (data) VALUES ($1)", "x" * BYTES)
            took_s.append(perf_counter() - began_s)
        fsync = await connection.fetchval("SHOW fsync")
        await connection.execute("DROP SCHEMA bench CASCADE")
    finally:
        await connection.close()
    return {**latency_ms(took_s), "rounds": ROUNDS, "fsync": fsync}
