"""Reads the picture that a request begins with: an own one from the object store, any other by the
safe fetcher. What it is, its first bytes say, and no name or header.
"""

import asyncio
from typing import Final
from uuid import UUID

from kernel.clock import new_id
from kernel.errors import Invalid, NotFound
from kernel.objects import ObjectStore
from kernel.outbound import Outbound, OutboundFailed
from services.generation.adapters.providers import Fault, InputImage, Refused
from services.generation.adapters.uploaded_files import UploadedFiles
from services.generation.domain.input_images import (
    BYTES_MAX,
    check_input_image,
    check_upload,
    is_address,
    is_own_key,
    is_uploaded_key,
)

FETCH_TIMEOUT_S: Final = 8.0
"""Of a job's lease, which the vendor needs the rest of."""
NOT_THERE: Final = Refused(Fault.INPUT, "the input image is not there, or not its user's")
TOO_LARGE: Final = Refused(Fault.INPUT, "the input image is too large")
NO_PICTURE: Final = Refused(Fault.INPUT, "the input image is no PNG, JPEG or WebP")


class InputImages:
    def __init__(self, objects: ObjectStore, outbound: Outbound, uploads: UploadedFiles) -> None:
        self._objects = objects
        self._outbound = outbound
        self._uploads = uploads

    async def check(self, user_id: UUID, reference: str) -> None:
        """Before a task is made of it. Raises `Invalid` for what can't be had, as far as is known
        without having it."""
        check_input_image(reference, user_id)
        if is_uploaded_key(reference):
            upload = await self._uploads.heard_of(user_id, reference)
            check_upload(None if upload is None else upload.size)

    async def read(self, user_id: UUID, reference: str) -> InputImage | Refused:
        """The picture, or `INPUT` with why it can't be had: nothing was asked of a vendor."""
        if is_own_key(reference, user_id):
            content = await self._own(reference)
        elif is_uploaded_key(reference):
            own = await self._uploads.find(user_id, reference)
            content = NOT_THERE if own is None else await self._own(reference)
        elif is_address(reference):
            content = await self._fetched(reference)
        else:
            content = NOT_THERE
        if isinstance(content, Refused):
            return content
        mime_type = kind_of(content)
        return NO_PICTURE if mime_type is None else InputImage(content, mime_type)

    async def _own(self, key: str) -> bytes | Refused:
        try:
            async with await self._objects.open(key) as chunks:
                if chunks.stored.size_bytes > BYTES_MAX:
                    return TOO_LARGE
                return b"".join([chunk async for chunk in chunks])
        except (NotFound, Invalid):
            return NOT_THERE

    async def _fetched(self, url: str) -> bytes | Refused:
        path = self._objects.incoming / f"{new_id().hex}.input"
        try:
            await self._outbound.fetch_to_file(
                url, path, max_bytes=BYTES_MAX, timeout_s=FETCH_TIMEOUT_S
            )
            return await asyncio.to_thread(path.read_bytes)
        except OutboundFailed as failed:
            return Refused(Fault.INPUT, f"the input image could not be fetched: {failed.code}")
        finally:
            await asyncio.to_thread(path.unlink, missing_ok=True)


def kind_of(content: bytes) -> str | None:
    """The type of a picture that every vendor takes, by its first bytes."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if content.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return "image/webp"
    return None
