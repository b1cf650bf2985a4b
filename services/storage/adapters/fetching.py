"""Brings one output here and makes it what was asked for; knows no keys, no events, no retries.

Whatever it is, it is looked at in a child.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kernel.clock import new_id
from kernel.errors import NotFound
from kernel.objects import ObjectStore
from kernel.outbound import Outbound, Unreachable
from services.storage.adapters.claims import Labelled, Made
from services.storage.adapters.labelling import Labeller
from services.storage.adapters.media import MediaFacts, Wanted
from services.storage.adapters.sandbox import Studio


@dataclass(frozen=True, slots=True)
class Bounds:
    bytes_max: int
    timeout_s: float


BOUNDS: Final[Mapping[str, Bounds]] = {
    "image": Bounds(64 << 20, 60.0),
    "audio": Bounds(128 << 20, 120.0),
    "video": Bounds(512 << 20, 300.0),
    "avatar": Bounds(512 << 20, 300.0),
}
"""What is kept, by the type of its task, and what fetching one may take: ten minutes of film at
6 Mbit/s, of sound as CD."""


@dataclass(frozen=True)
class FetchedOutput:
    """Files of this moment: `facts` are those of `path`, and `thumbnail` is a WebP. `labelled` says
    what was written into it, where that was asked for."""

    path: Path
    thumbnail: Path
    facts: MediaFacts
    labelled: Labelled | None = None


class OutputFetcher:
    """`objects` has a folder for files on their way; what a killed process leaves there, others
    sweep."""

    def __init__(
        self,
        outbound: Outbound,
        objects: ObjectStore,
        studio: Studio,
        labeller: Labeller | None = None,
    ) -> None:
        self._outbound = outbound
        self._objects = objects
        self._folder = objects.incoming
        self._studio = studio
        self._labeller = labeller

    @asynccontextmanager
    async def fetched(
        self, url: str, object_key: str | None, wanted: Wanted, made: Made | None = None
    ) -> AsyncIterator[FetchedOutput]:
        """The output at `url`, or in the object store under `object_key`, as it was wanted: of a
        kind that has `BOUNDS`. A picture is made to fit where its size is another. How it was
        `made` is written into it, where there is a labeller.

        Its files are gone afterwards.

        Raises:
            Unreachable, Refused: as `Outbound.fetch_to_file` does.
            MediaRefused, CheckFailed: as `Studio.examined` and `Labeller.label` do.
        """
        stem = new_id().hex
        received, fitted, small, labelled = (self._folder / f"{stem}.{n}" for n in range(4))
        try:
            await self._receive(url, object_key, received, BOUNDS[wanted.kind])
            facts = await self._studio.examined(received, small, wanted, fitted)
            path = fitted if fitted.exists() else received
            if self._labeller is None or made is None:
                yield FetchedOutput(path, small, facts)
                return
            label = await self._labeller.label(path, labelled, facts, made, original=received)
            yield FetchedOutput(labelled, small, label.facts, label)
        finally:
            _remove(received, fitted, small, labelled)

    async def _receive(self, url: str, object_key: str | None, path: Path, bounds: Bounds) -> None:
        if object_key is None:
            await self._outbound.fetch_to_file(
                url, path, max_bytes=bounds.bytes_max, timeout_s=bounds.timeout_s
            )
            return
        try:
            await self._objects.fetch(object_key, path)
        except NotFound:
            raise Unreachable("output_gone", "The output is not in the object store.") from None


def _remove(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
