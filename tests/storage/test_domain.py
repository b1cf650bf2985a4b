from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.errors import NotFound
from kernel.testing import Spec
from services.storage.domain import (
    OUTPUT,
    OUTPUTS,
    PLACES,
    EraseOutput,
    ExpectOutput,
    KeepOutput,
    OutputCommand,
    OutputErased,
    OutputEvent,
    OutputExpected,
    OutputRejected,
    OutputStored,
    RefuseOutput,
    StoredFile,
    decide_output,
    output_key,
    output_keys,
    stream_of,
    thumbnail_key,
)

TASK, USER, ACCOUNT = UUID(int=0xA1), UUID(int=0xB2), UUID(int=0xC3)
TASK_HEX, USER_HEX = TASK.hex, USER.hex


def stored_file(sha256: str = "ab" * 32) -> StoredFile:
    return StoredFile(
        key=f"images/generated/{USER_HEX}/{TASK_HEX}.png",
        mime_type="image/png",
        size=10,
        sha256=sha256,
        width=4,
        height=3,
        duration_seconds=None,
        thumbnail_key=f"images/thumbnails/{TASK_HEX}.webp",
    )


EXPECT = ExpectOutput(TASK, USER, 2, "video", 4, 3, 5.0, "video/mp4", ACCOUNT)
KEEP = KeepOutput(stored_file())
REFUSE = RefuseOutput("too_large", "It is too large.")
ERASE = EraseOutput()
EXPECTED = OutputExpected(TASK, USER, 2, "video", 4, 3, 5.0, "video/mp4", ACCOUNT)
STORED = OutputStored(TASK, USER, 2, stored_file(), ACCOUNT)
ERASED = OutputErased(TASK, USER, 2, stored_file().key, 10, ACCOUNT, "erased")
REJECTED = OutputRejected(TASK, USER, 2, "too_large", "It is too large.")
OUTPUT_SPEC = Spec(OUTPUTS)


def test_an_announced_output_is_expected() -> None:
    OUTPUT_SPEC.when(EXPECT).then(EXPECTED)


def test_an_expected_output_can_be_stored() -> None:
    OUTPUT_SPEC.given(EXPECTED).when(KEEP).then(STORED)


def test_an_expected_output_can_be_rejected() -> None:
    OUTPUT_SPEC.given(EXPECTED).when(REFUSE).then(REJECTED)


@pytest.mark.parametrize("history", [(EXPECTED,), (EXPECTED, STORED), (EXPECTED, REJECTED)])
def test_announcing_it_again_is_nothing(history: tuple[OutputEvent, ...]) -> None:
    OUTPUT_SPEC.given(*history).when(EXPECT).then_nothing()


@pytest.mark.parametrize("late", [KeepOutput(stored_file("cd" * 32)), REFUSE])
def test_a_stored_output_stays_as_it_was_stored(late: OutputCommand) -> None:
    OUTPUT_SPEC.given(EXPECTED, STORED).when(late).then_nothing()


@pytest.mark.parametrize("late", [KEEP, RefuseOutput("timeout", "Too slow.")])
def test_a_rejected_output_stays_rejected(late: OutputCommand) -> None:
    OUTPUT_SPEC.given(EXPECTED, REJECTED).when(late).then_nothing()


def test_a_stored_output_is_erased_with_its_owner() -> None:
    OUTPUT_SPEC.given(EXPECTED, STORED).when(ERASE).then(ERASED)


@pytest.mark.parametrize("history", [(EXPECTED,), (EXPECTED, REJECTED)])
def test_there_is_nothing_to_erase_of_what_was_not_stored(history: tuple[OutputEvent, ...]) -> None:
    OUTPUT_SPEC.given(*history).when(ERASE).then_nothing()


@pytest.mark.parametrize("late", [EXPECT, KEEP, REFUSE, ERASE])
def test_an_erased_output_stays_erased(late: OutputCommand) -> None:
    OUTPUT_SPEC.given(EXPECTED, STORED, ERASED).when(late).then_nothing()


@pytest.mark.parametrize("ending", [KEEP, REFUSE, ERASE])
def test_refuses_to_end_what_was_never_announced(ending: OutputCommand) -> None:
    OUTPUT_SPEC.when(ending).refused(NotFound, "output_not_expected")


@given(st.lists(st.sampled_from([EXPECT, KEEP, REFUSE]), min_size=1, max_size=12))
def test_whatever_comes_in_whatever_order_the_first_ending_is_the_only_one(
    commands: list[OutputCommand],
) -> None:
    endings: list[OutputEvent] = []
    state = OUTPUT.fold([EXPECTED])

    for command in commands:
        events = decide_output(command, state)
        endings.extend(events)
        state = OUTPUT.fold(events, state)

    first = next((command for command in commands if command != EXPECT), None)
    expected = {KEEP: [STORED], REFUSE: [REJECTED], None: []}
    assert endings == expected[first]


def test_each_output_has_a_stream_of_its_own() -> None:
    assert stream_of(TASK, 0) == f"output-{TASK}-0"
    assert stream_of(TASK, 1) != stream_of(TASK, 0)


def test_the_first_picture_has_the_name_of_its_task_alone() -> None:
    assert output_key(USER, TASK, 0, "image/png") == f"images/generated/{USER_HEX}/{TASK_HEX}.png"
    assert thumbnail_key(TASK, 0) == f"images/thumbnails/{TASK_HEX}.webp"


@pytest.mark.parametrize(
    ("mime_type", "key"),
    [
        ("video/mp4", f"videos/generated/{USER_HEX}/{TASK_HEX}_1.mp4"),
        ("audio/mpeg", f"audio/generated/{USER_HEX}/{TASK_HEX}_1.mp3"),
        ("audio/wav", f"audio/generated/{USER_HEX}/{TASK_HEX}_1.wav"),
    ],
)
def test_films_and_sounds_have_folders_of_their_own(mime_type: str, key: str) -> None:
    assert output_key(USER, TASK, 1, mime_type) == key


def test_an_output_lies_under_one_of_its_keys_whatever_its_type() -> None:
    keys = {output_key(USER, TASK, 1, mime_type) for mime_type in PLACES}
    assert set(output_keys(USER, TASK, 1)) == keys


def test_later_pictures_carry_their_number() -> None:
    key = output_key(USER, TASK, 3, "image/jpeg")
    assert key == f"images/generated/{USER_HEX}/{TASK_HEX}_3.jpg"
    assert thumbnail_key(TASK, 3) == f"images/thumbnails/{TASK_HEX}_3.webp"
