"""Composition root of the gateway."""

from collections.abc import Callable, Mapping

from starlette.types import ASGIApp

from contracts.keys import KeyRevoked
from kernel.http.access_tokens import AccessTokens
from kernel.secrets import Secrets
from kernel.service import Ground, Service
from kernel.settings import read_settings
from services.gateway.adapters.key_ring import KeyRing
from services.gateway.adapters.keys_service import KeysService
from services.gateway.api.authentication import Authority
from services.gateway.api.edge import Edge
from services.gateway.api.matching import RouteTable
from services.gateway.api.pages import Pages
from services.gateway.api.routes import GATEWAY, ROUTES
from services.gateway.settings import GatewaySettings

HERE = "/"


def compose(
    ground: Ground, secrets: Secrets, ready: Callable[[], bool], upstreams: Mapping[str, ASGIApp]
) -> Service:
    """The edge by the environment's settings."""
    settings = read_settings(GatewaySettings)
    access_tokens = AccessTokens.of(settings, secrets.jwt_secret, ground.clock)
    return create_service(settings, ground, access_tokens, upstreams, ready)


def create_service(
    settings: GatewaySettings,
    ground: Ground,
    access_tokens: AccessTokens,
    upstreams: Mapping[str, ASGIApp],
    ready: Callable[[], bool],
) -> Service:
    """The edge over `upstreams` (a service's app by its name), open while `ready` says so.

    Raises ValueError when the table routes to a service that is not there.
    """
    missing = sorted({route.service for route in ROUTES} - set(upstreams) - {GATEWAY})
    if missing:
        raise ValueError(f"the gateway routes to {', '.join(missing)}, which it was not given")
    keys = KeysService(upstreams["keys"], ground.internal_tokens)
    key_ring = KeyRing(keys.resolve, ground.clock)
    ground.bus.listen(KeyRevoked, key_ring.hear, key_ring.forget_all)
    edge = Edge(
        table=RouteTable(ROUTES),
        authority=Authority(key_ring, access_tokens, ground.internal_tokens, ground.clock),
        upstreams=upstreams,
        pages=Pages(ROUTES, upstreams, ready, settings.public_base_url or HERE),
        ready=ready,
    )
    return Service(name=GATEWAY, app=edge)
