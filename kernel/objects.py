"""Objects kept as files under one folder, put whole or not at all; knows no owners and no quotas.

An object is copied into `.incoming/`, flushed, renamed into place, and its folder flushed: a crash
leaves the old object or the new one. Folders are opened one by one without following links, so
that a link planted inside the tree leads nowhere.
"""

import asyncio
import errno
import fcntl
import os
import re
import shutil
import stat
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

from kernel.clock import new_id
from kernel.errors import Invalid, NotFound, Rejected

MAX_KEY_CHARS: Final = 512
MAX_SEGMENT_CHARS: Final = 255  # NAME_MAX of the file systems that matter
CHUNK_BYTES: Final = 256 * 1024
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

_INCOMING: Final = ".incoming"
# A segment starts with no dot: neither "." nor ".." nor the store's own folder is a segment.
_SEGMENT: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", re.ASCII)
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NOT_THERE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


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


def _is_segment(text: str) -> bool:
    return len(text) <= MAX_SEGMENT_CHARS and _SEGMENT.fullmatch(text) is not None


@dataclass(frozen=True)
class StoredObject:
    """`etag` changes whenever the object is put again; it is quoted as HTTP wants it."""

    key: str
    size_bytes: int
    content_type: str
    etag: str


class ObjectChunks:
    """An open object, read in chunks of at most 256 KiB; `async with` or `aclose` closes it."""

    def __init__(self, stored: StoredObject, file: BinaryIO) -> None:
        self.stored = stored
        self._file = file

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        chunk = await asyncio.to_thread(self._file.read, CHUNK_BYTES)
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        await asyncio.to_thread(self._file.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()


class LocalObjectStore:
    """Every method works in a thread. Several processes may share one `root`.

    Making a store creates `root` and sweeps what a killed process left in `.incoming/`, unless
    another process that uses this root is alive.
    """

    def __init__(self, root: Path) -> None:
        (root / _INCOMING).mkdir(mode=0o700, parents=True, exist_ok=True)
        self._root = root.resolve(strict=True)
        presence = _announce_and_sweep(self._root / _INCOMING)
        self._leave = weakref.finalize(self, os.close, presence)

    @property
    def incoming(self) -> Path:
        """A folder for files on their way here; those of a killed process are swept."""
        return self._root / _INCOMING

    def close(self) -> None:
        """No longer hold other processes back from sweeping; the store is not used after it."""
        self._leave()

    async def put_file(
        self, key: str, source: Path, content_type: str, *, replace: bool = True
    ) -> StoredObject:
        """Copy `source` to `key`, durable when it returns.

        What is there is replaced; without `replace` it stays, and of many puts at once one wins.

        Raises:
            Invalid: `invalid_object_key`, or `content_type_mismatch` with the key's extension.
            Rejected: `object_key_conflict`, the key lies below another object or above some;
                `object_exists`, without `replace`.
        """
        checked = ObjectKey(key)
        claimed = content_type.partition(";")[0].strip().lower()
        if checked.content_type not in {claimed, UNKNOWN_TYPE}:
            raise Invalid("content_type_mismatch", "The key's extension says another type.")
        return await asyncio.to_thread(self._put, checked, source, replace=replace)

    async def put_bytes(self, key: str, content: bytes, *, replace: bool = True) -> StoredObject:
        """The same for what is in memory already, under a key of any type."""
        return await asyncio.to_thread(self._put_bytes, ObjectKey(key), content, replace=replace)

    async def open(self, key: str) -> ObjectChunks:
        """Raises NotFound (`object_not_found`), Invalid (`invalid_object_key`)."""
        return await asyncio.to_thread(self._open, ObjectKey(key))

    async def stat(self, key: str) -> StoredObject:
        """Raises NotFound (`object_not_found`), Invalid (`invalid_object_key`)."""
        return await asyncio.to_thread(self._stat, ObjectKey(key))

    async def delete(self, key: str) -> None:
        """Durable when it returns; an object that is not there is deleted already, as on S3."""
        await asyncio.to_thread(self._delete, ObjectKey(key))

    async def path_of(self, key: str) -> Path:
        """The file of an object that is there, for serving ranges from it; never a link.

        Raises NotFound (`object_not_found`), Invalid (`invalid_object_key`).
        """
        checked = ObjectKey(key)
        await asyncio.to_thread(self._stat, checked)
        return self._root.joinpath(*checked.segments)

    def _put(self, key: ObjectKey, source: Path, *, replace: bool) -> StoredObject:
        name = new_id().hex
        with _folder(self._root, (_INCOMING,)) as incoming:
            try:
                stored = _copy_in(key, source, name, incoming)
                with (
                    _conflicts_refused(),
                    _folder(self._root, key.segments[:-1], create=True) as folder,
                ):
                    _move(name, incoming, key.segments[-1], folder, replace=replace)
                    os.fsync(folder)
            except BaseException:  # whatever broke it, nothing half done stays; re-raised
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=incoming)
                raise
        return stored

    def _put_bytes(self, key: ObjectKey, content: bytes, *, replace: bool) -> StoredObject:
        source = self.incoming / f"{new_id().hex}.whole"
        try:
            source.write_bytes(content)
            return self._put(key, source, replace=replace)
        finally:
            source.unlink(missing_ok=True)

    def _open(self, key: ObjectKey) -> ObjectChunks:
        with _missing_is_not_found(), _folder(self._root, key.segments[:-1]) as folder:
            file = _open_file(key.segments[-1], folder)
        try:
            return ObjectChunks(_described(key, os.fstat(file)), os.fdopen(file, "rb"))
        except NotFound:
            os.close(file)
            raise

    def _stat(self, key: ObjectKey) -> StoredObject:
        with _missing_is_not_found(), _folder(self._root, key.segments[:-1]) as folder:
            found = os.stat(key.segments[-1], dir_fd=folder, follow_symlinks=False)
        return _described(key, found)

    def _delete(self, key: ObjectKey) -> None:
        with suppress(NotFound), _missing_is_not_found():
            self._stat(key)
            with _folder(self._root, key.segments[:-1]) as folder:
                os.unlink(key.segments[-1], dir_fd=folder)
                os.fsync(folder)


def _announce_and_sweep(incoming: Path) -> int:
    """A descriptor whose shared lock says that this process uses the folder, until it dies."""
    presence = os.open(incoming, _FOLDER)
    try:
        with suppress(BlockingIOError):  # another process is at work, its files are not garbage
            fcntl.flock(presence, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for left in incoming.iterdir():
                left.unlink(missing_ok=True)
        fcntl.flock(presence, fcntl.LOCK_SH)
    except BaseException:  # no descriptor leaks from a store that was never made; re-raised
        os.close(presence)
        raise
    return presence


def _copy_in(key: ObjectKey, source: Path, name: str, incoming: int) -> StoredObject:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    copy = os.open(name, flags, 0o600, dir_fd=incoming)
    with os.fdopen(copy, "wb") as target, source.open("rb") as original:
        shutil.copyfileobj(original, target, CHUNK_BYTES)
        target.flush()
        os.fsync(target.fileno())
        return _described(key, os.fstat(target.fileno()))


def _move(name: str, incoming: int, target: str, folder: int, *, replace: bool) -> None:
    if replace:
        os.rename(name, target, src_dir_fd=incoming, dst_dir_fd=folder)
        return
    try:  # a rename can't be told to leave what is there; a second name for a file can't take one
        os.link(name, target, src_dir_fd=incoming, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        raise Rejected("object_exists", "There is an object of this key already.") from None
    os.unlink(name, dir_fd=incoming)


@contextmanager
def _folder(root: Path, segments: tuple[str, ...], *, create: bool = False) -> Iterator[int]:
    """A descriptor of the folder, reached without following a link below the root."""
    here = os.open(root, _FOLDER)
    try:
        for segment in segments:
            below = _child(segment, here, create=create)
            os.close(here)
            here = below
        yield here
    finally:
        os.close(here)


def _child(segment: str, parent: int, *, create: bool) -> int:
    if create:
        with suppress(FileExistsError):
            os.mkdir(segment, 0o700, dir_fd=parent)
            os.fsync(parent)
    return os.open(segment, _FOLDER, dir_fd=parent)


def _open_file(name: str, folder: int) -> int:
    # Without O_NONBLOCK, opening a planted FIFO would hang its thread for ever.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return os.open(name, flags, dir_fd=folder)


def _described(key: ObjectKey, found: os.stat_result) -> StoredObject:
    if not stat.S_ISREG(found.st_mode):
        raise _no_such_object()
    etag = f'"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"'
    return StoredObject(key.text, found.st_size, key.content_type, etag)


@contextmanager
def _missing_is_not_found() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _NOT_THERE:
            raise _no_such_object() from None
        raise


@contextmanager
def _conflicts_refused() -> Iterator[None]:
    try:
        yield
    except (NotADirectoryError, IsADirectoryError):
        raise Rejected("object_key_conflict", "Another object is in this key's way.") from None


def _no_such_object() -> NotFound:
    return NotFound("object_not_found", "There is no such object.")
