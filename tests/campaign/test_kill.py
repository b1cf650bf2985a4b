"""The campaign in the size of a test run. It runs once: the product brings its own server."""

import pytest

from tests.campaign.campaign import Plan, run

SEED = 20_260_101


@pytest.mark.timeout(180)
def test_loses_nothing_to_ten_kills_under_a_hundred_tasks() -> None:
    report = run(Plan(SEED, tasks=100, kills=10), print)
    assert report.good, f"\n{report}"
