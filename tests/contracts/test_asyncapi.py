"""The document of the events is valid AsyncAPI 3.0, leads nowhere wrong, and says what is so.

Objects and types are judged by `asyncapi3`, which knows no references; those are followed here.
"""

import copy
import json
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from jsonschema import Draft7Validator

from contracts import asyncapi
from contracts.events import EVENTS
from contracts.generate import SCHEMAS, differences, examples

with warnings.catch_warnings():
    warnings.simplefilter("ignore", UserWarning)  # a field of its models is called `schema`
    from asyncapi3.models.asyncapi import AsyncAPI3

Document = dict[str, Any]
METASCHEMA = Draft7Validator(Draft7Validator.META_SCHEMA)


@pytest.fixture(scope="module")
def document() -> Document:
    return dict(json.loads((SCHEMAS / "asyncapi.json").read_text()))


def faults_in(document: Document) -> list[str]:
    """Why it is no AsyncAPI document; empty for one that is."""
    try:
        AsyncAPI3.model_validate_json(json.dumps(document), strict=True)
    except ValueError as error:
        return [str(error)]
    found = [f"{one} leads nowhere" for one in references(document) if not at(document, one)]
    if found:
        return found
    for name, operation in document["operations"].items():
        channel = operation["channel"]["$ref"]
        if not channel.startswith("#/channels/"):
            found.append(f"{name} has no channel of the root")
        found += [
            f"{name} has a message that its channel has not"
            for message in operation["messages"]
            if not message["$ref"].startswith(f"{channel}/messages/")
        ]
    for name, schema in document["components"]["schemas"].items():
        found += [f"{name}: {fault.message}" for fault in METASCHEMA.iter_errors(schema)]
    return found


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def at(document: Document, reference: str) -> Any:
    """What is referred to, also by way of another reference; None for nothing."""
    if not reference.startswith("#/"):
        return None
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found.get(part) if isinstance(found, dict) else None
    if isinstance(found, dict) and set(found) == {"$ref"}:
        return at(document, found["$ref"])
    return found


def test_is_a_valid_asyncapi_document(document: Document) -> None:
    assert document["asyncapi"] == "3.0.0"
    assert faults_in(document) == []


SENDS = "credits_sends_CreditsReserved"
ELSEWHERE = {"$ref": "#/channels/keys_events"}
PLANTED: dict[str, Callable[[Document], object]] = {
    "an operation of a channel that is missing": lambda it: it["channels"].pop("credits_events"),
    "an operation of another channel than its message": lambda it: it["operations"][SENDS].update(
        channel=ELSEWHERE
    ),
    "an operation without a channel": lambda it: it["operations"][SENDS].pop("channel"),
    "a message that is missing": lambda it: it["components"]["messages"].pop("CreditsReserved"),
    "a payload that is missing": lambda it: it["components"]["schemas"].pop("FileFacts"),
    "an action of AsyncAPI 2": lambda it: it["operations"][SENDS].update(action="publish"),
    "a misspelt field": lambda it: it["channels"]["credits_events"].update(adress="x"),
    "a wrong type": lambda it: it["channels"]["credits_events"]["bindings"]["amqp"][
        "exchange"
    ].update(durable="yes"),
    "no such exchange": lambda it: it["channels"]["credits_events"]["bindings"]["amqp"][
        "exchange"
    ].update(type="topics"),
    "a payload that is no schema": lambda it: it["components"]["schemas"]["CreditsReserved"].update(
        type="objekt"
    ),
    "no information": lambda it: it.pop("info"),
    "another version": lambda it: it.update(asyncapi="2.6.0"),
}


@pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED)
def test_a_planted_fault_is_seen(document: Document, plant: Callable[[Document], object]) -> None:
    planted = copy.deepcopy(document)
    plant(planted)
    assert faults_in(planted)


def test_is_made_alike_each_time() -> None:
    assert json.dumps(asyncapi.document(examples())) == json.dumps(asyncapi.document(examples()))


def test_a_stale_document_is_noticed(document: Document, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncapi, "VERSION", "3.1.0")
    assert differences() == ["contracts/schemas/asyncapi.json differs from the code"]


@pytest.mark.parametrize("name", EVENTS)
def test_every_event_is_sent_by_its_owner_and_received_by_all_who_must(
    document: Document, name: str
) -> None:
    event, said = EVENTS[name], set[tuple[str, str, str]]()
    for operation in document["operations"].values():
        channel = operation["channel"]["$ref"].rpartition("/")[2]
        if operation["messages"] == [{"$ref": f"#/channels/{channel}/messages/{name}"}]:
            said.add((operation["action"], operation["tags"][0]["name"], channel))
    assert said == {
        ("send", event.owner, f"{event.owner}_events"),
        *(("receive", consumer, f"{consumer}_inbox") for consumer in event.consumers),
        *(("receive", listener, f"{listener}_replica") for listener in event.listeners),
    }


@pytest.mark.parametrize("name", EVENTS)
def test_what_must_be_heard_may_not_be_lost(document: Document, name: str) -> None:
    event = EVENTS[name]
    sent = document["operations"][f"{event.owner}_sends_{name}"]["bindings"]["amqp"]
    assert sent["mandatory"] is bool(event.consumers)
    assert sent["deliveryMode"] == (2 if event.stored else 1)


@pytest.mark.parametrize("name", EVENTS)
def test_a_routing_key_is_an_address_of_its_owners_exchange(document: Document, name: str) -> None:
    event = EVENTS[name]
    channel = document["channels"][f"{event.owner}_events"]
    addresses = {
        channel["address"].replace("{event}", word)
        for word in channel["parameters"]["event"]["enum"]
    }
    assert event.routing_key() in addresses
    assert channel["bindings"]["amqp"]["exchange"]["name"] == f"{event.owner}.events"


@pytest.mark.parametrize("name", EVENTS)
def test_the_example_of_a_message_fits_its_schemas(document: Document, name: str) -> None:
    message = document["components"]["messages"][name]
    (example,) = message["examples"]
    for part in ("headers", "payload"):
        schema = {**at(document, message[part]["$ref"]), "components": document["components"]}
        Draft7Validator(schema).validate(example[part])


def test_queues_are_those_of_the_consumers(document: Document) -> None:
    queues = {
        name: channel["bindings"]["amqp"]["queue"]
        for name, channel in document["channels"].items()
        if channel["bindings"]["amqp"]["is"] == "queue"
    }
    assert {name: queue.get("name") for name, queue in queues.items()} == {
        "credits_inbox": "credits.inbox",
        "generation_inbox": "generation.inbox",
        "keys_inbox": "keys.inbox",
        "storage_inbox": "storage.inbox",
        "gateway_replica": None,
        "generation_replica": None,
    }
    assert {name for name, queue in queues.items() if queue["durable"]} == {
        name for name in queues if name.endswith("_inbox")
    }
