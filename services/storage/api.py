"""HTTP out: media behind signed links. Whoever holds a link needs nothing else, no identity."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from kernel.clock import Clock
from kernel.errors import Invalid, NotFound
from kernel.http import problem
from kernel.links import MediaLinks
from kernel.objects import UNKNOWN_TYPE, LocalObjectStore, StoredObject
from kernel.sql import Database
from services.storage import read_model

_SAFE_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
}
# Several ranges at once are answered with the whole, which RFC 9110 (14.2) leaves to the server.
_ONE_RANGE: Final = re.compile(
    r"bytes=(?:(?P<first>[0-9]{1,18})-(?P<last>[0-9]{0,18})|-(?P<suffix>[0-9]{1,18}))",
    re.ASCII | re.IGNORECASE,
)


def routes(
    database: Database, objects: LocalObjectStore, links: MediaLinks, clock: Clock
) -> APIRouter:
    router = APIRouter(prefix="/media", tags=["storage"])

    @router.head("/{key:path}", include_in_schema=False)
    @router.get(
        "/{key:path}",
        response_class=FileResponse,
        responses={
            206: {"description": "The part asked for"},
            304: {"description": "Known already"},
            416: {"description": "There is no such part"},
        },
    )
    async def get_media(
        request: Request, key: str, expires: str = "", signature: str = ""
    ) -> Response:
        """The object behind a signed link; a link for GET serves HEAD too."""
        now = clock.now()
        links.verify("GET", key, expires, signature, now)
        try:
            stored = await objects.stat(key)
            path = await objects.path_of(key)
        except (NotFound, Invalid):
            raise NotFound("file_not_found", "There is no such file.") from None
        sha256 = await read_model.sha256_of(database, key)
        etag = f'"{sha256}"' if sha256 else stored.etag
        headers = _headers(etag, datetime.fromtimestamp(int(expires), UTC) - now)
        if _is_known(request.headers.get("if-none-match"), etag):
            return Response(status_code=304, headers=headers)
        wanted = _part_wanted(request, etag)
        if wanted is None:
            _forget_range(request)
        elif not _is_within(wanted, stored.size_bytes):
            return _no_such_part(stored.size_bytes)
        return FileResponse(
            path,
            headers=headers,
            media_type=stored.content_type,
            filename=key.rpartition("/")[2],
            content_disposition_type=_disposition(stored),
        )

    return router


def _headers(etag: str, lives_for: timedelta) -> dict[str, str]:
    # Nothing stays in a cache for longer than its link is good.
    max_age_s = max(0, int(lives_for.total_seconds()))
    return {
        **_SAFE_HEADERS,
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Cache-Control": f"private, max-age={max_age_s}",
    }


def _disposition(stored: StoredObject) -> str:
    return "attachment" if stored.content_type == UNKNOWN_TYPE else "inline"


def _is_known(if_none_match: str | None, etag: str) -> bool:
    """RFC 9110, 13.1.2: compared weakly; `*` is any."""
    if if_none_match is None:
        return False
    tags = (tag.strip().removeprefix("W/") for tag in if_none_match.split(","))
    return any(tag in {"*", etag} for tag in tags)


def _part_wanted(request: Request, etag: str) -> re.Match[str] | None:
    """None for the whole: no range, one that can't be read, or one of another version."""
    if request.headers.get("if-range") not in {None, etag}:
        return None
    wanted = _ONE_RANGE.fullmatch(request.headers.get("range", "").strip())
    if wanted and wanted["last"] and int(wanted["last"]) < int(wanted["first"]):
        return None
    return wanted


def _is_within(wanted: re.Match[str], size_bytes: int) -> bool:
    if wanted["suffix"]:
        return int(wanted["suffix"]) > 0 and size_bytes > 0
    return int(wanted["first"]) < size_bytes


def _forget_range(request: Request) -> None:
    """Starlette refuses with 400 the ranges that RFC 9110 (14.2) wants ignored."""
    headers = request.scope["headers"]
    request.scope["headers"] = [(name, value) for name, value in headers if name != b"range"]


def _no_such_part(size_bytes: int) -> Response:
    return problem(
        416,
        "range_not_satisfiable",
        "The file has no such part.",
        {"size": size_bytes},
        Content_Range=f"bytes */{size_bytes}",
    )
