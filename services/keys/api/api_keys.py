"""HTTP in: `/api/keys`; a key is shown once, when it is made, and never again."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import asyncpg
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from kernel.clock import Clock, new_id, random_token
from kernel.errors import Forbidden, Invalid
from kernel.event_store import EventStore
from kernel.http import (
    Attempt,
    Caller,
    Idempotency,
    Identity,
    Replay,
    Resumed,
    idempotency_key,
)
from kernel.http.api_key_format import DISPLAYED_LENGTH, SECRET_BYTES, api_key_from, key_sha256
from kernel.identifiers import parsed, shown
from kernel.money import PLACES, to_credits
from kernel.unit import Unit
from services.keys import read_model
from services.keys.api.words import Words
from services.keys.domain import (
    API_KEY,
    KEYS,
    USER,
    CreateKey,
    Creator,
    RevokeKey,
    Scope,
    key_not_found,
)

NAME_LENGTH_MAX = 100
EXPIRES_IN_DAYS_MAX = 3_650
MONTHLY_CREDIT_LIMIT_MAX = 1_000_000_000
PAGE_MAX = 100
PAGE = 20
REPLAYED = {"Idempotency-Replayed": "true"}


def _number(value: object) -> object:
    if isinstance(value, bool | str):
        raise ValueError("must be a number")  # noqa: TRY004 - pydantic renders ValueError
    return value


class CreateKeyRequest(BaseModel):
    """`monthly_credit_limit` in credits; null stands for no end and no limit."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: Annotated[Words, Field(min_length=1, max_length=NAME_LENGTH_MAX)]
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1, max_length=len(Scope))]
    expires_in_days: Annotated[int, Field(ge=1, le=EXPIRES_IN_DAYS_MAX, strict=True)] | None = None
    monthly_credit_limit: (
        Annotated[
            Decimal,
            Field(ge=0, le=MONTHLY_CREDIT_LIMIT_MAX, decimal_places=PLACES),
            BeforeValidator(_number),
        ]
        | None
    ) = None


class KeyBody(BaseModel):
    id: str
    name: str
    prefix: str
    scopes: list[str]
    is_active: bool
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    monthly_credit_limit: float | None


class CreatedKeyBody(BaseModel):
    """`api_key` is null in a repeated answer: a secret is never kept."""

    id: str
    api_key: str | None
    name: str
    scopes: list[str]
    prefix: str
    created_at: datetime
    expires_at: datetime | None
    monthly_credit_limit: float | None


class KeyAnswer(BaseModel):
    success: Literal[True] = True
    key: KeyBody


class KeysAnswer(BaseModel):
    success: Literal[True] = True
    keys: list[KeyBody]
    next_cursor: str | None


class _Keys:
    """Keys of one caller: commands on the store, queries on the read model."""

    def __init__(self, store: EventStore, idempotency: Idempotency, clock: Clock) -> None:
        self._store = store
        self._idempotency = idempotency
        self._clock = clock

    async def create(
        self, caller: Identity, body: CreateKeyRequest, attempt: Attempt | None
    ) -> JSONResponse:
        earlier = await self._idempotency.earlier(attempt)
        match earlier:
            case Replay(status, answer):
                return JSONResponse(answer, status, REPLAYED)
            case Resumed(resource):
                row = await self._row(caller, UUID(resource))
                return JSONResponse(_created(row, None), 201, REPLAYED)
        api_key = api_key_from(random_token(SECRET_BYTES))
        key_id = await self._record(caller, body, api_key, attempt)
        row = await self._row(caller, key_id)
        await self._idempotency.answered(attempt, 201, _created(row, None))
        return JSONResponse(_created(row, api_key), 201)

    async def page(self, caller: Identity, limit: int, cursor: str | None) -> KeysAnswer:
        before = None if cursor is None else parsed("key", cursor)
        if cursor is not None and before is None:
            raise Invalid("invalid_cursor", "Not a cursor of this list.", {"field": "cursor"})
        rows = await read_model.keys_of(
            self._store.database, caller.user_id, limit=limit + 1, before=before
        )
        shown_rows = rows[:limit]
        more = len(rows) > limit
        return KeysAnswer(
            keys=[self._body(row) for row in shown_rows],
            next_cursor=shown("key", shown_rows[-1]["key_id"]) if more else None,
        )

    async def one(self, caller: Identity, key_id: UUID) -> KeyAnswer:
        return KeyAnswer(key=self._body(await self._row(caller, key_id)))

    async def revoke(self, caller: Identity, key_id: UUID) -> KeyAnswer:
        command = RevokeKey(key_id, caller.user_id, self._clock.now())
        await self._store.handle(KEYS, API_KEY.stream_id(key_id), command)
        return await self.one(caller, key_id)

    async def _record(
        self, caller: Identity, body: CreateKeyRequest, api_key: str, attempt: Attempt | None
    ) -> UUID:
        key_id = new_id()

        async def work(unit: Unit) -> UUID:
            await self._idempotency.claim(unit, attempt, str(key_id))
            command = await _command(unit, caller, body, key_id, api_key)
            await unit.decide(KEYS, API_KEY.stream_id(key_id), command)
            return key_id

        return await self._store.transact(work)

    async def _row(self, caller: Identity, key_id: UUID) -> asyncpg.Record:
        row = await read_model.key_of(self._store.database, caller.user_id, key_id)
        if row is None:
            raise key_not_found()
        return row

    def _body(self, row: asyncpg.Record) -> KeyBody:
        expired = row["expires_at"] is not None and row["expires_at"] <= self._clock.now()
        return KeyBody(
            **_common(row),
            is_active=row["is_active"] and not expired,
            revoked_at=row["revoked_at"],
        )


async def _command(
    unit: Unit, caller: Identity, body: CreateKeyRequest, key_id: UUID, api_key: str
) -> CreateKey:
    """The request as a command; raises `Forbidden` for a caller that is no user of ours."""
    user = await unit.state(USER, USER.stream_id(caller.user_id))
    if user.account_id is None:
        raise Forbidden("access_denied", "Only a registered user can have API keys.")
    creator = None
    if caller.key_id is not None:
        own = await unit.state(API_KEY, API_KEY.stream_id(caller.key_id))
        creator = Creator(caller.key_id, own)
    days, limit = body.expires_in_days, body.monthly_credit_limit
    if limit is not None:
        # A limit on money that nothing holds yet is worse than none: credits will enforce it.
        raise Invalid(
            "not_offered",
            "monthly_credit_limit: not enforced yet, so not accepted; leave it out.",
            {"field": "monthly_credit_limit"},
        )
    return CreateKey(
        key_id=key_id,
        user_id=caller.user_id,
        account_id=user.account_id,
        key_sha256=key_sha256(api_key),
        prefix=api_key[:DISPLAYED_LENGTH],
        name=body.name,
        scopes=tuple(dict.fromkeys(scope.value for scope in body.scopes)),
        expires_at=None if days is None else unit.now + timedelta(days=days),
        monthly_credit_limit_units=None,
        created_by=creator,
        at=unit.now,
    )


def api_key_routes(store: EventStore, idempotency: Idempotency, clock: Clock) -> APIRouter:
    router = APIRouter(prefix="/api/keys", tags=["keys"])
    keys = _Keys(store, idempotency, clock)

    @router.post("", status_code=201, response_model=CreatedKeyBody)
    async def create_key(caller: Caller, request: Request, body: CreateKeyRequest) -> JSONResponse:
        """The new key, shown this once; 403 `exceeds_own_key` when a key asks beyond its own."""
        caller.require(Scope.KEYS_WRITE)
        attempt = await idempotency_key(request, str(caller.user_id))
        return await keys.create(caller, body, attempt)

    @router.get("")
    async def list_keys(
        caller: Caller,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = PAGE,
        cursor: str | None = None,
    ) -> KeysAnswer:
        """The caller's keys, newest first."""
        caller.require(Scope.KEYS_READ)
        return await keys.page(caller, limit, cursor)

    @router.get("/{key_id}")
    async def get_key(caller: Caller, key_id: str) -> KeyAnswer:
        """404 `key_not_found` for another user's key, as for none."""
        caller.require(Scope.KEYS_READ)
        return await keys.one(caller, _id(key_id))

    @router.post("/{key_id}/revoke")
    async def revoke_key(caller: Caller, key_id: str) -> KeyAnswer:
        """Ends the key for ever; a repeat changes nothing."""
        caller.require(Scope.KEYS_WRITE)
        return await keys.revoke(caller, _id(key_id))

    return router


def _id(text: str) -> UUID:
    key_id = parsed("key", text)
    if key_id is None:
        raise key_not_found()
    return key_id


def _common(row: asyncpg.Record) -> dict[str, Any]:
    units = row["monthly_credit_limit_units"]
    return {
        "id": shown("key", row["key_id"]),
        "name": row["name"],
        "prefix": row["prefix"],
        "scopes": row["scopes"],
        "created_at": row["created_at"],
        "expires_at": row["expires_at"],
        "monthly_credit_limit": None if units is None else to_credits(units),
    }


def _created(row: asyncpg.Record, api_key: str | None) -> dict[str, Any]:
    return CreatedKeyBody(**_common(row), api_key=api_key).model_dump(mode="json")
