"""Composition root of the gateway."""

from collections.abc import Callable, Mapping

from starlette.types import ASGIApp

from kernel.clock import Clock
from kernel.http.access_tokens import AccessTokens
from kernel.secrets import Secrets
from kernel.service import Ground, Service
from kernel.settings import WrongSettings, read_settings
from services.gateway.adapters.fallback_limits import FallbackLimits
from services.gateway.adapters.http_upstream import HttpUpstream
from services.gateway.adapters.key_ring import KeyRing
from services.gateway.adapters.key_uses import KeyUses
from services.gateway.adapters.keys_service import KeysService
from services.gateway.adapters.limits import Limits
from services.gateway.adapters.memory_limits import MemoryLimits
from services.gateway.adapters.session_ring import SessionRing
from services.gateway.api.authentication import Authority
from services.gateway.api.cors import for_origins
from services.gateway.api.dead_letters import CONSUMERS, DeadLetters
from services.gateway.api.edge import Edge
from services.gateway.api.limiting import Limiting
from services.gateway.api.matching import RouteTable
from services.gateway.api.pages import Pages
from services.gateway.api.routes import GATEWAY, ROUTES
from services.gateway.settings import GatewaySettings

HERE = "/"


def compose(
    ground: Ground,
    secrets: Secrets,
    ready: Callable[[], bool],
    upstreams: Mapping[str, ASGIApp] | None = None,
) -> Service:
    """The edge by the environment's settings, over services of this process or of others."""
    settings = read_settings(GatewaySettings)
    access_tokens = AccessTokens.of(settings, secrets.jwt_secret, ground.clock)
    reached = http_upstreams(settings) if upstreams is None else upstreams
    return create_service(settings, ground, access_tokens, reached, ready)


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
    asked = {route.service for route in ROUTES}.union(CONSUMERS)
    missing = sorted(asked - set(upstreams) - {GATEWAY})
    if missing:
        raise ValueError(f"the gateway routes to {', '.join(missing)}, which it was not given")
    keys = KeysService(upstreams["keys"], ground.internal_tokens)
    key_ring = KeyRing(keys.key, ground.clock)
    key_ring.listen(ground.bus)
    session_ring = SessionRing(keys.session, ground.clock)
    session_ring.listen(ground.bus)
    uses = KeyUses(keys.used, ground.clock)
    limits = limits_of(settings, ground.clock)
    reached = [item for item in upstreams.values() if isinstance(item, HttpUpstream)]
    edge = Edge(
        table=RouteTable(ROUTES),
        authority=Authority(
            key_ring, session_ring, access_tokens, ground.internal_tokens, ground.clock
        ),
        upstreams=upstreams,
        pages=Pages(ROUTES, upstreams, ready, settings.public_base_url or HERE, access_tokens.jwks),
        dead_letters=DeadLetters(upstreams),
        limiting=Limiting(limits, settings.rate_limits, ground.clock),
        uses=uses,
        trusted_proxies=settings.trusted_proxies,
        ready=ready,
    )
    return Service(
        name=GATEWAY,
        app=for_origins(edge, settings.cors_origins),
        workers=(uses.run,),
        ends=reached,
        resources=[
            *reached,
            *([limits] if isinstance(limits, FallbackLimits) else []),
        ],
    )


def limits_of(settings: GatewaySettings, clock: Clock) -> Limits:
    """Shared by all gateways through Redis where there is one, else of this process."""
    local = MemoryLimits(clock)
    if settings.redis_url is None:
        return local
    from services.gateway.adapters.redis_limits import (  # noqa: PLC0415 - 0.5 s to load
        PREFIX,
        RedisLimits,
    )

    shared = RedisLimits(settings.redis_url, clock, prefix=settings.queue_prefix + PREFIX)
    return FallbackLimits(shared, local)


def http_upstreams(settings: GatewaySettings) -> dict[str, HttpUpstream]:
    """Every service in a process of its own, by name. To be called where a loop runs; the gateway's
    `Service` closes them. Raises `WrongSettings`, naming what is missing."""
    addresses = {
        "keys": settings.keys_url,
        "credits": settings.credits_url,
        "generation": settings.generation_url,
        "storage": settings.storage_url,
    }
    missing = [f"{name.upper()}_URL" for name, base_urls in addresses.items() if not base_urls]
    if missing:
        raise WrongSettings(f"SmartSpec can't start: the gateway needs {', '.join(missing)}")
    return {name: HttpUpstream(name, base_urls) for name, base_urls in addresses.items()}
