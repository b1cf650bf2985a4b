"""What is said of every medium: what was asked for, what came, why it is refused; decodes nothing.

Refusals of all media: unsupported_type, wrong_size, wrong_duration, silent, too_many_pixels,
too_many_frames, too_long, too_complex, damaged_picture, damaged_film, damaged_sound,
damaged_document; and, for what they show, unsafe_output and unsafe_content.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import filetype  # type: ignore[import-untyped]  # it publishes no types

from kernel.errors import Invalid
from services.storage.domain import StoredFile

THUMBNAIL_SIDE_PX: Final = 512
THUMBNAIL_LOOK: Final[Mapping[str, int]] = {"quality": 80, "method": 0}
"""How a WebP is written that is small anyway: quickly."""
THUMBNAIL_TYPE: Final = "image/webp"
_HEAD_BYTES: Final = 8192
_OTHER_NAMES: Final = {"audio/x-wav": "audio/wav"}


class MediaRefused(Invalid):
    """This file is not kept; the codes are those that the module names."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for; None where nothing was. `kind` is the type of the task."""

    kind: str
    width: int | None = None
    height: int | None = None
    duration_seconds: float | None = None
    mime_type: str | None = None


@dataclass(frozen=True, slots=True)
class MediaFacts:
    """`width` and `height` in pixels as shown; `size` in bytes; `sha256` in hex, of the file.

    `blurhash` paints the picture, or the film's poster, in a few colours until it is there.
    `nsfw_score` is 0 to 1, of a film its worst frame's; `safety` is allow, review or block by it,
    and None where nothing was scored.
    """

    mime_type: str
    width: int | None
    height: int | None
    sha256: str
    size: int
    duration_seconds: float | None = None
    blurhash: str | None = None
    nsfw_score: float | None = None
    safety: str | None = None

    def kept_as(self, key: str, thumbnail_key: str | None) -> StoredFile:
        return StoredFile(key=key, thumbnail_key=thumbnail_key, **asdict(self))


@dataclass(frozen=True, slots=True)
class Bands:
    """From which scores on a picture waits for a person's review, or is blocked."""

    review_from: float
    block_from: float

    def verdict(self, score: float) -> str:
        if score >= self.block_from:
            return "block"
        return "review" if score >= self.review_from else "allow"


def type_of(path: Path) -> str | None:
    """The MIME type by the file's first bytes, whatever its name; None for one not known."""
    with path.open("rb") as file:
        kind = filetype.guess(file.read(_HEAD_BYTES))
    return _OTHER_NAMES.get(kind.mime, str(kind.mime)) if kind else None


def checked_type(path: Path, allowed: Collection[str], wanted: Wanted) -> str:
    """The type, which is one of those allowed, and the one asked for.

    Raises:
        MediaRefused: unsupported_type.
    """
    mime_type = type_of(path)
    if mime_type is None or mime_type not in allowed:
        raise MediaRefused("unsupported_type", f"This is none of {', '.join(allowed)}.")
    if wanted.mime_type not in {None, mime_type}:
        raise MediaRefused("unsupported_type", f"This is {mime_type}, not what was asked for.")
    return mime_type


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
