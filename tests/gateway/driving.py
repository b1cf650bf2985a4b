"""Drives the edge as a server would: raw ASGI, no client that tidies paths or gathers bodies."""

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contracts.envelope import PublicEvent
from contracts.keys import KeyRevoked
from kernel.bus import MemoryBus
from kernel.clock import new_id
from kernel.encryption import Encryption
from kernel.http import Identity, InternalTokens
from kernel.http.access_tokens import AccessClaims, AccessTokens
from kernel.http.api_key_format import api_key_from, key_sha256
from kernel.http.token_keys import TokenKeys
from kernel.links import MediaLinks
from kernel.service import Platform
from kernel.settings import read_settings
from kernel.sql import Database
from kernel.testing import FakeClock, envelope_of
from services.gateway.app import create_service
from services.gateway.settings import GatewaySettings
from tests.rates import PLENTY

Header = tuple[bytes, bytes]
SECRET = "a secret of tests, which is long enough"


@dataclass
class Answer:
    status: int
    headers: list[Header]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value.decode() for key, value in self.headers if key.decode().lower() == name]

    def one(self, name: str) -> str:
        (value,) = self.all(name)
        return value

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return str(self.json["error"])


def http_scope(
    method: str, path: str, headers: Iterable[tuple[str, str]] = (), query: str = ""
) -> Scope:
    """What a server makes of a request line; `path` is as it stands on the wire."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("latin-1"),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
        "client": ("203.0.113.9", 1234),
        "server": ("smartspec.test", 80),
    }


async def ask(
    app: ASGIApp,
    method: str,
    path: str,
    headers: Iterable[tuple[str, str]] = (),
    body: Iterable[bytes] = (),
    *,
    query: str = "",
) -> Answer:
    """One request; the client stays until it is answered."""
    chunks = list(body)
    requests: list[Message] = [
        {"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks
    ]
    requests.append({"type": "http.request", "body": b"", "more_body": False})
    requests.reverse()
    answered = asyncio.Event()
    sent: list[Message] = []

    async def receive() -> Message:
        if requests:
            return requests.pop()
        await answered.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            answered.set()

    await app(http_scope(method, path, headers, query), receive, send)
    start, *parts = sent
    assert [message["type"] for message in sent].count("http.response.start") == 1
    return Answer(start["status"], list(start["headers"]), b"".join(part["body"] for part in parts))


@dataclass
class Behind:
    """A service as the gateway sees it: remembers what came, answers as told."""

    status: int = 200
    headers: list[Header] = field(default_factory=list)
    body: bytes = b'{"ok":true}'
    openapi: Mapping[str, Any] = field(default_factory=lambda: {"paths": {}})
    act: ASGIApp | None = None
    scopes: list[Scope] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    documents_read: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/openapi.json":
            self.documents_read += 1
            await respond(send, 200, [], json.dumps(self.openapi).encode())
            return
        self.scopes.append(scope)
        if self.act is not None:
            await self.act(scope, receive, send)
            return
        self.bodies.append(await read_all(receive))
        await respond(send, self.status, self.headers, self.body)

    @property
    def headers_seen(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.scopes[-1]["headers"]}


async def read_all(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError("the client left")
        chunk: bytes = message.get("body", b"")
        body += chunk
        if not message.get("more_body"):
            return body


async def respond(send: Send, status: int, headers: Iterable[Header], body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})


class KeysBehind(Behind):
    """keys, with the internal question that the gateway asks it."""

    def __init__(self, internal_tokens: InternalTokens) -> None:
        super().__init__()
        self.known: dict[str, dict[str, Any]] = {}
        self.sessions: dict[str, dict[str, Any]] = {}
        self.used: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.askers: list[Identity] = []
        self.broken = False
        self.open = asyncio.Event()
        self.open.set()
        self.waiting = asyncio.Event()
        self.full_at = 1
        self.full = asyncio.Event()
        self._internal_tokens = internal_tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if not path.startswith("/internal/") or path.startswith("/internal/dead-letters"):
            await super().__call__(scope, receive, send)
            return
        if self.broken:
            raise RuntimeError("the table is gone: postgresql://admin:hunter2@db")
        token = dict(scope["headers"]).get(b"x-internal-token", b"")
        self.askers.append(self._internal_tokens.read(token.decode()))
        question = json.loads(await read_all(receive))
        match path:
            case "/internal/keys/resolve":
                facts = self.known.get(question["key_sha256"])
                await self._answer(question["key_sha256"], facts, send)
            case "/internal/sessions/resolve":
                facts = self.sessions.get(question["session_id"])
                await self._answer(question["session_id"], facts, send)
            case "/internal/keys/used":
                self.used += question["uses"]
                await respond(send, 204, [], b"")
            case _:
                raise AssertionError(path)

    async def _answer(self, asked: str, facts: dict[str, Any] | None, send: Send) -> None:
        self.asked.append(asked)
        self.waiting.set()
        if len(self.asked) >= self.full_at:
            self.full.set()
        await self.open.wait()
        if facts is None:
            await respond(send, 404, [], b'{"error":"not_found","message":"","details":{}}')
        else:
            await respond(send, 200, [], json.dumps(facts).encode())


def gateway_settings(**given: str) -> GatewaySettings:
    """As from the environment; nobody is at a limit unless `RATE_LIMITS` is given."""
    return read_settings(GatewaySettings, **{"RATE_LIMITS": PLENTY, **given})


class World:
    """The edge over four services that were written for the test, or what is `elsewhere`."""

    def __init__(self, settings: GatewaySettings | None = None, /, **elsewhere: ASGIApp) -> None:
        self.clock = FakeClock()
        self.bus = MemoryBus()
        encryption = Encryption(["a master key of tests, and of nothing else"])
        self.internal_tokens = InternalTokens(encryption.derived_secret("internal"), self.clock)
        self.access_tokens = AccessTokens(
            TokenKeys.shared(SECRET, "HS256"), timedelta(minutes=30), self.clock
        )
        self.keys = KeysBehind(self.internal_tokens)
        self.generation, self.credits, self.storage = Behind(), Behind(), Behind()
        self.ready = True
        self.platform = platform = Platform(
            database=cast("Database", None),  # the gateway has no tables
            bus=self.bus,
            clock=self.clock,
            encryption=encryption,
            internal_tokens=self.internal_tokens,
            links=MediaLinks(encryption.derived_secret("links"), "http://smartspec.test"),
            public_base_url="http://smartspec.test",
        )
        upstreams: dict[str, ASGIApp] = {
            "keys": self.keys,
            "generation": self.generation,
            "credits": self.credits,
            "storage": self.storage,
            **elsewhere,
        }
        self.service = create_service(
            settings or gateway_settings(),
            platform,
            self.access_tokens,
            upstreams,
            lambda: self.ready,
        )
        assert self.service.app is not None
        self.app = self.service.app

    async def ask(
        self,
        method: str,
        path: str,
        headers: Iterable[tuple[str, str]] = (),
        body: Iterable[bytes] = (),
        query: str = "",
    ) -> Answer:
        return await ask(self.app, method, path, headers, body, query=query)

    def key(self, secret: bytes | None = None, **facts: Any) -> str:
        """A key that keys knows."""
        key = api_key_from(secret or new_id().bytes * 2)
        self.keys.known[key_sha256(key)] = {
            "key_id": str(new_id()),
            "user_id": str(new_id()),
            "account_id": str(new_id()),
            "role": "user",
            "plan": "free",
            "scopes": ["generation:read", "generation:create"],
            "expires_at": None,
            "monthly_credit_limit_units": None,
            "active": True,
            **facts,
        }
        return key

    def facts(self, key: str) -> dict[str, Any]:
        return self.keys.known[key_sha256(key)]

    def token(self, role: str = "user", **claims: Any) -> str:
        """An access token of a session that keys knows."""
        ids = {"user_id": new_id(), "account_id": new_id(), "session_id": new_id()}
        told = AccessClaims(**{**ids, "plan": "free", **claims}, role=role)
        self.keys.sessions[str(told.session_id)] = {
            "session_id": str(told.session_id),
            "user_id": str(told.user_id),
            "account_id": str(told.account_id),
            "role": role,
            "plan": told.plan,
            "expires_at": (self.clock.now() + timedelta(days=30)).isoformat(),
        }
        return self.access_tokens.mint(told)

    def session(self, token: str) -> dict[str, Any]:
        return self.keys.sessions[str(self.access_tokens.read(token).session_id)]

    async def revoke(self, key: str) -> None:
        """As keys does it: the row first, then the news."""
        facts = self.keys.known.pop(key_sha256(key))
        await self.tell(
            KeyRevoked(
                key_id=UUID(facts["key_id"]),
                user_id=UUID(facts["user_id"]),
                revoked_at=self.clock.now(),
            )
        )

    async def tell(self, event: PublicEvent) -> None:
        await self.bus.broadcast(envelope_of(event))

    def caller(self, behind: Behind) -> Identity:
        """Who the service was told is calling."""
        return self.internal_tokens.read(behind.headers_seen.get("x-internal-token"))


def bearer(credential: str) -> tuple[str, str]:
    return ("Authorization", f"Bearer {credential}")


def api_key(credential: str) -> tuple[str, str]:
    return ("X-API-Key", credential)
