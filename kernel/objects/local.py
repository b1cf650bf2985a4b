"""Objects kept as files under one folder, put whole or not at all; knows no owners and no quotas.

An object is copied into `.incoming/`, flushed, renamed into place, and its folder flushed: a crash
leaves the old object or the new one. Folders are opened one by one without following links, so
that a link planted inside the tree leads nowhere.
"""

import asyncio
import errno
import os
import shutil
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, ParamSpec, Self, TypeVar

import structlog

from kernel.clock import new_id
from kernel.errors import Invalid, NotFound, Rejected
from kernel.links import MediaLinks
from kernel.objects.incoming import FOLDER, Incoming
from kernel.objects.keys import ObjectKey
from kernel.objects.port import CHUNK_BYTES, ObjectStoreAway, StoredObject

_INCOMING: Final = ".incoming"
_LISTED_AT_ONCE: Final = 500
_log = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_NOT_THERE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


class LocalChunks:
    """An open file, from where it stands, `left` bytes at most."""

    def __init__(self, stored: StoredObject, file: BinaryIO, left: int) -> None:
        self.stored = stored
        self._file = file
        self._left = left

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        chunk = await _in_thread(self._file.read, min(CHUNK_BYTES, self._left))
        if not chunk:
            raise StopAsyncIteration
        self._left -= len(chunk)
        return chunk

    def copy_to(self, target: Path) -> None:
        """What is left of it into `target`, made anew; blocks."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        target.unlink(missing_ok=True)
        try:
            with os.fdopen(os.open(target, flags, 0o600), "wb") as file:
                shutil.copyfileobj(self._file, file, CHUNK_BYTES)
        except BaseException:  # nothing half done stays; re-raised
            target.unlink(missing_ok=True)
            raise

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

    Making a store creates `root`, and sweeps as `Incoming` does. `links` are needed for links
    alone.
    """

    def __init__(self, root: Path, links: MediaLinks | None = None) -> None:
        self._incoming = Incoming(root / _INCOMING)
        self._root = root.resolve(strict=True)
        self._links = links

    @property
    def incoming(self) -> Path:
        return self._incoming.folder

    def close(self) -> None:
        """No longer hold other processes back from sweeping; the store is not used after it."""
        self._incoming.close()

    async def aclose(self) -> None:
        self.close()

    async def check(self) -> None:
        """Making the store has shown it."""

    async def put_file(
        self,
        key: str,
        source: Path,
        content_type: str,
        *,
        replace: bool = True,
        give: bool = False,
    ) -> StoredObject:
        checked = ObjectKey(key)
        checked.check_type(content_type)
        return await _in_thread(self._put, checked, source, replace=replace, give=give)

    async def put_bytes(self, key: str, content: bytes, *, replace: bool = True) -> StoredObject:
        return await _in_thread(self._put_bytes, ObjectKey(key), content, replace=replace)

    async def open(self, key: str, first: int = 0, last: int | None = None) -> LocalChunks:
        return await _in_thread(self._open, ObjectKey(key), first, last)

    async def fetch(self, key: str, target: Path) -> StoredObject:
        chunks = await self.open(key)
        async with chunks:
            await _in_thread(chunks.copy_to, target)
        return chunks.stored

    async def stat(self, key: str) -> StoredObject:
        return await _in_thread(self._stat, ObjectKey(key))

    async def delete(self, key: str) -> None:
        await _in_thread(self._delete, ObjectKey(key))

    async def listed(self, prefix: str) -> AsyncIterator[StoredObject]:
        walk = self._walk(prefix)
        while some := await _in_thread(lambda: list(islice(walk, _LISTED_AT_ONCE))):
            for stored in some:
                yield stored

    def link(self, key: str, *, expires_at: datetime) -> str:
        return self._signing.sign(ObjectKey(key).text, expires_at=expires_at)

    def put_link(self, key: str, *, expires_at: datetime, size: int, content_type: str) -> str:
        checked = ObjectKey(key)
        checked.check_type(content_type)
        return self._signing.sign_put(
            checked.text, expires_at=expires_at, size=size, content_type=content_type
        )

    @property
    def _signing(self) -> MediaLinks:
        if self._links is None:
            raise ValueError("this store was made without links")
        return self._links

    def _put(
        self, key: ObjectKey, source: Path, *, replace: bool, give: bool = False
    ) -> StoredObject:
        name = new_id().hex
        with _folder(self._root, (_INCOMING,)) as incoming:
            try:
                if give:
                    stored = _take_in(key, source, name, incoming)
                else:
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

    def _open(self, key: ObjectKey, first: int, last: int | None) -> LocalChunks:
        with _missing_is_not_found(), _folder(self._root, key.segments[:-1]) as folder:
            file = _open_file(key.segments[-1], folder)
        try:
            stored = _described(key, os.fstat(file))
            os.lseek(file, first, os.SEEK_SET)
            end = stored.size_bytes if last is None else min(last + 1, stored.size_bytes)
            return LocalChunks(stored, os.fdopen(file, "rb"), max(0, end - first))
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

    def _walk(self, prefix: str) -> Iterator[StoredObject]:
        start = (
            self._root.joinpath(*ObjectKey(prefix.rstrip("/")).segments) if prefix else self._root
        )
        for folder, folders, names in os.walk(start):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:
                with suppress(Invalid, NotFound, FileNotFoundError):
                    path = Path(folder, name)
                    key = ObjectKey(path.relative_to(self._root).as_posix())
                    yield _described(key, path.lstat())


async def _in_thread(work: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """Raises ObjectStoreAway for a disk that is full or broken."""
    try:
        return await asyncio.to_thread(work, *args, **named)
    except FileNotFoundError:  # the caller's own file
        raise
    except OSError as error:
        _log.warning("object_store_away", error=type(error).__name__, errno=error.errno)
        raise ObjectStoreAway from error


def _copy_in(key: ObjectKey, source: Path, name: str, incoming: int) -> StoredObject:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    copy = os.open(name, flags, 0o600, dir_fd=incoming)
    with os.fdopen(copy, "wb") as target, source.open("rb") as original:
        shutil.copyfileobj(original, target, CHUNK_BYTES)
        target.flush()
        os.fsync(target.fileno())
        return _described(key, os.fstat(target.fileno()))


def _take_in(key: ObjectKey, source: Path, name: str, incoming: int) -> StoredObject:
    os.rename(source, name, dst_dir_fd=incoming)
    given = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=incoming)
    try:
        os.fchmod(given, 0o600)
        os.fsync(given)
        return _described(key, os.fstat(given))
    finally:
        os.close(given)


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
    here = os.open(root, FOLDER)
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
    return os.open(segment, FOLDER, dir_fd=parent)


def _open_file(name: str, folder: int) -> int:
    # Without O_NONBLOCK, opening a planted FIFO would hang its thread for ever.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return os.open(name, flags, dir_fd=folder)


def _described(key: ObjectKey, found: os.stat_result) -> StoredObject:
    if not stat.S_ISREG(found.st_mode):
        raise _no_such_object()
    etag = f'"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"'
    modified_at = datetime.fromtimestamp(found.st_mtime, UTC)
    return StoredObject(key.text, found.st_size, key.content_type, etag, modified_at)


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
