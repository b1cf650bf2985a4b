"""Brings one output here and makes it what was asked for; knows no keys, no events, no retries."""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from kernel.clock import new_id
from kernel.errors import NotFound
from kernel.objects import LocalObjectStore
from kernel.outbound import Outbound, Unreachable
from services.storage.adapters.pictures import PictureFacts, examine, fit_exactly, thumbnail

FETCH_BYTES_MAX: Final = 64 * 1024 * 1024
FETCH_TIMEOUT_S: Final = 60.0
PICTURES_AT_ONCE_MAX: Final = 2
"""Decoding takes a core and up to a few hundred MB each."""
PICTURES_NICENESS: Final = 10


@dataclass(frozen=True)
class FetchedPicture:
    """Files of this moment: `facts` are those of `path`, and `thumbnail` is a WebP."""

    path: Path
    thumbnail: Path
    facts: PictureFacts


class PictureFetcher:
    """`objects` has a folder for files on their way; what a killed process leaves there, others
    sweep."""

    def __init__(self, outbound: Outbound, objects: LocalObjectStore) -> None:
        self._outbound = outbound
        self._objects = objects
        self._folder = objects.incoming
        self._threads = ThreadPoolExecutor(
            PICTURES_AT_ONCE_MAX, thread_name_prefix="pictures", initializer=_yield_to_requests
        )

    async def aclose(self) -> None:
        """Begin nothing more; what is being made ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    @asynccontextmanager
    async def fetched(
        self, url: str, object_key: str | None, width: int | None, height: int | None
    ) -> AsyncIterator[FetchedPicture]:
        """The picture at `url`, or in the object store under `object_key`: exactly `width` x
        `height` px where both are given.

        Its files are gone afterwards.

        Raises:
            Unreachable, Refused: as `Outbound.fetch_to_file` does.
            PictureRefused: as `examine` does.
        """
        stem = new_id().hex
        received, fitted, small = (self._folder / f"{stem}.{n}" for n in range(3))
        try:
            await self._receive(url, object_key, received)
            made = partial(_make, received, fitted, small, width, height)
            yield await asyncio.get_running_loop().run_in_executor(self._threads, made)
        finally:
            _remove(received, fitted, small)

    async def _receive(self, url: str, object_key: str | None, path: Path) -> None:
        if object_key is None:
            await self._outbound.fetch_to_file(
                url, path, max_bytes=FETCH_BYTES_MAX, timeout_s=FETCH_TIMEOUT_S
            )
            return
        try:
            source = await self._objects.path_of(object_key)
        except NotFound:
            raise Unreachable("output_gone", "The output is not in the object store.") from None
        await asyncio.to_thread(shutil.copyfile, source, path)


def _yield_to_requests() -> None:
    """Linux keeps a priority for each thread: whoever waits for an answer goes before pictures."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, 0, PICTURES_NICENESS)


def _make(
    received: Path, fitted: Path, small: Path, width: int | None, height: int | None
) -> FetchedPicture:
    path, facts = received, examine(received)
    if width is not None and height is not None and (facts.width, facts.height) != (width, height):
        fit_exactly(received, fitted, width, height)
        path, facts = fitted, examine(fitted)
    thumbnail(path, small)
    return FetchedPicture(path, small, facts)


def _remove(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
