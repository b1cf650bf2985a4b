"""When a vendor calls back, and with what: honestly once, or as a scenario has it."""

from dataclasses import dataclass
from typing import Final, Literal

from services.simulator.domain.scenarios import Scenario

Kind = Literal["true", "stale", "forged"]
"""How the job ended; that it is still at work; a lie with a signature that does not fit."""

AGAIN_AFTER_S: Final = 0.05
TIMES_MAX: Final = 10
LATE_MAX_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """`after_s` counts from the delivery before it."""

    kind: Kind
    after_s: float = 0.0


def at_acceptance(scenarios: tuple[Scenario, ...]) -> tuple[Delivery, ...]:
    """What is sent before the job has ended: nothing, if nobody lies."""
    forged = _named(scenarios, "callback_forged")
    early = forged is not None and forged.text("when", "before") == "before"
    return (Delivery("forged"),) if early else ()


def at_end(scenarios: tuple[Scenario, ...]) -> tuple[Delivery, ...]:
    """What is sent once the job has ended."""
    sent: list[Delivery] = []
    if not _named(scenarios, "callback_lost"):
        late = _named(scenarios, "callback_late")
        after_s = min(late.number("seconds", 2.0), LATE_MAX_S) if late else 0.0
        sent.append(Delivery("true", max(0.0, after_s)))
    if again := _named(scenarios, "callback_duplicate"):
        times = min(max(int(again.number("times", 2)), 1), TIMES_MAX)
        sent += [Delivery("true", AGAIN_AFTER_S)] * (times - 1)
    if _named(scenarios, "callback_reordered"):
        sent.append(Delivery("stale", AGAIN_AFTER_S))
    forged = _named(scenarios, "callback_forged")
    if forged and forged.text("when", "before") != "before":
        sent.append(Delivery("forged", AGAIN_AFTER_S))
    return tuple(sent)


def _named(scenarios: tuple[Scenario, ...], name: str) -> Scenario | None:
    return next((one for one in scenarios if one.name == name), None)
