"""Has an upload looked at by what it is, not by what it is called, before anybody may have it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kernel.clock import new_id
from kernel.errors import Invalid, TooLarge, Unavailable, UnsupportedMedia
from services.storage.adapters.media import MediaFacts, MediaRefused, type_of
from services.storage.adapters.sandbox import CheckFailed, Studio
from services.storage.domain import EXTENSIONS

TAKEN_TYPES: Final = tuple(EXTENSIONS)
DOCUMENTS: Final = frozenset({"application/pdf", "model/gltf-binary"})
_SAME: Final = {"image/apng": "image/png"}
_BYTES_MAX: Final[Mapping[str, int]] = {"image": 64 << 20, "application/json": 16 << 20}
"""Of a type, or of a kind of them; others have what the settings say."""


@dataclass(frozen=True, slots=True)
class Brought:
    """A file that came: `sha256` in hex, `claimed` is what its sender calls its type."""

    path: Path
    size: int
    sha256: str
    claimed: str = ""


@dataclass(frozen=True, slots=True)
class Accepted:
    """What is to be kept: `path` may be another file than came. It and the thumbnail are gone
    afterwards, but for what the object store was given."""

    path: Path
    facts: MediaFacts
    thumbnail: Path | None


class Accepting:
    """`folder` is where files are on their way: the object store's `incoming`."""

    def __init__(self, studio: Studio, folder: Path) -> None:
        self._studio = studio
        self._folder = folder

    @asynccontextmanager
    async def accepted(
        self, brought: Brought, wanted: str | None = None
    ) -> AsyncIterator[Accepted]:
        """The file as it may be kept; `wanted` is the type that it must have.

        Raises:
            UnsupportedMedia: its type is not taken.
            Invalid: it is damaged, too complex, unsafe, or of another type than `wanted`.
            TooLarge: for its type.
            Unavailable: it can't be looked at now.
        """
        stem = new_id().hex
        clean, small = (self._folder / f"{stem}.{name}" for name in ("clean", "small"))
        try:
            yield await self._looked_at(brought, clean, small, wanted)
        except MediaRefused as refused:
            raise _as_answered(refused) from None
        except CheckFailed:
            raise Unavailable(
                "not_checked", "The file can't be looked at just now.", retry_after_s=5
            ) from None
        finally:
            _remove(clean, small)

    async def _looked_at(
        self, brought: Brought, clean: Path, small: Path, wanted: str | None
    ) -> Accepted:
        found = await asyncio.to_thread(type_of, brought.path)
        mime_type = _SAME.get(found or "", found)
        if mime_type is None or mime_type in DOCUMENTS:
            order = {"path": brought.path, "claimed": wanted or brought.claimed}
            mime_type = str((await self._studio.do("check_document", order))["mime_type"])
            _check(mime_type, wanted, brought.size)
            facts = MediaFacts(mime_type, None, None, brought.sha256, brought.size)
            return Accepted(brought.path, facts, None)
        if mime_type not in EXTENSIONS:
            raise MediaRefused("unsupported_type", "Files of this type are not taken.")
        _check(mime_type, wanted, brought.size)
        facts = await self._studio.taken_in(brought.path, clean, small, mime_type, brought.sha256)
        is_picture = mime_type.startswith("image/")
        return Accepted(clean if is_picture else brought.path, facts, small)


def _remove(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _check(mime_type: str, wanted: str | None, size: int) -> None:
    if wanted is not None and mime_type != wanted:
        raise Invalid(
            "content_type_mismatch",
            f"This is {mime_type}, not {wanted}.",
            {"field": "content_type", "mime_type": mime_type},
        )
    bytes_max = _BYTES_MAX.get(mime_type, _BYTES_MAX.get(mime_type.partition("/")[0]))
    if bytes_max is not None and size > bytes_max:
        raise TooLarge(
            "file_too_large",
            f"file: {mime_type} may have {bytes_max} bytes.",
            {"bytes_max": bytes_max},
        )


def _as_answered(refused: MediaRefused) -> Invalid | UnsupportedMedia:
    if refused.code == "unsupported_type":
        return UnsupportedMedia(refused.code, refused.message, {"taken": list(TAKEN_TYPES)})
    return Invalid(refused.code, refused.message, {"field": "file"})
