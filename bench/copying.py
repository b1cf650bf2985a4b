"""A large file, and clients who send and get it: the same for the product and for its peer."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import aiohttp

CHUNK_BYTES: Final = 1 << 20
TIMEOUT_S: Final = 300.0
BOUNDARY: Final = "a-boundary-that-no-film-has"
_HEAD: Final = (
    f"--{BOUNDARY}\r\n"
    'Content-Disposition: form-data; name="file"; filename="film.mp4"\r\n'
    "Content-Type: video/mp4\r\n\r\n"
).encode()
_TAIL: Final = f"\r\n--{BOUNDARY}--\r\n".encode()


async def sent(url: str, path: Path, headers: Mapping[str, str] | None = None) -> tuple[float, Any]:
    """Send the file as the one field of a form; the seconds that it took, and the answer."""
    size = len(_HEAD) + bytes_of(path) + len(_TAIL)
    named = {
        **(headers or {}),
        "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
        "Content-Length": str(size),
    }
    await asyncio.to_thread(os.sync)  # what was written and deleted before is not for this to wait
    async with _session() as session:
        began_s = perf_counter()
        async with session.post(url, data=_form(path), headers=named) as answer:
            said = await answer.json(content_type=None)
            took_s = perf_counter() - began_s
            if answer.status >= 300:  # noqa: PLR2004 - nothing else is a success
                raise RuntimeError(f"{answer.status}: {said}")
    return took_s, said


async def got(url: str, size: int, headers: Mapping[str, str] | None = None) -> float:
    """The seconds until all of it was there. Raises RuntimeError for another number of bytes."""
    async with _session() as session:
        began_s, received = perf_counter(), 0
        async with session.get(url, headers=headers) as answer:
            async for chunk in answer.content.iter_any():
                received += len(chunk)
        took_s = perf_counter() - began_s
    if received != size:
        raise RuntimeError(f"{received} bytes came, of {size}")
    return took_s


def bytes_of(path: Path) -> int:
    return path.stat().st_size


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=TIMEOUT_S), read_bufsize=CHUNK_BYTES
    )


async def _form(path: Path) -> AsyncIterator[bytes]:
    yield _HEAD
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
    yield _TAIL
