"""HTTP in: an admin looks at a user's keys and ends one; no admin ever sees or makes a secret."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from kernel.errors import NotFound
from kernel.http import Caller, FromClient
from kernel.identifiers import parsed
from kernel.sql import Database
from services.keys import read_model
from services.keys.adapters import Attempt, AuditTrail
from services.keys.api.api_keys import PAGE, PAGE_MAX, key_id_in
from services.keys.api.key_answers import KeyAnswer, KeysAnswer
from services.keys.api.key_changes import KeyChanges
from services.keys.api.key_views import KeyViews
from services.keys.domain.audit import Action


def admin_key_routes(
    database: Database, changes: KeyChanges, views: KeyViews, audit: AuditTrail
) -> APIRouter:
    router = APIRouter(prefix="/api/admin/users/{user_id}/keys", tags=["admin"])

    @router.get("")
    async def list_keys_of_user(
        caller: Caller,
        user_id: str,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = PAGE,
        cursor: str | None = None,
    ) -> KeysAnswer:
        """A user's keys, newest first; 404 `user_not_found`."""
        caller.require_admin()
        owner_id = await _known_user(database, user_id)
        return await views.page(owner_id, limit, cursor)

    @router.post("/{key_id}/revoke")
    async def revoke_key_of_user(
        caller: Caller, client: FromClient, user_id: str, key_id: str
    ) -> KeyAnswer:
        """Ends a user's key for ever. The owner's audit log says which admin did it."""
        async with audit.refusals(Attempt.by(caller, client, Action.REVOKE_KEY)):
            caller.require_admin()
            owner_id = await _known_user(database, user_id)
            inner = key_id_in(key_id)
        attempt = Attempt(owner_id, caller.user_id, None, Action.REVOKE_KEY, client, inner)
        async with audit.refusals(attempt):
            await changes.revoke(owner_id, inner, attempt)
        return await views.one(owner_id, inner)

    return router


async def _known_user(database: Database, text: str) -> UUID:
    user_id = parsed("user", text)
    if user_id is None or await read_model.identity_of(database, user_id) is None:
        raise NotFound("user_not_found", "There is no such user.")
    return user_id
