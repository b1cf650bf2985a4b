import asyncio
import hashlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpcore
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kernel.outbound import (
    MAX_REDIRECTS,
    Fetched,
    Outbound,
    OutboundFailed,
    Refused,
    Resolver,
    Unreachable,
)
from kernel.public_addresses import is_public

PUBLIC = "93.184.216.34"
Answer = Callable[[str, asyncio.StreamWriter], Awaitable[None]]


def page(
    body: bytes = b"hello", status: str = "200 OK", headers: str = "Content-Type: Text/Plain; q=1"
) -> bytes:
    head = f"HTTP/1.1 {status}\r\n{headers}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def redirect(location: str) -> bytes:
    return page(b"", "302 Found", f"Location: {location}")


class Origin:
    """A real loopback server that answers bytes; it keeps the heads of the requests it got."""

    def __init__(self, answer: bytes | Answer, tls: ssl.SSLContext | None = None) -> None:
        self._answer = answer
        self._tls = tls
        self.heads: list[str] = []
        self.port = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.heads.append(head)
            if isinstance(self._answer, bytes):
                writer.write(self._answer)
            else:
                await self._answer(head.split()[1], writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client went away, or the test is over
        finally:
            writer.close()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Origin"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class Wire(httpcore.AsyncNetworkBackend):
    """Brings every dialled address to one loopback port, and keeps what was dialled."""

    def __init__(self, port: int, dead: frozenset[str] = frozenset()) -> None:
        self._port = port
        self._dead = dead
        self.dialled: list[tuple[str, int]] = []

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        self.dialled.append((host, port))
        if host in self._dead:
            raise httpcore.ConnectError
        return await httpcore.AnyIOBackend().connect_tcp("127.0.0.1", self._port, timeout)


def fetcher(
    allowed_origins: frozenset[str] = frozenset(),
    resolve: Resolver | None = None,
    network: httpcore.AsyncNetworkBackend | None = None,
    ssl_context: ssl.SSLContext | None = None,
) -> Outbound:
    """An `Outbound` that does not spend 40 ms on reading the authorities of the world."""
    return Outbound(
        allowed_origins=allowed_origins,
        resolve=resolve,
        network=network,
        ssl_context=ssl_context or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
    )


def names(*answers: list[str]) -> Resolver:
    """A resolver that gives each answer once, the last one for ever."""
    left = list(answers)

    async def resolve(host: str, port: int) -> Sequence[str]:
        return left.pop(0) if len(left) > 1 else left[0]

    return resolve


def held(path: Path) -> bytes | None:
    """What the file holds; None without one."""
    return path.read_bytes() if path.exists() else None


async def fetch(
    outbound: Outbound, url: str, path: Path, max_bytes: int = 1_000_000, timeout_s: float = 5
) -> Fetched:
    try:
        return await outbound.fetch_to_file(url, path, max_bytes=max_bytes, timeout_s=timeout_s)
    finally:
        await outbound.aclose()


async def refusal(
    outbound: Outbound, url: str, path: Path, max_bytes: int = 1_000_000, timeout_s: float = 5
) -> OutboundFailed:
    with pytest.raises(OutboundFailed) as failed:
        await fetch(outbound, url, path, max_bytes, timeout_s)
    assert held(path) is None
    return failed.value


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "received"


async def test_fetches_an_allowed_origin_into_the_file(path: Path) -> None:
    body = b"\x00picture" * 400_000
    async with Origin(page(body)).running() as origin:
        outbound = fetcher(allowed_origins=frozenset({origin.url}))

        fetched = await fetch(outbound, origin.url + "/a?b=c", path, len(body))

    assert fetched == Fetched(len(body), "text/plain", hashlib.sha256(body).hexdigest())
    assert held(path) == body
    assert origin.heads[0].startswith("GET /a?b=c HTTP/1.1\r\n")


async def test_refuses_the_same_origin_when_it_is_not_allowed(path: Path) -> None:
    async with Origin(page()).running() as origin:
        on_any_port = await refusal(fetcher(), origin.url, path)
        at_the_address = await refusal(
            fetcher(network=Wire(origin.port)), "http://127.0.0.1/", path
        )

    assert on_any_port.code == "port_not_allowed"
    assert at_the_address.code == "address_not_allowed"
    assert origin.heads == []


@pytest.mark.parametrize("other", ["http://localhost:{}", "https://127.0.0.1:{}"])
async def test_an_allowed_origin_allows_no_other_spelling_of_it(other: str, path: Path) -> None:
    async with Origin(page()).running() as origin:
        outbound = fetcher(allowed_origins=frozenset({origin.url}))

        failed = await refusal(outbound, other.format(origin.port), path)

    assert failed.code == "port_not_allowed"


@pytest.mark.parametrize(
    "origin", ["127.0.0.1:80", "ftp://host", "http://host/path", "http://u@host", "http://"]
)
async def test_an_allow_list_of_anything_but_origins_refuses_to_start(origin: str) -> None:
    with pytest.raises(ValueError, match="scheme://host"):
        fetcher(allowed_origins=frozenset({origin}))


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",  # noqa: S104 - refused, never bound
        *("0.0.0.1", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.0.9"),
        *("168.63.129.16", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192"),
        *("192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.7", "203.0.113.9"),
        *("224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:93.184.216.34", "64:ff9b::a00:1"),
        *("64:ff9b::5db8:d822", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00::"),
        *("3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1"),
        *("ff02::1",),
    ],
)
async def test_refuses_every_address_that_is_not_public(address: str, path: Path) -> None:
    wire = Wire(9)
    outbound = fetcher(resolve=names([address]), network=wire)

    failed = await refusal(outbound, "http://innocent.test/", path)

    assert isinstance(failed, Refused)
    assert failed.code == "address_not_allowed"
    assert wire.dialled == []


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", PUBLIC, "100.63.255.255", "100.128.0.0", "172.32.0.1", "2606:4700::1111", "2a00::"],
)
def test_knows_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "host", ["127.1", "0x7f.1", "2130706433", "0x7f000001", "[::1]", "[::ffff:7f00:1]", "localhost"]
)
async def test_refuses_every_spelling_of_loopback(host: str, path: Path) -> None:
    failed = await refusal(fetcher(network=Wire(9)), f"http://{host}/", path)

    assert failed.code == "address_not_allowed"


async def test_one_private_address_among_public_ones_refuses_the_name(path: Path) -> None:
    wire = Wire(9)
    outbound = fetcher(resolve=names([PUBLIC, "10.0.0.1"]), network=wire)

    failed = await refusal(outbound, "http://mixed.test/", path)

    assert failed.code == "address_not_allowed"
    assert wire.dialled == []


async def test_dials_the_address_it_checked_and_never_the_name(path: Path) -> None:
    async with Origin(page()).running() as origin:
        wire = Wire(origin.port)
        # The second answer is what a rebinding name gives to whoever looks it up again.
        outbound = fetcher(resolve=names([PUBLIC], ["127.0.0.1"]), network=wire)
        try:
            await outbound.fetch_to_file("http://a.test/", path, max_bytes=9, timeout_s=5)
            with pytest.raises(Refused) as refused:
                await outbound.fetch_to_file("http://a.test/", path, max_bytes=9, timeout_s=5)
        finally:
            await outbound.aclose()

    assert refused.value.code == "address_not_allowed"
    assert wire.dialled == [(PUBLIC, 80)]


async def test_a_name_that_changes_between_two_hops_is_checked_at_each(path: Path) -> None:
    async with Origin(redirect("http://a.test/again")).running() as origin:
        wire = Wire(origin.port)
        outbound = fetcher(resolve=names([PUBLIC], ["127.0.0.1"]), network=wire)

        failed = await refusal(outbound, "http://a.test/", path)

    assert failed.code == "address_not_allowed"
    assert wire.dialled == [(PUBLIC, 80)]


async def test_tries_the_next_checked_address_when_one_is_dead(path: Path) -> None:
    async with Origin(page()).running() as origin:
        wire = Wire(origin.port, dead=frozenset({PUBLIC}))
        outbound = fetcher(resolve=names([PUBLIC, "1.1.1.1"]), network=wire)

        fetched = await fetch(outbound, "http://a.test/", path)

    assert fetched.size == 5
    assert [address for address, _ in wire.dialled] == [PUBLIC, "1.1.1.1"]


@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("http://169.254.169.254/latest/meta-data/", "address_not_allowed"),
        ("http://[::ffff:10.0.0.1]/", "address_not_allowed"),
        ("//127.0.0.1/", "address_not_allowed"),
        ("http://a.test:8080/", "port_not_allowed"),
        ("http://user:word@a.test/", "userinfo_not_allowed"),
        ("file:///etc/passwd", "scheme_not_allowed"),
        ("gopher://a.test/", "scheme_not_allowed"),
        ("http://a.test:port/", "bad_redirect"),
        ("http://0177.0.0.1/", "bad_redirect"),
        ("http://xn--a/", "bad_redirect"),
        ("/" + "a" * 9000, "bad_redirect"),
        ("", "bad_redirect"),
    ],
)
async def test_refuses_a_redirect_to_what_it_would_not_fetch(
    location: str, code: str, path: Path
) -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return [PUBLIC if host == "a.test" else host]

    async with Origin(redirect(location)).running() as origin:
        failed = await refusal(
            fetcher(resolve=resolve, network=Wire(origin.port)), "http://a.test/", path
        )

    assert isinstance(failed, Refused)
    assert failed.code == code
    assert len(origin.heads) == 1


async def test_an_allowed_origin_may_not_redirect_inside_either(path: Path) -> None:
    async with (
        Origin(page()).running() as inner,
        Origin(redirect(inner.url)).running() as origin,
    ):
        failed = await refusal(fetcher(allowed_origins=frozenset({origin.url})), origin.url, path)

    assert failed.code == "port_not_allowed"
    assert inner.heads == []


async def test_follows_a_handful_of_redirects_and_no_more(path: Path) -> None:
    async def count_down(target: str, writer: asyncio.StreamWriter) -> None:
        left = int(target.strip("/"))
        writer.write(redirect(f"/{left - 1}") if left else page())

    async with Origin(count_down).running() as origin:
        allowed = frozenset({origin.url})

        fetched = await fetch(
            fetcher(allowed_origins=allowed), f"{origin.url}/{MAX_REDIRECTS}", path
        )
        failed = await refusal(
            fetcher(allowed_origins=allowed),
            f"{origin.url}/{MAX_REDIRECTS + 1}",
            path.with_name("other"),
        )

    assert fetched.size == 5
    assert failed.code == "too_many_redirects"


async def test_carries_no_cookie_and_no_credential_anywhere(path: Path) -> None:
    async def answer(target: str, writer: asyncio.StreamWriter) -> None:
        cookie = "Set-Cookie: session=canary; Path=/\r\nLocation: /b"
        writer.write(page(b"", "302 Found", cookie) if target == "/a" else page())

    async with Origin(answer).running() as origin:
        await fetch(fetcher(allowed_origins=frozenset({origin.url})), origin.url + "/a", path)

    sent = {line.split(":")[0].lower() for head in origin.heads for line in head.splitlines()[1:]}
    assert len(origin.heads) == 2
    assert sent - {""} == {"host", "user-agent", "accept", "accept-encoding"}


async def test_the_proxies_of_the_environment_see_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Origin(page()).running() as proxy, Origin(page()).running() as origin:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)

        await fetch(fetcher(allowed_origins=frozenset({origin.url})), origin.url, path)

    assert proxy.heads == []


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("ftp://a.test/", "scheme_not_allowed"),
        ("http://xn--/", "bad_url"),
        ("file:///etc/passwd", "scheme_not_allowed"),
        ("a.test/x", "scheme_not_allowed"),
        ("", "scheme_not_allowed"),
        ("http://user@a.test/", "userinfo_not_allowed"),
        ("http://:word@a.test/", "userinfo_not_allowed"),
        ("http://a.test:22/", "port_not_allowed"),
        ("http://a.test:0/", "port_not_allowed"),
        ("http:///x", "bad_url"),
        ("http://a.test/\r\nX-Evil: 1", "bad_url"),
        ("http://a.test/" + "a" * 9000, "bad_url"),
        ("http://a.test:port/", "bad_url"),
    ],
)
async def test_refuses_an_address_by_its_form(url: str, code: str, path: Path) -> None:
    failed = await refusal(fetcher(resolve=names([PUBLIC]), network=Wire(9)), url, path)

    assert isinstance(failed, Refused)
    assert failed.code == code


async def endless(target: str, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
        await writer.drain()


async def test_an_endless_body_is_cut_at_the_cap(path: Path) -> None:
    async with Origin(endless).running() as origin:
        outbound = fetcher(allowed_origins=frozenset({origin.url}))

        failed = await refusal(outbound, origin.url, path, max_bytes=3_000_000)

    assert isinstance(failed, Refused)
    assert failed.code == "too_large"


async def test_a_body_of_exactly_the_cap_passes_and_one_byte_more_does_not(path: Path) -> None:
    async with Origin(page(b"12345")).running() as origin:
        allowed = frozenset({origin.url})

        failed = await refusal(fetcher(allowed_origins=allowed), origin.url, path, max_bytes=4)
        fetched = await fetch(fetcher(allowed_origins=allowed), origin.url, path, max_bytes=5)

    assert failed.code == "too_large"
    assert fetched.size == 5


async def drip(target: str, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def silent(target: str, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("answer", [drip, silent])
async def test_a_slow_answer_is_cut_at_the_time_out(answer: Answer, path: Path) -> None:
    async with Origin(answer).running() as origin:
        outbound = fetcher(allowed_origins=frozenset({origin.url}))

        failed = await refusal(outbound, origin.url, path, timeout_s=0.2)

    assert isinstance(failed, Unreachable)
    assert failed.code == "timeout"


async def test_a_cancelled_fetch_leaves_no_file(path: Path) -> None:
    async with Origin(endless).running() as origin:
        outbound = fetcher(allowed_origins=frozenset({origin.url}))
        running = asyncio.create_task(fetch(outbound, origin.url, path, 1 << 40, 60))
        async with asyncio.timeout(5):
            while not held(path):  # noqa: ASYNC110 - a file tells no one
                await asyncio.sleep(0.005)

        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    assert held(path) is None


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (page(status="500 Oops"), Unreachable, "origin_failed"),
        (page(status="503 Busy"), Unreachable, "origin_failed"),
        (page(status="429 Slow"), Unreachable, "origin_failed"),
        (page(status="403 Gone"), Refused, "origin_refused"),
        (page(status="404 None"), Refused, "origin_refused"),
        (page(status="206 Part"), Refused, "origin_refused"),
        (page(headers="Content-Encoding: gzip"), Refused, "encoding_not_allowed"),
        (page()[:-2], Unreachable, "connection_cut"),
        (b"", Unreachable, "connection_cut"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", Unreachable, "connection_cut"),
    ],
)
async def test_names_what_may_work_later_and_what_will_not(
    answer: bytes, kind: type[OutboundFailed], code: str, path: Path
) -> None:
    async with Origin(answer).running() as origin:
        failed = await refusal(fetcher(allowed_origins=frozenset({origin.url})), origin.url, path)

    assert type(failed) is kind
    assert failed.code == code


async def test_no_failure_names_the_host_or_the_secret_in_the_path(path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, never listening: connecting is refused
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        outbound = fetcher(allowed_origins=frozenset({url}))

        failed = await refusal(outbound, url + "/?token=canary", path)

    assert failed.code == "connection_failed"
    assert failed.__suppress_context__
    assert not any(word in str(failed) for word in ("127.0.0.1", "canary"))


async def test_a_name_that_nobody_knows_may_be_known_later(path: Path) -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, host)

    failed = await refusal(fetcher(resolve=resolve), "http://a.test/", path)

    assert isinstance(failed, Unreachable)
    assert failed.code == "name_not_resolved"


def tls_contexts(folder: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context with a fresh certificate for `name`, and a client's that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=36500))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file = folder / "server.pem"
    file.write_bytes(certificate + secret)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    return server, ssl.create_default_context(cadata=certificate.decode())


async def test_tls_verifies_the_name_although_an_address_is_dialled(
    tmp_path: Path, path: Path
) -> None:
    server, client = tls_contexts(tmp_path, "good.test")
    async with Origin(page(), server).running() as origin:
        good, other = Wire(origin.port), Wire(origin.port)

        fetched = await fetch(
            fetcher(resolve=names([PUBLIC]), network=good, ssl_context=client),
            "https://good.test/",
            path,
        )
        failed = await refusal(
            fetcher(resolve=names([PUBLIC]), network=other, ssl_context=client),
            "https://other.test/",
            path.with_name("other"),
        )

    assert fetched.size == 5
    assert good.dialled == [(PUBLIC, 443)]
    assert failed.code == "connection_failed"
    assert len(origin.heads) == 1


async def test_trusts_the_authorities_of_the_world_and_no_others_by_default(
    tmp_path: Path, path: Path
) -> None:
    server, _ = tls_contexts(tmp_path, "good.test")
    async with Origin(page(), server).running() as origin:
        outbound = Outbound(resolve=names([PUBLIC]), network=Wire(origin.port))

        failed = await refusal(outbound, "https://good.test/", path)

    assert failed.code == "connection_failed"
    assert origin.heads == []
