"""The functional core's vocabulary: aggregates and deciders. Pure; all a `domain.py` builds on.

An aggregate folds events into a state; a decider adds the rule that turns a command into events.
Commands, events and states are frozen dataclasses; time and ids arrive inside the command.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

C = TypeVar("C")
E = TypeVar("E")
S = TypeVar("S")

Upcast = Callable[[dict[str, Any]], dict[str, Any]]
"""Raw JSON of schema version N -> raw JSON of version N+1. Pure."""


@dataclass(frozen=True)
class Aggregate(Generic[E, S]):
    """A stream's shape: `name` prefixes its stream ids, `events` are all that it may hold.

    `schema_versions` gives the current version of an event class (1 when absent) and `upcasts` the
    step from each older one, keyed by event name and the version that it starts from.
    """

    name: str
    state: type[S]
    initial_state: Callable[[], S]
    evolve: Callable[[S, E], S]
    events: tuple[type[E], ...]
    schema_versions: Mapping[str, int] = field(default_factory=dict)
    upcasts: Mapping[tuple[str, int], Upcast] = field(default_factory=dict)

    def stream_id(self, identity: object) -> str:
        """`account-0190...` for the account of that id."""
        return f"{self.name}-{identity}"

    def fold(self, events: Iterable[E], state: S | None = None) -> S:
        """The state after `events`, from `state` or from the beginning."""
        folded = self.initial_state() if state is None else state
        for event in events:
            folded = self.evolve(folded, event)
        return folded


@dataclass(frozen=True)
class Decider(Generic[C, E, S]):
    """An aggregate and its rule: `decide(command, state)` returns the events that follow, none
    when there is nothing to do, and raises a refusal of `kernel.errors` when it must not be."""

    aggregate: Aggregate[E, S]
    decide: Callable[[C, S], Sequence[E]]
