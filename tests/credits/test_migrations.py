"""What older versions have written is read as if today's had."""

from json import dumps
from pathlib import Path

from kernel.clock import new_id
from kernel.migrations import migrate
from kernel.projections import rebuild, verify
from services.credits.app import AGGREGATES
from services.credits.read_model import READ_MODEL
from tests.credits.conftest import Credits, completed

MIGRATIONS = Path(__file__).parents[2] / "services/credits/migrations"


OLD_EVENTS = """
    INSERT INTO credits.events
        (event_id, stream_id, version, type, schema_version, data, metadata, recorded_at)
    SELECT gen_random_uuid(), stream_id, version, type, 1, data::jsonb,
        '{"correlation_id": "r", "causation_id": null, "traceparent": null}', now()
    FROM (VALUES
        ('account-' || $1, 1, 'AccountOpened', $3),
        ('account-' || $1, 2, 'GrantEntered', $4),
        ('account-' || $1, 3, 'HoldEntered', $5),
        ('hold-' || $2, 1, 'HoldPlaced', $6)
    ) AS old (stream_id, version, type, data)"""
OLD_HEADS = """
    INSERT INTO credits.streams (stream_id, version, state) VALUES
        ('account-' || $1, 3, $3::text::jsonb), ('hold-' || $2, 1, $4::text::jsonb)"""


async def test_what_was_written_before_lots_and_budgets_is_read_and_goes_on(
    credits_service: Credits, database_dsn: str
) -> None:
    account, task = new_id(), new_id()
    whose = {"account_id": str(account), "granted_after": 100_000, "used_after": 0}
    asked = {"task_id": str(task), "amount_units": 15_000}
    async with credits_service.platform.database.connection() as connection:
        await connection.execute(
            OLD_EVENTS,
            *(str(account), str(task)),
            dumps({"account_id": str(account), "user_id": str(account), "plan": "free"}),
            dumps(
                whose
                | {"grant_id": "registration", "reason": "plan:free"}
                | {"amount_units": 100_000, "held_after": 0}
            ),
            dumps(whose | asked | {"held_after": 15_000}),
            dumps(asked | {"account_id": str(account)}),
        )
        await connection.execute(
            OLD_HEADS,
            *(str(account), str(task)),
            dumps(
                {"is_open": True, "granted_units": 100_000, "used_units": 0, "held_units": 15_000}
            ),
            dumps(
                {"status": "held", "account_id": str(account)}
                | {"amount_units": 15_000, "committed_units": 0}
            ),
        )
    await credits_service.rows("UPDATE credits.alembic_version SET version_num = '0001'")
    assert await migrate(database_dsn, {"credits": MIGRATIONS}) == ["credits"]
    database = credits_service.platform.database
    assert await verify(database, "credits", AGGREGATES) == []
    await credits_service.hear(completed(account, task, 15_000))
    await rebuild(database, "credits", READ_MODEL, AGGREGATES)
    assert (await credits_service.balance(account)).used_units == 15_000
