"""The AsyncAPI document of everything that services tell each other, made from the events alone.

AsyncAPI 3.0.0 (https://www.asyncapi.com/docs/reference/specification/v3.0.0) with the AMQP bindings
0.3.0. It describes the whole product, so each operation is tagged with the service that does it.
"""

import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic.json_schema import models_json_schema

from contracts.envelope import Envelope, PublicEvent
from contracts.events import EVENTS

VERSION: Final = "3.0.0"
BINDING_VERSION: Final = "0.3.0"
CONTENT_TYPE: Final = "application/json"
PERSISTENT: Final = 2
TRANSIENT: Final = 1
HEADERS: Final = "MessageHeaders"
_SCHEMAS: Final = "#/components/schemas/"
_INFO: Final = {
    "title": "SmartSpec events",
    "version": "1",
    "description": (
        "Facts that services tell each other over RabbitMQ. Attributes follow CloudEvents 1.0: in"
        " the properties `message_id` (id), `type`, `correlation_id` and `timestamp` (whole"
        " seconds), the rest in headers; the body is the data alone. Events change by addition"
        " only; a message may come twice and in any order."
    ),
    "license": {"name": "Apache-2.0"},
}
# AMQP has no null: what a message has not is no header of it.
_HEADERS: Final = {
    "type": "object",
    "required": [
        "cloudEvents:specversion",
        "cloudEvents:source",
        "cloudEvents:subject",
        "cloudEvents:schemaversion",
        "cloudEvents:streamversion",
        "cloudEvents:time",
    ],
    "properties": {
        "cloudEvents:specversion": {"const": "1.0"},
        "cloudEvents:source": {
            "type": "string",
            "description": "The service that says it, as `smartspec/<service>`.",
        },
        "cloudEvents:subject": {"type": "string", "description": "The stream that it is of."},
        "cloudEvents:schemaversion": {"type": "integer", "minimum": 1},
        "cloudEvents:streamversion": {
            "type": "integer",
            "minimum": 1,
            "description": "Its place in that stream.",
        },
        "cloudEvents:time": {
            "type": "string",
            "format": "date-time",
            "description": "When it happened, to the microsecond.",
        },
        "cloudEvents:causationid": {
            "type": "string",
            "description": "The message or request that it follows from.",
        },
        "traceparent": {"type": "string", "description": "W3C Trace Context."},
    },
}

Events = Iterable[type[PublicEvent]]


def document(examples: Mapping[str, Envelope]) -> dict[str, Any]:
    """The document of all events, with the example of each type in `examples`."""
    events = list(EVENTS.values())
    _, schemas = models_json_schema(
        [(event, "serialization") for event in events], ref_template=f"{_SCHEMAS}{{model}}"
    )
    return {
        "asyncapi": VERSION,
        "info": _INFO,
        "defaultContentType": CONTENT_TYPE,
        "channels": {
            **{_exchange(owner): _said(owner, events) for owner in _owners(events)},
            **{_inbox(name): _inbox_channel(name, events) for name in _consumers(events)},
            **{_replica(name): _replica_channel(name, events) for name in _listeners(events)},
        },
        "operations": {
            name: operation for event in events for name, operation in _operations(event)
        },
        "components": {
            "messages": {
                event.type_name(): _message(event, examples.get(event.type_name()))
                for event in events
            },
            "schemas": {HEADERS: _HEADERS, **schemas["$defs"]},
        },
    }


def _owners(events: Events) -> list[str]:
    return sorted({event.owner for event in events})


def _consumers(events: Events) -> list[str]:
    return sorted({name for event in events for name in event.consumers})


def _listeners(events: Events) -> list[str]:
    return sorted({name for event in events for name in event.listeners})


def _exchange(owner: str) -> str:
    return f"{owner}_events"


def _inbox(consumer: str) -> str:
    return f"{consumer}_inbox"


def _replica(listener: str) -> str:
    return f"{listener}_replica"


def _said(owner: str, events: Events) -> dict[str, Any]:
    """The exchange of a service: the routing key is the address, one for each event."""
    own = [event for event in events if event.owner == owner]
    exchange = {
        "name": f"{owner}.events",
        "type": "topic",
        "durable": True,
        "autoDelete": False,
        "vhost": "/",
    }
    names = [event.routing_key().removeprefix(f"{owner}.") for event in own]
    return {
        "address": f"{owner}.{{event}}",
        "title": f"What {owner} says",
        "parameters": {"event": {"enum": names, "description": "The event in snake case."}},
        "messages": _messages(own),
        "bindings": _amqp({"is": "routingKey", "exchange": exchange}),
    }


def _inbox_channel(consumer: str, events: Events) -> dict[str, Any]:
    queue = {
        "name": f"{consumer}.inbox",
        "durable": True,
        "exclusive": False,
        "autoDelete": False,
        "vhost": "/",
    }
    return {
        "address": f"{consumer}.inbox",
        "title": f"What {consumer} must hear",
        "description": "A quorum queue: each message is handled once by one of the replicas.",
        "messages": _messages(event for event in events if consumer in event.consumers),
        "bindings": _amqp({"is": "queue", "queue": queue}),
    }


def _replica_channel(listener: str, events: Events) -> dict[str, Any]:
    queue = {"durable": False, "exclusive": True, "autoDelete": True, "vhost": "/"}
    return {
        "address": None,
        "title": f"What each replica of {listener} hears as it happens",
        "description": "A queue of each replica's own, named by the broker; it may miss messages.",
        "messages": _messages(event for event in events if listener in event.listeners),
        "bindings": _amqp({"is": "queue", "queue": queue}),
    }


def _messages(events: Events) -> dict[str, Any]:
    return {
        event.type_name(): {"$ref": f"#/components/messages/{event.type_name()}"}
        for event in events
    }


def _operations(event: type[PublicEvent]) -> Iterable[tuple[str, dict[str, Any]]]:
    """Its owner sends it; each consumer receives it for good, each listener in passing."""
    name, channel = event.type_name(), _exchange(event.owner)
    sending = {
        "deliveryMode": PERSISTENT if event.stored else TRANSIENT,
        "mandatory": bool(event.consumers),
        "timestamp": True,
    }
    yield f"{event.owner}_sends_{name}", _operation("send", event.owner, event, channel, sending)
    receiving = {"ack": True}
    for consumer in event.consumers:
        heard = _operation("receive", consumer, event, _inbox(consumer), receiving)
        yield f"{consumer}_receives_{name}", heard
    for listener in event.listeners:
        heard = _operation("receive", listener, event, _replica(listener), receiving)
        yield f"{listener}_hears_{name}", heard


def _operation(
    action: str, service: str, event: type[PublicEvent], channel: str, binding: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{event.type_name()}"}],
        "tags": [{"name": service}],
        "bindings": _amqp(binding),
    }


def _message(event: type[PublicEvent], example: Envelope | None) -> dict[str, Any]:
    name = event.type_name()
    return {
        "name": name,
        "title": _in_words(name),
        **({"description": inspect.cleandoc(event.__doc__)} if event.__doc__ else {}),
        "contentType": CONTENT_TYPE,
        "headers": {"$ref": f"{_SCHEMAS}{HEADERS}"},
        "payload": {"$ref": f"{_SCHEMAS}{name}"},
        "bindings": _amqp({"messageType": name}),
        **({"examples": [_example(example)]} if example is not None else {}),
        "x-routing-key": event.routing_key(),
        "x-schema-version": event.schema_version,
    }


def _example(envelope: Envelope) -> dict[str, Any]:
    attributes = envelope.model_dump(mode="json")
    headers = {name: attributes.get(name.rpartition(":")[2]) for name in _HEADERS["properties"]}
    headers["cloudEvents:specversion"] = "1.0"
    return {
        "name": envelope.type,
        "headers": {name: value for name, value in headers.items() if value is not None},
        "payload": attributes["data"],
    }


def _amqp(binding: Mapping[str, Any]) -> dict[str, Any]:
    return {"amqp": {**binding, "bindingVersion": BINDING_VERSION}}


def _in_words(name: str) -> str:
    """`Credits reserved` of `CreditsReserved`."""
    return re.sub(r"(?<!^)(?=[A-Z])", " ", name).capitalize()
