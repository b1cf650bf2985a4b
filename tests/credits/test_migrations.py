"""What older versions have written is read as if today's had."""

from pathlib import Path

from kernel.clock import new_id
from kernel.migrations import migrate
from kernel.projections import verify
from services.credits.app import AGGREGATES
from tests.credits.conftest import Credits, completed, created, registered

MIGRATIONS = Path(__file__).parents[2] / "services/credits/migrations"


async def test_holds_from_before_budgets_are_the_folds_of_their_events(
    credits_service: Credits, database_dsn: str
) -> None:
    account, task = new_id(), new_id()
    await credits_service.hear(registered(account), created(account, task, 15_000))
    await credits_service.rows(
        "UPDATE credits.streams SET state = state - 'key_id' WHERE stream_id LIKE 'hold-%'"
    )
    await credits_service.rows("UPDATE credits.alembic_version SET version_num = '0001'")
    assert await migrate(database_dsn, {"credits": MIGRATIONS}) == ["credits"]
    assert await verify(credits_service.platform.database, "credits", AGGREGATES) == []
    await credits_service.hear(completed(account, task, 15_000))
    assert (await credits_service.balance(account)).used_units == 15_000
