"""Result links: the file itself, or what a scenario puts in its place."""

from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from services.simulator.adapters.canned import canned_file
from services.simulator.adapters.files import ResultFiles
from services.simulator.adapters.journal import Journal
from services.simulator.api.answers import ENDLESS_BYTES, endless
from services.simulator.domain.jobs import Job
from services.simulator.domain.kie import PREFIX

MEDIA_TYPES: Final = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "mp4": "video/mp4",
}


@dataclass(frozen=True)
class Results:
    journal: Journal
    files: ResultFiles

    def routes(self) -> list[BaseRoute]:
        return [Route(f"{PREFIX}/files/{{name}}", self.result, methods=["GET"])]

    async def result(self, request: Request) -> Response:
        name = request.path_params["name"]
        job = self.journal.jobs.get(name.partition(".")[0])
        if job is None or name != job.filename:
            return PlainTextResponse("Not Found", 404)
        return _instead(job) or self._file(job)

    def _file(self, job: Job) -> Response:
        media_type = MEDIA_TYPES[job.filename.rpartition(".")[2]]
        if job.canned:
            return Response(canned_file(job.commission), media_type=media_type)
        if not self.files.has(job.filename):
            return PlainTextResponse("Not Found", 404)
        return FileResponse(self.files.path(job.filename), media_type=media_type)


def _instead(job: Job) -> Response | None:
    if job.has("expired_link"):
        return PlainTextResponse("Forbidden: the link has expired", 403)
    if job.has("wrong_mime"):
        return HTMLResponse("<!doctype html><title>Sign in</title><p>This is no picture.</p>")
    if oversized := job.has("oversized"):
        return endless(min(int(oversized.number("bytes", ENDLESS_BYTES)), ENDLESS_BYTES))
    return None
