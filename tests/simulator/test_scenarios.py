import pytest

from kernel.errors import Invalid
from services.simulator.domain.scenarios import (
    Scenario,
    checked,
    choose,
    in_prompt,
    latency_ms,
    refusal,
    without_scenarios,
)


def test_reads_scenarios_out_of_a_prompt() -> None:
    found = in_prompt("a cat [[sim:latency seconds=1.5 spread_s=2]] at sea [[sim:fail]]")
    assert [(one.name, dict(one.arguments)) for one in found] == [
        ("latency", {"seconds": 1.5, "spread_s": 2.0}),
        ("fail", {}),
    ]


def test_leaves_unknown_names_as_words() -> None:
    assert in_prompt("[[sim:explode]]") == ()


def test_takes_scenarios_out_of_what_is_drawn() -> None:
    assert without_scenarios("a cat [[sim:fail]]") == "a cat"


def test_a_counted_scenario_ends() -> None:
    standing: tuple[Scenario, ...] = (Scenario("fail", left=2),)
    played = []
    for _ in range(3):
        due, standing = choose(standing, "k", "m")
        played.append(len(due))
    assert played == [1, 1, 0]


def test_a_scenario_for_another_key_or_model_is_neither_played_nor_counted() -> None:
    standing = (Scenario("fail", key="a", left=1), Scenario("hang", model="x", left=1))
    assert choose(standing, "b", "y") == ((), standing)


def test_of_two_with_one_name_the_earlier_is_played() -> None:
    first, second = Scenario("fail", left=1), Scenario("fail", left=1)
    due, after = choose((first, second), "k", "m")
    assert due == (first,)
    assert after == (second,)


def test_chance_is_decided_by_the_seed() -> None:
    def run(seed: int) -> list[int]:
        standing: tuple[Scenario, ...] = (Scenario("fail", seed=seed, arguments={"chance": 0.5}),)
        played = []
        for _ in range(40):
            due, standing = choose(standing, "k", "m")
            played.append(len(due))
        return played

    assert run(1) == run(1)
    assert run(1) != run(2)
    assert 8 < sum(run(1)) < 32


def test_refuses_a_request_only_as_often_as_asked() -> None:
    due = (Scenario("server_error", arguments={"times": 2.0}),)
    assert [refusal(due, "create", nth) is not None for nth in (1, 2, 3)] == [True, True, False]


def test_a_fault_at_the_look_leaves_the_creation_alone() -> None:
    due = (Scenario("server_error", arguments={"on": "look"}),)
    assert refusal(due, "create", 1) is None
    assert refusal(due, "look", 1) is not None
    assert refusal(due, "look", 2) is None


def test_latency_is_drawn_from_its_spread() -> None:
    arguments = {"seconds": 1.0, "spread_s": 2.0}
    drawn = {
        latency_ms((Scenario("latency", considered=n, arguments=arguments),), 0) for n in range(9)
    }
    assert len(drawn) > 5
    assert all(1000 <= ms <= 3000 for ms in drawn)


@pytest.mark.parametrize("given", ["inf", "-inf", "nan", "1e999", "many"])
def test_a_number_that_is_none_is_the_usual_one(given: str) -> None:
    (one,) = in_prompt(f"[[sim:server_error status={given} times={given}]]")
    assert (one.number("status", 500), one.times) == (500, None)


def test_refuses_a_scenario_nobody_can_play() -> None:
    with pytest.raises(Invalid):
        checked(Scenario("explode"))
