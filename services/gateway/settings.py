"""What the gateway reads from the environment; knows no route."""

import re
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode

from kernel.http.access_tokens import AccessTokenSettings
from services.gateway.adapters.replicas import origin_of

_ORIGIN: Final = re.compile(
    r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?"
)


def _separated(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _origins(value: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(origin_of(base_url) for base_url in value)


def _web_origins(value: tuple[str, ...]) -> tuple[str, ...]:
    """As browsers send them (RFC 6454): in small letters, with nothing after the port."""
    wrong = [origin for origin in value if origin != "*" and not _ORIGIN.fullmatch(origin)]
    if wrong:
        raise ValueError(f"{wrong[0]!r} is no origin like https://app.example.com")
    return value


BaseUrls = Annotated[
    tuple[str, ...], NoDecode, BeforeValidator(_separated), AfterValidator(_origins)
]
"""Where the replicas of a service listen, comma-separated."""


Origins = Annotated[
    tuple[str, ...], NoDecode, BeforeValidator(_separated), AfterValidator(_web_origins)
]
"""Origins of pages, comma-separated, or `*` for all of them."""


class GatewaySettings(AccessTokenSettings):
    """`public_base_url` is the server named in `/openapi.json`. The addresses are read where the
    gateway has a process of its own."""

    cors_origins: Origins = Field((), validation_alias="CORS_ORIGINS")
    keys_url: BaseUrls = Field((), validation_alias="KEYS_URL")
    credits_url: BaseUrls = Field((), validation_alias="CREDITS_URL")
    generation_url: BaseUrls = Field((), validation_alias="GENERATION_URL")
    storage_url: BaseUrls = Field((), validation_alias="STORAGE_URL")
