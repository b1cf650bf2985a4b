"""HTTP in: `/api/keys`; a key is shown once, when it is made, and never again."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse

from kernel.clock import new_id
from kernel.errors import Forbidden, Invalid
from kernel.event_store import EventStore
from kernel.http import Attempt as IdempotentAttempt
from kernel.http import (
    Caller,
    FromClient,
    Idempotency,
    Identity,
    Replay,
    Resumed,
    idempotency_key,
)
from kernel.http.api_key_format import DISPLAYED_LENGTH, key_sha256
from kernel.identifiers import parsed
from kernel.money import to_units
from kernel.rates import Rate
from kernel.unit import Unit
from services.keys.adapters import Attempt, AuditTrail
from services.keys.api.key_answers import (
    CreatedKeyBody,
    DryRunAnswer,
    KeyAnswer,
    KeysAnswer,
    RotatedKeyAnswer,
    created_body,
)
from services.keys.api.key_changes import REPLAYED, KeyChanges, new_api_key
from services.keys.api.key_requests import CreateKeyRequest, RevokeQuery, RotateKeyRequest
from services.keys.api.key_views import KeyViews
from services.keys.domain import (
    API_KEY,
    KEYS,
    USER,
    CreateKey,
    Creator,
    Scope,
    class_beyond,
    key_not_found,
)
from services.keys.domain.audit import Action

PAGE_MAX: Final = 100
PAGE: Final = 20

KeyFormat = Literal["sk_live", "nb_live"]
Proof = Annotated[str | None, Header(alias="X-MFA-Token")]


class KeyCreation:
    """`rates` are what no key's own rate may exceed, by class of routes."""

    def __init__(
        self,
        store: EventStore,
        *,
        views: KeyViews,
        audit: AuditTrail,
        idempotency: Idempotency,
        rates: Mapping[str, Rate],
    ) -> None:
        self._store = store
        self._views = views
        self._audit = audit
        self._idempotency = idempotency
        self._rates = rates

    async def create(
        self,
        caller: Identity,
        body: CreateKeyRequest,
        attempt: Attempt,
        idempotent: IdempotentAttempt | None,
    ) -> JSONResponse:
        match await self._idempotency.earlier(idempotent):
            case Replay(status, answer):
                return JSONResponse(answer, status, REPLAYED)
            case Resumed(resource):
                row = await self._views.row(caller.user_id, UUID(resource))
                return JSONResponse(created_body(row, None), 201, REPLAYED)
        _refuse_above(body.rate_limits.asked(), self._rates)
        api_key = new_api_key(f"{body.format}_")
        key_id = await self._record(caller, body, api_key, attempt, idempotent)
        row = await self._views.row(caller.user_id, key_id)
        await self._idempotency.answered(idempotent, 201, created_body(row, None))
        return JSONResponse(created_body(row, api_key), 201)

    async def _record(
        self,
        caller: Identity,
        body: CreateKeyRequest,
        api_key: str,
        attempt: Attempt,
        idempotent: IdempotentAttempt | None,
    ) -> UUID:
        key_id = new_id()

        async def work(unit: Unit) -> UUID:
            await self._idempotency.claim(unit, idempotent, str(key_id))
            command = await _command(unit, caller, body, key_id, api_key)
            await unit.decide(KEYS, API_KEY.stream_id(key_id), command)
            await self._audit.note(unit, replace(attempt, key_id=key_id))
            return key_id

        return await self._store.transact(work)


def _refuse_above(asked: Mapping[str, str], rates: Mapping[str, Rate]) -> None:
    """Raises `Invalid`: a key's own rate may be lower than everybody's, not higher."""
    name = class_beyond(asked, rates)
    if name is not None:
        field = f"rate_limits.{name}"
        raise Invalid(
            "exceeds_plan", f"{field}: more than {rates[name]}, the plan's.", {"field": field}
        )


async def _command(
    unit: Unit, caller: Identity, body: CreateKeyRequest, key_id: UUID, api_key: str
) -> CreateKey:
    """The request as a command; raises `Forbidden` for a caller that is no user of ours."""
    user = await unit.state(USER, USER.stream_id(caller.user_id))
    if not user.is_active or user.account_id is None:
        raise Forbidden("access_denied", "Only a registered user can have API keys.")
    creator = None
    if caller.key_id is not None:
        own = await unit.state(API_KEY, API_KEY.stream_id(caller.key_id))
        creator = Creator(caller.key_id, own)
    days, limit = body.expires_in_days, body.monthly_credit_limit
    return CreateKey(
        key_id=key_id,
        user_id=caller.user_id,
        account_id=user.account_id,
        key_sha256=key_sha256(api_key),
        prefix=api_key[:DISPLAYED_LENGTH],
        name=body.name,
        scopes=tuple(dict.fromkeys(scope.value for scope in body.scopes)),
        expires_at=None if days is None else unit.now + timedelta(days=days),
        monthly_credit_limit_units=None if limit is None else to_units(limit),
        created_by=creator,
        at=unit.now,
        allowed_ips=tuple(dict.fromkeys(body.allowed_ips)),
        rate_limits=body.rate_limits.asked(),
    )


def api_key_routes(
    creation: KeyCreation, changes: KeyChanges, views: KeyViews, audit: AuditTrail
) -> APIRouter:
    router = APIRouter(prefix="/api/keys", tags=["keys"])

    @router.post("", status_code=201, response_model=CreatedKeyBody)
    async def create_key(
        caller: Caller, client: FromClient, request: Request, body: CreateKeyRequest
    ) -> JSONResponse:
        """The new key, shown this once; 403 `exceeds_own_key` when a key asks beyond its own, 422
        `exceeds_plan` for a rate beyond everybody's."""
        attempt = Attempt.by(caller, client, Action.CREATE_KEY)
        async with audit.refusals(attempt):
            caller.require(Scope.KEYS_WRITE)
            idempotent = await idempotency_key(request, str(caller.user_id))
            return await creation.create(caller, body, attempt, idempotent)

    @router.get("")
    async def list_keys(
        caller: Caller,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = PAGE,
        cursor: str | None = None,
        format: KeyFormat | None = None,  # noqa: A002 - the client's word
    ) -> KeysAnswer:
        """The caller's keys, newest first; with `format`, those alone."""
        caller.require(Scope.KEYS_READ)
        return await views.page(caller.user_id, limit, cursor, format)

    @router.get("/{key_id}")
    async def get_key(caller: Caller, key_id: str) -> KeyAnswer:
        """404 `key_not_found` for another user's key, as for none."""
        caller.require(Scope.KEYS_READ)
        return await views.one(caller.user_id, key_id_in(key_id))

    @router.post("/{key_id}/rotate", response_model=RotatedKeyAnswer)
    async def rotate_key(
        *,
        caller: Caller,
        client: FromClient,
        request: Request,
        key_id: str,
        body: RotateKeyRequest | None = None,
        proof: Proof = None,
    ) -> JSONResponse:
        """A new secret for the same key, shown this once; the one before works until its grace
        period is over, an earlier one no longer. 409 `key_revoked`, `key_expired`,
        `key_rotated_meanwhile`; 403 `mfa_required`."""
        inner = key_id_in(key_id)
        attempt = Attempt.by(caller, client, Action.ROTATE_KEY, inner)
        async with audit.refusals(attempt):
            _require_signed_in(caller)
            idempotent = await idempotency_key(request, str(caller.user_id))
            asked = RotateKeyRequest() if body is None else body
            return await changes.rotate(
                caller, inner, asked, proof=proof, attempt=attempt, idempotent=idempotent
            )

    @router.post("/{key_id}/revoke")
    async def revoke_key(
        caller: Caller, client: FromClient, key_id: str, query: Annotated[RevokeQuery, Query()]
    ) -> KeyAnswer | DryRunAnswer:
        """Ends the key for ever; a repeat changes nothing. `?dry_run=true` changes nothing either,
        and says who has used the key of late."""
        inner = key_id_in(key_id)
        attempt = Attempt.by(caller, client, Action.REVOKE_KEY, inner)
        async with audit.refusals(attempt):
            caller.require(Scope.KEYS_WRITE)
            if query.dry_run:
                return await views.dry_run(caller.user_id, inner)
            await changes.revoke(caller.user_id, inner, attempt)
        return await views.one(caller.user_id, inner)

    @router.delete("/{key_id}", status_code=204)
    async def delete_key(
        caller: Caller, client: FromClient, key_id: str, proof: Proof = None
    ) -> None:
        """The key is dead, and 404 from now on; what was done with it stays in the audit log. 403
        `mfa_required`."""
        inner = key_id_in(key_id)
        attempt = Attempt.by(caller, client, Action.DELETE_KEY, inner)
        async with audit.refusals(attempt):
            _require_signed_in(caller)
            await changes.delete(caller, inner, proof, attempt)

    return router


def key_id_in(text: str) -> UUID:
    """Raises `NotFound` for what is no id of a key."""
    key_id = parsed("key", text)
    if key_id is None:
        raise key_not_found()
    return key_id


def _require_signed_in(caller: Identity) -> None:
    """Raises `Forbidden` for a key: whoever has stolen one can neither renew nor hide it."""
    caller.require(Scope.KEYS_WRITE)
    if caller.key_id is not None:
        raise Forbidden("access_denied", "This is for a signed-in person; no API key may do it.")
