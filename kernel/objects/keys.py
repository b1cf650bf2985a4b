"""Names of objects: safe as a path, in a URL and on S3."""

import re
from dataclasses import dataclass
from typing import Final

from kernel.errors import Invalid

MAX_KEY_CHARS: Final = 512
MAX_SEGMENT_CHARS: Final = 255  # NAME_MAX of the file systems that matter
UNKNOWN_TYPE: Final = "application/octet-stream"
CONTENT_TYPES: Final = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "mp4": "video/mp4",
    "webm": "video/webm",
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "glb": "model/gltf-binary",
    "json": "application/json",
    "pdf": "application/pdf",
    "txt": "text/plain",
}

# A segment starts with no dot: neither "." nor ".." nor a store's own folder is a segment.
_SEGMENT: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", re.ASCII)


@dataclass(frozen=True)
class ObjectKey:
    """A name like `images/generated/u1/t1.png`, safe as a path, in a URL and on S3.

    Raises:
        Invalid: `invalid_object_key`.
    """

    text: str

    def __post_init__(self) -> None:
        segments = self.text.split("/")
        if len(self.text) > MAX_KEY_CHARS or not all(map(_is_segment, segments)):
            raise Invalid("invalid_object_key", "This is not a key of an object.")

    @property
    def segments(self) -> tuple[str, ...]:
        return tuple(self.text.split("/"))

    @property
    def content_type(self) -> str:
        """By extension; `application/octet-stream` for one that is not in the table."""
        _, dot, extension = self.segments[-1].rpartition(".")
        return CONTENT_TYPES.get(extension.lower(), UNKNOWN_TYPE) if dot else UNKNOWN_TYPE

    def check_type(self, content_type: str) -> None:
        """Raises `Invalid` (`content_type_mismatch`) when the extension says another type."""
        claimed = content_type.partition(";")[0].strip().lower()
        if self.content_type not in {claimed, UNKNOWN_TYPE}:
            raise Invalid("content_type_mismatch", "The key's extension says another type.")


def _is_segment(text: str) -> bool:
    return len(text) <= MAX_SEGMENT_CHARS and _SEGMENT.fullmatch(text) is not None
