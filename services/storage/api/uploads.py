"""Files come in: as a form, or from an address that the caller names."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from kernel.clock import new_id
from kernel.errors import Error, Rejected, TooLarge, VendorFailed
from kernel.http import Attempt, Caller, Identity, Replay, Resumed, idempotency_key
from kernel.outbound import OutboundFailed
from kernel.unit import Unit
from services.storage.adapters.accepting import Brought
from services.storage.adapters.quotas import quota_exceeded, room_of
from services.storage.adapters.receiving import claimed_bytes, receive_file
from services.storage.api.shelf import Shelf, owner_of
from services.storage.api.words import FromUrlRequest, UploadAnswer

FETCH_TIMEOUT_S: Final = 60.0
_FILE: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            }
        },
    }
}


def add_uploads(router: APIRouter, shelf: Shelf) -> None:
    @router.post("/upload", status_code=201, response_model=UploadAnswer, openapi_extra=_FILE)
    async def upload(request: Request, caller: Caller) -> JSONResponse:
        """Upload one file as `file` of a form. Its type is found by its content; pictures are
        written anew without what does not belong to them."""
        caller.require("storage:write")
        async with _coming(shelf, caller) as (path, bytes_max):
            claimed = min(claimed_bytes(request) or bytes_max, bytes_max)
            with shelf.coming.sent(caller.user_id, claimed, bytes_max):
                received = await receive_file(request, path, bytes_max)
            attempt = await idempotency_key(
                request, str(caller.user_id), bytes.fromhex(received.sha256)
            )
            brought = Brought(path, received.size, received.sha256, received.content_type)
            return await _kept(shelf, caller, brought, attempt)

    @router.post("/upload-from-url", status_code=201, response_model=UploadAnswer)
    async def upload_from_url(
        body: FromUrlRequest, caller: Caller, request: Request
    ) -> JSONResponse:
        """Upload what a public address holds."""
        caller.require("storage:write")
        attempt = await idempotency_key(request, str(caller.user_id))
        if (earlier := await _earlier(shelf, caller, attempt)) is not None:
            return earlier
        async with _coming(shelf, caller) as (path, bytes_max):
            with shelf.coming.fetched(caller.user_id):
                brought = await _fetched(shelf, body.url, path, bytes_max)
            return await _kept(shelf, caller, brought, attempt)


@asynccontextmanager
async def _coming(shelf: Shelf, caller: Identity) -> AsyncIterator[tuple[Path, int]]:
    """Where a file may be written, and how many bytes of it; it is gone afterwards."""
    room_bytes = await shelf.intake.room_bytes(owner_of(caller))
    bytes_max = min(shelf.upload_bytes_max, room_bytes)
    path = shelf.objects.incoming / f"{new_id().hex}.coming"
    try:
        yield path, bytes_max
    except TooLarge as error:
        if error.code == "file_too_large" and error.details == {"bytes_max": room_bytes}:
            room = await room_of(shelf.database, caller.user_id)
            quota = shelf.quotas.of(caller.plan)
            raise quota_exceeded(room, quota, room_bytes + 1) from None
        raise
    finally:
        await asyncio.to_thread(path.unlink, missing_ok=True)


async def _fetched(shelf: Shelf, url: str, path: Path, bytes_max: int) -> Brought:
    """Raises `VendorFailed`, in the same words whatever lies or does not lie there."""
    try:
        fetched = await shelf.outbound.fetch_to_file(
            url, path, max_bytes=bytes_max, timeout_s=FETCH_TIMEOUT_S
        )
    except OutboundFailed as failed:
        if failed.code == "too_large":
            raise TooLarge(
                "file_too_large",
                f"url: a file may have {bytes_max} bytes.",
                {"bytes_max": bytes_max},
            ) from None
        raise VendorFailed("fetch_failed", "The address could not be fetched.") from None
    return Brought(path, fetched.size, fetched.sha256, fetched.content_type)


async def _kept(
    shelf: Shelf, caller: Identity, brought: Brought, attempt: Attempt | None
) -> JSONResponse:
    if (earlier := await _earlier(shelf, caller, attempt)) is not None:
        return earlier

    claimed: list[str] = []

    async def claim(unit: Unit, upload_id: UUID) -> None:
        claimed[:] = [upload_id.hex]
        await shelf.idempotency.claim(unit, attempt, upload_id.hex)

    async with shelf.accepting.accepted(brought) as accepted:
        try:
            file = await shelf.intake.keep(owner_of(caller), accepted, claim)
        except Error:
            for resource in claimed:
                await shelf.idempotency.forget(attempt, resource)
            raise
    return await _answered(shelf, caller, file.key, attempt)


async def _earlier(shelf: Shelf, caller: Identity, attempt: Attempt | None) -> JSONResponse | None:
    """What came of the same request before; a claim of which nothing came is given back."""
    match await shelf.idempotency.earlier(attempt):
        case Replay(status, answer):
            return JSONResponse(answer, status, {"Idempotency-Replayed": "true"})
        case Resumed(resource):
            key = await shelf.intake.kept_key(UUID(hex=resource))
            if key is None:
                raise Rejected(
                    "idempotency_in_progress",
                    "The first request with this key still runs.",
                    retry_after_s=5,
                )
            if key:
                return await _answered(shelf, caller, key, attempt)
            await shelf.idempotency.forget(attempt, resource)
        case None:
            pass
    return None


async def _answered(
    shelf: Shelf, caller: Identity, key: str, attempt: Attempt | None
) -> JSONResponse:
    answer = (await shelf.answer(caller, key)).model_dump(mode="json")
    await shelf.idempotency.answered(attempt, 201, answer)
    return JSONResponse(answer, 201)
