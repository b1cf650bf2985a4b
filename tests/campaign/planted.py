"""Faults as SQL, by name: which invariant each breaks, how the subject named for it begins."""

from collections.abc import Mapping
from typing import Final

from kernel.clock import new_id

COMPLETED = (
    "(SELECT min(task_id::text) FROM generation_read.generation_tasks WHERE stage='completed')"
)
FAILED = "(SELECT min(task_id::text) FROM generation_read.generation_tasks WHERE stage='failed')"
ENTER = """
    INSERT INTO credits.events
        (event_id, stream_id, version, type, schema_version, data, metadata, recorded_at)
    SELECT gen_random_uuid(), e.stream_id,
        (SELECT max(version) + 1 FROM credits.events AS last WHERE last.stream_id = e.stream_id),
        e.type, e.schema_version, e.data, e.metadata, e.recorded_at
    FROM credits.events AS e WHERE e.type = '{type}' AND e.data->>'task_id' = {task}"""


def entered_again(kind: str, task: str = COMPLETED) -> str:
    return ENTER.format(type=kind, task=task)


FAULTS: Final[Mapping[str, tuple[int, str, *tuple[str, ...]]]] = {
    "a task without an end": (
        1,
        "task-",
        "DELETE FROM generation.events WHERE type = 'TaskCompleted'",
    ),
    "a task that ends twice": (
        1,
        "task-",
        f"""INSERT INTO generation.events
            (event_id, stream_id, version, type, schema_version, data, metadata, recorded_at)
            SELECT gen_random_uuid(), stream_id, version + 1, type, schema_version, data, metadata,
                recorded_at
            FROM generation.events WHERE type = 'TaskCompleted'
                AND stream_id = 'task-' || {COMPLETED}""",
    ),
    "an accepted task that never was": (
        1,
        "task-",
        f"DELETE FROM generation.events WHERE stream_id = 'task-' || {COMPLETED}",
    ),
    "a hold that was committed twice": (
        2,
        "hold-",
        entered_again("CommitEntered"),
        entered_again("HoldCommitted"),
    ),
    "a hold that is still open": (
        2,
        "hold-",
        f"""DELETE FROM credits.events
            WHERE type = 'HoldCommitted' AND data->>'task_id' = {COMPLETED}""",
    ),
    "a hold that its account does not know": (
        2,
        "hold-",
        f"""DELETE FROM credits.events
            WHERE type = 'HoldEntered' AND data->>'task_id' = {COMPLETED}""",
    ),
    "credits that are still held": (
        2,
        "account-",
        """UPDATE credits.streams SET state = state || '{"held_units": 10000}'
            WHERE stream_id LIKE 'account-%'""",
    ),
    "a negative balance": (
        3,
        "account-",
        """UPDATE credits.events SET data = data || '{"amount_units": 2000000,
            "held_after": 2000000}' WHERE type = 'HoldEntered'""",
    ),
    "an entry whose balance does not follow": (
        3,
        "account-",
        "UPDATE credits.events SET data = data || '{\"used_after\": 5}' WHERE type = 'HoldEntered'",
    ),
    "a gap in an account's versions": (
        3,
        "account-",
        "DELETE FROM credits.events WHERE stream_id LIKE 'account-%' AND version = 3",
    ),
    "an entry that no client sees": (
        3,
        "account-",
        "DELETE FROM credits_read.credit_transactions WHERE kind = 'grant'",
    ),
    "a failed task that was charged": (
        4,
        "task-",
        f"""UPDATE credits.events
            SET type = 'HoldCommitted', data = data || '{{"released_units": 0}}'
            WHERE type = 'HoldReleased' AND data->>'task_id' = {FAILED}""",
    ),
    "a completed task that was not charged": (
        4,
        "task-",
        f"""UPDATE credits.events SET type = 'HoldReleased'
            WHERE type = 'HoldCommitted' AND data->>'task_id' = {COMPLETED}""",
    ),
    "a charge that the outcome does not ask": (
        4,
        "task-",
        f"""UPDATE generation.events SET data = data || '{{"charged_units": 10000}}'
            WHERE type = 'TaskFailed' AND stream_id = 'task-' || {FAILED}""",
    ),
    "a completed task without its output": (
        4,
        "task-",
        f"""DELETE FROM generation.events
            WHERE type = 'OutputKept' AND stream_id = 'task-' || {COMPLETED}""",
    ),
    "a message that was dropped": (
        5,
        "TaskCreated",
        f"""DELETE FROM credits.inbox WHERE message_id = (SELECT event_id FROM generation.events
            WHERE type = 'TaskCreated' AND stream_id = 'task-' || {COMPLETED})""",
    ),
    "a message that is still in an outbox": (
        5,
        "TaskCreated",
        """INSERT INTO generation.outbox (event_id, owner, lease_until, envelope)
            SELECT event_id, event_id, recorded_at, '{"type": "TaskCreated"}'
            FROM generation.events WHERE type = 'TaskCreated'""",
    ),
    "a message that is still to be tried again": (
        5,
        "TaskFailed",
        f"""UPDATE credits.inbox SET state = 'retry' WHERE message_id = (
            SELECT event_id FROM generation.events
            WHERE type = 'TaskFailed' AND stream_id = 'task-' || {FAILED})""",
    ),
    "a message that nobody says": (
        5,
        "message ",
        f"INSERT INTO credits.inbox VALUES ('credits', '{new_id()}', 'done')",
    ),
    "a message that was handled twice": (
        5,
        "hold-",
        entered_again("HoldEntered"),
        entered_again("HoldPlaced"),
    ),
    "an effect of what nobody says": (
        5,
        "hold-",
        f"""UPDATE credits.events SET metadata = metadata || '{{"causation_id": "{new_id()}"}}'
            WHERE type = 'HoldPlaced' AND data->>'task_id' = {COMPLETED}""",
    ),
    "one job for two attempts": (
        6,
        "job ",
        """UPDATE generation.provider_jobs SET provider_job_id = (
            SELECT min(provider_job_id) FROM generation.provider_jobs)""",
    ),
    "a submission that the due-list does not know": (
        6,
        "task-",
        "UPDATE generation.provider_jobs SET provider_job_id = NULL WHERE state = 'done'",
    ),
    "an edited head": (
        7,
        "task-",
        f"""UPDATE generation.streams SET state = state || '{{"price_units": 1}}'
            WHERE stream_id = 'task-' || {COMPLETED}""",
    ),
    "a head without events": (
        7,
        "output-",
        "INSERT INTO storage.streams VALUES ('output-none', 1, '{}')",
    ),
    "an edited row of a read model": (
        7,
        "storage_read.files",
        "UPDATE storage_read.files SET size = size + 1",
    ),
    "a row that a read model has lost": (
        7,
        "generation_read.generation_tasks",
        "DELETE FROM generation_read.generation_tasks",
    ),
    "a dead letter": (
        8,
        "message ",
        f"""UPDATE credits.inbox SET state = 'parked', error = 'planted' WHERE message_id = (
            SELECT event_id FROM generation.events
            WHERE type = 'TaskFailed' AND stream_id = 'task-' || {FAILED})""",
    ),
}
