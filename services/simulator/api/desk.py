"""What is behind every vendor's counter: keys, orders taken or refused, notes, waiting, callbacks.

It knows no protocol: a vendor's module says in its own words what this one finds.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from kernel.clock import new_id
from services.simulator.adapters.journal import Journal
from services.simulator.adapters.outside import Unreadable
from services.simulator.adapters.stage import Stage
from services.simulator.adapters.studio import Studio
from services.simulator.adapters.uploads import Uploads
from services.simulator.api.answers import (
    BROKEN,
    BodyMalformed,
    BodyTooLarge,
    Broken,
    CutConnection,
    broken_answer,
    json_body,
    server_status,
)
from services.simulator.api.callbacks import Callbacks, Compose
from services.simulator.domain.bill import remaining_credits
from services.simulator.domain.commissions import Film
from services.simulator.domain.jobs import Job, View
from services.simulator.domain.orders import Order, Refused
from services.simulator.domain.scenarios import Scenario, latency_ms, refusal
from services.simulator.settings import SimulatorSettings

MAX_PROMPT_CHARS_NOTED: Final = 500
LOOK_EVERY_S: Final = 0.02
ACCEPTED: Final = 200

Handler = Callable[[Request], Awaitable[Response]]


def key_digest(key: str) -> str:
    """What stands for a key wherever one is remembered or shown."""
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()[:12]


def origin(request: Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc}{request.scope.get('root_path', '')}"


@dataclass(frozen=True)
class Room:
    """What all desks share."""

    settings: SimulatorSettings
    studio: Studio
    journal: Journal
    stage: Stage
    uploads: Uploads
    callbacks: Callbacks


@dataclass(frozen=True)
class Desk:
    """One vendor's counter. `faults` are the scenarios that it has words for."""

    room: Room
    vendor: str
    faults: Mapping[str, Refused]
    say: Callable[[Refused], Response]
    malformed: Refused
    too_large: Refused

    def route(self, path: str, method: str, handler: Handler, operation: str = "") -> BaseRoute:
        """A route whose refusals are said in the vendor's form, and noted if it is an operation."""

        async def endpoint(request: Request) -> Response:
            try:
                return await handler(request)
            except Refused as refused:
                found = refused
            except BodyTooLarge:
                found = self.too_large
            except BodyMalformed:
                found = self.malformed
            except Broken as broken:
                status = server_status(broken.fault) if broken.fault.name == "server_error" else 0
                self._note(request, operation, status)
                return broken_answer(broken.fault)
            self._note(request, operation, found.code)
            return self.say(found)

        return Route(path, endpoint, methods=[method])

    def key(self, request: Request, key: str) -> str:
        """The digest of the caller's key. Raises the vendor's refusal if there is none."""
        if not key.strip():
            raise self.faults["unauthorized"].anew()
        request.state.key = key_digest(key.strip())
        return str(request.state.key)

    def bearer(self, request: Request) -> str:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        return self.key(request, key if scheme.lower() == "bearer" else "")

    async def body(self, request: Request) -> Any:
        """Raises `BodyTooLarge` or `BodyMalformed`."""
        return await json_body(request, self.room.settings.max_body_bytes)

    async def take(
        self,
        request: Request,
        operation: str,
        order: Order,
        compose: Compose | None = None,
        *,
        webhook: str = "",
    ) -> Job:
        """The job made of an order. Raises `Refused` or `Broken` as a scenario or a limit has it.

        `compose` makes the callbacks to the order's `callback_url` and to the key's `webhook`.
        """
        request.state.order = order
        key = request.state.key
        fault, scenarios = self.room.stage.play(key, order.model, order.prompt)
        self.play(request, fault)
        if self.left(key) < order.price_credits:
            raise self.faults["no_credits"].anew()
        if self.room.studio.full:
            raise self.faults["rate_limited_then_ok"].anew()
        job, first_frame = await self._job(key, order, scenarios)
        self._note(request, operation, ACCEPTED, job.task_id)
        if compose is not None:
            for url in {order.callback_url, webhook} - {""}:
                self.room.callbacks.expect(job, url, compose)
        self.room.studio.accept(job, first_frame)
        return job

    def play(self, request: Request, fault: Scenario | None) -> None:
        """Answer with a fault, if there is one and the vendor knows the kind."""
        if fault is None:
            return
        words = self.faults.get(fault.name)
        if words is not None or fault.name in BROKEN:
            request.state.fault = fault.name
        if words is not None:
            again = words.anew()
            again.retry_after_s = max(0, int(fault.number("retry_after", again.retry_after_s)))
            if fault.name == "server_error":
                again.code = server_status(fault)
            raise again
        if fault.name in BROKEN:
            raise Broken(fault)

    def look(self, request: Request, task_id: str) -> tuple[Job, View] | None:
        """(job, what is said of it now), or nothing known to this vendor and key."""
        found = self.room.studio.look(task_id)
        if found is None or (found[0].vendor, found[0].key) != (self.vendor, request.state.key):
            return None
        job, view, nth = found
        self.play(request, refusal(job.scenarios, "look", nth))
        return job, view

    async def ended(self, job: Job) -> View | None:
        """What is said of a job once it has ended; nothing if that takes longer than an answer."""
        try:
            async with asyncio.timeout(self.room.settings.answer_timeout_s):
                while (view := self.room.studio.peek(job.task_id)) is None or (  # noqa: ASYNC110
                    view.state not in {"success", "fail"} or job.has("lost")
                ):
                    await asyncio.sleep(LOOK_EVERY_S)  # the studio tells nobody of it
                return view
        except TimeoutError:
            return None

    def sent(self, job: Job, response: Response) -> Response:
        """The answer of an accepted order, unless it gets lost."""
        return CutConnection() if job.has("answer_lost") else response

    def left(self, key: str) -> int:
        """Credits of the vendor that a key has left."""
        bill = self.room.journal.bill(self.vendor, key)
        return remaining_credits(bill, self.room.settings.granted_credits)

    async def _job(
        self, key: str, order: Order, scenarios: tuple[Scenario, ...]
    ) -> tuple[Job, bytes]:
        """(the job, the picture that its film begins with or nothing)."""
        commission, first_frame = order.commission, b""
        try:
            paths = [await self.room.uploads.obtain(one) for one in order.inputs]
        except Unreadable:
            scenarios = (*scenarios, Scenario("download_failed"))
            paths = []
        if isinstance(commission, Film) and paths and paths[0] is not None:
            commission = replace(commission, first_frame=paths[0].name)
            first_frame = await asyncio.to_thread(paths[0].read_bytes)
        job = Job(
            task_id=new_id().hex,
            vendor=self.vendor,
            key=key,
            model=order.model,
            param=order.param,
            commission=commission,
            price_credits=order.price_credits,
            created_ms=self.room.studio.now_ms(),
            latency_ms=latency_ms(scenarios, self.room.settings.latency_s),
            scenarios=scenarios,
        )
        return job, first_frame

    def _note(self, request: Request, operation: str, code: int, task_id: str = "") -> None:
        if not operation:
            return
        order: Order | None = getattr(request.state, "order", None)
        self.room.journal.ask(
            {
                "at_ms": self.room.studio.now_ms(),
                "vendor": self.vendor,
                "operation": operation,
                "key": getattr(request.state, "key", ""),
                "model": order.model if order else "",
                "prompt": order.prompt[:MAX_PROMPT_CHARS_NOTED] if order else "",
                "code": code,
                "task_id": task_id,
                "fault": getattr(request.state, "fault", ""),
            }
        )


@dataclass
class Remembered:
    """The newest `most` answers by key, for a time: what an idempotency key stands for."""

    most: int
    keep_ms: int
    entries: OrderedDict[str, tuple[int, str, Any]] = field(default_factory=OrderedDict)

    def find(self, name: str, now_ms: int) -> tuple[str, Any] | None:
        """(the digest of the first request, its answer)."""
        entry = self.entries.get(name)
        if entry is None or entry[0] <= now_ms - self.keep_ms:
            return None
        return entry[1:]

    def keep(self, name: str, now_ms: int, digest: str, answer: Any) -> None:
        self.entries[name] = (now_ms, digest, answer)
        self.entries.move_to_end(name)
        while len(self.entries) > self.most:
            self.entries.popitem(last=False)
