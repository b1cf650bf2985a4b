"""The simulator's own requests: callbacks to whoever ordered, and pictures handed over by address.

It goes to the hosts it was told (`reach_hosts`: this machine) and nowhere else, follows no
redirect and reads a bounded body: whoever may order here must not reach further by it.
"""

import asyncio
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import httpx

TIMEOUT_S: Final = 5.0
LIMITS: Final = httpx.Limits(max_connections=32, max_keepalive_connections=8)


class Unreadable(Exception):
    """An address gave no answer, no success, or more than it may."""


class Outside:
    def __init__(self, hosts: frozenset[str]) -> None:
        self._hosts = hosts
        self._client: httpx.AsyncClient | None = None

    def reaches(self, url: str) -> bool:
        try:
            return urlsplit(url).hostname in self._hosts
        except ValueError:
            return False

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """The answer's status; 0 if there is none, or if the address is none of ours to call."""
        if not self.reaches(url):
            return 0
        try:
            async with (
                asyncio.timeout(TIMEOUT_S),
                self._http().stream("POST", url, content=body, headers=headers) as answer,
            ):
                return answer.status_code
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError):
            return 0

    async def get(self, url: str, max_bytes: int) -> bytes:
        """What is at an address that `reaches`. Raises `Unreadable`."""
        content = bytearray()
        try:
            async with (
                asyncio.timeout(TIMEOUT_S),
                self._http().stream("GET", url) as answer,
            ):
                if not answer.is_success:
                    raise Unreadable(f"HTTP {answer.status_code}")
                async for chunk in answer.aiter_bytes():
                    content += chunk
                    if len(content) > max_bytes:
                        raise Unreadable(f"more than {max_bytes} bytes")
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise Unreadable(repr(error)) from error
        return bytes(content)

    async def aclose(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def _http(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=TIMEOUT_S, limits=LIMITS, trust_env=False)
        return self._client
