"""The edge over the real services that hear: what is parked is seen and replayed from outside."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from contracts.envelope import Envelope
from kernel.clock import new_id
from kernel.http.access_tokens import AccessTokens
from kernel.http.token_keys import TokenKeys
from kernel.service import Platform, Service
from kernel.settings import read_settings
from services.credits.app import create_service as create_credits
from services.credits.settings import CreditsSettings
from services.generation.adapters.vendors import Vendors
from services.generation.app import create_service as create_generation
from services.generation.settings import GenerationSettings
from services.keys.app import create_service as create_keys
from services.keys.settings import KeysSettings
from services.storage.app import create_service as create_storage
from services.storage.settings import StorageSettings
from tests.fake_generation import FakeGeneration
from tests.gateway.driving import SECRET, Answer, World, bearer
from tests.kernel.totals import registration
from tests.own_keys import FakeKeys

LETTERS = "/api/admin/dead-letters"


@pytest.fixture
async def services(platform: Platform, tmp_path: Path) -> AsyncIterator[dict[str, Service]]:
    """Not started: a message is handled when it is given."""
    settings = read_settings(StorageSettings, SMARTSPEC_HOME=tmp_path)
    access_tokens = AccessTokens(
        TokenKeys.shared(SECRET, "HS256"), timedelta(minutes=30), platform.clock
    )
    services = {
        "credits": create_credits(
            read_settings(CreditsSettings, SMARTSPEC_HOME=tmp_path),
            platform,
            FakeGeneration(platform).peer,
        ),
        "generation": create_generation(
            read_settings(GenerationSettings), platform, Vendors({}, FakeKeys(platform).own_keys)
        ),
        "keys": create_keys(
            read_settings(KeysSettings, SMARTSPEC_HOME=tmp_path), platform, access_tokens
        ),
        "storage": create_storage(settings, platform),
    }
    yield services
    for service in services.values():
        await service.stop()


@pytest.fixture
def edge(services: dict[str, Service]) -> World:
    """Its internal tokens are of the same master key."""
    apps = {name: service.app for name, service in services.items() if service.app}
    keys = apps.pop("keys")
    world = World(**apps)
    world.keys.act = keys  # but for who the admin is
    return world


async def parked_in(service: Service, message_id: UUID) -> Envelope:
    """A message that it can't read."""
    assert service.inbox is not None
    await service.inbox.maintain()
    message = registration().model_copy(update={"id": message_id, "data": {"plan": "secret plan"}})
    await service.inbox.receive(message)
    return message


async def listed(edge: World) -> Answer:
    return await edge.ask("GET", LETTERS, [bearer(edge.token("admin"))])


async def test_every_service_that_hears_shows_its_letters_and_replays_them(
    edge: World, services: dict[str, Service]
) -> None:
    message_id = new_id()
    for service in services.values():
        await parked_in(service, message_id)
    before = await listed(edge)
    assert sorted(letter["consumer"] for letter in before.json["dead_letters"]) == sorted(services)
    assert {letter["message_id"] for letter in before.json["dead_letters"]} == {str(message_id)}
    assert b"secret plan" not in before.body
    admin = bearer(edge.token("admin"))
    replayed = await edge.ask("POST", f"{LETTERS}/{message_id}/replay", [admin])
    assert (replayed.status, replayed.json["consumers"]) == (202, sorted(services))
    assert (await listed(edge)).json["dead_letters"] == []
    again = await edge.ask("POST", f"{LETTERS}/{message_id}/replay", [admin])
    assert (again.status, again.code) == (404, "dead_letter_not_found")
