"""What can be done to a key that is there, each in one transaction with its audit entry."""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from fastapi.responses import JSONResponse

from kernel.clock import random_token
from kernel.event_store import EventStore
from kernel.http import Attempt as IdempotentAttempt
from kernel.http import Idempotency, Identity, Replay, Resumed
from kernel.http.api_key_format import (
    DISPLAYED_LENGTH,
    SECRET_BYTES,
    UNCHECKED_PREFIX,
    UNCHECKED_SECRET_BYTES,
    api_key_from,
    key_sha256,
    unchecked_api_key_from,
)
from kernel.unit import Unit
from services.keys.adapters import Attempt, AuditTrail, KeyUsage
from services.keys.api.key_answers import RotatedKeyAnswer
from services.keys.api.key_requests import RotateKeyRequest
from services.keys.api.key_views import KeyViews
from services.keys.domain import API_KEY, KEYS, DeleteKey, KeyCommand, RevokeKey, RotateKey

REPLAYED: Final = {"Idempotency-Replayed": "true"}
ROTATE_KEY: Final = "rotate_key"
DELETE_KEY: Final = "delete_key"

RequireProof = Callable[[Unit, Identity, str | None, str, UUID], Awaitable[None]]
"""Spends, in the unit's transaction, the proof of a second factor that came as `X-MFA-Token` (None
without one) for an operation on a key. Raises `Forbidden` (`mfa_required`)."""


class KeyChanges:
    def __init__(
        self,
        store: EventStore,
        *,
        views: KeyViews,
        usage: KeyUsage,
        audit: AuditTrail,
        idempotency: Idempotency,
        require_proof: RequireProof,
    ) -> None:
        self._store = store
        self._views = views
        self._usage = usage
        self._audit = audit
        self._idempotency = idempotency
        self._require_proof = require_proof

    async def rotate(
        self,
        caller: Identity,
        key_id: UUID,
        body: RotateKeyRequest,
        *,
        proof: str | None,
        attempt: Attempt,
        idempotent: IdempotentAttempt | None,
    ) -> JSONResponse:
        """A new secret; the version that it replaces is settled before anything else is done."""
        idempotent = _of_this_key(idempotent, key_id)
        match await self._idempotency.earlier(idempotent):
            case Replay(status, answer):
                return JSONResponse(answer, status, REPLAYED)
            case Resumed():
                return JSONResponse(await self._rotated(caller, key_id, None), 200, REPLAYED)
        row = await self._views.row(caller.user_id, key_id)
        api_key = new_api_key(row["prefix"])

        async def work(unit: Unit) -> None:
            await self._idempotency.claim(unit, idempotent, str(key_id))
            command = RotateKey(
                key_id=key_id,
                user_id=caller.user_id,
                version=row["version"] if body.version is None else body.version,
                key_sha256=key_sha256(api_key),
                prefix=api_key[:DISPLAYED_LENGTH],
                grace=timedelta(hours=body.grace_period_hours),
                at=unit.now,
            )
            await self._do(unit, command, attempt)
            await self._require_proof(unit, caller, proof, ROTATE_KEY, key_id)

        await self._store.transact(work)
        await self._idempotency.answered(idempotent, 200, await self._rotated(caller, key_id, None))
        return JSONResponse(await self._rotated(caller, key_id, api_key))

    async def revoke(self, owner_id: UUID, key_id: UUID, attempt: Attempt) -> None:
        """For ever; a repeat changes nothing."""

        async def work(unit: Unit) -> None:
            await self._do(unit, RevokeKey(key_id, owner_id, unit.now), attempt)

        await self._store.transact(work)

    async def delete(
        self, caller: Identity, key_id: UUID, proof: str | None, attempt: Attempt
    ) -> None:
        """Dead, and seen no more; its audit entries stay."""

        async def work(unit: Unit) -> None:
            await self._do(unit, DeleteKey(key_id, caller.user_id, unit.now), attempt)
            await self._require_proof(unit, caller, proof, DELETE_KEY, key_id)
            self._usage.forget(unit, key_id)

        await self._store.transact(work)

    async def _do(self, unit: Unit, command: KeyCommand, attempt: Attempt) -> None:
        await unit.decide(KEYS, API_KEY.stream_id(command.key_id), command)
        await self._audit.note(unit, attempt)

    async def _rotated(self, caller: Identity, key_id: UUID, api_key: str | None) -> dict[str, Any]:
        row = await self._views.row(caller.user_id, key_id)
        answer = RotatedKeyAnswer(
            key=await self._views.body(caller.user_id, key_id),
            api_key=api_key,
            previous_valid_until=row["previous_valid_until"],
        )
        return answer.model_dump(mode="json")


def new_api_key(prefix: str) -> str:
    """A secret of the format that begins with `prefix`."""
    if prefix.startswith(UNCHECKED_PREFIX):
        return unchecked_api_key_from(random_token(UNCHECKED_SECRET_BYTES))
    return api_key_from(random_token(SECRET_BYTES))


def _of_this_key(idempotent: IdempotentAttempt | None, key_id: UUID) -> IdempotentAttempt | None:
    """The same header and body for another key is another request, not the same one again."""
    if idempotent is None:
        return None
    told = hashlib.sha256(key_id.bytes + idempotent.body_sha256).digest()
    return replace(idempotent, body_sha256=told)
