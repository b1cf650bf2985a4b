"""Half a minute of the storm. The long ones, and the mutants: `python -m tests.campaign --help`."""

from collections import Counter
from itertools import pairwise

import pytest

from tests.campaign import storm
from tests.campaign.faults import Kind, schedule
from tests.rabbitmq import programs

SEED = 20_261_105
MINUTES = 0.5


def test_the_same_seed_breaks_the_same_things_at_the_same_moments() -> None:
    assert list(schedule(SEED, 600)) == list(schedule(SEED, 600))
    assert list(schedule(SEED, 600)) != list(schedule(SEED + 1, 600))


def test_a_long_storm_plays_every_kind_of_fault_in_order() -> None:
    faults = list(schedule(SEED, 1_800))
    assert Counter(fault.kind for fault in faults).keys() == set(Kind)
    assert all(one.at_s < next_.at_s for one, next_ in pairwise(faults))


@pytest.mark.timeout(480)
def test_separate_processes_lose_nothing_to_half_a_minute_of_faults() -> None:
    with programs():
        report = storm.run(storm.Plan(SEED, MINUTES), print)
    assert report.good, f"\n{report}"
