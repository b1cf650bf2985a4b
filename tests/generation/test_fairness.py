"""Whose turn it is: whatever the queue, places are shared evenly and none is left empty."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.generation.domain.fairness import UNLIMITED, LaneLimits, Turn, shares

NOW = datetime(2026, 11, 28, tzinfo=UTC)
MANY, ONE, OTHER = (UUID(int=number) for number in (1, 2, 3))


def turn(
    user: UUID, waiting: int, running: int = 0, served_s: int | None = None, due_s: int = 0
) -> Turn:
    served_at = None if served_s is None else NOW + timedelta(seconds=served_s)
    return Turn(user, waiting, running, served_at, NOW + timedelta(seconds=due_s))


queues = st.lists(
    st.builds(
        lambda waiting, running, served_s, due_s: (waiting, running, served_s, due_s),
        st.integers(0, 8),
        st.integers(0, 8),
        st.none() | st.integers(-9, 0),
        st.integers(-9, 0),
    ),
    max_size=6,
).map(lambda rows: [turn(UUID(int=nth), *row) for nth, row in enumerate(rows)])


@settings(max_examples=50, deadline=None, derandomize=True)
@given(queues, st.integers(0, 30))
def test_fills_the_room_and_gives_nobody_more_than_waits(turns: list[Turn], room: int) -> None:
    begun = shares(turns, room)
    waiting = {one.user_id: one.waiting for one in turns}
    assert sum(begun.values()) == min(room, sum(waiting.values()))
    assert all(0 < jobs <= waiting[user_id] for user_id, jobs in begun.items())


@settings(max_examples=50, deadline=None, derandomize=True)
@given(queues, st.integers(0, 30))
def test_nobody_gets_a_place_while_somebody_with_fewer_waits(turns: list[Turn], room: int) -> None:
    begun = shares(turns, room)
    load = {one.user_id: one.running + begun.get(one.user_id, 0) for one in turns}
    left = [one for one in turns if one.waiting > begun.get(one.user_id, 0)]
    for one in left:
        for other in begun:
            assert load[other] <= load[one.user_id] + 1


def test_who_was_served_longest_ago_comes_first_and_who_never_was_before_them() -> None:
    served = [turn(MANY, 500, served_s=-1), turn(ONE, 1, served_s=-5), turn(OTHER, 1)]
    assert shares(served, 1) == {OTHER: 1}
    assert shares(served[:2], 1) == {ONE: 1}


def test_among_equals_who_waits_longest_comes_first() -> None:
    assert shares([turn(MANY, 500, due_s=-1), turn(ONE, 1, due_s=-2)], 1) == {ONE: 1}


@pytest.mark.parametrize(
    ("limits", "room"),
    [
        (UNLIMITED, None),
        (LaneLimits(at_once=100), 70),
        (LaneLimits(submits=20, window_s=10), 15),
        (LaneLimits(at_once=32, submits=20, window_s=10), 2),
        (LaneLimits(at_once=3), 0),
    ],
)
def test_room_is_what_the_narrowest_limit_leaves(limits: LaneLimits, room: int | None) -> None:
    assert limits.room(running=30, submitted=5) == room
