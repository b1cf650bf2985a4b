"""Composition root of the gateway."""

from collections.abc import Callable, Mapping

from starlette.types import ASGIApp

from contracts.keys import KeyRevoked
from kernel.http.access_tokens import AccessTokens
from kernel.service import Platform, Service
from services.gateway.adapters.key_ring import KeyRing
from services.gateway.adapters.keys_service import KeysService
from services.gateway.api.authentication import Authority
from services.gateway.api.edge import Edge
from services.gateway.api.matching import RouteTable
from services.gateway.api.pages import Pages
from services.gateway.api.routes import GATEWAY, ROUTES
from services.gateway.settings import GatewaySettings

HERE = "/"


def create_service(
    settings: GatewaySettings,
    platform: Platform,
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
    keys = KeysService(upstreams["keys"], platform.internal_tokens)
    key_ring = KeyRing(keys.resolve, platform.clock)
    platform.bus.listen(KeyRevoked, key_ring.hear)
    edge = Edge(
        table=RouteTable(ROUTES),
        authority=Authority(key_ring, access_tokens, platform.internal_tokens, platform.clock),
        upstreams=upstreams,
        pages=Pages(ROUTES, upstreams, ready, settings.public_base_url or HERE),
        ready=ready,
    )
    return Service(name=GATEWAY, app=edge)
