"""Spans: where each hangs in its trace, what it says, and what it must never say."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, cast

import httpx
import pytest
from fastapi import APIRouter
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import SpanKind, StatusCode
from pydantic import BaseModel

from contracts.envelope import Envelope
from contracts.keys import UserRegistered
from kernel.context import Origin, caused_by, current_origin
from kernel.errors import Rejected
from kernel.event_store import EventStore
from kernel.http import InternalTokens, create_app
from kernel.inbox import Inbox, Subscription, ensure_partitions
from kernel.outbox import Publisher
from kernel.sql import Database
from kernel.telemetry import tracing
from kernel.telemetry.exporting import Exporting
from kernel.telemetry.observing import observed
from kernel.testing import FakeClock
from kernel.unit import Unit
from tests.kernel.totals import (
    ADDING,
    SCHEMA,
    TOTAL,
    Add,
    StubbornBus,
    announce,
    registration,
    running,
)
from tests.kernel.tracing import Spans, parent_of, service_of, traced, traceparent_of

CLIENTS = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
UNSAMPLED = CLIENTS[:-2] + "00"
CANARY = "canary0123456789"


@pytest.fixture
def spans() -> Iterator[Spans]:
    with traced() as spans:
        yield spans


@pytest.fixture
async def store(database: Database, clock: FakeClock) -> EventStore:
    async with database.connection() as connection:
        await ensure_partitions(connection, SCHEMA, clock.now())
    return EventStore(database, SCHEMA, [TOTAL], clock=clock, announce=announce)


async def add_one(event: UserRegistered, unit: Unit) -> None:
    await unit.decide(ADDING, f"total-{event.account_id}", Add(1))


def hearing(store: EventStore, handle: Any = add_one) -> Inbox:
    heard = Subscription(UserRegistered, handle, lambda event: str(event.account_id))
    return Inbox("credits", store, [heard], tries_after_s=())


async def metadata(store: EventStore) -> list[dict[str, Any]]:
    async with store.database.connection() as connection:
        rows = await connection.fetch(f"SELECT metadata FROM {SCHEMA}.events ORDER BY position")
    return [row["metadata"] for row in rows]


async def published(store: EventStore) -> list[Envelope]:
    """What a publisher sends of a new event on a new stream."""
    bus = StubbornBus()
    publisher = Publisher(store, bus)
    with caused_by(Origin("request-1", None, CLIENTS), "test"):
        await store.handle(ADDING, "total-1", Add(1))
    async with running(publisher.run):
        assert await publisher.drain(20)
    return bus.published


async def test_a_decision_and_its_commit_hang_under_what_asked_for_them(
    spans: Spans, store: EventStore
) -> None:
    with caused_by(Origin("request-1", None, CLIENTS), "test"):
        await store.handle(ADDING, "total-1", Add(1))
    decide, commit = spans.one("decide"), spans.one("commit")
    assert parent_of(decide) == CLIENTS
    assert parent_of(commit) == traceparent_of(decide)
    assert (service_of(decide), decide.kind) == (SCHEMA, SpanKind.INTERNAL)


async def test_an_event_names_the_span_that_decided_it(spans: Spans, store: EventStore) -> None:
    with caused_by(Origin("request-1", None, CLIENTS), "test"):
        await store.handle(ADDING, "total-1", Add(1))
        assert current_origin().traceparent == CLIENTS
    (said,) = await metadata(store)
    assert said["traceparent"] == traceparent_of(spans.one("decide"))
    assert said["correlation_id"] == "request-1"


async def test_work_that_nobody_asked_for_begins_a_trace(spans: Spans, store: EventStore) -> None:
    await store.handle(ADDING, "total-1", Add(1))
    decide = spans.one("decide")
    (said,) = await metadata(store)
    assert (parent_of(decide), said["traceparent"]) == (None, traceparent_of(decide))


async def test_a_refusal_is_named_and_is_no_fault(spans: Spans, store: EventStore) -> None:
    with pytest.raises(Rejected):
        await store.handle(ADDING, "total-1", Add(1, total_max=0))
    decide = spans.one("decide")
    assert (decide.attributes or {})["error.type"] == "Rejected"
    assert decide.status.status_code is StatusCode.UNSET


async def test_a_fault_is_named_by_its_class_and_never_quoted(
    spans: Spans, store: EventStore
) -> None:
    async def work(_: Unit) -> None:
        raise RuntimeError(CANARY)

    with pytest.raises(RuntimeError):
        await store.transact(work)
    decide = spans.one("decide")
    assert (decide.attributes or {})["error.type"] == "RuntimeError"
    assert decide.status.status_code is StatusCode.ERROR
    assert CANARY not in spans.text()


async def test_a_message_is_sent_with_the_span_that_publishes_it(
    spans: Spans, store: EventStore
) -> None:
    (message,) = await published(store)
    publish = spans.one("publish CreditsReleased")
    assert message.traceparent == traceparent_of(publish)
    assert parent_of(publish) == traceparent_of(spans.one("decide"))
    assert publish.kind is SpanKind.PRODUCER
    assert publish.attributes == {
        "messaging.system": "memory",
        "messaging.destination.name": f"{SCHEMA}.events",
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.message.id": str(message.id),
        "messaging.message.conversation_id": "request-1",
    }


async def test_each_try_to_publish_is_a_span(spans: Spans, store: EventStore) -> None:
    bus = StubbornBus()
    bus.faults = [ConnectionError(CANARY)]
    publisher = Publisher(store, bus)
    await store.handle(ADDING, "total-1", Add(1))
    async with running(publisher.run):
        assert await publisher.drain(20)
    failed, confirmed = spans.named("publish CreditsReleased")
    assert (failed.attributes or {})["error.type"] == "ConnectionError"
    assert "error.type" not in (confirmed.attributes or {})
    assert bus.published[0].traceparent == traceparent_of(confirmed)


async def test_a_message_is_handled_as_a_child_of_its_sender_and_linked_to_it(
    spans: Spans, store: EventStore
) -> None:
    message = registration().model_copy(update={"traceparent": CLIENTS})
    await hearing(store).receive(message)
    handle = spans.one("handle UserRegistered")
    (link,) = handle.links
    assert parent_of(handle) == CLIENTS
    assert f"{link.context.trace_id:032x}-{link.context.span_id:016x}" in CLIENTS
    assert (service_of(handle), handle.kind) == ("credits", SpanKind.CONSUMER)
    assert (handle.attributes or {})["messaging.destination.name"] == "credits.inbox"
    assert parent_of(spans.one("decide")) == traceparent_of(handle)


async def test_messages_that_share_a_commit_stay_in_their_own_traces(
    spans: Spans, store: EventStore
) -> None:
    first = registration()
    messages = [
        first.model_copy(update={"id": other.id, "traceparent": f"00-{'a' * 31}{n}-{'b' * 16}-01"})
        for n, other in enumerate(registration() for _ in range(8))
    ]
    inbox = hearing(store)
    await asyncio.gather(*(inbox.receive(message) for message in messages))
    parents = [said["traceparent"] for said in await metadata(store)]
    handled = [traceparent_of(span) for span in spans.named("handle UserRegistered")]
    assert len(spans.named("decide")) < len(messages)
    assert sorted(parents) == sorted(handled)
    assert sorted(traceparent[3:35] for traceparent in parents) == [
        f"{'a' * 31}{n}" for n in range(8)
    ]


async def test_a_message_that_could_not_be_handled_says_so_in_its_span(
    spans: Spans, store: EventStore
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError(CANARY)

    await hearing(store, fail).receive(registration())
    handle = spans.one("handle UserRegistered")
    assert (handle.attributes or {})["error.type"] == "RuntimeError"
    assert handle.status.status_code is StatusCode.ERROR
    assert CANARY not in spans.text()


async def test_a_message_without_a_trace_begins_one(spans: Spans, store: EventStore) -> None:
    await hearing(store).receive(registration())
    handle = spans.one("handle UserRegistered")
    assert (parent_of(handle), list(handle.links)) == (None, [])


async def test_what_its_sender_does_not_record_is_not_recorded_and_keeps_its_trace(
    spans: Spans, store: EventStore
) -> None:
    with caused_by(Origin("request-1", None, UNSAMPLED), "test"):
        await store.handle(ADDING, "total-1", Add(1))
    (said,) = await metadata(store)
    assert spans.all == ()
    assert said["traceparent"].startswith(UNSAMPLED[:36])
    assert said["traceparent"].endswith("-00")


class Order(BaseModel):
    prompt: str


def routes() -> APIRouter:
    router = APIRouter(prefix="/api/v2")

    @router.post("/things/{thing}")
    async def make(thing: str, order: Order) -> dict[str, str | None]:
        return {"traceparent": current_origin().traceparent}

    @router.post("/broken")
    async def break_down() -> None:
        raise RuntimeError(CANARY)

    return router


@pytest.fixture
async def client() -> Any:
    async def ready() -> bool:
        return True

    tokens = InternalTokens(b"a secret of tests, and of nothing else", FakeClock())
    app = create_app("test", [routes()], internal_tokens=tokens, ready=ready)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://service.test") as client:
        yield client


async def test_a_request_is_known_by_its_routes_template(
    spans: Spans, client: httpx.AsyncClient
) -> None:
    answer = await client.post(
        f"/api/v2/things/{CANARY}?signature={CANARY}",
        json={"prompt": CANARY},
        headers={"traceparent": CLIENTS, "authorization": f"Bearer {CANARY}"},
    )
    span = spans.one("POST /api/v2/things/{thing}")
    assert parent_of(span) == CLIENTS
    assert answer.json() == {"traceparent": traceparent_of(span)}
    assert (service_of(span), span.kind) == ("test", SpanKind.SERVER)
    assert span.attributes == {
        "http.request.method": "POST",
        "http.route": "/api/v2/things/{thing}",
        "http.response.status_code": 200,
    }
    assert CANARY not in spans.text()


async def test_a_request_without_a_trace_is_where_one_begins(
    spans: Spans, client: httpx.AsyncClient
) -> None:
    answer = await client.post("/api/v2/things/a", json={"prompt": "b"})
    span = spans.one("POST /api/v2/things/{thing}")
    assert (parent_of(span), answer.json()["traceparent"]) == (None, traceparent_of(span))


@pytest.mark.parametrize(
    ("request_line", "name", "status"),
    [
        (f"GET /{CANARY}", "GET", 404),
        (f"BREW /{CANARY}", "HTTP", 404),
        ("BREW /api/v2/broken", "HTTP /api/v2/broken", 405),
        ("POST /api/v2/broken", "POST /api/v2/broken", 500),
    ],
)
async def test_no_request_can_choose_what_its_span_says(
    spans: Spans, client: httpx.AsyncClient, request_line: str, name: str, status: int
) -> None:
    await client.request(*request_line.split())
    (span,) = spans.all
    assert (span.name, (span.attributes or {})["http.response.status_code"]) == (name, status)
    assert (span.status.status_code is StatusCode.ERROR) == (status == 500)
    assert "BREW" not in spans.text()
    assert CANARY not in spans.text()


async def test_what_is_refused_is_not_repeated(spans: Spans, client: httpx.AsyncClient) -> None:
    await client.post("/api/v2/things/a", json={"prompt": [CANARY]})
    assert spans.all
    assert CANARY not in spans.text()


async def test_a_span_ends_when_its_work_is_cancelled(spans: Spans, store: EventStore) -> None:
    begun = asyncio.Event()

    async def work(_: Unit) -> None:
        begun.set()
        await asyncio.get_running_loop().create_future()

    task = asyncio.ensure_future(store.transact(work))
    await begun.wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert (spans.one("decide").attributes or {})["error.type"] == "CancelledError"


def test_nothing_of_the_sdk_is_imported_while_nobody_listens() -> None:
    code = (
        "import services.__main__, sys;"
        "print([name for name in sys.modules if name.startswith("
        "('opentelemetry.sdk', 'opentelemetry.exporter', 'google.protobuf'))])"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip() == "[]"


async def test_no_span_is_made_while_nobody_listens(store: EventStore) -> None:
    (message,) = await published(store)
    assert message.traceparent == CLIENTS
    assert tracing.deciding("a") is tracing.committing("b")


class DeafCollector(SpanProcessor):
    """Takes for ever to be shut down, until it is told to end."""

    def __init__(self) -> None:
        self.told = threading.Event()

    def on_end(self, span: ReadableSpan) -> None:
        pass

    def shutdown(self) -> None:
        self.told.wait(30)


def test_a_collector_that_does_not_answer_is_left_after_its_time() -> None:
    processor = DeafCollector()
    assert not Exporting(processor, "memory").close(0.01)
    processor.told.set()
    assert Exporting(processor, "memory").close(10)


async def test_a_process_is_traced_for_as_long_as_it_works() -> None:
    async def work() -> bool:
        return tracing.is_on()

    assert await observed(work(), "http://127.0.0.1:9")
    assert not tracing.is_on()
    assert not await observed(work(), None)


async def test_what_went_wrong_with_the_work_is_raised_and_tracing_ends() -> None:
    async def work() -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await observed(work(), "http://127.0.0.1:9")
    assert not tracing.is_on()
    assert cast("object", tracing.serving("a", "GET", current_origin(), begins=True)) is None
