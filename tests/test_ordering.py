"""Long tests first: a run by several workers is as short as its tests allow."""

import pytest

from tests.conftest import ROOT
from tests.ordering import LONG_S, SYSTEM, arranged

WORKERS = [2, 3, 4, 7]


LONG = [name if "::" in name else f"{name}::test_all" for name in LONG_S]
SHARING = [f"{SYSTEM}test_shared.py::test_it[{n}]" for n in range(40)]
SHORT = [f"tests/keys/test_short.py::test_it[{n}]" for n in range(500)]


@pytest.mark.parametrize("workers", WORKERS)
def test_every_test_is_run_once(workers: int) -> None:
    names = [*SHORT, *SHARING, *LONG]
    assert sorted(arranged(names, workers)) == sorted(names)


@pytest.mark.parametrize("workers", WORKERS)
def test_two_workers_begin_with_the_long_tests_and_the_others_with_short_ones(
    workers: int,
) -> None:
    order = arranged([*SHORT, *SHARING, *LONG], workers)
    length = len(order) // workers
    first, second, *others = (order[part * length] for part in range(workers))
    longest = sorted(LONG_S, key=LONG_S.__getitem__, reverse=True)[:2]
    assert [one.partition("::")[0] for one in (first, second)] == longest
    assert set(others) <= set(SHORT)


def test_the_system_tests_that_share_a_product_stay_in_their_order() -> None:
    order = arranged([*SHARING, *SHORT, *LONG], 3)
    assert [one for one in order if one in SHARING] == SHARING


def test_loses_none_where_nearly_all_are_long() -> None:
    assert sorted(arranged([*LONG, *SHARING], 4)) == sorted([*LONG, *SHARING])


@pytest.mark.parametrize("name", LONG_S)
def test_what_is_said_to_be_long_is_there(name: str) -> None:
    path, _, function = name.partition("::")
    assert f"def {function}" in (ROOT / path).read_text()
