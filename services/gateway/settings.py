"""What the gateway reads from the environment; knows no route."""

import re
from collections.abc import Mapping
from ipaddress import ip_network
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode

from kernel.base_urls import BaseUrls, separated
from kernel.http.access_tokens import AccessTokenSettings
from kernel.rates import Rate, RateClass, read_rates
from services.gateway.adapters.client_address import Network

_ORIGIN: Final = re.compile(
    r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?"
)


def _web_origins(value: tuple[str, ...]) -> tuple[str, ...]:
    """As browsers send them (RFC 6454): in small letters, with nothing after the port."""
    wrong = [origin for origin in value if origin != "*" and not _ORIGIN.fullmatch(origin)]
    if wrong:
        raise ValueError(f"{wrong[0]!r} is no origin like https://app.example.com")
    return value


Origins = Annotated[
    tuple[str, ...], NoDecode, BeforeValidator(separated), AfterValidator(_web_origins)
]
"""Origins of pages, comma-separated, or `*` for all of them."""


def _rates(value: object) -> object:
    return read_rates(value) if isinstance(value, str) else value


def _networks(value: tuple[str, ...]) -> tuple[Network, ...]:
    """An address is a network of one. Bits beyond the mask are a slip, and refused."""
    return tuple(ip_network(text) for text in value)


Rates = Annotated[Mapping[RateClass, Rate], NoDecode, BeforeValidator(_rates)]
Networks = Annotated[
    tuple[Network, ...], NoDecode, BeforeValidator(_networks), BeforeValidator(separated)
]


class GatewaySettings(AccessTokenSettings):
    """`public_base_url` is the server named in `/openapi.json`. The addresses are read where the
    gateway has a process of its own."""

    cors_origins: Origins = Field((), validation_alias="CORS_ORIGINS")
    rate_limits: Rates = Field(default_factory=dict, validation_alias="RATE_LIMITS")
    """`api=100/minute,rotation=3/hour`; a class that is not named keeps its own rate."""
    trusted_proxies: Networks = Field((), validation_alias="TRUSTED_PROXIES")
    """Addresses and networks whose `X-Forwarded-For` is believed, comma-separated."""
    redis_url: str | None = Field(
        None, validation_alias="REDIS_URL", pattern=r"^(rediss?|unix)://[^\s]+$"
    )
    """Where gateways share their rate limits; unset: each process counts for itself."""

    keys_url: BaseUrls = Field((), validation_alias="KEYS_URL")
    credits_url: BaseUrls = Field((), validation_alias="CREDITS_URL")
    generation_url: BaseUrls = Field((), validation_alias="GENERATION_URL")
    storage_url: BaseUrls = Field((), validation_alias="STORAGE_URL")
