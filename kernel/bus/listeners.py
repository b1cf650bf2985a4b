"""Who listens in this process; a listener's fault stops neither the publisher nor its peers."""

import asyncio
from collections.abc import Collection

import structlog

from contracts.envelope import Envelope, PublicEvent
from kernel.bus.port import Hear, Missed

HEAR_TIMEOUT_S = 1.0

_log = structlog.get_logger(__name__)


class Listeners:
    """By event; each is given `hear_timeout_s` to take notice."""

    def __init__(self, hear_timeout_s: float = HEAR_TIMEOUT_S) -> None:
        self._hear_timeout_s = hear_timeout_s
        self._by_type: dict[str, list[Hear]] = {}
        self._missed: list[Missed] = []

    @property
    def types(self) -> Collection[str]:
        """The names of the events that somebody listens to."""
        return self._by_type.keys()

    def add(self, event: type[PublicEvent], hear: Hear, missed: Missed) -> None:
        self._by_type.setdefault(event.type_name(), []).append(hear)
        self._missed.append(missed)

    async def tell(self, envelope: Envelope) -> None:
        for hear in self._by_type.get(envelope.type, ()):
            try:
                async with asyncio.timeout(self._hear_timeout_s):
                    await hear(envelope)
            except Exception:  # noqa: BLE001 - see above
                _log.exception("listener_failed", message_type=envelope.type)

    def missed(self) -> None:
        """Tell each that it may not have heard something."""
        for missed in self._missed:
            try:
                missed()
            except Exception:  # noqa: BLE001 - see above
                _log.exception("listener_failed")
