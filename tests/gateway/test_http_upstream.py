"""A service in another process, over real connections: what arrives, what is never sent twice."""

import asyncio
import gzip
import socket
from collections.abc import Callable

import pytest
from starlette.types import Message, Receive, Scope, Send
from structlog.testing import capture_logs

from kernel.errors import Malformed, Unavailable
from services.gateway.adapters.http_upstream import HttpUpstream, TimedOut, UpstreamBroke
from tests.gateway.driving import Behind, ask, http_scope, read_all
from tests.gateway.serving import Wire, odd, page, reaching, refusing, served

PIECE = b"x" * 65_536
SENT_MAX = 400  # pieces, 25 MB: far beyond every buffer
HELD_MAX = 200  # what sockets and buffers may hold of them
SHORT_S = 0.05
EMPTY: Message = {"type": "http.request", "body": b"", "more_body": False}
GONE: Message = {"type": "http.disconnect"}


async def answer_all(wire: Wire) -> None:
    while True:
        await wire.request()
        await wire.send(page())


class Client:
    """Sends as told and sees each message as it comes."""

    def __init__(
        self, app: HttpUpstream, method: str = "GET", headers: list[tuple[str, str]] | None = None
    ) -> None:
        self.up: asyncio.Queue[Message] = asyncio.Queue()
        self.down: asyncio.Queue[Message] = asyncio.Queue()
        scope = http_scope(method, "/media/x", headers or ())
        self.done = asyncio.ensure_future(app(scope, self.up.get, self.down.put))

    def sends(self, piece: bytes, *, more: bool = True) -> None:
        self.up.put_nowait({"type": "http.request", "body": piece, "more_body": more})

    def leaves(self) -> None:
        self.up.put_nowait(GONE)


# Streams of events.


class Events:
    """A service whose streams last until it says so."""

    def __init__(self) -> None:
        self.over = asyncio.Event()
        self.gone = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b": 1\n\n", "more_body": True})
        await receive()
        leaving = asyncio.ensure_future(receive())
        ending = asyncio.ensure_future(self.over.wait())
        await asyncio.wait((leaving, ending), return_when=asyncio.FIRST_COMPLETED)
        if leaving.done():
            self.gone.set()
        leaving.cancel()
        ending.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def opened(upstream: HttpUpstream) -> Client:
    """A client of a stream that has begun."""
    client = Client(upstream)
    client.up.put_nowait(EMPTY)
    assert (await client.down.get())["status"] == 200
    assert (await client.down.get())["body"] == b": 1\n\n"
    return client


async def test_streams_take_no_room_from_requests_and_have_a_bound_of_their_own() -> None:
    service = Events()
    async with (
        served(service) as url,
        reaching(url, requests_at_once_max=1, streams_at_once_max=2) as upstream,
    ):
        clients = [await opened(upstream) for _ in range(2)]
        with pytest.raises(Unavailable):
            await ask(upstream, "GET", "/x")
        service.over.set()
        await asyncio.gather(*(client.done for client in clients))
        assert (await ask(upstream, "GET", "/x")).body == b": 1\n\n"


async def test_a_stream_ends_in_order_where_the_gateway_does() -> None:
    service = Events()
    async with served(service) as url, reaching(url) as upstream:
        client = await opened(upstream)
        upstream.end()
        await client.done
        assert await client.down.get() == {
            "type": "http.response.body",
            "body": b"",
            "more_body": False,
        }
        await asyncio.wait_for(service.gone.wait(), 10)


async def test_who_leaves_a_stream_ends_it_at_the_service() -> None:
    service = Events()
    async with served(service) as url, reaching(url) as upstream:
        client = await opened(upstream)
        client.leaves()
        await client.done
        await asyncio.wait_for(service.gone.wait(), 10)


# What arrives.


async def test_a_request_arrives_as_it_was_authorised_and_nothing_is_added() -> None:
    async with odd(answer_all) as server, reaching(server.url) as upstream:
        path = "/media/caf%C3%A9%20au,lait=%25.png"
        await ask(
            upstream,
            "GET",
            path,
            [("X-Internal-Token", "a.b.c"), ("If-Match", "1"), ("If-Match", "2"), ("Host", "evil")],
            query="signature=a-b_c%2e%7E&x=+'%23",
        )
    (head,) = server.heads
    line, *headers = head.decode().removesuffix("\r\n\r\n").split("\r\n")
    assert line == f"GET {path}?signature=a-b_c%2e%7E&x=+'%23 HTTP/1.1"
    assert sorted(header.lower() for header in headers) == [
        f"host: {server.url.removeprefix('http://')}",
        "if-match: 1",
        "if-match: 2",
        "x-internal-token: a.b.c",
    ]


async def test_what_is_of_one_connection_stays_there_both_ways() -> None:
    async def answer(wire: Wire) -> None:
        await wire.request()
        await wire.send(page(b"{}", "200 OK", "Connection: close, X-Own", "X-Own: 1", "ETag: 2"))

    async with odd(answer) as server, reaching(server.url) as upstream:
        sent = [("Connection", "x-mine"), ("X-Mine", "1"), ("TE", "trailers"), ("Upgrade", "h2c")]
        answered = await ask(upstream, "GET", "/x", sent)
    assert {name for name, _ in answered.headers} == {b"content-length", b"etag"}
    assert b"mine" not in server.heads[0].lower()
    assert b"upgrade" not in server.heads[0].lower()
    assert b"trailers" not in server.heads[0]


async def test_a_compressed_answer_stays_compressed() -> None:
    packed = gzip.compress(b"much" * 1_000)

    async def answer(wire: Wire) -> None:
        await wire.request()
        await wire.send(page(packed, "200 OK", "Content-Encoding: gzip"))

    async with odd(answer) as server, reaching(server.url) as upstream:
        answered = await ask(upstream, "GET", "/x")
    assert answered.body == packed
    assert answered.one("content-encoding") == "gzip"


async def test_redirects_and_cookies_are_the_clients_business() -> None:
    async def answer(wire: Wire) -> None:
        while True:
            await wire.request()
            await wire.send(page(b"", "307 Temporary Redirect", "Location: /y", "Set-Cookie: a=b"))

    async with odd(answer) as server, reaching(server.url) as upstream:
        answered = await ask(upstream, "GET", "/x")
        await ask(upstream, "GET", "/x")
    assert (answered.status, answered.one("location")) == (307, "/y")
    assert answered.one("set-cookie") == "a=b"
    assert b"cookie" not in server.heads[1].lower()


async def test_no_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", refusing())
    async with odd(answer_all) as server, reaching(server.url) as upstream:
        assert (await ask(upstream, "GET", "/x")).status == 200


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
async def test_an_answer_without_a_body_ends(status: str) -> None:
    async def answer(wire: Wire) -> None:
        await wire.request()
        await wire.send(f"HTTP/1.1 {status}\r\n\r\n".encode())
        await wire.reader.read()

    async with odd(answer) as server, reaching(server.url) as upstream:
        answered = await ask(upstream, "GET", "/x")
    assert (answered.status, answered.body) == (int(status[:3]), b"")


async def test_an_answer_to_head_keeps_its_length() -> None:
    service = Behind(headers=[(b"content-length", b"11")], body=b"")
    async with served(service) as url, reaching(url) as upstream:
        answered = await ask(upstream, "HEAD", "/media/x")
    assert answered.one("content-length") == "11"


async def test_the_service_sees_a_body_as_it_was_announced() -> None:
    service = Behind()
    async with served(service) as url, reaching(url) as upstream:
        await ask(upstream, "POST", "/x", [("Content-Length", "6")], [b"one", b"two"])
        await ask(upstream, "POST", "/x", [], [b"one", b"two"])
        await ask(upstream, "POST", "/x", [], [])
    assert service.bodies == [b"onetwo", b"onetwo", b""]
    framings = [dict(scope["headers"]) for scope in service.scopes]
    assert [headers.get(b"content-length") for headers in framings] == [b"6", None, b"0"]
    assert [headers.get(b"transfer-encoding") for headers in framings] == [None, b"chunked", None]


@pytest.mark.parametrize(("header", "query"), [("\xe9", ""), ("a", "x=\xe9")])
async def test_what_would_arrive_as_other_bytes_is_refused(header: str, query: str) -> None:
    scope = http_scope("GET", "/x", [("If-Match", header)])
    scope["query_string"] = query.encode("latin-1")

    async def receive() -> Message:
        return EMPTY

    async def send(_: Message) -> None:
        raise AssertionError

    async with reaching(refusing()) as upstream:
        with pytest.raises(Malformed):
            await upstream(scope, receive, send)


async def test_words_that_are_utf_8_arrive_as_the_same_bytes() -> None:
    async with odd(answer_all) as server, reaching(server.url) as upstream:
        name = "café".encode().decode("latin-1")  # as it stands on the wire
        await ask(upstream, "GET", "/x", [("If-Match", name)], query="x=café")
    assert "if-match: café".encode() in server.heads[0].lower()
    assert "GET /x?x=café HTTP".encode() in server.heads[0]


# Streaming.


async def test_each_piece_is_answered_before_the_next_is_sent() -> None:
    async def echo(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            await send({"type": "http.response.body", "body": message["body"], "more_body": more})

    async with served(echo) as url, reaching(url) as upstream:
        client = Client(upstream, "POST")
        client.sends(b"one")
        assert (await client.down.get())["status"] == 200
        assert (await client.down.get())["body"] == b"one"
        for piece in (b"two", b"three"):
            client.sends(piece)
            assert (await client.down.get())["body"] == piece
        client.sends(b"", more=False)
        await client.done


async def test_a_body_waits_for_a_service_that_does_not_read() -> None:
    taken, go_on = 0, asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await go_on.wait()
        size = len(await read_all(receive))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(size).encode()})

    async def receive() -> Message:
        nonlocal taken
        taken += 1
        return {"type": "http.request", "body": PIECE, "more_body": taken < SENT_MAX}

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async with served(slow) as url, reaching(url) as upstream:
        asking = asyncio.ensure_future(upstream(http_scope("POST", "/x"), receive, send))
        held = await settled(lambda: taken)
        assert held < HELD_MAX
        go_on.set()
        await asking
    assert sent[1]["body"] == str(SENT_MAX * len(PIECE)).encode()


async def test_an_answer_waits_for_a_client_that_does_not_read() -> None:
    made = 0

    async def much(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal made
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(SENT_MAX):
            made += 1
            await send({"type": "http.response.body", "body": PIECE, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    go_on, received = asyncio.Event(), 0

    async def send(message: Message) -> None:
        nonlocal received
        if message["type"] == "http.response.body":
            await go_on.wait()
            received += len(message["body"])

    async with served(much) as url, reaching(url, answer_timeout_s=SHORT_S) as upstream:
        up: asyncio.Queue[Message] = asyncio.Queue()
        up.put_nowait(EMPTY)
        asking = asyncio.ensure_future(upstream(http_scope("GET", "/x"), up.get, send))
        held = await settled(lambda: made)
        assert 0 < held < HELD_MAX
        await asyncio.sleep(2 * SHORT_S)  # a slow client is no silent service
        go_on.set()
        await asking
    assert received == SENT_MAX * len(PIECE)


async def settled(count: Callable[[], int]) -> int:
    """`count` once it does not grow any more."""
    before, now = -1, count()
    while now == 0 or now != before:
        await asyncio.sleep(0.05)
        before, now = now, count()
    return now


# A client that leaves.


async def test_a_client_that_leaves_while_it_waits_ends_the_request() -> None:
    told: list[str] = []
    asked = asyncio.Event()

    async def wait(scope: Scope, receive: Receive, send: Send) -> None:
        await read_all(receive)
        asked.set()
        told.append((await receive())["type"])

    async with served(wait) as url, reaching(url) as upstream:
        client = Client(upstream)
        client.sends(b"", more=False)
        await asked.wait()
        client.leaves()
        await client.done
        assert client.down.empty()
    assert told == ["http.disconnect"]


async def test_half_a_body_is_never_taken_for_the_whole() -> None:
    ended: list[str] = []
    asked = asyncio.Event()

    async def read(scope: Scope, receive: Receive, send: Send) -> None:
        asked.set()
        while (message := await receive())["type"] == "http.request":
            assert message["more_body"]
        ended.append(message["type"])

    async with served(read) as url, reaching(url) as upstream:
        client = Client(upstream, "POST")
        client.sends(b"half")
        await asked.wait()
        client.leaves()
        await client.done
        assert client.down.empty()
    assert ended == ["http.disconnect"]


async def test_a_client_that_leaves_in_the_middle_of_the_answer_ends_it() -> None:
    told: list[str] = []

    async def drip(scope: Scope, receive: Receive, send: Send) -> None:
        await read_all(receive)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"1", "more_body": True})
        told.append((await receive())["type"])

    async with served(drip) as url, reaching(url) as upstream:
        client = Client(upstream)
        client.sends(b"", more=False)
        assert (await client.down.get())["status"] == 200
        assert (await client.down.get())["body"] == b"1"
        client.leaves()
        await client.done
        assert client.down.empty()
    assert told == ["http.disconnect"]


async def test_a_client_that_has_left_before_is_asked_for_nothing() -> None:
    async with odd(answer_all) as server, reaching(server.url) as upstream:
        client = Client(upstream)
        client.leaves()
        await client.done
    assert server.connections == 0


# Replicas.


async def test_replicas_take_turns() -> None:
    first, second = Behind(), Behind()
    async with served(first) as one, served(second) as two, reaching(one, two) as upstream:
        for _ in range(4):
            await ask(upstream, "GET", "/x")
    assert (len(first.scopes), len(second.scopes)) == (2, 2)


@pytest.mark.parametrize("pieces", [[], [b"whole"], [PIECE, PIECE]])
async def test_a_replica_that_refuses_is_passed_over(pieces: list[bytes]) -> None:
    service = Behind()
    async with served(service) as url, reaching(refusing(), url) as upstream:
        for _ in range(3):
            assert (await ask(upstream, "POST", "/x", [], pieces)).status == 200
    assert service.bodies == [b"".join(pieces)] * 3


async def test_a_lone_replica_is_tried_again_at_once() -> None:
    url = refusing()
    async with reaching(url) as upstream:
        with pytest.raises(Unavailable) as refused:
            await ask(upstream, "GET", "/x")
        assert (refused.value.code, refused.value.retry_after_s) == ("service_unavailable", 1)
        async with odd(answer_all, port=int(url.rpartition(":")[2])):
            assert (await ask(upstream, "GET", "/x")).status == 200


async def test_more_requests_than_it_holds_are_refused() -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def wait(wire: Wire) -> None:
        await wire.request()
        asked.set()
        await go_on.wait()
        await wire.send(page())

    async with odd(wait) as server, reaching(server.url, requests_at_once_max=1) as upstream:
        first = asyncio.ensure_future(ask(upstream, "GET", "/x"))
        await asked.wait()
        with pytest.raises(Unavailable, match="waiting"):
            await ask(upstream, "GET", "/x")
        go_on.set()
        assert (await first).status == 200
        assert (await ask(upstream, "GET", "/x")).status == 200


# What breaks.


async def ends_a_kept_connection(wire: Wire) -> None:
    """As a server that ends an idle connection in the moment of a request: one answer each."""
    await wire.request()
    await wire.send(page(b""))
    await wire.request()


async def test_a_connection_is_kept() -> None:
    async with odd(answer_all) as server, reaching(server.url) as upstream:
        for _ in range(3):
            await ask(upstream, "GET", "/x")
        await ask(upstream, "POST", "/x", [], [b"body"])
    assert server.connections == 1


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_kept_connection_that_ended_costs_a_reader_nothing(method: str) -> None:
    async with odd(ends_a_kept_connection) as server, reaching(server.url) as upstream:
        for _ in range(3):
            assert (await ask(upstream, method, "/x")).status == 200
    assert len(server.heads) == 5


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("pieces", [[], [b"whole"], [PIECE, PIECE]])
async def test_what_may_have_an_effect_is_never_sent_twice(
    method: str, pieces: list[bytes]
) -> None:
    async with odd(ends_a_kept_connection) as server, reaching(server.url) as upstream:
        assert (await ask(upstream, "GET", "/x")).status == 200
        with pytest.raises(UpstreamBroke):
            await ask(upstream, method, "/x", [], pieces)
    assert [head.split()[0].decode() for head in server.heads] == ["GET", method]


async def test_a_reader_with_a_body_is_not_sent_twice() -> None:
    async with odd(ends_a_kept_connection) as server, reaching(server.url) as upstream:
        await ask(upstream, "GET", "/x")
        with pytest.raises(UpstreamBroke):
            await ask(upstream, "GET", "/x", [], [b"body"])
    assert len(server.heads) == 2


async def test_a_service_that_always_ends_the_connection_is_asked_twice_at_most() -> None:
    async def end(wire: Wire) -> None:
        await wire.request()

    async with odd(end) as server, reaching(server.url) as upstream:
        with pytest.raises(UpstreamBroke):
            await ask(upstream, "GET", "/x")
    assert len(server.heads) == 2


@pytest.mark.parametrize(
    "half",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ],
)
async def test_an_answer_that_breaks_off_is_not_ended(half: bytes) -> None:
    async def answer(wire: Wire) -> None:
        await wire.request()
        await wire.send(half)

    async with odd(answer) as server, reaching(server.url) as upstream:
        client = Client(upstream)
        client.sends(b"", more=False)
        with pytest.raises(UpstreamBroke):
            await client.done
        start, *pieces = [client.down.get_nowait() for _ in range(client.down.qsize())]
    assert start["status"] == 200
    assert all(piece["more_body"] for piece in pieces)


@pytest.mark.parametrize(
    "nonsense",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 200 + b"\r\n",
    ],
)
async def test_what_is_no_answer_of_a_service_is_none(nonsense: bytes) -> None:
    async def answer(wire: Wire) -> None:
        await wire.request()
        await wire.send(nonsense)

    async with odd(answer) as server, reaching(server.url) as upstream:
        with pytest.raises(UpstreamBroke):
            await ask(upstream, "POST", "/x")


async def test_an_early_answer_is_passed_on_and_its_connection_not_used_again() -> None:
    async def refuse(wire: Wire) -> None:
        await wire.request()
        await wire.send(page(b"{}", "413 Content Too Large"))
        await wire.reader.read()

    async with odd(refuse) as server, reaching(server.url) as upstream:
        for _ in range(2):
            client = Client(upstream, "POST")
            client.sends(b"first of many")
            assert (await client.down.get())["status"] == 413
            await client.done
    assert server.connections == 2


async def test_neither_words_nor_log_of_a_failure_hold_the_query() -> None:
    async def end(wire: Wire) -> None:
        await wire.request()

    with capture_logs() as logs:
        async with odd(end) as server, reaching(refusing(), server.url) as upstream:
            with pytest.raises(UpstreamBroke) as broke:
                await ask(upstream, "POST", "/x", [], [PIECE, PIECE], query="signature=secret")
            with pytest.raises(UpstreamBroke):
                await ask(upstream, "POST", "/x", query="signature=secret")
    assert "secret" not in f"{broke.value}{logs}"
    assert broke.value.__suppress_context__
    assert [line["event"] for line in logs] == ["replica_away"]


# Time.


async def test_a_silent_service_is_waited_for_and_no_longer() -> None:
    async def silent(wire: Wire) -> None:
        await wire.request()
        await wire.reader.read()

    async with odd(silent) as server, reaching(server.url, answer_timeout_s=SHORT_S) as upstream:
        for method in ("GET", "POST"):
            with pytest.raises(TimedOut) as late:
                await ask(upstream, method, "/x")
    assert (late.value.status, late.value.code) == (504, "timed_out")
    assert len(server.heads) == 2


async def test_a_service_that_falls_silent_in_its_answer_is_not_waited_for_for_ever() -> None:
    async def answer(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
        await wire.reader.read()

    async with odd(answer) as server, reaching(server.url, answer_timeout_s=SHORT_S) as upstream:
        client = Client(upstream)
        client.sends(b"", more=False)
        with pytest.raises(TimedOut):
            await client.done
        assert client.down.get_nowait()["status"] == 200


async def test_a_service_that_takes_no_body_is_not_waited_for_for_ever() -> None:
    async def deaf(wire: Wire) -> None:
        await wire.request()
        await asyncio.get_running_loop().create_future()

    async def receive() -> Message:
        return {"type": "http.request", "body": PIECE, "more_body": True}

    async def send(_: Message) -> None:
        raise AssertionError

    async with odd(deaf) as server, reaching(server.url, answer_timeout_s=SHORT_S) as upstream:
        with pytest.raises(TimedOut):
            await upstream(http_scope("POST", "/x"), receive, send)


async def test_a_slow_client_is_no_silent_service() -> None:
    service = Behind()
    async with served(service) as url, reaching(url, answer_timeout_s=SHORT_S) as upstream:
        client = Client(upstream, "POST")
        client.sends(b"one")
        await asyncio.sleep(2 * SHORT_S)
        client.sends(b"two", more=False)
        assert (await client.down.get())["status"] == 200
        await client.done
    assert service.bodies == [b"onetwo"]


async def test_a_service_that_drips_is_not_cut_off() -> None:
    async def drip(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")
        for _ in range(8):
            await asyncio.sleep(SHORT_S / 2)
            await wire.send(b"x")

    async with odd(drip) as server, reaching(server.url, answer_timeout_s=4 * SHORT_S) as upstream:
        assert (await ask(upstream, "GET", "/x")).body == b"x" * 8


async def test_a_replica_that_takes_no_connection_is_passed_over_in_time() -> None:
    service = Behind()
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        host, port = full.getsockname()
        with socket.create_connection((host, port)), socket.socket() as second:
            second.setblocking(False)  # noqa: FBT003 - the standard library's signature
            second.connect_ex((host, port))
            deaf = f"http://{host}:{port}"
            async with (
                served(service) as url,
                reaching(deaf, url, connect_timeout_s=SHORT_S) as upstream,
            ):
                assert (await ask(upstream, "POST", "/x", [], [b"body"])).status == 200
    assert service.bodies == [b"body"]
