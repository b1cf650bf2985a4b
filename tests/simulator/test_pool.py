import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from services.simulator.adapters.pool import RenderFailed, RenderProcess
from services.simulator.domain.commissions import Film, Picture

PATIENCE_S = 15.0
SMALL = Picture("a cat", 1, 64, 64, "png")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def gone(pid: int) -> None:
    for _ in range(500):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the process lives on")


async def test_draws_into_a_whole_file(tmp_path: Path) -> None:
    process = RenderProcess(PATIENCE_S)
    await process.render(SMALL, tmp_path / "x.png")
    assert names(tmp_path) == ["x.png"]
    await process.stop()


async def test_a_killed_process_fails_its_picture_and_the_next_has_a_new_one(
    tmp_path: Path,
) -> None:
    process = RenderProcess(PATIENCE_S)
    first = (await process.start()).pid
    drawing = asyncio.create_task(process.render(SMALL, tmp_path / "x.png"))
    await asyncio.sleep(0)  # the order is written before the first wait
    os.kill(first, signal.SIGKILL)
    with pytest.raises(RenderFailed):
        await drawing
    await process.render(SMALL, tmp_path / "x.png")
    assert process.pid != first
    await process.stop()


async def test_a_picture_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    process = RenderProcess(0.001)
    with pytest.raises(RenderFailed):
        await process.render(SMALL, tmp_path / "x.png")
    assert process.pid is None


async def test_what_was_half_made_is_swept_away(tmp_path: Path) -> None:
    process = RenderProcess(PATIENCE_S)
    pid = (await process.start()).pid
    half = tmp_path / "x.mp4.scratch"
    film = asyncio.create_task(process.render(Film("a cat", 1, 640, 360, 60.0), tmp_path / "x.mp4"))
    async with asyncio.timeout(PATIENCE_S):
        while not half.exists():  # noqa: ASYNC110 - only the file tells
            await asyncio.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(RenderFailed):
        await film
    assert names(tmp_path) == []


async def test_a_picture_that_cannot_be_drawn_leaves_its_process_alive(tmp_path: Path) -> None:
    process = RenderProcess(PATIENCE_S)
    with pytest.raises(RenderFailed):
        await process.render(SMALL, tmp_path / "no" / "such" / "folder.png")
    pid = process.pid
    await process.render(SMALL, tmp_path / "x.png")
    assert process.pid == pid
    await process.stop()


async def test_ctrl_c_is_left_to_the_parent(tmp_path: Path) -> None:
    process = RenderProcess(PATIENCE_S)
    await process.render(SMALL, tmp_path / "x.png")
    pid = process.pid
    assert pid is not None
    os.kill(pid, signal.SIGINT)
    await process.render(SMALL, tmp_path / "y.png")
    assert process.pid == pid
    await process.stop()


PARENT = """
import asyncio, sys
from pathlib import Path
from services.simulator.adapters.pool import RenderProcess
from services.simulator.domain.commissions import Picture

async def main():
    process = RenderProcess(15.0)
    small = Picture("a cat", 1, 64, 64, "png")
    await process.render(small, Path(sys.argv[1]))
    print(process.pid, flush=True)
    await process.render(Picture("forest", 1, 4096, 4096, "png"), Path(sys.argv[1]))
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_workers_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, str(tmp_path / "x.png")), stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    worker = int(await parent.stdout.readline())
    assert psutil.pid_exists(worker)
    parent.kill()
    await parent.wait()
    await gone(worker)
