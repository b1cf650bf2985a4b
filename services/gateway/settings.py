"""What the gateway reads from the environment; knows no route."""

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode

from kernel.http.access_tokens import AccessTokenSettings
from services.gateway.adapters.replicas import origin_of


def _separated(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _origins(value: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(origin_of(base_url) for base_url in value)


BaseUrls = Annotated[
    tuple[str, ...], NoDecode, BeforeValidator(_separated), AfterValidator(_origins)
]
"""Where the replicas of a service listen, comma-separated."""


class GatewaySettings(AccessTokenSettings):
    """`public_base_url` is the server named in `/openapi.json`. The addresses are read where the
    gateway has a process of its own."""

    keys_url: BaseUrls = Field((), validation_alias="KEYS_URL")
    credits_url: BaseUrls = Field((), validation_alias="CREDITS_URL")
    generation_url: BaseUrls = Field((), validation_alias="GENERATION_URL")
    storage_url: BaseUrls = Field((), validation_alias="STORAGE_URL")
