"""A user's files: listed, downloaded, deleted. A key of anybody else's is not there."""

from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from kernel.http import Caller
from services.storage.adapters.deleting import KeptFile
from services.storage.api.serving import PARTS, served
from services.storage.api.shelf import Shelf
from services.storage.api.words import (
    FileBody,
    FileList,
    cursor_of,
    file_values,
    place_of,
)
from services.storage.domain import DELETED
from services.storage.read_model import Wished, files_of

PAGE_MAX: Final = 100


def add_files(router: APIRouter, shelf: Shelf) -> None:
    @router.get("/files")
    async def list_files(  # noqa: PLR0917 - each is a parameter of the query
        caller: Caller,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 20,
        cursor: Annotated[str | None, Query(max_length=1_024)] = None,
        kind: Literal["output", "upload"] | None = None,
        prefix: Annotated[str | None, Query(max_length=512, pattern=r"^[ -~]*$")] = None,
        mime_type: Annotated[str | None, Query(max_length=127, pattern=r"^[ -~]*$")] = None,
    ) -> FileList:
        """The caller's files, generated and uploaded, newest first."""
        caller.require("storage:read")
        after = None if cursor is None else place_of(cursor)
        wished = Wished(kind=kind, prefix=prefix, mime_type=mime_type, after=after)
        files = await files_of(shelf.database, caller.user_id, wished, limit + 1)
        page = files[:limit]
        return FileList(
            files=[FileBody(**file_values(file, shelf.link)) for file in page],
            next_cursor=cursor_of(page[-1]) if len(files) > limit else None,
        )

    @router.head("/files/{key:path}", include_in_schema=False)
    @router.get("/files/{key:path}", response_class=StreamingResponse, responses=PARTS)
    async def download(key: str, request: Request, caller: Caller) -> Response:
        """The file, whole or in part."""
        caller.require("storage:read")
        file = await shelf.own(caller, key)
        headers = {"Cache-Control": "private, no-cache"}
        return await served(request, shelf.objects, file.key, lambda _: f'"{file.sha256}"', headers)

    @router.delete("/files/{key:path}", status_code=204, response_class=Response)
    async def delete_file(key: str, caller: Caller) -> Response:
        """Delete the file for good, its small picture too. A link to it opens nothing any more."""
        caller.require("storage:delete")
        file = await shelf.own(caller, key)
        kept = KeptFile(
            user_id=file.user_id,
            key=file.key,
            thumbnail_key=file.facts["thumbnail_key"],
            upload_id=file.upload_id,
            task_id=file.task_id,
            output_index=file.output_index,
        )
        await shelf.deleting.delete(kept, DELETED)
        return Response(status_code=204)
