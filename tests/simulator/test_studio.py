"""The studio hands a film the picture it begins with, and keeps nothing of it afterwards."""

import asyncio
import io
from pathlib import Path

import av
import numpy as np
from PIL import Image

from kernel.clock import SystemClock
from services.simulator.adapters.files import ResultFiles
from services.simulator.adapters.journal import Bounds, Journal
from services.simulator.adapters.studio import Studio, render_processes
from services.simulator.domain.commissions import Film
from services.simulator.domain.jobs import Job


def red_png() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 64), (230, 10, 10)).save(out, "PNG")
    return out.getvalue()


def done(studio: Studio) -> bool:
    found = studio.look("t")
    return found is not None and found[1].state == "success"


async def test_a_film_begins_with_the_picture_that_came_with_its_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl", Bounds(10, 10, 86_400_000))
    files = ResultFiles(tmp_path / "files", 1_000_000)
    processes = render_processes(1, 30.0)
    studio = Studio(SystemClock(), journal, files, processes, max_unfinished=5, warm_after_s=60)
    studio.start()
    film = Film("sea", 1, 64, 64, 0.1, first_frame="http://x/red.png")
    studio.accept(Job("t", "kie", "k", "m", "{}", film, 1, studio.now_ms()), red_png())
    try:
        async with asyncio.timeout(30):
            while not done(studio):  # noqa: ASYNC110 - the studio tells nobody of it
                await asyncio.sleep(0.02)
    finally:
        await studio.stop()
    with av.open(str(files.path("t.mp4"))) as container:
        first = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert np.allclose(first[:40].reshape(-1, 3).mean(axis=0), (230, 10, 10), atol=12)
    assert [path.name for path in (tmp_path / "files").iterdir()] == ["t.mp4"]
