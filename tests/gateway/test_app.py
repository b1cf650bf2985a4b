import pytest

from kernel.http.access_tokens import AccessTokens
from services.gateway.app import create_service
from services.gateway.settings import GatewaySettings
from tests.gateway.driving import World


async def test_refuses_to_route_to_a_service_that_is_not_there(world: World) -> None:
    tokens: AccessTokens = world.access_tokens
    with pytest.raises(ValueError, match="storage"):
        create_service(
            GatewaySettings(),
            world.platform,
            tokens,
            {"keys": world.keys, "generation": world.generation, "credits": world.credits},
            lambda: True,
        )


async def test_is_a_service_without_tables(world: World) -> None:
    assert world.service.name == "gateway"
    assert world.service.store is None
