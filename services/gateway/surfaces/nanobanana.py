"""NanoBanana (seed 004): `/v1/auth` and `/v1/keys`, and errors as `{"detail"}`."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import Field, SecretStr

from services.gateway.surfaces.fault import Fault, Surface, words_of
from services.gateway.surfaces.translation import Asked, Native, Said, Strict, Translation, read

KEY_FORMAT: Final = "nb_live"
KEY_PREFIX: Final = "nb_live_"
SCOPES: Final = ("generation:create", "generation:read", "credits:read")
NAME_DEFAULT: Final = "API key"


class Credentials(Strict):
    email: str
    password: SecretStr


class SignUp(Credentials):
    full_name: str | None = None


class SessionUser(Strict):
    id: str
    email: str | None
    full_name: str | None


class Session(Strict):
    """`expires_in` is in seconds."""

    access_token: str
    token_type: str
    expires_in: int
    user: SessionUser


class CreateKeyRequest(Strict):
    name: str | None = None


class CreatedKey(Strict):
    """`key` is shown this once; null in a repeated answer."""

    id: str
    key: str | None
    name: str
    prefix: Annotated[str, Field(examples=[KEY_PREFIX])]
    created_at: datetime


class Key(Strict):
    id: str
    name: str
    prefix: str
    is_active: bool
    last_used_at: datetime | None
    created_at: datetime


class KeyList(Strict):
    """Of the keys made here, newest first; `next_cursor` is null at the end."""

    keys: list[Key]
    next_cursor: str | None


async def _register(asked: Asked, native: Native) -> Said:
    """Registered, and signed in at once."""
    body = read(SignUp, asked.body)
    credentials = {"email": body.email, "password": body.password.get_secret_value()}
    await native("POST", "/auth/register", credentials | {"full_name": body.full_name})
    return Said(201, await _signed_in(credentials, native))


async def _log_in(asked: Asked, native: Native) -> Said:
    body = read(Credentials, asked.body)
    credentials = {"email": body.email, "password": body.password.get_secret_value()}
    return Said(200, await _signed_in(credentials, native))


async def _signed_in(credentials: Mapping[str, object], native: Native) -> Session:
    said = (await native("POST", "/auth/login", credentials))["data"]
    user = said["user"]
    return Session(
        access_token=said["access_token"],
        token_type=said["token_type"],
        expires_in=said["expires_in"],
        user=SessionUser(id=user["id"], email=user["email"], full_name=user["full_name"]),
    )


async def _create_key(asked: Asked, native: Native) -> Said:
    body = read(CreateKeyRequest, asked.body or b"{}")
    name = NAME_DEFAULT if body.name is None else body.name
    wanted = {"name": name, "scopes": list(SCOPES), "format": KEY_FORMAT}
    made = await native("POST", "/api/keys", wanted)
    created = CreatedKey(
        id=made["id"],
        key=made["api_key"],
        name=made["name"],
        prefix=KEY_PREFIX,
        created_at=made["created_at"],
    )
    return Said(201, created)


async def _list_keys(asked: Asked, native: Native) -> Said:
    only_ours = f"format={KEY_FORMAT}".encode()
    query = only_ours + b"&" + asked.query if asked.query else only_ours
    listed = await native("GET", "/api/keys", query=query)
    keys = [_key(item) for item in listed["keys"]]
    return Said(200, KeyList(keys=keys, next_cursor=listed["next_cursor"]))


async def _revoke_key(asked: Asked, native: Native) -> Said:
    """The key stops for ever and stays listed; no second factor is asked for."""
    await native("POST", f"/api/keys/{asked.last_segment}/revoke")
    return Said(204)


def _key(native: Mapping[str, Any]) -> Key:
    return Key(
        id=native["id"],
        name=native["name"],
        prefix=KEY_PREFIX,
        is_active=native["is_active"],
        last_used_at=native["last_used_at"],
        created_at=native["created_at"],
    )


def _render(fault: Fault) -> Mapping[str, object]:
    return {"detail": words_of(fault)}


REGISTER: Final = Translation(_register, 201, SignUp, Session)
LOG_IN: Final = Translation(_log_in, 200, Credentials, Session)
CREATE_KEY: Final = Translation(_create_key, 201, CreateKeyRequest, CreatedKey)
LIST_KEYS: Final = Translation(_list_keys, 200, None, KeyList, query=("limit", "cursor"))
REVOKE_KEY: Final = Translation(_revoke_key, 204)
NANOBANANA: Final = Surface(
    name="NanoBananaError",
    render=_render,
    error_schema={
        "type": "object",
        "required": ["detail"],
        "properties": {"detail": {"type": "string"}},
    },
)
