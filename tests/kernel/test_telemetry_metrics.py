"""Metrics: what is counted, under names by Prometheus' rules, with labels that stay few."""

import asyncio
import itertools
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, Request
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from contracts.events import EVENTS
from contracts.keys import UserRegistered
from kernel.clock import new_id
from kernel.errors import Rejected, Unavailable
from kernel.event_store import EventStore
from kernel.http import InternalTokens, create_app
from kernel.inbox import RETRIES_AFTER_S, Inbox, Subscription, ensure_partitions
from kernel.outbox import Publisher
from kernel.sql import Database
from kernel.telemetry.backlog import Backlog
from kernel.telemetry.exposition import exposition, metrics_app
from kernel.telemetry.loop_lag import LoopLag
from kernel.telemetry.metrics import REGISTRY
from kernel.testing import FakeClock
from kernel.unit import Unit
from tests.gateway.driving import ask
from tests.kernel.totals import (
    ADDING,
    SCHEMA,
    TOTAL,
    Add,
    StubbornBus,
    announce,
    eventually,
    registration,
    release,
    run_sql,
    running,
)

CANARY = "canary0123456789"


def value(name: str, **labels: str) -> float:
    """What the registry says now; 0 for what has not been seen yet."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


class Added:
    """How much a sample has grown since this was made: the registry is the whole process's."""

    def __init__(self, name: str, **labels: str) -> None:
        self._name, self._labels = name, labels
        self._before = value(name, **labels)

    def __call__(self) -> float:
        return value(self._name, **self._labels) - self._before


# --- Messages


@pytest.fixture
async def store(database: Database, clock: FakeClock) -> EventStore:
    async with database.connection() as connection:
        await ensure_partitions(connection, SCHEMA, clock.now())
    return EventStore(database, SCHEMA, [TOTAL], clock=clock, announce=announce)


def hearing(store: EventStore, *faults: Exception, tries_after_s: Iterable[float] = ()) -> Inbox:
    left = list(faults)

    async def handle(event: UserRegistered, unit: Unit) -> None:
        if left:
            raise left.pop(0)
        await unit.decide(ADDING, f"total-{event.account_id}", Add(1))

    heard = Subscription(UserRegistered, handle, lambda event: str(event.account_id))
    return Inbox("credits", store, [heard], tries_after_s=tuple(tries_after_s))


def handled(outcome: str, message_type: str = "UserRegistered") -> Added:
    return Added(
        "smartspec_messages_handled_total", consumer="credits", type=message_type, outcome=outcome
    )


async def test_a_message_is_counted_as_done_once_and_then_as_repeated(store: EventStore) -> None:
    done, repeated = handled("done"), handled("repeated")
    inbox, message = hearing(store), registration()
    await inbox.receive(message)
    await inbox.receive(message)
    assert (done(), repeated()) == (1, 1)


async def test_a_message_that_failed_is_counted_by_where_it_went(
    store: EventStore, clock: FakeClock
) -> None:
    retry, parked, done = handled("retry"), handled("parked"), handled("done")
    faults = [Unavailable("busy", "Busy.") for _ in range(len(RETRIES_AFTER_S) + 1)]
    inbox = hearing(store, *faults)
    await inbox.receive(registration())
    for delay_s in RETRIES_AFTER_S:
        clock.turn(timedelta(seconds=delay_s))
        await inbox.retry_due()
    assert (retry(), parked(), done()) == (len(RETRIES_AFTER_S), 1, 0)


async def test_a_refused_message_is_counted_as_parked(store: EventStore) -> None:
    parked = handled("parked")
    await hearing(store, Rejected("never", "Never.")).receive(registration())
    assert parked() == 1


async def test_tries_that_follow_soon_are_counted_too(store: EventStore) -> None:
    retry, done = handled("retry"), handled("done")
    inbox = hearing(store, RuntimeError(), RuntimeError(), tries_after_s=(0.0, 0.0))
    await inbox.receive(registration())
    await eventually(lambda: done() == 1)
    assert retry() == 2


async def test_types_of_no_contract_share_one_label(store: EventStore) -> None:
    parked = handled("parked", "unknown")
    for _ in range(3):
        strange = registration().model_copy(update={"type": f"Made{new_id().hex}", "id": new_id()})
        await hearing(store).receive(strange)
    assert parked() == 3
    assert "Made" not in exposition()[0].decode()


async def test_tells_how_long_handling_took_and_how_old_the_message_was(
    store: EventStore, clock: FakeClock
) -> None:
    labels = {"consumer": "credits", "type": "UserRegistered"}
    tries = Added("smartspec_message_handle_duration_seconds_count", **labels)
    ages = Added("smartspec_message_age_seconds_sum", **labels)
    message = registration().model_copy(update={"time": clock.now() - timedelta(seconds=90)})
    await hearing(store).receive(message)
    assert tries() == 1
    assert ages() == pytest.approx(90)


def said(outcome: str) -> Added:
    return Added(
        "smartspec_messages_published_total",
        service=SCHEMA,
        type="CreditsReleased",
        outcome=outcome,
    )


async def test_each_try_to_publish_is_counted(store: EventStore) -> None:
    confirmed, failed = said("confirmed"), said("failed")
    took = Added("smartspec_publish_duration_seconds_count", service=SCHEMA)
    bus = StubbornBus()
    bus.faults = [ConnectionError(), asyncio.CancelledError()]
    publisher = Publisher(store, bus)
    await store.handle(ADDING, "total-1", Add(1))
    async with running(publisher.run):
        assert await publisher.drain(20)
    assert (confirmed(), failed(), took()) == (1, 2, 3)


# --- Backlog


def backlog(store: EventStore, service: str = SCHEMA, every_s: float = 60) -> Backlog:
    return Backlog(service, store.database, store.schema, every_s)


async def test_an_empty_service_has_no_backlog(store: EventStore) -> None:
    await backlog(store).read()
    assert value("smartspec_outbox_pending", service=SCHEMA) == 0
    assert value("smartspec_outbox_oldest_age_seconds", service=SCHEMA) == 0
    for state in ("retry", "parked"):
        assert value("smartspec_inbox_messages", service=SCHEMA, state=state) == 0
        assert value("smartspec_inbox_oldest_age_seconds", service=SCHEMA, state=state) == 0


async def test_rows_whose_process_has_died_are_pending_too(store: EventStore) -> None:
    await store.handle(ADDING, "total-1", Add(1))
    await store.handle(ADDING, "total-2", Add(1))
    await run_sql(
        store.database,
        f"UPDATE {SCHEMA}.outbox SET created_at = clock_timestamp() - interval '1 hour'"
        f" WHERE id = (SELECT min(id) FROM {SCHEMA}.outbox)",
    )
    await backlog(store).read()
    assert value("smartspec_outbox_pending", service=SCHEMA) == 2
    age_s = value("smartspec_outbox_oldest_age_seconds", service=SCHEMA)
    assert 3_600 <= age_s < 3_660


async def test_messages_that_wait_and_those_that_are_parked_are_told_apart(
    store: EventStore,
) -> None:
    message = registration()
    await hearing(store, Unavailable("busy", "Busy.")).receive(message)
    for _ in range(2):
        await hearing(store, Rejected("never", "Never.")).receive(registration())
    await backlog(store).read()
    assert value("smartspec_inbox_messages", service=SCHEMA, state="retry") == 1
    assert value("smartspec_inbox_messages", service=SCHEMA, state="parked") == 2
    for state in ("retry", "parked"):
        age_s = value("smartspec_inbox_oldest_age_seconds", service=SCHEMA, state=state)
        assert 0 < age_s < 60


async def test_a_backlog_that_cannot_be_read_is_not_shown_as_it_was(
    store: EventStore, database_dsn: str
) -> None:
    away = await Database.connect(database_dsn)
    loop = Backlog("away", away, store.schema, 0.001)
    labels = {"service": "away"}
    async with running(loop.run):
        await eventually(lambda: REGISTRY.get_sample_value("smartspec_outbox_pending", labels) == 0)
        await away.close()
        await eventually(
            lambda: REGISTRY.get_sample_value("smartspec_outbox_pending", labels) is None
        )


# --- Loop and pool


async def test_a_loop_that_was_held_up_says_how_long() -> None:
    looks = Added("smartspec_event_loop_lag_seconds_count")
    late_s = Added("smartspec_event_loop_lag_seconds_sum")
    readings = itertools.count(step=3)  # three seconds pass each time that the clock is read
    async with running(LoopLag(0.001, lambda: next(readings)).run):
        await eventually(lambda: looks() >= 2)
    assert late_s() == pytest.approx(looks() * (3 - 0.001))


async def test_waiting_for_a_connection_is_measured(database: Database) -> None:
    waits = Added("smartspec_database_pool_wait_seconds_count")
    async with database.connection(), database.transaction():
        pass
    assert waits() == 2


async def test_connections_in_use_are_told_from_idle_ones(database: Database) -> None:
    in_use = Added("smartspec_database_pool_connections", state="in_use")
    idle = value("smartspec_database_pool_connections", state="idle")
    async with database.connection():
        assert in_use() == 1
        assert value("smartspec_database_pool_connections", state="idle") == idle - 1
    assert in_use() == 0


async def test_a_closed_pool_is_counted_no_more(database_dsn: str) -> None:
    before = value("smartspec_database_pool_connections", state="idle")
    opened = await Database.connect(database_dsn)
    assert value("smartspec_database_pool_connections", state="idle") > before
    await opened.close()
    assert value("smartspec_database_pool_connections", state="idle") == before


# --- HTTP


def routes() -> APIRouter:
    router = APIRouter(prefix="/api")

    @router.get("/things/{thing}")
    async def find(thing: str) -> dict[str, str]:
        return {"thing": thing}

    @router.post("/broken")
    async def break_down(request: Request) -> None:
        raise RuntimeError(CANARY)

    return router


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async def ready() -> bool:
        return True

    tokens = InternalTokens(b"a secret of tests, and of nothing else", FakeClock())
    app = create_app("made-up", [routes()], internal_tokens=tokens, ready=ready)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://service.test") as client:
        yield client


def requests(method: str, route: str, status: str) -> Added:
    labels = {"service": "made-up", "method": method, "route": route, "status": status}
    return Added("smartspec_http_requests_total", **labels)


async def test_requests_are_counted_by_the_template_of_their_route(
    client: httpx.AsyncClient,
) -> None:
    found = requests("GET", "/api/things/{thing}", "200")
    took = Added(
        "smartspec_http_request_duration_seconds_count",
        service="made-up",
        method="GET",
        route="/api/things/{thing}",
    )
    for _ in range(3):
        await client.get(f"/api/things/{new_id()}?signature={CANARY}")
    assert (found(), took()) == (3, 3)


async def test_what_no_route_matches_is_counted_as_one(client: httpx.AsyncClient) -> None:
    missing, other = requests("GET", "unmatched", "404"), requests("_OTHER", "unmatched", "404")
    await client.get(f"/{CANARY}")
    await client.get("/elsewhere")
    await client.request("BREW", f"/{CANARY}")
    assert (missing(), other()) == (2, 1)


async def test_a_fault_is_counted_as_500(client: httpx.AsyncClient) -> None:
    broken = requests("POST", "/api/broken", "500")
    await client.post("/api/broken")
    assert broken() == 1


async def test_nothing_that_a_client_sends_is_in_a_label(client: httpx.AsyncClient) -> None:
    await client.get(f"/api/things/{CANARY}?{CANARY}={CANARY}", headers={"x-request-id": CANARY})
    await client.request(CANARY.upper(), f"/{CANARY}")
    assert CANARY not in exposition()[0].decode().lower()


async def test_every_service_shows_its_metrics_beside_its_health(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.get("/metrics")
    assert answer.headers["content-type"] == exposition()[1]
    assert "smartspec_http_requests_total" in families(answer.text)
    assert "/metrics" not in (await client.get("/openapi.json")).json()["paths"]


async def test_speaks_openmetrics_to_who_asks_for_it(client: httpx.AsyncClient) -> None:
    accept = "application/openmetrics-text;version=1.0.0"
    answer = await client.get("/metrics", headers={"accept": accept})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


async def test_the_internal_port_serves_metrics_and_nothing_else() -> None:
    shown = await ask(metrics_app, "GET", "/metrics")
    assert (shown.status, shown.one("content-type")) == (200, exposition()[1])
    assert "smartspec_http_requests_total" in families(shown.body.decode())
    assert (await ask(metrics_app, "HEAD", "/metrics")).body == b""
    for method, path in (("GET", "/"), ("POST", "/metrics"), ("GET", "/metrics/x")):
        assert (await ask(metrics_app, method, path)).status == 404


async def test_the_internal_port_lives_and_ends_with_its_server() -> None:
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    answers: list[Any] = []

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        answers.append(message["type"])

    await metrics_app({"type": "lifespan"}, receive, send)
    assert answers == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


# --- Names


def families(text: str) -> dict[str, Metric]:
    """By the name that is read: a counter's with its `_total`."""
    return {
        f"{family.name}_total" if family.type == "counter" else family.name: family
        for family in text_string_to_metric_families(text)
    }


BASE_UNITS = ("seconds", "bytes", "total", "info", "ratio")
COUNTS_OF_THINGS = {
    "smartspec_audit_unsealed_logs",
    "smartspec_ledger_sealed_position",
    "smartspec_outbox_pending",
    "smartspec_platform_losses_units",
    "smartspec_reconciliation_differences",
    "smartspec_storage_orphans",
    "smartspec_inbox_messages",
    "smartspec_database_pool_connections",
}
STATES = {"smartspec_rate_limit_fallback"}
OTHER_UNITS = re.compile(r"_(ms|milliseconds|us|minutes|hours|days|kb|mb|kilobytes|percent)(_|$)")
LABELS = {
    *("service", "consumer", "type", "outcome", "method", "route", "status", "state", "le"),
    *("provider", "fault", "key", "asked"),
}


def faults_in(name: str, family: Metric) -> list[str]:
    """What https://prometheus.io/docs/practices/naming/ and `promtool check metrics` object to."""
    kind = family.type
    labels = {label for sample in family.samples for label in sample.labels}
    rules = {
        "is in snake case, with the application first": re.fullmatch(r"smartspec(_[a-z]+)+", name),
        "has HELP that is a sentence": re.fullmatch(r"[A-Z].*\.", family.documentation),
        "has a type": kind in {"counter", "gauge", "histogram"},
        "ends in _total only as a counter": name.endswith("_total") == (kind == "counter"),
        "is in base units": not OTHER_UNITS.search(name),
        "names its unit last": name.endswith(BASE_UNITS) or name in COUNTS_OF_THINGS | STATES,
        "does not name its type": not re.search(r"(counter|gauge|histogram)", name),
        "takes no reserved suffix": not name.endswith(("_count", "_sum", "_bucket", "_created")),
        "has labels that are few": labels <= LABELS,
    }
    return [f"{name} is a metric that {rule}" for rule, held in rules.items() if not held]


def test_every_metric_keeps_prometheus_rules() -> None:
    shown = families(exposition()[0].decode())
    ours = {name: family for name, family in shown.items() if not name.startswith("process_")}
    assert len(ours) >= 14
    assert [fault for name, family in ours.items() for fault in faults_in(name, family)] == []


@pytest.mark.parametrize(
    "text",
    [
        "# TYPE smartspec_wait_ms gauge\n# HELP smartspec_wait_ms Waited.\nsmartspec_wait_ms 1",
        "# TYPE smartspec_a_total gauge\n# HELP smartspec_a_total All.\nsmartspec_a_total 1",
        "# TYPE smartspec_a_seconds gauge\nsmartspec_a_seconds 1",
        "# TYPE wait_seconds gauge\n# HELP wait_seconds Waited.\nwait_seconds 1",
        '# TYPE smartspec_ratio gauge\n# HELP smartspec_ratio A.\nsmartspec_ratio{user_id="7"} 1',
    ],
)
def test_the_rules_see_a_planted_fault(text: str) -> None:
    assert [
        fault for name, family in families(f"{text}\n").items() for fault in faults_in(name, family)
    ]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool on this machine")
def test_promtool_has_no_objection() -> None:
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=exposition()[0], capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def test_every_type_of_the_contracts_is_a_label_of_its_own() -> None:
    from kernel.telemetry.metrics import type_label

    assert {type_label(name) for name in EVENTS} == set(EVENTS)
    assert type_label(release().type) == "CreditsReleased"
