"""A picture that came with its vendor's answer, and that the object store would not take."""

import base64
from datetime import timedelta
from typing import Any

import pytest

from kernel.objects import ObjectStoreAway
from services.generation.adapters.providers import Made
from services.generation.adapters.undelivered import BYTES_MAX, KEPT_FOR, Undelivered
from services.generation.domain.task import Stage
from services.simulator.adapters.png import canned_png
from tests.generation.conftest import Bench, Generation, person
from tests.generation.test_api import id_of

PICTURE = canned_png(1, 8, b"")


@pytest.fixture
def full(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Its object store takes nothing any more."""

    async def refuse(*_: Any) -> None:
        raise ObjectStoreAway

    monkeypatch.setattr(bench.objects, "put_bytes", refuse)
    return bench


async def test_its_task_fails_at_no_cost_and_its_bytes_are_kept_for_a_while(full: Bench) -> None:
    task = await full.task()
    full.provider.submissions.append(Made(PICTURE))
    await full.attend()
    assert (await full.state(task)).stage == Stage.FAILED
    ending = (await full.events(task))[-1]
    assert (ending["outcome"], ending["code"]) == ("delivery_failed", "storage_failed")
    assert ending["charged_units"] == 0
    kept = Undelivered(full.platform.database, full.clock)
    assert await kept.of(task) == {0: PICTURE}
    full.clock.turn(KEPT_FOR)
    assert await kept.of(task) == {}
    await kept.sweep()
    assert await full.rows("SELECT 1 FROM generation.undelivered") == []


async def test_what_is_too_large_is_not_kept(full: Bench) -> None:
    task = await full.task()
    full.provider.submissions.append(Made(b"x" * (BYTES_MAX + 1)))
    await full.attend()
    assert (await full.state(task)).stage == Stage.FAILED
    assert await full.rows("SELECT 1 FROM generation.undelivered") == []


async def test_its_owner_alone_gets_it(generation: Generation) -> None:
    me = person()
    task_id = id_of(await generation.create(me))
    path = f"/tasks/task_{task_id.hex}/undelivered"
    assert (await generation.call("GET", path, me)).json() == {"success": True, "outputs": []}
    async with generation.platform.database.connection() as connection:
        await connection.execute(
            "INSERT INTO generation.undelivered VALUES ($1, 0, $2, $3)",
            *(task_id, PICTURE, generation.clock.now() + timedelta(minutes=1)),
        )
    [output] = (await generation.call("GET", path, me)).json()["outputs"]
    assert (output["index"], output["mime_type"]) == (0, "image/png")
    assert base64.b64decode(output["content_base64"]) == PICTURE
    assert (await generation.call("GET", path, person())).status_code == 404
