"""Results: the file itself, or what a scenario puts in its place."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from services.simulator.adapters.canned import canned_file
from services.simulator.adapters.files import ResultFiles
from services.simulator.adapters.journal import Journal
from services.simulator.adapters.uploads import PATH, Uploads
from services.simulator.api.answers import ENDLESS_BYTES, endless
from services.simulator.domain.jobs import Job

MEDIA_TYPES: Final = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "webp": "image/webp",
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "mp4": "video/mp4",
}
MISLABELLED: Final = "text/plain"
FRESH_LINK_S: Final = 20 * 60


def link(job: Job, origin: str) -> str:
    """Where a job's result is fetched."""
    return f"{origin}/{job.vendor}/files/{job.filename}"


@dataclass(frozen=True)
class HandedOver:
    """The pictures that callers uploaded, at the addresses they were told."""

    uploads: Uploads

    def routes(self) -> list[BaseRoute]:
        return [Route(f"/{{vendor}}/{PATH}/{{name}}", self.upload, methods=["GET"])]

    async def upload(self, request: Request) -> Response:
        path = self.uploads.path(request.path_params["name"])
        if path is None or path.name != request.path_params["name"]:
            return PlainTextResponse("Not Found", 404)
        return FileResponse(path, media_type=MEDIA_TYPES[path.suffix[1:]])


@dataclass(frozen=True)
class Results:
    """Links need no key, as a vendor's do not."""

    journal: Journal
    files: ResultFiles

    def routes(self) -> list[BaseRoute]:
        return [Route("/{vendor}/files/{name}", self.result, methods=["GET"])]

    async def result(self, request: Request) -> Response:
        """A link made anew (`?until=`, ms; kie.ai's download-url) outlives an expired one."""
        name = request.path_params["name"]
        job = self.journal.jobs.get(name.partition(".")[0])
        if job is None or (job.vendor, job.filename) != (request.path_params["vendor"], name):
            return PlainTextResponse("Not Found", 404)
        if job.has("expired_link") and "until" not in request.query_params:
            return PlainTextResponse("Forbidden: the link has expired", 403)
        return await self.response(job, {})

    async def response(self, job: Job, headers: Mapping[str, str]) -> Response:
        """The result as an answer's body, with its faults."""
        if job.has("wrong_mime"):
            return HTMLResponse("<!doctype html><title>Sign in</title><p>This is no picture.</p>")
        if oversized := job.has("oversized"):
            return endless(min(int(oversized.number("bytes", ENDLESS_BYTES)), ENDLESS_BYTES))
        if not job.canned and not job.has("truncated"):
            if not self.files.has(job.filename):
                return PlainTextResponse("Not Found", 404)
            path = self.files.path(job.filename)
            return FileResponse(path, headers=headers, media_type=media_type(job))
        content = await self.content(job)
        if content is None:
            return PlainTextResponse("Not Found", 404)
        return Response(content, headers=headers, media_type=media_type(job))

    async def content(self, job: Job) -> bytes | None:
        """The result's bytes, or what a scenario leaves of them; nothing if they are gone."""
        if job.canned:
            content = canned_file(job.commission)
        elif self.files.has(job.filename):
            content = await asyncio.to_thread(self.files.path(job.filename).read_bytes)
        else:
            return None
        if truncated := job.has("truncated"):
            fraction = min(max(truncated.number("fraction", 0.5), 0.0), 1.0)
            content = content[: int(len(content) * fraction)]
        return content


def media_type(job: Job) -> str:
    """What the result is said to be."""
    if job.has("mislabelled"):
        return MISLABELLED
    return MEDIA_TYPES[job.filename.rpartition(".")[2]]
