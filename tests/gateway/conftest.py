"""The edge, ready to be asked."""

import pytest

from tests.gateway.driving import World, bearer


@pytest.fixture
async def world() -> World:
    return World()


@pytest.fixture
def signed_in(world: World) -> tuple[str, str]:
    """The header of a person."""
    return bearer(world.token())
