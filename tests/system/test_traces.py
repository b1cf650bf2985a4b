"""One trace id joins gateway, generation, credits, storage and back, exported or not."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import pytest

from kernel.clock import new_id
from tests.system.collector import CollectedSpan, Collector, collecting
from tests.system.conftest import prepared
from tests.system.product import V2, Product, User, new_user, running, wait_until
from tests.system.whole_life import whole_life

SERVICES = {"gateway", "generation", "credits", "storage"}
ASKED = {"keys"}
"""Whether the task is made under its user's own key."""
TYPES = {
    "TaskCreated",
    "CreditsReserved",
    "TaskStarted",
    "OutputProduced",
    "OutputStored",
    "TaskCompleted",
}
EVENTS = " UNION ALL ".join(
    f"SELECT '{schema}' AS service, type, metadata FROM {schema}.events"
    for schema in sorted(SERVICES - {"gateway"})
)
PROMPT = f"canary-{new_id().hex}"


def create(user: User, **headers: str) -> None:
    """A task of one request, which is waited for by others."""
    answer = user.client.post(
        f"{V2}/generate",
        json={"model_id": "nano-banana-pro", "prompt": f"[[sim:canned]] {PROMPT}"},
        headers=headers,
    )
    assert user.wait(answer.raise_for_status().json()["task"]["id"])["status"] == "completed"


def services_logging(product: Product, trace_id: str) -> set[str]:
    return {line["service"] for line in product.log() if line.get("trace_id") == trace_id}


def trace_of(product: Product, request_id: str) -> str:
    """The one trace id in the log of that request."""
    (trace_id,) = {
        line["trace_id"] for line in product.log() if line.get("request_id") == request_id
    }
    return str(trace_id)


def events_of(product: Product, trace_id: str) -> set[tuple[str, str]]:
    return {
        (row["service"], row["type"])
        for row in product.rows(f"SELECT service, type, metadata::text AS said FROM ({EVENTS}) _")
        if f"00-{trace_id}-" in row["said"]
    }


@pytest.mark.parametrize("traced", [False, True], ids=["made_here", "of_the_client"])
def test_one_trace_id_joins_all_services_while_nobody_collects_spans(
    product: Product, user: User, *, traced: bool
) -> None:
    request_id, clients = f"test-{new_id().hex}", new_id().hex
    trace = {"traceparent": f"00-{clients}-00f067aa0ba902b7-00"} if traced else {}
    create(user, **{"X-Request-ID": request_id, **trace})

    trace_id = trace_of(product, request_id)
    assert (trace_id == clients) == traced
    wait_until(lambda: services_logging(product, trace_id) >= SERVICES)
    heard = {line.get("message_type") for line in product.log() if line.get("trace_id") == trace_id}
    assert {"TaskCreated", "CreditsReserved", "OutputProduced", "OutputStored"} <= heard
    recorded = events_of(product, trace_id)
    assert {service for service, _ in recorded} == SERVICES - {"gateway"}
    assert {"TaskCreated", "TaskReserved", "OutputProduced", "TaskCompleted"} <= {
        name for _, name in recorded
    }
    others = {line["request_id"] for line in product.log() if line.get("trace_id") == trace_id}
    assert others == {request_id}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@dataclass(frozen=True)
class Watched:
    """`spans` are those of one task's trace; `words` what somebody else was given, or gave."""

    spans: list[CollectedSpan]
    words: dict[str, str]


@pytest.fixture(scope="module")
def watched(collector: Collector) -> Watched:
    """From a product that was ended properly."""
    request_id = f"test-{new_id().hex}"
    with prepared("embedded") as unset:
        settings = {**unset.settings, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        with running(replace(unset, settings=settings)) as product, new_user(product) as user:
            create(user, **{"X-Request-ID": request_id})
            wait_until(lambda: user.balance()["reserved_credits"] == 0)
            trace_id = trace_of(product, request_id)
            words = whole_life(product)
            assert product.interrupt()[0] == 0
    return Watched([span for span in collector.spans if span.trace_id == trace_id], words)


@pytest.fixture
def spans(watched: Watched) -> list[CollectedSpan]:
    return watched.spans


def names(spans: Iterable[CollectedSpan], verb: str) -> set[tuple[str, str]]:
    return {
        (span.service, span.name.removeprefix(f"{verb} "))
        for span in spans
        if span.name.startswith(f"{verb} ")
    }


def test_the_spans_of_one_task_are_one_tree(spans: list[CollectedSpan]) -> None:
    assert {span.service for span in spans} == SERVICES | ASKED
    ids = {span.span_id for span in spans}
    (root,) = (span for span in spans if not span.parent_id)
    assert (root.service, root.name) == ("gateway", f"POST {V2}/generate")
    assert [span for span in spans if span.parent_id and span.parent_id not in ids] == []


def test_each_message_of_the_saga_is_published_and_handled_in_it(
    spans: list[CollectedSpan],
) -> None:
    published, handled = names(spans, "publish"), names(spans, "handle")
    assert {name for _, name in published} >= TYPES
    assert handled >= {
        ("credits", "TaskCreated"),
        ("generation", "CreditsReserved"),
        ("storage", "OutputProduced"),
        ("generation", "OutputStored"),
        ("credits", "TaskCompleted"),
    }


def test_who_handles_is_linked_to_who_published(spans: list[CollectedSpan]) -> None:
    by_id = {span.span_id: span for span in spans}
    for span in spans:
        if span.name.startswith("handle "):
            (linked,) = span.linked_ids
            assert by_id[linked].name == f"publish {span.name.removeprefix('handle ')}"
            assert span.parent_id == linked


def test_no_secret_and_no_text_of_a_user_is_sent_to_the_collector(
    watched: Watched, collector: Collector
) -> None:
    sent = b"".join(collector.bodies)
    assert b"/api/keys/mfa/verify" in sent, "its requests are there"
    forms = (PROMPT, "sk_live_", "nb_live_", "eyJ", "@example.com", "signature", "correct horse")
    for word in (*forms, *watched.words.values()):
        assert word.encode() not in sent
