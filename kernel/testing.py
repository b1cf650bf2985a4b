"""For tests: given/when/then over deciders, a clock turned by hand, and a bus that misbehaves."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

from contracts.envelope import Envelope, PublicEvent
from kernel.clock import SystemClock, new_id
from kernel.errors import Error
from kernel.messages import Decider

C = TypeVar("C")
E = TypeVar("E")
S = TypeVar("S")


class FakeClock:
    """Stands still until it is turned.

    It starts at the real time, because ids carry it; no test may depend on which time that is.
    """

    def __init__(self, start: datetime | None = None) -> None:
        self._now = SystemClock().now() if start is None else start

    def now(self) -> datetime:
        return self._now

    def turn(self, by: timedelta) -> None:
        self._now += by


@dataclass(frozen=True)
class Spec(Generic[C, E, S]):
    """`Spec(DECIDER).given(events).when(command).then(events)`, or `.refused(Kind, code)`."""

    decider: Decider[C, E, S]
    history: tuple[E, ...] = ()
    command: C | None = None

    def given(self, *events: E) -> "Spec[C, E, S]":
        return replace(self, history=events)

    def when(self, command: C) -> "Spec[C, E, S]":
        return replace(self, command=command)

    def then(self, *expected: E) -> None:
        assert tuple(self._decided()) == expected

    def then_nothing(self) -> None:
        assert tuple(self._decided()) == ()

    def refused(self, kind: type[Error], code: str) -> None:
        try:
            events = self._decided()
        except kind as error:
            if error.code == code:
                return
            raise AssertionError(f"refused as {error.code}, not {code}") from error
        raise AssertionError(f"not refused: {list(events)}")

    def _decided(self) -> Sequence[E]:
        assert self.command is not None, "say .when(command) first"
        state = self.decider.aggregate.fold(self.history)
        return self.decider.decide(self.command, state)


def envelope_of(
    event: PublicEvent, *, subject: str = "test-1", version: int = 1, correlation_id: str = "test"
) -> Envelope:
    """A message as `event`'s owner would send it."""
    return Envelope.of(
        event,
        event_id=new_id(),
        subject=subject,
        version=version,
        time=datetime(2026, 1, 1, tzinfo=UTC),
        correlation_id=correlation_id,
    )
