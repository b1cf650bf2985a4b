"""An output whose file its user deleted: shown as deleted, while status and money stay."""

from uuid import UUID

import pytest

from contracts.storage import FileDeleted
from kernel.errors import Deferred
from kernel.identifiers import parsed
from kernel.projections import history_of
from kernel.testing import envelope_of
from services.generation.domain.messages import HearGone, OutputGone, TaskRemoved
from services.generation.domain.naming import output_of
from services.generation.domain.task import TASK
from services.generation.read_model import replayed
from tests.generation.conftest import Generation, person
from tests.generation.test_domain import AT, ID, SPEC, STORING, USER, completed, failed, kept

GONE = HearGone(0, AT)
gone = OutputGone(ID, 0, AT)
OWNER, TASK_ID = UUID(int=5), UUID(int=7)


def test_what_is_kept_can_go_once() -> None:
    SPEC.given(*STORING, kept, completed).when(GONE).then(gone)
    SPEC.given(*STORING, kept, completed, gone).when(GONE).then_nothing()


def test_what_was_never_shown_or_is_no_more_has_nothing_to_lose() -> None:
    removed = TaskRemoved(ID, USER, 1, AT)
    SPEC.given(*STORING, failed).when(GONE).then_nothing()
    SPEC.given(*STORING, kept, completed, removed).when(GONE).then_nothing()


def test_a_deletion_that_is_heard_before_its_file_waits_for_it() -> None:
    with pytest.raises(Deferred):
        SPEC.given(*STORING).when(GONE).then_nothing()


@pytest.mark.parametrize(
    ("key", "found"),
    [
        (f"images/generated/{OWNER.hex}/{TASK_ID.hex}.png", (TASK_ID, 0)),
        (f"videos/generated/{OWNER.hex}/{TASK_ID.hex}_3.mp4", (TASK_ID, 3)),
        (f"audio/generated/{OWNER.hex}/{TASK_ID.hex}_0.mp3", None),
        (f"uploads/{TASK_ID.hex}.png", None),
        ("images/generated/u/t.png", None),
    ],
)
def test_an_outputs_key_says_which_it_is(key: str, found: object) -> None:
    assert output_of(key) == found


async def test_a_task_shows_its_deleted_output_without_links(generation: Generation) -> None:
    me, inbox = person(), generation.service.inbox
    assert inbox is not None
    created = (await generation.create(me)).json()["task"]
    task_id = parsed("task", created["id"])
    assert task_id is not None
    await generation.complete(task_id)
    path = f"/tasks/{created['id']}"
    before = (await generation.call("GET", path, me)).json()["task"]
    key = f"images/generated/{me.user_id.hex}/{task_id.hex}.png"
    deletion = FileDeleted(
        user_id=me.user_id, account_id=me.account_id, key=key, size=1_000, reason="deleted"
    )
    for _ in range(2):
        await inbox.receive(envelope_of(deletion))
    after = (await generation.call("GET", path, me)).json()["task"]
    assert before["outputs"][0]["deleted"] is False
    links = {"url": None, "thumbnail_url": None}
    assert after["outputs"] == [before["outputs"][0] | links | {"deleted": True}]
    assert after == before | {
        "output_url": None,
        "thumbnail_url": None,
        "outputs": after["outputs"],
    }
    store = generation.service.store
    assert store is not None
    async with store.database.connection() as connection:
        history = await history_of(
            connection, "generation", store.codec, TASK.stream_id(task_id), 1_000
        )
    [row] = await generation.rows("SELECT * FROM generation_read.generation_tasks")
    assert list(replayed(history))[-1] == row
