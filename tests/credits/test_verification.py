"""`ledger verify` finds nothing in a ledger that nobody touched, whatever has happened in it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kernel.errors import NotFound
from kernel.objects import LocalObjectStore, ObjectStoreAway
from services.credits.adapters.seals import witness_name
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


async def test_a_head_that_the_object_store_did_not_take_is_kept_when_it_is_back(
    world: LedgerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = witness_name(world.credits.clock.now().date())

    async def away(*_: object, **__: object) -> None:
        raise ObjectStoreAway

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(world.objects, "put_bytes", away)
        await world.seals.look()
    with pytest.raises(NotFound):
        await world.objects.stat(name)

    await world.seals.look()

    assert (await world.objects.stat(name)).size_bytes > 0
    assert await world.faults() == []
