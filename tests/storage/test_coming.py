"""What a user sends at once is bounded before it is known whether it is kept."""

import pytest

from kernel.clock import new_id
from kernel.errors import RateLimited
from services.storage.adapters.coming import BEYOND_ROOM_BYTES, FETCHES_AT_ONCE_MAX, Coming

ROOM = 1_000


def test_more_than_there_is_room_for_may_come_at_once_up_to_a_bound() -> None:
    coming, user_id = Coming(), new_id()

    with (
        coming.sent(user_id, ROOM, ROOM),
        coming.sent(user_id, BEYOND_ROOM_BYTES, ROOM),
        pytest.raises(RateLimited) as refused,
        coming.sent(user_id, 1, ROOM),
    ):
        pass

    assert refused.value.code == "too_many_uploads"


def test_what_has_come_or_failed_makes_way_for_more() -> None:
    coming, user_id = Coming(), new_id()
    with pytest.raises(ZeroDivisionError), coming.sent(user_id, BEYOND_ROOM_BYTES, 0):
        raise ZeroDivisionError

    with coming.sent(user_id, BEYOND_ROOM_BYTES, 0):
        pass


def test_another_user_sends_meanwhile() -> None:
    coming = Coming()

    with coming.sent(new_id(), BEYOND_ROOM_BYTES, 0), coming.sent(new_id(), BEYOND_ROOM_BYTES, 0):
        pass


def test_only_so_many_addresses_are_fetched_for_a_user_at_once() -> None:
    coming, user_id = Coming(), new_id()

    def fetch_one_more(left: int) -> None:
        with coming.fetched(user_id):
            if left:
                fetch_one_more(left - 1)

    fetch_one_more(FETCHES_AT_ONCE_MAX - 1)
    with pytest.raises(RateLimited):
        fetch_one_more(FETCHES_AT_ONCE_MAX)
    fetch_one_more(0)
