"""HTTP in: `/api/keys/providers`, for signed-in people; a key goes in and is never shown again."""

from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, Field, SecretStr

from kernel.errors import Forbidden
from kernel.http import Caller, FromClient, Identity
from services.keys.adapters import Attempt, AuditTrail, ProviderKeys
from services.keys.api.resolve import require_gateway
from services.keys.api.words import StrictRequest
from services.keys.domain import Provider, provider_key_not_found
from services.keys.domain.audit import Action

KEY_LENGTH_MIN: Final = 16
KEY_LENGTH_MAX: Final = 512


def _sendable(key: SecretStr) -> SecretStr:
    """It goes out in a header: visible ASCII, and no space (RFC 9110, 5.5)."""
    if not all("!" <= character <= "~" for character in key.get_secret_value()):
        raise ValueError("must be visible ASCII characters, without spaces")
    return key


class SetProviderKeyRequest(StrictRequest):
    api_key: Annotated[
        SecretStr,
        Field(min_length=KEY_LENGTH_MIN, max_length=KEY_LENGTH_MAX),
        AfterValidator(_sendable),
    ]


class ProviderKeyBody(BaseModel):
    """`last_four` are the end of the key, by which its owner knows it."""

    provider: str
    last_four: str
    created_at: datetime
    updated_at: datetime


class ProviderKeysAnswer(BaseModel):
    success: Literal[True] = True
    provider_keys: list[ProviderKeyBody]


class ResolveProviderKeyRequest(StrictRequest):
    user_id: UUID
    provider: Provider


class ResolvedProviderKey(BaseModel):
    api_key: str


def provider_key_routes(provider_keys: ProviderKeys, audit: AuditTrail) -> APIRouter:
    router = APIRouter(prefix="/api/keys/providers", tags=["keys"])

    @router.get("")
    async def list_provider_keys(caller: Caller) -> ProviderKeysAnswer:
        """The caller's own keys of vendors, by provider."""
        _require_signed_in(caller)
        known = await provider_keys.of(caller.user_id)
        return ProviderKeysAnswer(
            provider_keys=[
                ProviderKeyBody(
                    provider=one.provider,
                    last_four=one.last_four,
                    created_at=one.created_at,
                    updated_at=one.updated_at,
                )
                for one in known
            ]
        )

    @router.put("/{provider}", status_code=204)
    async def set_provider_key(
        caller: Caller, client: FromClient, provider: Provider, body: SetProviderKeyRequest
    ) -> None:
        """Tasks created from now on are made with this key, for a part of the price."""
        attempt = Attempt.by(caller, client, Action.SET_PROVIDER_KEY)
        async with audit.refusals(attempt):
            _require_signed_in(caller)
            await provider_keys.set(attempt, provider, body.api_key.get_secret_value())

    @router.delete("/{provider}", status_code=204)
    async def delete_provider_key(caller: Caller, client: FromClient, provider: Provider) -> None:
        """404 `provider_key_not_found`. Tasks that were created with the key fail without it."""
        attempt = Attempt.by(caller, client, Action.DELETE_PROVIDER_KEY)
        async with audit.refusals(attempt):
            _require_signed_in(caller)
            await provider_keys.delete(attempt, provider)

    return router


def resolve_provider_key_routes(provider_keys: ProviderKeys) -> APIRouter:
    """For services alone."""
    router = APIRouter(prefix="/internal/provider-keys", tags=["internal"])

    @router.post("/resolve")
    async def resolve(caller: Caller, body: ResolveProviderKeyRequest) -> ResolvedProviderKey:
        """The user's own key of the provider; 404 `provider_key_not_found`."""
        require_gateway(caller)
        api_key = await provider_keys.key(body.user_id, body.provider)
        if api_key is None:
            raise provider_key_not_found()
        return ResolvedProviderKey(api_key=api_key)

    return router


def _require_signed_in(caller: Identity) -> None:
    if caller.key_id is not None:
        raise Forbidden("access_denied", "This is for a signed-in person; no API key may do it.")
