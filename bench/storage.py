"""python -m bench.storage: a gibibyte sent and got through the gateway and storage, each a process
of its own, beside the same bytes copied plainly by aiohttp and Starlette; what it takes when it is
a film, at which storage looks; and what is done to a picture, on one processor.
"""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import psutil

from bench.copying import got, sent
from bench.large_files import write_model, write_noise_film
from bench.peer import ROOT, figures_of
from bench.repetitions import Case, Figures, Medians, Row, ratio, repeated, run
from bench.servers import RABBITMQ, facts, fresh_database, fresh_queues
from tests.system.product import Product, new_key, new_user

BYTES: Final = 1 << 30
STORAGE_API: Final = "/api/v2/storage"
SCOPES: Final = ("storage:read", "storage:write", "storage:delete")
SMALL: Final = "small.glb"
GATEWAY, STORAGE = "services.gateway", "services.storage"
RSS_MB_GOAL: Final = 150
MB: Final = 1_000_000


async def measure() -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="smartspec-bench-") as folder:
        model, film = Path(folder, "model.glb"), Path(folder, "film.mp4")
        await asyncio.to_thread(write_model, model, BYTES)
        await asyncio.to_thread(write_noise_film, film, BYTES)
        await asyncio.to_thread(write_model, model.with_name(SMALL), 1 << 20)
        result = await repeated(
            [
                Case("product", lambda: _product(model, film)),
                Case("plain", lambda: figures_of("plain_copy", path=str(model))),
                Case("picture", _picture),
            ]
        )
    return {"servers": await facts(), **result, "table": _table(result["cases"])}


def _table(cases: Medians) -> list[Row]:
    def value(case: str, figure: str) -> float:
        return float(cases[case][figure]["median"])

    def row(what: str, figure: str) -> Row:
        return Row(
            what,
            f"{ratio(cases, figure, 'product', 'plain')} of a plain copy",
            f"{value('product', figure):.0f} MiB/s (plain {value('plain', figure):.0f})",
            "0.7",
        )

    def picture(what: str, figure: str, goal: str) -> Row:
        return Row(what, "-", f"{value('picture', figure):.1f} ms", goal)

    return [
        row("1 GiB sent through the gateway, checked, hashed and kept", "upload_mib_per_s"),
        row("1 GiB got through the gateway", "download_mib_per_s"),
        Row(
            "the same of a film, 16 frames of which are looked at",
            "-",
            f"{value('product', 'film_mib_per_s'):.0f} MiB/s",
            "-",
        ),
        Row(
            "memory of gateway and storage meanwhile, at their peaks",
            "-",
            f"{value('product', 'gateway_mb'):.0f} and {value('product', 'storage_mb'):.0f} MB",
            f"{RSS_MB_GOAL} MB each",
        ),
        picture("small picture of a 4K PNG", "thumbnail_png_ms", "300 ms"),
        picture("small picture of a 4K JPEG", "thumbnail_jpeg_ms", "80 ms"),
        picture("C2PA manifest into a 4K PNG", "sign_png_ms", "25 ms"),
        picture("C2PA manifest into a 4K JPEG", "sign_jpeg_ms", "25 ms"),
        picture("invisible watermark into a 1024 px picture", "mark_ms", "-"),
    ]


async def _picture() -> Figures:
    """In a process that is set up as storage's children are."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.pictures"),
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "OPENBLAS_NUM_THREADS": "1"},
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()
    figures: Figures = json.loads(said)
    return figures


async def _product(model: Path, film: Path) -> Figures:
    async with _running() as product:
        key = await asyncio.to_thread(_key, product)
        peaks = _Peaks(product.process.pid)
        headers = {"X-API-Key": key}
        upload = f"{product.url}{STORAGE_API}/upload"
        await sent(
            upload, model.with_name(SMALL), headers
        )  # starts the process that looks at files
        sent_s, answer = await sent(upload, model, headers)
        url = f"{product.url}{STORAGE_API}/files/{answer['key']}"
        got_s = await got(url, answer["size"], headers)
        film_s, film_answer = await sent(upload, film, headers)
        mib = answer["size"] / 2**20
        return {
            "film_mib_per_s": film_answer["size"] / 2**20 / film_s,
            "upload_mib_per_s": mib / sent_s,
            "download_mib_per_s": mib / got_s,
            "gateway_mb": peaks.mb(GATEWAY),
            "storage_mb": peaks.mb(STORAGE),
        }


@asynccontextmanager
async def _running() -> AsyncIterator[Product]:
    with tempfile.TemporaryDirectory(prefix="smartspec-bench-") as folder:
        async with fresh_database() as dsn, fresh_queues() as prefix:
            settings = {
                "DATABASE_URL": dsn,
                "RABBITMQ_URL": RABBITMQ,
                "SMARTSPEC_QUEUE_PREFIX": prefix,
                "SMARTSPEC_STORAGE_QUOTAS": "*=10GB",
            }
            product = Product(Path(folder) / "home", settings, ("--separate",))
            try:
                await asyncio.to_thread(product.start)
                yield product
            finally:
                await asyncio.to_thread(product.kill)


def _key(product: Product) -> str:
    with ExitStack() as users:
        user = users.enter_context(new_user(product))
        return new_key(product, user.token, SCOPES)


class _Peaks:
    """The most memory that a service's process had since now: Linux keeps count of it."""

    def __init__(self, pid: int) -> None:
        self._processes = psutil.Process(pid).children(recursive=True)
        for process in self._processes:
            Path(f"/proc/{process.pid}/clear_refs").write_text("5")

    def mb(self, module: str) -> float:
        """Of the process that runs `module`; its children, which look into files, are others."""
        return max(
            _peak_kib(process.pid) * 1_024 / MB
            for process in self._processes
            if process.is_running() and module in process.cmdline()
        )


def _peak_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    sys.exit(run("storage", measure))
