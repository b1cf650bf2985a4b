"""Peers: each a small program in `bench/peers`, run by the environment that has its packages.

It gets its arguments as JSON on the command line and says its figures as a line of JSON, so that
nothing of ours imports what we are measured beside.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any, Final

from bench.repetitions import Figures

ROOT: Final = Path(__file__).parents[1]
PYTHON: Final = ROOT / ".venv-bench/bin/python"
TIMEOUT_S: Final = 120.0


async def figures_of(peer: str, **arguments: Any) -> Figures:
    """What the peer says last. Raises `RuntimeError` when it fails."""
    if not PYTHON.exists():
        raise RuntimeError("the peers are not installed: make bench installs them")
    process = await asyncio.create_subprocess_exec(
        PYTHON,
        "-m",
        f"bench.peers.{peer}",
        json.dumps(arguments),
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            said, complaints = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise RuntimeError(f"{peer} failed:\n{complaints.decode()[-2_000:]}")
    figures: Figures = json.loads(said.splitlines()[-1])
    return figures


def arguments() -> dict[str, Any]:
    """In a peer's own process: what it was given."""
    given: dict[str, Any] = json.loads(sys.argv[1])
    return given


def say(figures: Figures) -> None:
    sys.stdout.write(f"{json.dumps(figures)}\n")
