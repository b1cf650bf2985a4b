"""Media behind signed links. Whoever holds a link needs nothing else, no identity."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from kernel.clock import Clock, new_id
from kernel.errors import Forbidden, Rejected
from kernel.links import MediaLinks
from kernel.objects import ObjectStore, StoredObject
from kernel.sql import Database
from services.storage import read_model
from services.storage.adapters.coming import Coming
from services.storage.adapters.receiving import receive_body
from services.storage.adapters.uploads import OpenUpload, OpenUploads
from services.storage.api.serving import PARTS, served

MEDIA = "/media/"


@dataclass(frozen=True, slots=True)
class Media:
    database: Database
    objects: ObjectStore
    links: MediaLinks
    open: OpenUploads
    coming: Coming
    clock: Clock


def media_routes(media: Media) -> APIRouter:
    router = APIRouter(prefix="/media", tags=["storage"])

    @router.head("/{key:path}", include_in_schema=False)
    @router.get("/{key:path}", response_class=StreamingResponse, responses=PARTS)
    async def get_media(
        request: Request, key: str, expires: str = "", signature: str = ""
    ) -> Response:
        """The object behind a signed link; a link for GET serves HEAD too."""
        now = media.clock.now()
        media.links.verify("GET", key, expires, signature, now)
        sha256 = await read_model.sha256_of(media.database, key)

        def etag_of(stored: StoredObject) -> str:
            return f'"{sha256}"' if sha256 else stored.etag

        # Nothing stays in a cache for longer than its link is good.
        lives_for: timedelta = datetime.fromtimestamp(int(expires), UTC) - now
        max_age_s = max(0, int(lives_for.total_seconds()))
        headers = {"Cache-Control": f"private, max-age={max_age_s}"}
        return await served(request, media.objects, key, etag_of, headers)

    @router.put("/{key:path}", response_class=Response)
    async def put_media(  # noqa: PLR0917 - each is a part of the link
        request: Request,
        key: str,
        expires: str = "",
        size: str = "",
        type: str = "",  # noqa: A002 - the parameter's public name
        signature: str = "",
    ) -> Response:
        """Put a file by a link of `presigned-url`: of exactly the size and type that were signed.
        It is yours when `confirm-upload` has answered."""
        now = media.clock.now()
        media.links.verify_put(key, expires, signature, now, size=size, content_type=type)
        if request.headers.get("content-type", "").strip().lower() != type:
            raise Forbidden("invalid_signature", "This link is for another Content-Type.")
        user_id = (await _open_upload(media, key)).user_id
        with media.coming.sent(user_id, int(size), int(size)):
            etag = await _put(media, request, key, int(size), type)
        return Response(headers={"ETag": etag})

    return router


async def _put(media: Media, request: Request, key: str, size: int, content_type: str) -> str:
    path = media.objects.incoming / f"{new_id().hex}.put"
    try:
        await receive_body(request, path, size)
        stored = await media.objects.put_file(key, path, content_type, give=True)
    finally:
        await asyncio.to_thread(path.unlink, missing_ok=True)
    try:
        await _open_upload(media, key)
    except Rejected:  # it has ended meanwhile, and what it had was deleted before this came
        await media.objects.delete(key)
        raise
    return stored.etag


async def _open_upload(media: Media, key: str) -> OpenUpload:
    upload = await media.open.put_to(key, media.clock.now())
    if upload is None:
        raise Rejected("upload_ended", "This upload has ended.")
    return upload
