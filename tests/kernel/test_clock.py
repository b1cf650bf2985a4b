import threading
from datetime import UTC, timedelta
from itertools import pairwise
from uuid import RFC_4122, UUID

from hypothesis import given
from hypothesis import strategies as st

from kernel.clock import SystemClock, new_id, random_token, uuid7
from kernel.testing import FakeClock


def milliseconds_of(identity: UUID) -> int:
    return identity.int >> 80


def test_an_id_is_a_version_7_uuid_of_this_moment() -> None:
    before = SystemClock().now()
    identity = new_id()
    after = SystemClock().now()
    assert (identity.version, identity.variant) == (7, RFC_4122)
    low, high = (int(moment.timestamp() * 1000) for moment in (before, after))
    # ids that were made in a crowd may be ahead of the clock by what they had to count up
    assert low - 1 <= milliseconds_of(identity) <= high + 1_000


@given(st.integers(0, 2**48 - 1), st.integers(0, 4095), st.integers(0, 2**64 - 1))
def test_each_part_stands_where_rfc_9562_wants_it(
    unix_ms: int, sub_ms: int, random_bits: int
) -> None:
    identity = uuid7(unix_ms, sub_ms, random_bits)
    assert (identity.version, identity.variant) == (7, RFC_4122)
    assert identity.int >> 80 == unix_ms
    assert identity.int >> 64 & 0xFFF == sub_ms
    assert identity.int & (2**62 - 1) == random_bits & (2**62 - 1)


def test_the_example_of_rfc_9562_comes_out() -> None:
    example = UUID("017F22E2-79B0-7CC3-98C4-DC0C0C07398F")  # appendix A.6
    assert uuid7(0x017F22E279B0, 0xCC3, 0x18C4DC0C0C07398F) == example


def test_ids_are_strictly_increasing() -> None:
    made = [new_id() for _ in range(10_000)]
    assert all(earlier < later for earlier, later in pairwise(made))


def test_ids_of_threads_are_distinct_and_increase_in_each() -> None:
    made: list[list[UUID]] = []

    def make() -> None:
        made.append([new_id() for _ in range(2_000)])

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({identity for ids in made for identity in ids}) == 16_000
    assert all(ids == sorted(ids) for ids in made)


def test_the_time_is_utc() -> None:
    assert SystemClock().now().tzinfo is UTC


def test_a_fake_clock_stands_still_until_it_is_turned() -> None:
    clock = FakeClock()
    before = clock.now()
    assert clock.now() == before
    clock.turn(timedelta(seconds=5))
    assert clock.now() - before == timedelta(seconds=5)


def test_a_token_has_its_length_and_is_never_the_same() -> None:
    assert len(random_token(12)) == 12
    assert random_token() != random_token()
