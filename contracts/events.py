"""Every public event by its name on the bus; the one list that topology and schemas come from."""

from types import ModuleType

from contracts import credits, generation, keys, storage  # noqa: A004 - the service's name
from contracts.envelope import PublicEvent


def _declared_in(module: ModuleType) -> list[type[PublicEvent]]:
    found = (value for value in vars(module).values() if isinstance(value, type))
    return [
        event
        for event in found
        if issubclass(event, PublicEvent) and event.__module__ == module.__name__
    ]


EVENTS: dict[str, type[PublicEvent]] = {
    event.type_name(): event
    for module in (keys, credits, generation, storage)
    for event in _declared_in(module)
}
