"""What storage tells: which files are kept, which could not be, and which are gone."""

from datetime import date
from typing import ClassVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt

from contracts.envelope import PublicEvent


class FileFacts(BaseModel):
    """A stored file: `key` in the object store, hex `sha256`, sizes in bytes and pixels.

    `blurhash` (blurha.sh) stands for a picture, or a film's poster, until it is there.
    `nsfw_score` goes from 0 (safe) to 1, of a film its worst frame's; by it `safety` is "allow" or
    "review". Both are None where nothing was scored.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    key: str
    mime_type: str
    size: PositiveInt
    sha256: str
    width: PositiveInt | None
    height: PositiveInt | None
    duration_seconds: float | None
    thumbnail_key: str | None
    blurhash: str | None = None
    nsfw_score: float | None = None
    safety: str | None = None


class OutputStored(PublicEvent):
    """Output `index` of the task can be downloaded, with this hash, from now on."""

    owner: ClassVar[str] = "storage"
    consumers: ClassVar[tuple[str, ...]] = ("generation",)

    task_id: UUID
    user_id: UUID
    index: NonNegativeInt
    file: FileFacts


class OutputRejected(PublicEvent):
    """Output `index` could not be kept: unreachable, not what was asked for, or unsafe."""

    owner: ClassVar[str] = "storage"
    consumers: ClassVar[tuple[str, ...]] = ("generation",)

    task_id: UUID
    user_id: UUID
    index: NonNegativeInt
    code: str
    message: str


class FileUploaded(PublicEvent):
    """A file of the user's own can be downloaded, with this hash, from now on."""

    owner: ClassVar[str] = "storage"
    consumers: ClassVar[tuple[str, ...]] = ("generation",)

    upload_id: UUID
    user_id: UUID
    account_id: UUID
    file: FileFacts


class FileDeleted(PublicEvent):
    """The file, an upload or an output, is nobody's any more; `size` in bytes. `reason` is deleted,
    expired or erased. `account_id` is None for a file from before storage knew who pays."""

    owner: ClassVar[str] = "storage"
    consumers: ClassVar[tuple[str, ...]] = ("generation",)

    user_id: UUID
    account_id: UUID | None
    key: str
    size: NonNegativeInt
    reason: str


class StorageMeasured(PublicEvent):
    """What the account's files took up on `day` (of UTC): bytes times the hours that they lay."""

    owner: ClassVar[str] = "storage"
    consumers: ClassVar[tuple[str, ...]] = ("credits",)

    account_id: UUID
    user_id: UUID
    day: date
    byte_hours: NonNegativeInt
