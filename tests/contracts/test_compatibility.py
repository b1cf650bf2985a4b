"""What services promised each other once must be readable for ever."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from contracts.envelope import Envelope, PublicEvent
from contracts.events import EVENTS
from contracts.generate import EXAMPLES, SCHEMAS, differences, example_path

FROZEN = sorted(EXAMPLES.glob("*.json"))
SERVICES = {path.parent.name for path in Path("services").glob("*/app.py")}


def test_generated_schemas_are_those_of_the_code() -> None:
    assert differences() == []


@pytest.mark.parametrize("path", FROZEN, ids=lambda path: path.stem)
def test_every_frozen_example_still_parses(path: Path) -> None:
    envelope = Envelope.model_validate_json(path.read_text())
    event = EVENTS[envelope.type].model_validate(envelope.data)
    assert says(event.model_dump(mode="json"), envelope.data)


def says(now: Any, frozen: Any) -> bool:
    """Whether all that was said then is there, at any depth."""
    if isinstance(now, Mapping) and isinstance(frozen, Mapping):
        return all(name in now and says(now[name], value) for name, value in frozen.items())
    return bool(now == frozen)


@pytest.mark.parametrize("path", FROZEN, ids=lambda path: path.stem)
def test_every_frozen_example_fits_its_schema(path: Path) -> None:
    envelope = json.loads(path.read_text())
    schema = json.loads((SCHEMAS / f"{envelope['type']}.json").read_text())
    Draft202012Validator(schema).validate(envelope["data"])


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
def test_a_field_that_a_newer_producer_adds_is_ignored(event: type[PublicEvent]) -> None:
    data = json.loads(example_path(event).read_text())["data"]
    assert event.model_validate({**data, "added_later": 1}) == event.model_validate(data)


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
def test_owner_and_consumers_are_services(event: type[PublicEvent]) -> None:
    assert event.owner in SERVICES
    assert {*event.consumers, *event.listeners} <= SERVICES


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
def test_no_event_carries_a_prompt_or_an_address(event: type[PublicEvent]) -> None:
    forbidden = {"prompt", "email", "password", "api_key", "script", "text"}
    assert not forbidden & set(event.model_fields)


def test_a_removed_field_would_be_noticed() -> None:
    """The check of frozen examples fails for an event that lost one of its fields."""

    class CreditsReserved(PublicEvent):
        pass

    envelope = Envelope.model_validate_json(example_path(EVENTS["CreditsReserved"]).read_text())
    event = CreditsReserved.model_validate(envelope.data)
    assert not says(event.model_dump(mode="json"), envelope.data)


def test_routing_keys_are_the_owner_and_the_event_in_snake_case() -> None:
    assert EVENTS["CreditsReserved"].routing_key() == "credits.credits_reserved"
