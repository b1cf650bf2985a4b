"""Objects in a bucket of an S3 server: R2, AWS, MinIO, Google by its interoperability keys.

Every request's body is signed by its SHA-256, which all of them check: what the server has is what
was sent. The client speaks Signature Version 4, tries again at most twice, and has time-outs.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

from kernel.clock import Clock, SystemClock, new_id
from kernel.errors import Invalid, NotFound, Rejected
from kernel.objects.bucket import Bucket
from kernel.objects.incoming import Incoming
from kernel.objects.keys import UNKNOWN_TYPE, ObjectKey
from kernel.objects.port import CHUNK_BYTES, ObjectStoreAway, StoredObject
from kernel.objects.s3_client import NoSuchPart, answered, client_of, until_usable
from kernel.objects.s3_parts import PART_BYTES, PARTS_AT_ONCE_MAX, put_in_parts

SMALL_PUTS_AT_ONCE_MAX: Final = 8
"""Each holds up to `PART_BYTES` in memory."""
SMALL_PUT_TIMEOUT_S: Final = 45.0
"""With all tries: less than the leases (60 s) under which workers put."""
_PUT_ID: Final = "put"
_FILE_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class S3Chunks:
    """What the server sends, `left` bytes; `body` None is nothing at all."""

    def __init__(self, stored: StoredObject, body: Any, left: int) -> None:
        self.stored = stored
        self._body = body
        self._left = left

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._left == 0:
            raise StopAsyncIteration
        with answered():
            chunk: bytes = await self._body.read(min(CHUNK_BYTES, self._left))
        if not chunk:  # the connection ended before the object did
            raise ObjectStoreAway
        self._left -= len(chunk)
        return chunk

    async def aclose(self) -> None:
        if self._body is not None:
            self._body.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()


class S3ObjectStore:
    """Its client is opened at the first use, in the loop that uses it. `incoming` is swept as
    `Incoming` does."""

    def __init__(self, bucket: Bucket, incoming: Path, clock: Clock | None = None) -> None:
        self.bucket = bucket
        self._incoming = Incoming(incoming)
        self._clock = clock or SystemClock()
        self._opening = asyncio.Lock()
        self._stack = AsyncExitStack()
        self._client: Any = None
        self._small_puts = asyncio.Semaphore(SMALL_PUTS_AT_ONCE_MAX)
        self._parts = asyncio.Semaphore(PARTS_AT_ONCE_MAX)

    @property
    def incoming(self) -> Path:
        return self._incoming.folder

    async def check(self) -> None:
        await until_usable(self.bucket, self._clock.now())
        await self._opened()

    async def aclose(self) -> None:
        self._incoming.close()
        await self._stack.aclose()

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
        size_bytes = (await asyncio.to_thread(source.stat)).st_size
        await self._refuse_known(checked, replace=replace)
        if size_bytes > PART_BYTES:
            stored = await self._put_in_parts(checked, source, size_bytes, replace=replace)
        else:
            async with self._small_puts:
                content = await asyncio.to_thread(source.read_bytes)
                stored = await self._put(checked, content, replace=replace)
        if give:
            await asyncio.to_thread(source.unlink, missing_ok=True)
        return stored

    async def put_bytes(self, key: str, content: bytes, *, replace: bool = True) -> StoredObject:
        checked = ObjectKey(key)
        await self._refuse_known(checked, replace=replace)
        async with self._small_puts:
            return await self._put(checked, content, replace=replace)

    async def open(self, key: str, first: int = 0, last: int | None = None) -> S3Chunks:
        checked = ObjectKey(key)
        asked = {} if (first, last) == (0, None) else {"Range": _range(first, last)}
        client = await self._opened()
        try:
            with answered():
                got = await client.get_object(**self._named(checked), **asked)
        except NoSuchPart:
            return S3Chunks(await self.stat(key), None, 0)
        stored = _described(checked, got, _whole_size(got))
        return S3Chunks(stored, got["Body"], got["ContentLength"])

    async def fetch(self, key: str, target: Path) -> StoredObject:
        part = target.with_name(f"{new_id().hex}.part")
        try:
            async with await self.open(key) as chunks:
                with answered():  # a full disk of ours is the same to who asks
                    await _written(chunks, part)
                    await asyncio.to_thread(part.replace, target)
        except BaseException:  # nothing half done stays; re-raised
            _removed(part, target)
            raise
        return chunks.stored

    async def stat(self, key: str) -> StoredObject:
        checked = ObjectKey(key)
        client = await self._opened()
        with answered():
            got = await client.head_object(**self._named(checked))
        return _described(checked, got, got["ContentLength"])

    async def delete(self, key: str) -> None:
        checked = ObjectKey(key)
        client = await self._opened()
        with suppress(NotFound), answered():
            await client.delete_object(**self._named(checked))

    async def listed(self, prefix: str) -> AsyncIterator[StoredObject]:
        folder = f"{ObjectKey(prefix.rstrip('/')).text}/" if prefix else ""
        client = await self._opened()
        asked = {"Bucket": self.bucket.name, "Prefix": folder}
        while True:
            with answered():
                page = await client.list_objects_v2(**asked)
            for entry in page.get("Contents", ()):
                with suppress(Invalid):  # another's, in a bucket that is not ours alone
                    checked = ObjectKey(entry["Key"])
                    yield _described(checked, entry, entry["Size"])
            if not page.get("NextContinuationToken"):
                return
            asked["ContinuationToken"] = page["NextContinuationToken"]

    def link(self, key: str, *, expires_at: datetime) -> str:
        checked = ObjectKey(key)
        shown = "attachment" if checked.content_type == UNKNOWN_TYPE else "inline"
        query = {
            "response-content-disposition": f'{shown}; filename="{checked.segments[-1]}"',
            "response-content-type": checked.content_type,
        }
        return self.bucket.link(
            "GET", checked.text, now=self._clock.now(), expires_at=expires_at, query=query
        )

    def put_link(self, key: str, *, expires_at: datetime, size: int, content_type: str) -> str:
        checked = ObjectKey(key)
        checked.check_type(content_type)
        headers = {"content-length": str(size), "content-type": content_type}
        return self.bucket.link(
            "PUT", checked.text, now=self._clock.now(), expires_at=expires_at, headers=headers
        )

    async def _opened(self) -> Any:
        if self._client is None:
            async with self._opening:
                if self._client is None:
                    self._client = await self._stack.enter_async_context(client_of(self.bucket))
        return self._client

    async def _put(self, key: ObjectKey, content: bytes, *, replace: bool) -> StoredObject:
        client = await self._opened()
        put_id = new_id().hex
        asked = {**self._named(key), **_described_as(key, None if replace else put_id)}
        try:
            with answered():
                async with asyncio.timeout(SMALL_PUT_TIMEOUT_S):
                    done = await client.put_object(
                        **asked, **self._condition(replace=replace), Body=content
                    )
        except Rejected:
            return await self._ours(key, put_id, replace=replace)
        return _described(key, done, len(content))

    async def _put_in_parts(
        self, key: ObjectKey, source: Path, size_bytes: int, *, replace: bool
    ) -> StoredObject:
        client = await self._opened()
        put_id = new_id().hex
        try:
            done = await put_in_parts(
                client,
                self._named(key),
                source,
                size_bytes,
                turns=self._parts,
                described=_described_as(key, None if replace else put_id),
                condition=self._condition(replace=replace),
            )
        except Rejected:
            return await self._ours(key, put_id, replace=replace)
        return _described(key, done, size_bytes)

    async def _refuse_known(self, key: ObjectKey, *, replace: bool) -> None:
        """Asked beforehand where the server knows no conditions: of two at once both may win then.

        Raises Rejected (`object_exists`).
        """
        if replace or self.bucket.takes_conditions:
            return
        with suppress(NotFound):
            await self.stat(key.text)
            raise Rejected("object_exists", "There is an object of this key already.")

    async def _ours(self, key: ObjectKey, put_id: str, *, replace: bool) -> StoredObject:
        """What is there, if this very put brought it: its answer was lost, and it was sent again.

        Raises Rejected (`object_exists`), ObjectStoreAway where the other put came to nothing.
        """
        if replace:  # two at once, and the server would have neither
            raise ObjectStoreAway
        client = await self._opened()
        try:
            with answered():
                found = await client.head_object(**self._named(key))
        except NotFound:
            raise ObjectStoreAway from None
        if found.get("Metadata", {}).get(_PUT_ID) != put_id:
            raise Rejected("object_exists", "There is an object of this key already.")
        return _described(key, found, found["ContentLength"])

    def _condition(self, *, replace: bool) -> dict[str, str]:
        return {} if replace or not self.bucket.takes_conditions else {"IfNoneMatch": "*"}

    def _named(self, key: ObjectKey) -> dict[str, str]:
        return {"Bucket": self.bucket.name, "Key": key.text}


def _described_as(key: ObjectKey, put_id: str | None) -> dict[str, Any]:
    """`put_id` is to be known again by `_ours`."""
    metadata = {} if put_id is None else {_PUT_ID: put_id}
    return {"ContentType": key.content_type, "Metadata": metadata}


def _range(first: int, last: int | None) -> str:
    return f"bytes={first}-{'' if last is None else last}"


def _whole_size(got: Mapping[str, Any]) -> int:
    """Of the object that a part is of."""
    ranged: str = got.get("ContentRange", "")
    return int(ranged.rpartition("/")[2]) if ranged else int(got["ContentLength"])


def _described(key: ObjectKey, said: Mapping[str, Any], size_bytes: int) -> StoredObject:
    """`said` by an answer or by a listing; who has just put it is told the time by a header."""
    modified_at = said.get("LastModified")
    if modified_at is None:
        modified_at = parsedate_to_datetime(said["ResponseMetadata"]["HTTPHeaders"]["date"])
    etag, put_at = said["ETag"], modified_at.astimezone(UTC)
    return StoredObject(key.text, size_bytes, key.content_type, etag, put_at)


def _removed(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


async def _written(chunks: S3Chunks, target: Path) -> None:
    file = await asyncio.to_thread(_made_anew, target)
    with file:
        async for chunk in chunks:
            await asyncio.to_thread(file.write, chunk)


def _made_anew(target: Path) -> BinaryIO:
    return os.fdopen(os.open(target, _FILE_FLAGS, 0o600), "wb")
