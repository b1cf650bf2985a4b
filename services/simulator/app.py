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
from services.simulator.adapters.stage import Stage
from services.simulator.adapters.studio import Studio, render_processes
from services.simulator.api.controls import Controls
from services.simulator.api.google import Google
from services.simulator.api.kie import Kie
from services.simulator.api.results import Results
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

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        studio.start()
        try:
            yield
        finally:
            await studio.stop()

    async def ready(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("ready")

    routes = [
        Route("/readyz", ready),
        *Kie(settings, studio, journal, stage).routes(),
        *Google(settings, studio, journal, stage, files).routes(),
        *Results(journal, files).routes(),
        *Controls(settings, studio, journal, stage).routes(),
    ]
    return Starlette(routes=routes, lifespan=lifespan)
