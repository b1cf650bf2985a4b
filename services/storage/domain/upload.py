"""An upload is begun, which reserves room; then it is kept or it ends, once and for good. What is
kept can be deleted.

It knows no bytes and no addresses. Sizes are bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, TypeAlias, assert_never
from uuid import UUID

from kernel.errors import NotFound, Rejected
from kernel.messages import Aggregate, Decider
from services.storage.domain.output import NOBODY, StoredFile

EXTENSIONS: Final[Mapping[str, str]] = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/gif": "gif",
    "video/mp4": "mp4",
    "video/webm": "webm",
    "audio/mpeg": "mp3",
    "audio/wav": "wav",
    "model/gltf-binary": "glb",
    "application/json": "json",
    "application/pdf": "pdf",
    "text/plain": "txt",
}
"""Every type that is taken, and its extension."""
FOLDER: Final = "uploads"
STAGING: Final = "staging"


@dataclass(frozen=True, slots=True)
class BeginUpload:
    """`reserved` bytes of the user's room are this upload's until it is kept or ends."""

    upload_id: UUID
    user_id: UUID
    account_id: UUID
    reserved: int


@dataclass(frozen=True, slots=True)
class KeepUpload:
    file: StoredFile


@dataclass(frozen=True, slots=True)
class EndUpload:
    """`reason` is a code: nothing of it is kept."""

    reason: str


@dataclass(frozen=True, slots=True)
class DeleteUpload:
    """`reason` is deleted, expired or erased."""

    reason: str


@dataclass(frozen=True, slots=True)
class UploadBegun:
    upload_id: UUID
    user_id: UUID
    account_id: UUID
    reserved: int


@dataclass(frozen=True, slots=True)
class FileUploaded:
    """`reserved` is given back, the file's size is used from now on."""

    upload_id: UUID
    user_id: UUID
    account_id: UUID
    reserved: int
    file: StoredFile


@dataclass(frozen=True, slots=True)
class UploadEnded:
    """`reserved` is given back."""

    upload_id: UUID
    user_id: UUID
    reserved: int
    reason: str


@dataclass(frozen=True, slots=True)
class FileDeleted:
    """`size` is free again."""

    upload_id: UUID
    user_id: UUID
    account_id: UUID
    key: str
    size: int
    reason: str


UploadCommand: TypeAlias = BeginUpload | KeepUpload | EndUpload | DeleteUpload
UploadEvent: TypeAlias = UploadBegun | FileUploaded | UploadEnded | FileDeleted


class UploadStatus(StrEnum):
    NONE = "none"
    BEGUN = "begun"
    KEPT = "kept"
    ENDED = "ended"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Upload:
    status: UploadStatus = UploadStatus.NONE
    upload_id: UUID = NOBODY
    user_id: UUID = NOBODY
    account_id: UUID = NOBODY
    reserved: int = 0
    key: str = ""
    size: int = 0


def evolve_upload(state: Upload, event: UploadEvent) -> Upload:
    match event:
        case UploadBegun(upload_id, user_id, account_id, reserved):
            return Upload(UploadStatus.BEGUN, upload_id, user_id, account_id, reserved)
        case FileUploaded(file=file):
            return replace(
                state, status=UploadStatus.KEPT, reserved=0, key=file.key, size=file.size
            )
        case UploadEnded():
            return replace(state, status=UploadStatus.ENDED, reserved=0)
        case FileDeleted():
            return replace(state, status=UploadStatus.DELETED, size=0)
        case _:
            assert_never(event)


def decide_upload(command: UploadCommand, state: Upload) -> Sequence[UploadEvent]:
    """The first ending stands, and repeats are nothing.

    Raises:
        NotFound: `upload_not_begun`.
        Rejected: `upload_ended`: it has ended, or was deleted, and can't be kept any more.
    """
    if isinstance(command, BeginUpload):
        return () if state.status != UploadStatus.NONE else (_begun(command),)
    if state.status == UploadStatus.NONE:
        raise NotFound("upload_not_begun", "There is no such upload.")
    match command:
        case KeepUpload(file):
            return _keep(state, file)
        case EndUpload(reason):
            return (_ended(state, reason),) if state.status == UploadStatus.BEGUN else ()
        case DeleteUpload(reason):
            return _delete(state, reason)
        case _:
            assert_never(command)


def _keep(state: Upload, file: StoredFile) -> Sequence[UploadEvent]:
    if state.status == UploadStatus.KEPT:
        return ()
    if state.status != UploadStatus.BEGUN:
        raise Rejected("upload_ended", "This upload has ended.")
    return (FileUploaded(state.upload_id, state.user_id, state.account_id, state.reserved, file),)


def _delete(state: Upload, reason: str) -> Sequence[UploadEvent]:
    if state.status == UploadStatus.BEGUN:
        return (_ended(state, reason),)
    if state.status != UploadStatus.KEPT:
        return ()
    return (
        FileDeleted(
            state.upload_id, state.user_id, state.account_id, state.key, state.size, reason
        ),
    )


def _begun(command: BeginUpload) -> UploadBegun:
    return UploadBegun(command.upload_id, command.user_id, command.account_id, command.reserved)


def _ended(state: Upload, reason: str) -> UploadEnded:
    return UploadEnded(state.upload_id, state.user_id, state.reserved, reason)


UPLOAD: Aggregate[UploadEvent, Upload] = Aggregate(
    name="upload",
    state=Upload,
    initial_state=Upload,
    evolve=evolve_upload,
    events=(UploadBegun, FileUploaded, UploadEnded, FileDeleted),
)
UPLOADS: Decider[UploadCommand, UploadEvent, Upload] = Decider(UPLOAD, decide_upload)


def upload_key(upload_id: UUID, mime_type: str) -> str:
    """Where an uploaded file lies."""
    return f"{FOLDER}/{upload_id.hex}.{EXTENSIONS[mime_type]}"


def staging_key(upload_id: UUID, mime_type: str) -> str:
    """Where it lies until somebody has looked at it."""
    return f"{STAGING}/{upload_id.hex}.{EXTENSIONS[mime_type]}"


def upload_thumbnail_key(upload_id: UUID) -> str:
    return f"images/thumbnails/{upload_id.hex}.webp"
