"""Which faults there are, and when each comes: a seed says it all."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from services.simulator.domain.scenarios import draw

FIRST_AT_S: Final = 3.0
PAUSE_MIN_S: Final = 0.5
PAUSE_MAX_S: Final = 4.0


class Kind(StrEnum):
    KILL = "kill -9 of a service"
    MISSING = "a service missing for a minute"
    STOP = "SIGSTOP of a service"
    CRASH = "crash point"
    BROKER_KILL = "kill -9 of RabbitMQ"
    BROKER_STALL = "RabbitMQ stands still, then kill -9"
    BROKER_RESTART = "restart of RabbitMQ"
    BROKER_CUT = "RabbitMQ cut off"
    BROKER_HALF_OPEN = "RabbitMQ half-open"
    BROKER_RESET = "connections to RabbitMQ reset"
    BROKER_SLOW = "RabbitMQ slow and late"
    QUEUE_GONE = "an empty queue deleted while its consumer is away"
    POSTGRES_KILL = "kill -9 of PostgreSQL"
    POSTGRES_SESSIONS = "PostgreSQL sessions terminated"
    POSTGRES_CUT = "PostgreSQL cut off"
    POSTGRES_RESET = "connections to PostgreSQL reset"
    POSTGRES_SLOW = "PostgreSQL slow and late"
    HELD_TRANSACTION = "a write transaction held open"
    LOCKED_HEAD = "a ledger head locked"
    DUPLICATE = "messages repeated"
    LATE = "messages repeated a minute later"


WEIGHTS: Final[Mapping[Kind, float]] = {
    Kind.KILL: 4,
    Kind.MISSING: 0.4,
    Kind.STOP: 2,
    Kind.CRASH: 8,
    Kind.BROKER_KILL: 1,
    Kind.BROKER_STALL: 0.7,
    Kind.BROKER_RESTART: 0.7,
    Kind.BROKER_CUT: 1.5,
    Kind.BROKER_HALF_OPEN: 1,
    Kind.BROKER_RESET: 2,
    Kind.BROKER_SLOW: 1.5,
    Kind.QUEUE_GONE: 0.7,
    Kind.POSTGRES_KILL: 1,
    Kind.POSTGRES_SESSIONS: 4,
    Kind.POSTGRES_CUT: 1,
    Kind.POSTGRES_RESET: 2,
    Kind.POSTGRES_SLOW: 1.5,
    Kind.HELD_TRANSACTION: 1,
    Kind.LOCKED_HEAD: 1,
    Kind.DUPLICATE: 4,
    Kind.LATE: 2,
}
"""How often each comes, beside the others."""


@dataclass(frozen=True, slots=True)
class Fault:
    """`at_s` since the load began. `dice(name)` (0..1) is for what it needs to choose."""

    number: int
    at_s: float
    kind: Kind
    seed: int

    def dice(self, name: str) -> float:
        return draw(self.seed, f"{self.number}:{name}")

    def between(self, name: str, low: float, high: float) -> float:
        return low + (high - low) * self.dice(name)

    def one_of(self, name: str, choices: Sequence[str]) -> str:
        return choices[int(self.dice(name) * len(choices))]


def schedule(seed: int, for_s: float, kinds: Sequence[Kind] = tuple(Kind)) -> Iterator[Fault]:
    """The faults of one campaign, in order."""
    at_s, number = FIRST_AT_S, 0
    while at_s < for_s:
        yield Fault(number, at_s, _drawn(draw(seed, f"kind:{number}"), kinds), seed)
        number += 1
        at_s += PAUSE_MIN_S + (PAUSE_MAX_S - PAUSE_MIN_S) * draw(seed, f"pause:{number}")


def _drawn(dice: float, kinds: Sequence[Kind]) -> Kind:
    mark = dice * sum(WEIGHTS[kind] for kind in kinds)
    for kind in kinds:
        mark -= WEIGHTS[kind]
        if mark < 0:
            return kind
    return kinds[-1]
