"""Frames as pamqp, which knows the whole protocol, reads them."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pamqp.frame
import pytest
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from contracts.envelope import Envelope
from kernel.bus.amqp import PERSISTENT, body_of, properties_of
from kernel.bus.frames import ack_frame, publish_frames
from kernel.bus.topology import Route
from tests.kernel.totals import registration

ROUTE = Route("keys.events", "keys.user_registered", mandatory=True)
CHANNEL = 300


def read(data: bytes) -> list[Any]:
    """The frames in `data`, all of one channel."""
    frames = []
    while data:
        size, channel, frame = pamqp.frame.unmarshal(data)
        assert channel == CHANNEL
        frames.append(frame)
        data = data[size:]
    return frames


def published(envelope: Envelope, body_frame_max: int = 100_000) -> list[Any]:
    body = body_of(envelope)
    return read(
        publish_frames(envelope, body, ROUTE, channel=CHANNEL, body_frame_max=body_frame_max)
    )


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"causationid": "0190a000-0000-7000-8000-000000000000"},
        {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
        {"subject": "user-\N{GREEK SMALL LETTER ALPHA}" * 100, "streamversion": 2**31 - 1},
        {"time": datetime(2026, 1, 2, 3, 4, 5, 678, UTC), "id": UUID(int=2**128 - 1)},
    ],
)
def test_properties_are_those_that_pamqp_would_have_written(change: dict[str, Any]) -> None:
    envelope = registration().model_copy(update=change)
    _, header, _ = published(envelope)
    assert isinstance(header, ContentHeader)
    wanted = ContentHeader(
        body_size=len(body_of(envelope)),
        properties=properties_of(envelope, delivery_mode=PERSISTENT),
    )
    (through_pamqp,) = read(pamqp.frame.marshal(wanted, CHANNEL))
    assert header.body_size == wanted.body_size
    assert dict(header.properties) == dict(through_pamqp.properties)


def test_a_publish_goes_to_its_route() -> None:
    publish, _, _ = published(registration())
    assert isinstance(publish, Basic.Publish)
    assert (publish.exchange, publish.routing_key) == (ROUTE.exchange, ROUTE.routing_key)
    assert publish.mandatory


def test_a_body_that_is_too_long_for_one_frame_is_cut() -> None:
    envelope = registration()
    bodies = published(envelope, body_frame_max=50)[2:]
    assert all(isinstance(body, ContentBody) and len(body.value) <= 50 for body in bodies)
    assert len(bodies) > 1
    assert b"".join(body.value for body in bodies) == body_of(envelope)


def test_an_id_that_no_short_text_can_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        published(registration().model_copy(update={"correlationid": "x" * 256}))


@pytest.mark.parametrize("multiple", [True, False])
def test_an_ack_names_its_delivery(*, multiple: bool) -> None:
    (ack,) = read(ack_frame(CHANNEL, 2**40, multiple=multiple))
    assert isinstance(ack, Basic.Ack)
    assert (ack.delivery_tag, ack.multiple) == (2**40, multiple)
