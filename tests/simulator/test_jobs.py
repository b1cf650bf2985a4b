from dataclasses import replace

from services.simulator.domain import bill as bills
from services.simulator.domain.bill import Bill, difference, remaining_credits
from services.simulator.domain.commissions import Film, Picture, expected_ms
from services.simulator.domain.jobs import (
    FAILED,
    MODERATED,
    Job,
    Outcome,
    early_outcome,
    look,
    rendered_outcome,
    wants_render,
)
from services.simulator.domain.scenarios import Scenario


def job(*scenarios: Scenario, latency_ms: int = 0) -> Job:
    picture = Picture("a cat", 1, 64, 64, "png")
    return Job("t", "kie", "k", "m", "{}", picture, 18, 1_000_000, latency_ms, scenarios)


def test_a_job_waits_then_queues_then_generates() -> None:
    states = [
        look(job(), None, None, 1_000_010, 1).state,
        look(job(), None, None, 1_000_200, 2).state,
        look(job(), None, 1_000_200, 1_000_300, 3).state,
    ]
    assert states == ["waiting", "queuing", "generating"]


def test_progress_moves_and_arrives_only_with_the_result() -> None:
    slow = job(latency_ms=10_000)
    progress = [
        look(slow, None, 1_000_100, 1_000_000 + ms, 1).progress for ms in range(100, 9000, 500)
    ]
    assert progress == sorted(set(progress))
    assert progress[-1] < 100
    assert look(slow, Outcome("t", 1_010_000, 5), None, 1_010_000, 1).progress == 100


def test_a_long_film_is_most_of_the_way_when_it_was_expected_to_be_done() -> None:
    film = replace(job(), commission=Film("a cat", 1, 1280, 720, 30.0))
    expected = expected_ms(film.commission)
    progress = [
        look(film, None, 1_000_100, 1_000_100 + expected * tenths // 10, 1).progress
        for tenths in range(1, 31)
    ]
    assert progress == sorted(progress)
    assert progress[0] < 20
    assert 75 <= progress[9] <= 85
    assert progress[-1] <= 99


def test_a_result_is_not_told_before_its_time() -> None:
    outcome = rendered_outcome(job(latency_ms=5000), 1_000_100, 1_000_400)
    assert outcome.completed_ms == 1_005_000
    assert look(job(latency_ms=5000), outcome, None, 1_004_999, 1).state == "generating"
    assert look(job(latency_ms=5000), outcome, None, 1_005_000, 1).state == "success"


def test_moderation_may_come_before_or_after_rendering() -> None:
    before, after = Scenario("moderated"), Scenario("moderated", arguments={"when": "after"})
    early = early_outcome(job(before))
    assert early is not None
    assert early.fail_code == MODERATED
    assert wants_render(job(after))
    assert rendered_outcome(job(after), 1_000_000, 1_000_300).fail_code == MODERATED


def test_a_hanging_job_is_never_rendered_and_never_ends() -> None:
    hung = job(Scenario("hang"))
    assert not wants_render(hung)
    assert look(hung, None, None, 9_000_000, 1).state == "generating"


def test_states_go_backwards_at_every_other_look() -> None:
    wild, outcome = job(Scenario("state_backwards")), Outcome("t", 1_000_100, 5)
    states = [look(wild, outcome, None, 1_000_200, nth).state for nth in (1, 2, 3)]
    assert states == ["success", "waiting", "success"]


def test_a_success_is_charged_and_a_failure_is_not() -> None:
    promised = bills.accepted(Bill("k"), job())
    assert remaining_credits(promised, 100) == 82
    charged = bills.finished(promised, job(), Outcome("t", 1, 1))
    assert (charged.charged_credits, charged.promised_credits) == (18, 0)
    freed = bills.finished(promised, job(), Outcome("t", 1, 1, FAILED))
    assert remaining_credits(freed, 100) == 100


def test_what_is_no_longer_kept_stays_on_the_bill() -> None:
    whole = bills.accepted(bills.accepted(Bill("k"), job()), job())
    rest = difference(whole, bills.accepted(Bill("k"), job()))
    assert (rest.accepted, rest.promised_credits) == (1, 18)
