"""What the broker is given agrees with what the AsyncAPI document says of it."""

import json
from typing import Any

import pytest
from jsonschema import Draft7Validator

from contracts.envelope import Envelope
from contracts.events import EVENTS
from contracts.generate import SCHEMAS, example_path
from kernel.bus.amqp import PERSISTENT, properties_of
from kernel.bus.topology import Topology

TOPOLOGY = Topology()


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return dict(json.loads((SCHEMAS / "asyncapi.json").read_text()))


def test_the_document_names_the_exchanges_and_queues_that_are_declared(
    document: dict[str, Any],
) -> None:
    bindings = [channel["bindings"]["amqp"] for channel in document["channels"].values()]
    exchanges = {one["exchange"]["name"] for one in bindings if one["is"] == "routingKey"}
    queues = {one["queue"].get("name") for one in bindings if one["is"] == "queue"} - {None}
    assert exchanges == {TOPOLOGY.exchange(owner) for owner in TOPOLOGY.owners}
    assert queues == {TOPOLOGY.inbox(consumer) for consumer in TOPOLOGY.consumers}


@pytest.mark.parametrize("name", EVENTS)
def test_the_headers_of_a_message_are_those_of_the_document(
    document: dict[str, Any], name: str
) -> None:
    envelope = Envelope.model_validate_json(example_path(EVENTS[name]).read_text())
    envelope = envelope.model_copy(update={"causationid": str(envelope.id)})
    properties = properties_of(envelope, delivery_mode=PERSISTENT)
    schema = {
        **document["components"]["messages"][name]["headers"],
        "components": document["components"],
    }
    Draft7Validator(schema).validate(properties.headers)
    assert properties.message_type == name
    assert TOPOLOGY.route(name).mandatory is bool(EVENTS[name].consumers)


def test_two_systems_on_one_broker_share_no_name() -> None:
    one, other = Topology("one."), Topology("other.")
    names = [
        {
            *(topology.exchange(owner) for owner in topology.owners),
            *(topology.inbox(consumer) for consumer in topology.consumers),
            *(topology.crashed(consumer) for consumer in topology.consumers),
        }
        for topology in (one, other)
    ]
    assert names[0].isdisjoint(names[1])
