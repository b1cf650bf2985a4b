"""Events and states to JSON and back, with upcasts of what older versions wrote."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import TypeAdapter

from kernel.messages import Aggregate

_adapters: Final[dict[type, TypeAdapter[Any]]] = {}


class EventCodec:
    """Knows every event class of one service by name."""

    def __init__(self, aggregates: Sequence[Aggregate[Any, Any]]) -> None:
        self._by_name: dict[str, tuple[Aggregate[Any, Any], TypeAdapter[Any]]] = {}
        self._by_class: dict[type, Aggregate[Any, Any]] = {}
        self._by_stream_prefix: dict[str, Aggregate[Any, Any]] = {}
        self._states: dict[str, TypeAdapter[Any]] = {}
        for aggregate in aggregates:
            self._by_stream_prefix[aggregate.name] = aggregate
            self._states[aggregate.name] = _adapter(aggregate.state)
            for event in aggregate.events:
                if event.__name__ in self._by_name:
                    raise ValueError(f"two events are called {event.__name__}")
                self._by_name[event.__name__] = (aggregate, _adapter(event))
                self._by_class[event] = aggregate

    def aggregate_of(self, event: object) -> Aggregate[Any, Any]:
        return self._by_class[type(event)]

    def aggregate_of_stream(self, stream_id: str) -> Aggregate[Any, Any]:
        """The aggregate whose name the stream's id begins with."""
        return self._by_stream_prefix[stream_id.split("-", 1)[0]]

    def schema_version(self, event: object) -> int:
        return self.aggregate_of(event).schema_versions.get(type(event).__name__, 1)

    def encode(self, event: object) -> dict[str, Any]:
        adapter = self._by_name[type(event).__name__][1]
        encoded: dict[str, Any] = adapter.dump_python(event, mode="json")
        return encoded

    def decode(self, name: str, schema_version: int, data: Mapping[str, Any]) -> Any:
        """The event as today's class, lifted step by step from the version it was written in."""
        aggregate, adapter = self._by_name[name]
        raw = dict(data)
        for version in range(schema_version, aggregate.schema_versions.get(name, 1)):
            raw = aggregate.upcasts[name, version](raw)
        return adapter.validate_python(raw)

    def encode_state(self, aggregate: Aggregate[Any, Any], state: object) -> Any:
        return self._states[aggregate.name].dump_python(state, mode="json")

    def decode_state(self, aggregate: Aggregate[Any, Any], raw: object) -> Any:
        return self._states[aggregate.name].validate_python(raw)


def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    """One for each class of the process: making one takes a millisecond."""
    known = _adapters.get(kind)
    if known is None:
        known = _adapters[kind] = TypeAdapter(kind)
    return known
