"""Pictures that callers hand over, in one bounded folder; a name is made of the content itself."""

import hashlib
import re
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from services.simulator.adapters.files import ResultFiles
from services.simulator.adapters.outside import Outside, Unreadable

MAGIC: Final = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpg", b"RIFF": "webp"}
PATH: Final = "uploads"
NAME: Final = re.compile(r"[0-9a-f]{32}\.(?:png|jpg|webp)")


class Uploads:
    def __init__(
        self, folder: Path, outside: Outside, *, max_bytes: int, max_total_bytes: int
    ) -> None:
        self._folder = folder
        self._outside = outside
        self._files = ResultFiles(folder, max_total_bytes)
        self.max_bytes = max_bytes

    def open(self) -> None:
        """Keep what was handed over before; jobs not yet done may need it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        kept = (path.name for path in self._folder.iterdir() if NAME.fullmatch(path.name))
        self._files.open(frozenset(kept))

    def keep(self, content: bytes) -> str:
        """The name under which a picture is kept. Raises `Unreadable` if it is none."""
        kind = next((kind for magic, kind in MAGIC.items() if content.startswith(magic)), "")
        no_webp = kind == "webp" and content[8:12] != b"WEBP"
        if not kind or no_webp or len(content) > self.max_bytes:
            raise Unreadable("not a picture of a size that is taken")
        name = f"{hashlib.sha256(content).hexdigest()[:32]}.{kind}"
        if not self._files.has(name):
            self._files.path(name).write_bytes(content)
            self._files.note(name)
        return name

    def path(self, name: str) -> Path | None:
        """The file of a name or of an id (the name without its ending), if it is kept."""
        for one in (name, *(f"{name}.{kind}" for kind in MAGIC.values())):
            if NAME.fullmatch(one) and self._files.has(one):
                return self._files.path(one)
        return None

    async def obtain(self, given: str) -> Path | None:
        """The file that an address or id stands for; nothing if it is beyond the simulator's reach.

        Raises `Unreadable` for an id that is unknown, and for an address that gives no picture.
        """
        name = given if "/" not in given else urlsplit(given).path.rpartition("/")[2]
        if (path := self.path(name)) is not None:
            return path
        if "/" not in given:
            raise Unreadable("nothing was handed over by that id")
        if not self._outside.reaches(given):
            return None
        return self.path(self.keep(await self._outside.get(given, self.max_bytes)))
