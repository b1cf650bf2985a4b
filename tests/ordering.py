"""The order of a run by several workers: what takes long begins first, and never last of all.

xdist gives each worker a part of the tests, in order and all of a length; a worker that is done
takes half of what another has still to do, from its end. So the longest tests begin the parts of
the first two workers, the other system tests follow there, and everybody else's parts are short
tests. More than two products at once, each of many processes, is more than two processors carry.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import pytest

HEAVY_LANES: Final = 2
LONG_S: Final = {
    "tests/system/test_broker_outage.py": 102,
    "tests/campaign/test_storm.py": 84,
    "tests/system/test_revocation.py": 50,
    "tests/system/test_one_account.py": 49,
    "tests/campaign/test_kill.py": 49,
    "tests/system/test_faults.py": 43,
    "tests/system/test_start_and_end.py::test_ctrl_c_ends_it_and_what_was_in_flight_completes_after"
    "_the_next_start": 60,
    "tests/system/test_master_keys.py": 35,
    "tests/system/test_worker_deaths.py": 33,
    "tests/system/test_three_way.py": 30,
    "tests/system/test_any_order.py": 26,
    "tests/kernel/test_local_rabbitmq.py": 40,
    "tests/system/test_events.py::test_streams_end_in_order_where_the_product_does": 23,
    "tests/system/test_start_and_end.py::test_sessions_and_mails_outlive_a_restart": 21,
}
"""Seconds of a file, or of a test with all its parameters, on a quiet machine. None of them uses
the product that a worker's other system tests share: their order is pytest's, so that it starts
once for each mode."""
SYSTEM: Final = "tests/system/"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    if workers > 1:
        by_name = {item.nodeid: item for item in items}
        items[:] = [by_name[name] for name in arranged(list(by_name), workers)]


def arranged(names: Sequence[str], workers: int) -> list[str]:
    """All of them, in parts as xdist will cut them."""
    lanes = _heavy_lanes(names, min(HEAVY_LANES, workers))
    heavy = {name for lane in lanes for name in lane}
    others = [name for name in names if name not in heavy]
    order: list[str] = []
    for part, length in enumerate(_lengths(len(names), workers)):
        head = lanes[part] if part < len(lanes) else []
        others[:0] = head[length:]
        short = length - len(head[:length])
        order += [*head[:length], *others[:short]]
        del others[:short]
    return order


def _heavy_lanes(names: Sequence[str], count: int) -> list[list[str]]:
    """The long tests, longest first, then the other system tests."""
    long: dict[str, list[str]] = {}
    system: list[str] = []
    for name in names:
        function = name.partition("[")[0]
        path = name.partition("::")[0]
        if (known := next((one for one in (function, path) if one in LONG_S), None)) is not None:
            long.setdefault(known, []).append(name)
        elif path.startswith(SYSTEM):
            system.append(name)
    lanes: list[list[str]] = [[] for _ in range(count)]
    busy_s = [0] * count
    for known in sorted(long, key=LONG_S.__getitem__, reverse=True):
        lane = busy_s.index(min(busy_s))
        busy_s[lane] += LONG_S[known]
        lanes[lane] += long[known]
    for lane, length in enumerate(_lengths(len(system), count)):
        lanes[lane] += system[:length]
        del system[:length]
    return lanes


def _lengths(total: int, parts: int) -> Iterator[int]:
    """As xdist divides: the last parts are the longer ones."""
    for part in range(parts):
        length = total // (parts - part)
        total -= length
        yield length
