"""The one fetcher for addresses that a user or a provider gave; knows nothing of what it fetches.

Which address may be reached is decided where the socket is made, at every hop: every address of the
name is checked, then one of the checked addresses is dialled, so a name cannot change in between.
It sends no cookies, no credentials and nothing of the environment's proxies.

OutboundFailed        has a stable `code`; its words hold no host, path or secret
├── Unreachable       may work later: name_not_resolved, connection_failed, connection_cut,
│                     timeout, origin_failed (5xx, 408, 425, 429)
└── Refused           will not work later: bad_url, scheme_not_allowed, userinfo_not_allowed,
                      port_not_allowed, address_not_allowed, too_many_redirects, bad_redirect,
                      too_large, encoding_not_allowed, origin_refused (any other status)
"""

import asyncio
import hashlib
import os
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpcore
import httpx

from kernel.public_addresses import is_public

MAX_REDIRECTS: Final = 5
MAX_URL_CHARS: Final = 8192
MAX_ADDRESSES_TRIED: Final = 4
MAX_CONNECTIONS: Final = 32
MAX_LOOKUPS: Final = 8
CONNECT_TIMEOUT_S: Final = 10.0
_BUFFER_BYTES: Final = 1 << 20
_MAX_CONTENT_TYPE_CHARS: Final = 127

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_PASSING_REFUSALS: Final = frozenset({408, 425, 429})
_REQUEST_HEADERS: Final[Mapping[bytes | str, bytes | str]] = {
    "User-Agent": "SmartSpec",
    "Accept": "*/*",
    # Nothing is unpacked here, so a small body cannot become a large one.
    "Accept-Encoding": "identity",
}

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
Origin = tuple[str, str, int]


class OutboundFailed(Exception):
    """An address could not be fetched; `code` is stable, the words may reach a client."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Unreachable(OutboundFailed):
    """For now: the same call may work later."""


class Refused(OutboundFailed):
    """For good: the same call will not work."""


@dataclass(frozen=True)
class Fetched:
    """What was written. `content_type` is the sender's claim in lower case, never a fact."""

    size: int
    content_type: str
    sha256: str


class Outbound:
    """Fetches over http and https, ports 80 and 443, public addresses only.

    `allowed_origins` (`scheme://host[:port]`, matched exactly, at each hop) may have any address
    and port. `ssl_context`, `resolve` and `network` default to the real ones.

    Raises:
        ValueError: an allowed origin is more, or less, than an origin.
    """

    def __init__(
        self,
        *,
        allowed_origins: frozenset[str] = frozenset(),
        ssl_context: ssl.SSLContext | None = None,
        resolve: Resolver | None = None,
        network: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        self._allowed = frozenset(map(_origin_from_settings, allowed_origins))
        self._lookups = ThreadPoolExecutor(MAX_LOOKUPS, thread_name_prefix="outbound-lookup")
        context = ssl_context or httpx.create_ssl_context(trust_env=False)
        network = network or httpcore.AnyIOBackend()
        resolve = resolve or self._look_up
        # Two pools, so that a connection to an allowed origin never serves another one's request.
        self._guarded = _pool(_CheckedNetwork(resolve, network, public_only=True), context)
        self._trusting = _pool(_CheckedNetwork(resolve, network, public_only=False), context)

    async def fetch_to_file(
        self, url: str, path: Path, *, max_bytes: int, timeout_s: float
    ) -> Fetched:
        """GET `url` into `path` (made anew; removed again on any failure).

        `timeout_s` bounds the whole: lookups, redirects, body.

        Raises:
            Unreachable, Refused: as the module says.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await self._follow(_parsed(url), path, max_bytes)
        except (TimeoutError, httpcore.TimeoutException):
            raise Unreachable("timeout", "The address did not answer in time.") from None
        except httpcore.ConnectError:
            raise Unreachable("connection_failed", "The address cannot be connected to.") from None
        except (httpcore.NetworkError, httpcore.ProtocolError):
            raise Unreachable("connection_cut", "The transfer broke off.") from None

    async def aclose(self) -> None:
        await self._guarded.aclose()
        await self._trusting.aclose()
        self._lookups.shutdown(wait=False, cancel_futures=True)

    async def _follow(self, url: httpx.URL, path: Path, max_bytes: int) -> Fetched:
        for _ in range(MAX_REDIRECTS + 1):
            pool = self._pool_for(url)
            target = httpcore.URL(
                scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
            )
            async with pool.stream(
                "GET",
                target,
                headers={**_REQUEST_HEADERS, "Host": url.netloc},
                extensions={"timeout": {"connect": CONNECT_TIMEOUT_S}},
            ) as response:
                if response.status not in _REDIRECTS:
                    return await _receive(response, path, max_bytes)
                url = _redirected(url, response)
        raise Refused("too_many_redirects", "The address redirects too often.")

    def _pool_for(self, url: httpx.URL) -> httpcore.AsyncConnectionPool:
        """The pool that may reach `url`, whose form is checked here, at every hop."""
        if url.scheme not in _DEFAULT_PORTS:
            raise Refused("scheme_not_allowed", "Only http and https addresses can be fetched.")
        if url.userinfo:
            raise Refused("userinfo_not_allowed", "The address must not hold a user or password.")
        if not url.host:
            raise Refused("bad_url", "The address names no host.")
        if _origin_of(url) in self._allowed:
            return self._trusting
        if url.port not in {None, *_DEFAULT_PORTS.values()}:
            raise Refused("port_not_allowed", "Only ports 80 and 443 can be fetched from.")
        return self._guarded

    async def _look_up(self, host: str, port: int) -> Sequence[str]:
        # Threads of our own: names that hang must not keep file work from the shared ones.
        found = await asyncio.get_running_loop().run_in_executor(
            self._lookups, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        return [str(address[0]) for *_, address in found]


class _CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Resolves once, checks every address, dials what it checked; TLS above verifies the name."""

    def __init__(
        self, resolve: Resolver, network: httpcore.AsyncNetworkBackend, *, public_only: bool
    ) -> None:
        self._resolve = resolve
        self._network = network
        self._public_only = public_only

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = await self._addresses(host, port)
        for address in addresses[:MAX_ADDRESSES_TRIED]:
            with suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return await self._network.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
        raise httpcore.ConnectError

    async def _addresses(self, host: str, port: int) -> Sequence[str]:
        try:
            addresses = list(dict.fromkeys(await self._resolve(host, port)))
        except (OSError, UnicodeError):
            addresses = []
        if not addresses:
            raise Unreachable("name_not_resolved", "The address's host name is not known.")
        if self._public_only and not all(map(is_public, addresses)):
            raise Refused("address_not_allowed", "This address is not on the public internet.")
        return addresses


class _Sink:
    """A file being received: every call blocks, and may come from any thread, in any order."""

    def __init__(self, path: Path) -> None:
        self._path = path
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = os.fdopen(os.open(path, flags, 0o600), "wb")
        self._hash = hashlib.sha256()
        # A cancelled fetch leaves its last write running in a thread; `discard` waits for it.
        self._lock = threading.Lock()

    def write(self, data: bytes) -> None:
        with self._lock:
            self._file.write(data)
            self._hash.update(data)

    def finish(self) -> str:
        with self._lock:
            self._file.close()
            return self._hash.hexdigest()

    def discard(self) -> None:
        with self._lock:
            try:
                self._file.close()
            finally:
                self._path.unlink(missing_ok=True)


async def _receive(response: httpcore.Response, path: Path, max_bytes: int) -> Fetched:
    _check_status(response.status)
    if _header(response, b"content-encoding") not in {"", "identity"}:
        raise Refused("encoding_not_allowed", "The address answered in a packed form.")
    claimed_type = _header(response, b"content-type").partition(";")[0].strip().lower()
    if int(_header(response, b"content-length") or 0) > max_bytes:
        raise _too_large()
    sink = _Sink(path)
    try:
        size = await _drain(response, sink, max_bytes)
        sha256 = await asyncio.to_thread(sink.finish)
    except BaseException:  # a cancelled fetch leaves no file either; re-raised
        await asyncio.to_thread(sink.discard)
        raise
    return Fetched(size, claimed_type[:_MAX_CONTENT_TYPE_CHARS], sha256)


async def _drain(response: httpcore.Response, sink: _Sink, max_bytes: int) -> int:
    size, buffer = 0, bytearray()
    async for chunk in response.aiter_stream():
        size += len(chunk)
        if size > max_bytes:
            raise _too_large()
        buffer += chunk
        if len(buffer) >= _BUFFER_BYTES:
            await asyncio.to_thread(sink.write, bytes(buffer))
            buffer.clear()
    await asyncio.to_thread(sink.write, bytes(buffer))
    return size


def _check_status(status: int) -> None:
    if status >= 500 or status in _PASSING_REFUSALS:  # noqa: PLR2004 - RFC 9110, 15.6
        raise Unreachable("origin_failed", f"The address answered {status}.")
    if status != 200:  # noqa: PLR2004 - any other answer is not the whole thing asked for
        raise Refused("origin_refused", f"The address answered {status}.")


def _too_large() -> Refused:
    return Refused("too_large", "What the address holds is too large.")


def _redirected(url: httpx.URL, response: httpcore.Response) -> httpx.URL:
    location = _header(response, b"location")
    try:
        if location and len(location) <= MAX_URL_CHARS:
            return _readable(url.join(location))
    except (httpx.InvalidURL, ValueError):
        pass
    raise Refused("bad_redirect", "The address redirects to nowhere.")


def _header(response: httpcore.Response, name: bytes) -> str:
    """The first header of that name, or an empty string."""
    values = (value for given, value in response.headers if given.lower() == name)
    return next(values, b"").decode("latin-1")


def _readable(url: httpx.URL) -> httpx.URL:
    """The same. Raises ValueError for a host like `xn--`, which httpx decodes only when asked."""
    str(url.host)
    return url


def _parsed(url: str) -> httpx.URL:
    try:
        if len(url) <= MAX_URL_CHARS:
            return _readable(httpx.URL(url))
    except (httpx.InvalidURL, ValueError):
        pass
    raise Refused("bad_url", "The address cannot be read.")


def _origin_of(url: httpx.URL) -> Origin:
    return url.scheme, url.host, url.port or _DEFAULT_PORTS[url.scheme]


def _origin_from_settings(text: str) -> Origin:
    url = httpx.URL(text)
    bare = url.path in {"", "/"} and not (url.userinfo or url.query or url.fragment)
    if url.scheme not in _DEFAULT_PORTS or not url.host or not bare:
        raise ValueError("an allowed origin is written scheme://host[:port]")
    return _origin_of(url)


def _pool(
    network: httpcore.AsyncNetworkBackend, context: ssl.SSLContext
) -> httpcore.AsyncConnectionPool:
    # No idle connections: each fetch judges the addresses that its name has now.
    return httpcore.AsyncConnectionPool(
        ssl_context=context,
        max_connections=MAX_CONNECTIONS,
        max_keepalive_connections=0,
        network_backend=network,
    )
