"""Whose an object is, by its key and by what the heads of streams say."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from services.storage.domain.output import OUTPUT, Status, stream_of
from services.storage.domain.upload import STAGING, UPLOAD, UploadStatus

FOLDERS: Final = ("images/", "videos/", "audio/", "uploads/", "staging/")
OTHERS_FOLDERS: Final = ("images/gallery/",)
"""Below storage's, but not its own."""

_ID: Final = r"(?P<id>[0-9a-f]{32})"
_GENERATED: Final = re.compile(
    rf"(?:images|videos|audio)/generated/[0-9a-f]{{32}}/{_ID}(?:_(?P<index>[1-9]\d{{0,4}}))?\.\w+"
)
_THUMBNAIL: Final = re.compile(rf"images/thumbnails/{_ID}(?:_(?P<index>[1-9]\d{{0,4}}))?\.webp")
_UPLOADED: Final = re.compile(rf"(?:uploads|staging)/{_ID}\.\w+")


@dataclass(frozen=True, slots=True)
class Owner:
    """What the head of a stream says: `key` is where its file lies, if it has one."""

    status: str
    key: str = ""


def streams_of_key(key: str) -> Sequence[str]:
    """The streams that may want the object of that key; none for a key that storage never makes."""
    if found := _GENERATED.fullmatch(key):
        return (_output_of(found),)
    if found := _UPLOADED.fullmatch(key):
        return (UPLOAD.stream_id(UUID(found["id"])),)
    if found := _THUMBNAIL.fullmatch(key):
        upload = () if found["index"] else (UPLOAD.stream_id(UUID(found["id"])),)
        return (_output_of(found), *upload)
    return ()


def is_wanted(key: str, owners: Mapping[str, Owner]) -> bool:
    """Whether a stream of `owners` (by id) keeps it, or has not ended and may put it there."""
    found = (stream for stream in streams_of_key(key) if stream in owners)
    return any(_wants(stream, owners[stream], key) for stream in found)


def thumbnail_of(key: str) -> str | None:
    """The key of the small picture that a file of that key has or may have had."""
    found = _GENERATED.fullmatch(key) or _UPLOADED.fullmatch(key)
    if found is None:
        return None
    index = found.groupdict().get("index")
    return f"images/thumbnails/{found['id']}{f'_{index}' if index else ''}.webp"


def is_ours(key: str, folders: Iterable[str] = FOLDERS) -> bool:
    return key.startswith(tuple(folders)) and not key.startswith(OTHERS_FOLDERS)


def _wants(stream: str, owner: Owner, key: str) -> bool:
    if stream.startswith(OUTPUT.stream_id("")):
        on_its_way, kept = Status.EXPECTED.value, Status.STORED.value
    else:
        on_its_way, kept = UploadStatus.BEGUN.value, UploadStatus.KEPT.value
    if owner.status == on_its_way:
        return True
    if owner.status != kept or key.startswith(f"{STAGING}/"):
        return False
    return key == owner.key or _THUMBNAIL.fullmatch(key) is not None


def _output_of(found: re.Match[str]) -> str:
    return stream_of(UUID(found["id"]), int(found["index"] or 0))
