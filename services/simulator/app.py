"""Composition root of the simulator: the one place that constructs its adapters."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from kernel.clock import Clock
from services.simulator.adapters.files import ResultFiles
from services.simulator.adapters.journal import Bounds, Journal
from services.simulator.adapters.outside import Outside
from services.simulator.adapters.stage import Stage
from services.simulator.adapters.studio import Studio, render_processes
from services.simulator.adapters.uploads import Uploads
from services.simulator.api.callbacks import Callbacks
from services.simulator.api.controls import Controls
from services.simulator.api.desk import Room
from services.simulator.api.elevenlabs import ElevenLabs
from services.simulator.api.google import Google
from services.simulator.api.heygen import HeyGen
from services.simulator.api.kie import Kie
from services.simulator.api.kie_uploads import KieUploads
from services.simulator.api.leonardo import Leonardo
from services.simulator.api.results import HandedOver, Results
from services.simulator.settings import SimulatorSettings


def create_app(settings: SimulatorSettings, clock: Clock) -> Starlette:
    """The vendors as one ASGI app; its lifespan reads the journal and runs the render processes.

    Nothing is started or written before the lifespan begins. Serve it on loopback only: any key
    is good here, and the controls ask for none.
    """
    bounds = Bounds(settings.max_jobs, settings.max_asked, settings.keep_s * 1000)
    journal = Journal(settings.home / "journal.jsonl", bounds)
    files = ResultFiles(settings.home / "files", settings.max_files_bytes)
    stage = Stage(settings.max_scenarios, canned=settings.canned)
    authority = settings.home / "authority" if settings.content_credentials else None
    studio = Studio(
        clock,
        journal,
        files,
        render_processes(settings.workers, settings.render_timeout_s, authority),
        max_unfinished=settings.max_unfinished,
        warm_after_s=settings.warm_after_s,
    )
    outside = Outside(settings.reach_hosts)
    uploads = Uploads(
        settings.home / "uploads",
        outside,
        max_bytes=settings.max_upload_bytes,
        max_total_bytes=settings.max_uploads_bytes,
    )
    callbacks = Callbacks(studio, journal, outside, max_expected=settings.max_jobs)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        uploads.open()
        studio.start()
        try:
            yield
        finally:
            await callbacks.stop()
            await studio.stop()

    async def ready(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("ready")

    room = Room(settings, studio, journal, stage, uploads, callbacks)
    results = Results(journal, files)
    routes = [
        Route("/readyz", ready),
        *Kie(room).routes(),
        *KieUploads(room, outside).routes(),
        *Google(room, results).routes(),
        *HeyGen(room).routes(),
        *Leonardo(room).routes(),
        *ElevenLabs(room, results).routes(),
        *results.routes(),
        *HandedOver(uploads).routes(),
        *Controls(settings, studio, journal, stage).routes(),
    ]
    return Starlette(routes=routes, lifespan=lifespan)
