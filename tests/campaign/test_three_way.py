"""The comparison of the three books, on entries made by hand."""

from dataclasses import replace

import pytest

from tests.campaign.three_way import Difference, Item, Job, Kind, Task, compare

TASK = Task(
    request="words",
    completed=True,
    outputs=1,
    kept=frozenset({0}),
    late=frozenset(),
    charged_units=10_000,
)
FAILED = replace(TASK, completed=False, kept=frozenset(), charged_units=0)
JOB = Job("t1", 0, 1, "kie", "a")
LOST = replace(JOB, vendor_job=None)
ITEM = Item("kie", "a", "words", 18, 18)


@pytest.mark.parametrize("job", [JOB, LOST], ids=["by its id", "by its request"])
def test_a_job_that_was_made_billed_delivered_and_paid_is_no_difference(job: Job) -> None:
    assert compare([ITEM], [job], {"t1": TASK}) == []


def test_a_job_that_failed_and_cost_nothing_is_no_difference() -> None:
    assert compare([replace(ITEM, charged=0)], [JOB], {"t1": FAILED}) == []


def test_a_first_attempt_that_cost_nothing_is_no_difference() -> None:
    again = replace(JOB, attempt=2, vendor="google", vendor_job=None)
    billed = Item("google", "g", "words", 14, 14)
    assert compare([billed], [LOST, again], {"t1": TASK}) == []


@pytest.mark.parametrize(
    ("kind", "items", "jobs", "task"),
    [
        (Kind.BILLED_NOT_DELIVERED, [ITEM], [JOB], FAILED),
        (Kind.BILLED_NOT_DELIVERED, [ITEM], [LOST], FAILED),
        (Kind.BILLED_NOT_DELIVERED, [replace(ITEM, request="no words of ours")], [], FAILED),
        (Kind.LATE, [ITEM], [JOB], replace(FAILED, late=frozenset({0}))),
        (Kind.PRICE_DRIFT, [replace(ITEM, charged=54)], [JOB], TASK),
        (Kind.SUBMITTED_TWICE, [replace(ITEM, vendor_job="b"), ITEM], [JOB], TASK),
        (Kind.DELIVERED_NOT_BILLED, [replace(ITEM, charged=0)], [JOB], TASK),
        (Kind.DELIVERED_NOT_BILLED, [], [JOB], TASK),
    ],
)
def test_each_difference_has_a_name(
    kind: Kind, items: list[Item], jobs: list[Job], task: Task
) -> None:
    assert [one.kind for one in compare(items, jobs, {"t1": task})] == [kind]


def test_two_attempts_at_one_output_that_are_both_billed_are_named() -> None:
    items = [ITEM, replace(ITEM, vendor_job="b")]
    jobs = [JOB, replace(JOB, attempt=2, vendor_job="b")]
    assert compare(items, jobs, {"t1": TASK}) == [Difference(Kind.SUBMITTED_TWICE, "kie", "b")]


def test_a_user_who_paid_for_an_output_that_is_not_there_is_named() -> None:
    task = replace(TASK, kept=frozenset())
    assert compare([ITEM], [JOB], {"t1": task}) == [
        Difference(Kind.CHARGED_WITHOUT_OUTPUT, "", "t1")
    ]
