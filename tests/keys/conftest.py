"""Keys on a fresh database, asked as the gateway asks it; passwords at argon2's lowest cost."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from argon2 import PasswordHasher

from kernel.clock import new_id
from kernel.http import Identity
from kernel.http.access_tokens import AccessTokens
from kernel.http.identity import HEADER
from kernel.http.token_keys import TokenKeys
from kernel.identifiers import parsed
from kernel.projections import ensure
from kernel.service import Platform, Service
from services.keys.adapters import Passwords
from services.keys.adapters.mailers import Mail, MailFailed
from services.keys.adapters.mails import Mails
from services.keys.api import RequireProof
from services.keys.app import create_service, ensure_admin
from services.keys.domain import Scope
from services.keys.settings import KeysSettings
from tests.reused_database import database_dsn, suite_dsn

__all__ = ["database_dsn", "suite_dsn"]

ANONYMOUS = Identity(UUID(int=0), UUID(int=0), "anonymous", "free", frozenset())
GATEWAY = Identity(UUID(int=0), UUID(int=0), "service", "free", frozenset())
PASSWORD = "correct horse battery staple"


@dataclass(frozen=True)
class Person:
    """A registered user, signed in."""

    identity: Identity
    email: str

    def with_key(self, key_id: str, *scopes: str) -> Identity:
        """The same user, calling with one of their keys."""
        inner = parsed("key", key_id)
        assert inner is not None
        return Identity(
            self.identity.user_id,
            self.identity.account_id,
            "user",
            "free",
            frozenset(scopes),
            inner,
        )


@dataclass
class MemoryMailer:
    """Keeps what is sent, unless it is `broken`."""

    sent: list[Mail] = field(default_factory=list)
    broken: bool = False

    async def send(self, mail: Mail) -> None:
        if self.broken:
            raise MailFailed("broken")
        self.sent.append(mail)


@dataclass(frozen=True)
class Keys:
    """The service, and one way to call it."""

    service: Service
    platform: Platform
    client: httpx.AsyncClient
    access_tokens: AccessTokens
    mailer: MemoryMailer

    async def mailed(self) -> list[Mail]:
        """What the worker sends when it looks now."""
        sent_before = len(self.mailer.sent)
        owners = (getattr(worker, "__self__", None) for worker in self.service.workers)
        for mails in owners:
            if isinstance(mails, Mails):
                await mails.send_due()
        return self.mailer.sent[sent_before:]

    async def sign_in(self, person: Person, password: str = PASSWORD) -> dict[str, Any]:
        """The `data` of the answer."""
        body = {"email": person.email, "password": password}
        answer = await self.call("POST", "/auth/login", ANONYMOUS, body)
        assert answer.status_code == 200, answer.text
        data: dict[str, Any] = answer.json()["data"]
        return data

    async def call(
        self,
        method: str,
        path: str,
        caller: Identity | None,
        json: Any = None,
        **headers: str,
    ) -> httpx.Response:
        if caller is not None:
            headers[HEADER] = self.platform.internal_tokens.mint(caller)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.request(method, path, json=json, headers=sent)

    async def register(self, email: str | None = None, full_name: str | None = None) -> Person:
        """A new person whose password is `PASSWORD`."""
        email = email or f"{new_id().hex}@example.com"
        body = {"email": email, "password": PASSWORD, "full_name": full_name}
        answer = await self.call("POST", "/auth/register", ANONYMOUS, body)
        assert answer.status_code == 201, answer.text
        user_id = parsed("user", answer.json()["data"]["user_id"])
        assert user_id is not None
        everything = frozenset(scope.value for scope in Scope)
        return Person(Identity(user_id, new_id(), "user", "free", everything), email)

    async def admin(self) -> Person:
        """A signed-in admin whose password is `PASSWORD`."""
        email = f"admin-{new_id().hex}@example.com"
        user_id = await ensure_admin(self.service, self.platform, email, PASSWORD)
        return Person(Identity(user_id, new_id(), "admin", "free", frozenset({"admin"})), email)

    async def create_key(self, caller: Identity, **asked: Any) -> dict[str, Any]:
        body = {"name": "a key", "scopes": ["generation:read"], **asked}
        answer = await self.call("POST", "/api/keys", caller, body)
        assert answer.status_code == 201, answer.text
        created: dict[str, Any] = answer.json()
        return created

    async def count(self, table: str) -> int:
        async with self.platform.database.connection() as connection:
            return int(await connection.fetchval(f"SELECT count(*) FROM {table}"))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the files of each test's services lie."""
    home = tmp_path / "home"
    monkeypatch.setenv("SMARTSPEC_HOME", str(home))
    return home


@pytest.fixture
def access_tokens(platform: Platform) -> AccessTokens:
    return AccessTokens(
        TokenKeys.shared("a secret of tests, and of nothing else", "HS256"),
        timedelta(minutes=30),
        platform.clock,
    )


@contextlib.asynccontextmanager
async def serving(
    platform: Platform,
    access_tokens: AccessTokens,
    settings: KeysSettings | None = None,
    require_proof: RequireProof | None = None,
) -> AsyncIterator[Keys]:
    cheap = Passwords(hasher=PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    mailer = MemoryMailer()
    service = create_service(
        settings or KeysSettings(),
        platform,
        access_tokens,
        cheap,
        require_proof=require_proof,
        mailer=mailer,
    )
    assert service.read_model is not None
    assert service.app is not None
    async with platform.database.connection() as connection:
        await ensure(connection, service.read_model)
    transport = httpx.ASGITransport(service.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://keys") as client:
        yield Keys(service, platform, client, access_tokens, mailer)


@pytest.fixture
async def keys(platform: Platform, access_tokens: AccessTokens) -> AsyncIterator[Keys]:
    async with serving(platform, access_tokens) as keys:
        yield keys


async def no_proof_needed(_: object, __: object, ___: object, ____: object, _____: object) -> None:
    """In place of a second factor."""


@pytest.fixture
async def trusting_keys(platform: Platform, access_tokens: AccessTokens) -> AsyncIterator[Keys]:
    """Keys that rotates and deletes without a second factor."""
    async with serving(platform, access_tokens, require_proof=no_proof_needed) as keys:
        yield keys
