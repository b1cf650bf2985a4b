"""`ledger verify` finds nothing in a ledger that nobody touched, whatever has happened in it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kernel.objects import LocalObjectStore
from services.credits.app import AGGREGATES
from tests.credits.conftest import Credits
from tests.credits.ledger_world import LedgerWorld


@pytest.fixture
async def world(credits_service: Credits, tmp_path: Path) -> AsyncIterator[LedgerWorld]:
    objects = LocalObjectStore(tmp_path / "objects")
    yield await LedgerWorld.lived(credits_service, objects)
    objects.close()


async def test_a_ledger_in_which_everything_has_happened_is_whole(world: LedgerWorld) -> None:
    assert await world.faults() == []
    rows = await world.credits.rows("SELECT DISTINCT type FROM credits.events")
    known = {event.__name__ for aggregate in AGGREGATES for event in aggregate.events}
    assert {row["type"] for row in rows} == known
