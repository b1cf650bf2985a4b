"""Links to get a file, or to put one past us, and the word that it was put."""

from datetime import timedelta
from typing import Final
from uuid import UUID

from fastapi import APIRouter

from kernel.errors import Invalid, TooLarge, UnsupportedMedia
from kernel.http import Caller, Identity
from services.storage.adapters.accepting import TAKEN_TYPES
from services.storage.api.serving import no_such_file
from services.storage.api.shelf import Shelf, owner_of
from services.storage.api.words import (
    PUT_LINK_S_MAX,
    ConfirmRequest,
    LinkAnswer,
    PresignRequest,
    UploadAnswer,
)
from services.storage.domain import EXTENSIONS, upload_key
from services.storage.read_model import file_of

HEX_DIGITS: Final = 32


def add_presigned(router: APIRouter, shelf: Shelf) -> None:
    @router.post("/presigned-url")
    async def presigned_url(body: PresignRequest, caller: Caller) -> LinkAnswer:
        """A link that needs no credential: to get one of your files, or to put one. What was put is
        yours when `confirm-upload` has answered; until then its room is reserved."""
        if body.method == "get_object":
            caller.require("storage:read")
            return await _link_to_get(shelf, caller, body)
        caller.require("storage:write")
        return await _link_to_put(shelf, caller, body)

    @router.post("/confirm-upload")
    async def confirm_upload(body: ConfirmRequest, caller: Caller) -> UploadAnswer:
        """Have what was put by a link looked at and kept. Said again it answers the same, and 409
        while it is being looked at."""
        caller.require("storage:write")
        key = body.key
        upload_id = _upload_of(key)
        if upload_id is None:
            raise no_such_file()
        if await file_of(shelf.database, caller.user_id, key) is None:
            file = await shelf.intake.confirm(caller.user_id, upload_id)
            key = file.key
        return await shelf.answer(caller, key)


async def _link_to_get(shelf: Shelf, caller: Identity, body: PresignRequest) -> LinkAnswer:
    if body.key is None:
        raise _missing("key")
    file = await shelf.own(caller, body.key)
    expires_at = shelf.clock.now() + timedelta(seconds=body.expires_in)
    return LinkAnswer(
        url=shelf.objects.link(file.key, expires_at=expires_at),
        expires_in=body.expires_in,
        key=file.key,
        method="GET",
        headers={},
    )


async def _link_to_put(shelf: Shelf, caller: Identity, body: PresignRequest) -> LinkAnswer:
    size, content_type = _announced(shelf, body)
    link_until = shelf.clock.now() + timedelta(seconds=body.expires_in)
    upload = await shelf.intake.open_link(owner_of(caller), content_type, size, link_until)
    assert upload.staging_key is not None
    return LinkAnswer(
        url=shelf.objects.put_link(
            upload.staging_key, expires_at=link_until, size=size, content_type=content_type
        ),
        expires_in=body.expires_in,
        key=upload.key,
        method="PUT",
        headers={"Content-Type": content_type, "Content-Length": str(size)},
    )


def _announced(shelf: Shelf, body: PresignRequest) -> tuple[int, str]:
    """The size and type of what is to be put."""
    if body.size is None:
        raise _missing("size")
    if body.content_type is None:
        raise _missing("content_type")
    content_type = body.content_type.strip().lower()
    if content_type not in EXTENSIONS:
        raise UnsupportedMedia(
            "unsupported_type",
            "content_type: files of this type are not taken.",
            {"field": "content_type", "taken": list(TAKEN_TYPES)},
        )
    if body.expires_in > PUT_LINK_S_MAX:
        raise Invalid(
            "invalid_request",
            f"expires_in: at most {PUT_LINK_S_MAX} for a put.",
            {"field": "expires_in"},
        )
    if body.size > shelf.upload_bytes_max:
        raise TooLarge(
            "file_too_large",
            f"size: a file may have {shelf.upload_bytes_max} bytes.",
            {"bytes_max": shelf.upload_bytes_max},
        )
    return body.size, content_type


def _missing(field: str) -> Invalid:
    return Invalid("invalid_request", f"{field}: required", {"field": field})


def _upload_of(key: str) -> UUID | None:
    """The upload whose key this is; None for what `upload_key` would not write."""
    name = key.partition("/")[2]
    digits, _, extension = name.partition(".")
    if len(digits) != HEX_DIGITS or not set(digits) <= set("0123456789abcdef"):
        return None
    upload_id = UUID(hex=digits)
    types = [mime_type for mime_type, known in EXTENSIONS.items() if known == extension]
    return upload_id if types and upload_key(upload_id, types[0]) == key else None
