"""Whether a system has nothing left to do."""

import asyncpg

from tests.campaign.final_reads import HISTORIES

OPEN_TASKS = """
    SELECT 'open tasks' AS name, count(*) FROM generation.streams
    WHERE state->>'stage' NOT IN ('completed', 'failed', 'cancelled', 'removed')"""
OPEN_JOBS = """
    SELECT 'open jobs' AS name, count(*) FROM generation.provider_jobs
    WHERE state IN ('waiting', 'submitting', 'submitted', 'unknown')"""
"""A task that was cancelled has ended before its provider's answer is known."""

REMOVALS = """
    SELECT 'removals' AS name, count(*) FROM storage.removals WHERE next_step_at IS NOT NULL"""


async def left_to_do(dsn: str) -> dict[str, int]:
    """How many rows wait, by table; nothing when all is quiet."""
    questions = [
        *(f"SELECT '{name}.outbox' AS name, count(*) FROM {name}.outbox" for name in HISTORIES),
        *(
            f"SELECT '{name}.inbox' AS name, count(*) FROM {name}.inbox WHERE state = 'retry'"
            for name in HISTORIES
        ),
        OPEN_TASKS,
        OPEN_JOBS,
        REMOVALS,
    ]
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(" UNION ALL ".join(questions))
    finally:
        await connection.close()
    return {row["name"]: row["count"] for row in rows if row["count"]}


async def hurry_retries(dsn: str) -> int:
    """Make every kept message due now, as the hours would: how many there were."""
    connection = await asyncpg.connect(dsn)
    try:
        hurried = 0
        for schema in HISTORIES:
            tag = await connection.execute(
                f"UPDATE {schema}.inbox SET due_at = clock_timestamp() WHERE state = 'retry'"
                " AND due_at > clock_timestamp() + interval '10 seconds'"
            )
            hurried += int(tag.split()[1])
        return hurried
    finally:
        await connection.close()
