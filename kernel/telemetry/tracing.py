"""The spans of the product, each by its name; nothing is made of them while nobody listens.

A span's place in its trace is the origin's `traceparent` (`kernel.context`): while it runs it is
the current one, and so travels in events, messages and headers. How a span looks is
`kernel.telemetry.exporting`'s, which is imported only when they are exported.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Final

from contracts.envelope import Envelope
from kernel.context import Origin

if TYPE_CHECKING:
    from kernel.telemetry.exporting import Exporting, ServerSpan

_NOTHING: Final = nullcontext()
_exporting: "Exporting | None" = None


def export_to(exporting: "Exporting | None") -> None:
    """From now on the spans of this process go there; with None none are made.

    One for each process, as with logs: a span is asked for where no argument reaches.
    """
    global _exporting  # noqa: PLW0603 - asked at each span, so that it costs nothing when off
    _exporting = exporting


def is_on() -> bool:
    return _exporting is not None


def serving(service: str, method: str, origin: Origin, *, begins: bool) -> "ServerSpan | None":
    """A request as `service` answers it, None when nobody listens; `begins`: it came without a
    trace, so `origin`'s was made for it."""
    if _exporting is None:
        return None
    return _exporting.serving(service, method, origin, begins=begins)


def deciding(service: str) -> AbstractContextManager[None]:
    """A whole unit of work: waiting for a connection, reading, deciding, committing, each attempt
    of it."""
    if _exporting is None:
        return _NOTHING
    return _exporting.span(service, "decide")


def committing(service: str) -> AbstractContextManager[None]:
    """The writes of one attempt, inside `deciding`."""
    if _exporting is None:
        return _NOTHING
    return _exporting.span(service, "commit")


def publishing(service: str, envelope: Envelope) -> AbstractContextManager[Envelope]:
    """One try to publish, a child of what committed the event; yields the message as it is to be
    sent, with this span as its parent."""
    if _exporting is None:
        return nullcontext(envelope)
    return _exporting.publishing(service, envelope)


def handling(consumer: str, envelope: Envelope) -> AbstractContextManager[None]:
    """One try to handle: a child of the span that sent the message, so that one trace id joins
    all, and linked to it, as the conventions ask."""
    if _exporting is None:
        return _NOTHING
    return _exporting.handling(consumer, envelope)
