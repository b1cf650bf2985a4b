"""The object store as services know it: whole objects by key; knows no owners and no quotas.

An object is put whole or not at all, and is durable when the call returns. Every method that waits
may raise `ObjectStoreAway`.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

from kernel.errors import Unavailable

CHUNK_BYTES: Final = 256 * 1024
AGAIN_AFTER_S: Final = 5


class ObjectStoreAway(Unavailable):
    """For now it does not do what it is asked: not reached, overloaded, its disk full, or it takes
    our credentials no more. Whatever was asked may have been done or not."""

    def __init__(self) -> None:
        super().__init__(
            "object_store_away", "Files are not to be had for now.", retry_after_s=AGAIN_AFTER_S
        )


@dataclass(frozen=True)
class StoredObject:
    """`etag` changes whenever the object's content does; it is quoted as HTTP wants it.
    `modified_at` (UTC) is when it was put, by its store's clock; where that counts whole seconds, a
    put's own answer may be one later than what is said afterwards."""

    key: str
    size_bytes: int
    content_type: str
    etag: str
    modified_at: datetime


class ObjectChunks(Protocol):
    """An open object, or a part of it, in chunks of at most `CHUNK_BYTES`; `async with` closes it.

    `stored` is of the whole object.
    """

    stored: StoredObject

    def __aiter__(self) -> Self: ...
    async def __anext__(self) -> bytes: ...
    async def aclose(self) -> None: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class ObjectLinks(Protocol):
    """Made without asking the store, so that lists of them cost nothing."""

    def link(self, key: str, *, expires_at: datetime) -> str:
        """An absolute URL that gives the object to whoever holds it, until then (GET)."""
        ...


class ObjectStore(ObjectLinks, Protocol):
    """Keys are checked by all methods: `Invalid` (`invalid_object_key`)."""

    @property
    def incoming(self) -> Path:
        """A local folder for files on their way here; those of a killed process are swept."""
        ...

    async def check(self) -> None:
        """Pass if it can be used as it is set; waits a while for one that is away.

        Raises WrongSettings.
        """
        ...

    async def put_file(
        self,
        key: str,
        source: Path,
        content_type: str,
        *,
        replace: bool = True,
        give: bool = False,
    ) -> StoredObject:
        """Put what is in `source`. What is there is replaced; without `replace` it stays, and of
        many puts at once one wins. With `give` the source, which lies in `incoming`, is the store's
        from now on, which spares a copy; it may be gone afterwards.

        Raises:
            Invalid: `content_type_mismatch` with the key's extension.
            Rejected: `object_exists`, without `replace`; `object_key_conflict`, where a store has
                folders and the key lies below another object or above some.
        """
        ...

    async def put_bytes(self, key: str, content: bytes, *, replace: bool = True) -> StoredObject:
        """The same for what is in memory already, under a key of any type."""
        ...

    async def open(self, key: str, first: int = 0, last: int | None = None) -> ObjectChunks:
        """The bytes from `first` to `last` (both included; None: the end), as far as it has them.

        Raises NotFound (`object_not_found`).
        """
        ...

    async def fetch(self, key: str, target: Path) -> StoredObject:
        """Write the object to the local file `target`, made anew, mode 0600; a failure leaves none.

        Raises NotFound (`object_not_found`).
        """
        ...

    async def stat(self, key: str) -> StoredObject:
        """Raises NotFound (`object_not_found`)."""
        ...

    async def delete(self, key: str) -> None:
        """An object that is not there is deleted already."""
        ...

    def listed(self, prefix: str) -> AsyncIterator[StoredObject]:
        """Every object whose key begins with the folder `prefix` (`images/`, or `` for all), in no
        promised order. What comes or goes meanwhile may be in it or not."""
        ...

    def put_link(self, key: str, *, expires_at: datetime, size: int, content_type: str) -> str:
        """An absolute URL by which whoever holds it may put `size` bytes of that type (PUT), until
        then. What was put is not looked at by anybody."""
        ...

    async def aclose(self) -> None:
        """The store is not used after it."""
        ...
