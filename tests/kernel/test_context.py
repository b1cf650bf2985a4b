import asyncio
import re

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from kernel.context import (
    Origin,
    caused_by,
    current_origin,
    origin_of_message,
    origin_of_request,
)
from tests.kernel.totals import registration

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_work_that_nobody_asked_for_has_an_id_of_its_own() -> None:
    assert current_origin().correlation_id != current_origin().correlation_id
    assert current_origin().causation_id is None


def test_everything_inside_is_on_behalf_of_the_origin() -> None:
    outer, inner = Origin("request-1"), Origin("request-2", "cause")
    with caused_by(outer, "test"):
        with caused_by(inner, "test"):
            assert current_origin() == inner
        assert current_origin() == outer
    assert current_origin() != outer


def test_an_exception_ends_the_origin_too() -> None:
    with pytest.raises(RuntimeError), caused_by(Origin("request-1"), "test"):
        raise RuntimeError
    assert current_origin().correlation_id != "request-1"
    assert structlog.contextvars.get_contextvars() == {}


def test_log_lines_carry_the_request_id_and_the_service() -> None:
    with caused_by(Origin("request-1"), "test"):
        assert structlog.contextvars.get_contextvars() == {
            "request_id": "request-1",
            "service": "test",
        }


async def test_origins_of_tasks_at_once_do_not_mix() -> None:
    names = ["request-1", "request-2"]
    both_inside = asyncio.Barrier(len(names))

    async def work(name: str) -> str:
        with caused_by(Origin(name), "test"):
            await both_inside.wait()
            return current_origin().correlation_id

    assert list(await asyncio.gather(*map(work, names))) == names


def test_a_message_hands_on_its_correlation_and_is_the_cause() -> None:
    message = registration()
    assert origin_of_message(message) == Origin(message.correlationid, str(message.id), None)


def test_well_formed_ids_of_a_client_are_kept() -> None:
    assert origin_of_request("client.id-01", TRACEPARENT) == Origin(
        "client.id-01", None, TRACEPARENT
    )


@pytest.mark.parametrize(
    "request_id", [None, "", "short", "x" * 129, "with space", "line\nbreak", "newline1\n", "ä" * 9]
)
def test_any_other_request_id_is_replaced(request_id: str | None) -> None:
    made = origin_of_request(request_id, None).correlation_id
    assert made != request_id
    assert origin_of_request(made, None).correlation_id == made


NO_TRACE = f"00-{'0' * 32}-00f067aa0ba902b7-01"
NO_PARENT = f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01"


@pytest.mark.parametrize(
    "traceparent",
    [None, "", "00-1-2-3", TRACEPARENT.upper(), TRACEPARENT + "\n", NO_TRACE, NO_PARENT],
)
def test_a_request_without_a_trace_begins_one(traceparent: str | None) -> None:
    made = origin_of_request("client.id-01", traceparent).traceparent
    assert made is not None
    assert made != traceparent
    assert origin_of_request("client.id-01", made).traceparent == made


def test_no_two_requests_begin_the_same_trace() -> None:
    made = [origin_of_request(None, None).traceparent or "" for _ in range(100)]
    assert len({traceparent.split("-")[1] for traceparent in made}) == 100


def test_a_trace_that_begins_here_says_whether_it_is_exported() -> None:
    silent, exported = (origin_of_request(None, None, sampled=said) for said in (False, True))
    assert (silent.traceparent or "")[-2:] == "00"
    assert (exported.traceparent or "")[-2:] == "01"


def test_work_that_nobody_asked_for_begins_a_trace_of_its_own() -> None:
    first, second = current_origin().traceparent, current_origin().traceparent
    assert first is not None
    assert first != second


def test_a_message_with_a_trace_that_is_none_is_heard_without_it() -> None:
    message = registration().model_copy(update={"traceparent": "forged"})
    assert origin_of_message(message).traceparent is None


@given(st.text())
def test_no_text_of_a_client_can_break_a_header_or_a_log_line(text: str) -> None:
    made = origin_of_request(text, text)
    assert made.correlation_id.isascii()
    assert made.correlation_id.isprintable()
    assert made.traceparent is not None
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", made.traceparent)


def test_log_lines_carry_the_trace_of_a_traced_request() -> None:
    with caused_by(Origin("request-1", None, TRACEPARENT), "test"):
        bound = structlog.contextvars.get_contextvars()
    assert bound["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
