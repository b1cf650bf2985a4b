"""The whole product as a child process on a folder of its own, and its users, over real HTTP.

It is told everything by its environment, as an operator tells it; nothing of it is imported.
"""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx
import psutil

from kernel.clock import new_id
from tests.rates import PLENTY

ROOT: Final = Path(__file__).parents[2]
READY: Final = re.compile(r"^SmartSpec is ready at (\S+)", re.MULTILINE)
READY_TIMEOUT_S: Final = 90.0
END_TIMEOUT_S: Final = 30.0
V2: Final = "/api/v2/generation"
SCOPES: Final = (
    "generation:create",
    "generation:read",
    "generation:delete",
    "credits:read",
)
PASSWORD: Final = "correct horse battery"


def wait_until(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@dataclass
class Product:
    """`python -m services` on `home`; start it, ask it, end it, and start it again."""

    home: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    arguments: Sequence[str] = ()
    python: str = sys.executable
    user: str | None = None
    label: str = "product"
    module: str = "services"
    url: str = ""
    _process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "not started yet"
        return self._process

    @property
    def said(self) -> Path:
        """Where stdout and stderr of every start go."""
        return self.home.parent / f"{self.label}.out"

    @property
    def dsn(self) -> str:
        """Of the database that it runs on."""
        given = self.settings.get("DATABASE_URL")
        if given is not None:
            return given
        password = (self.home / "postgres/password").read_text().strip()
        port = (self.home / "postgres/data/postmaster.pid").read_text().splitlines()[3]
        return f"postgresql://smartspec:{password}@127.0.0.1:{port}/smartspec"

    @property
    def metrics_port(self) -> int:
        """Of a process whose own address is for clients."""
        return int(self.settings["METRICS_PORT"])

    def begin(self) -> int:
        """Start without waiting; where in `said` this start's words begin."""
        self.said.parent.mkdir(parents=True, exist_ok=True)
        with self.said.open("ab") as said:
            began_at = said.tell()
            self._process = subprocess.Popen(
                # `--parent`: it must not outlive a test run that was killed.
                [self.python, "-m", self.module, "--parent", str(os.getpid()), *self.arguments],
                cwd=self.home.parent,  # no stray `.env` is read there
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                user=self.user,
            )
        return began_at

    def start(self) -> "Product":
        """Start, and wait until it says where it is ready."""
        began_at = self.begin()

        def ready() -> bool:
            found = READY.search(self.said.read_text()[began_at:])
            self.url = found[1] if found else ""
            if self.process.poll() is not None:
                raise AssertionError(f"it ended:\n{self.said.read_text()[began_at:]}")
            return bool(self.url)

        wait_until(ready, READY_TIMEOUT_S)
        return self

    def environment(self) -> dict[str, str]:
        paths = [str(ROOT), *(path for path in sys.path if path.endswith("-packages"))]
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(paths),
            "SMARTSPEC_HOME": str(self.home),
            "PORT": "0",
            "RATE_LIMITS": PLENTY,
            **self.settings,
        }

    def interrupt(self) -> tuple[int, float]:
        """Ctrl-C; its exit status, and how many seconds it took to end."""
        began_s = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        status = self.process.wait(END_TIMEOUT_S)
        return status, time.monotonic() - began_s

    def kill(self) -> None:
        """With all that it has started."""
        if self._process is None:
            return
        children: list[psutil.Process] = []
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(self._process.pid).children(recursive=True)
        self._process.kill()
        self._process.wait(END_TIMEOUT_S)
        self._process = None
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()

    def words(self) -> str:
        return self.said.read_text()

    def log(self) -> list[dict[str, Any]]:
        """Its log lines; what is no JSON object is for people."""
        lines = self.words().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def rows(self, query: str, *values: object) -> list[asyncpg.Record]:
        return asyncio.run(_fetch(self.dsn, query, *values))

    def client(self, **headers: str) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers=headers, timeout=130, trust_env=False)

    def words_at_end(self) -> tuple[int, str]:
        """The exit status of a start that was refused, and what it said."""
        began_at = self.begin()
        status = self.process.wait(END_TIMEOUT_S)
        return status, self.words()[began_at:]


async def _fetch(dsn: str, query: str, *values: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetch(query, *values)
    finally:
        await connection.close()


@contextlib.contextmanager
def running(product: Product) -> Iterator[Product]:
    """Started, and killed whatever happens."""
    try:
        yield product.start()
    finally:
        product.kill()


@dataclass(frozen=True)
class User:
    """A registered user with a key; `client` sends the key. Close it."""

    email: str
    token: str
    key: str
    client: httpx.Client

    def balance(self) -> dict[str, float]:
        return dict(self.client.get(f"{V2}/credits").raise_for_status().json())

    def tasks(self) -> list[dict[str, Any]]:
        answer = self.client.get(f"{V2}/tasks", params={"limit": 100}).raise_for_status()
        return list(answer.json()["tasks"])

    def generate(self, prompt: str, *, key: str | None = None, **options: object) -> dict[str, Any]:
        """The task of a request that is taken."""
        headers = {"Idempotency-Key": key} if key else {}
        body = {"model_id": "nano-banana-pro", "prompt": prompt, "options": options}
        answer = self.client.post(f"{V2}/generate", json=body, headers=headers)
        assert answer.status_code == 201, answer.text
        return dict(answer.json()["task"])

    def wait(self, task_id: str) -> dict[str, Any]:
        answer = self.client.get(f"{V2}/tasks/{task_id}/wait").raise_for_status()
        return dict(answer.json()["task"])

    def history(self) -> list[dict[str, Any]]:
        """The whole ledger, oldest first."""
        entries: list[dict[str, Any]] = []
        parameters: dict[str, str] = {"limit": "100"}
        while True:
            page = self.client.get(f"{V2}/credits/history", params=parameters).raise_for_status()
            body = page.json()
            entries += body["transactions"]
            if body["next_cursor"] is None:
                return entries[::-1]
            parameters["cursor"] = body["next_cursor"]


def log_in(product: Product, email: str, password: str = PASSWORD) -> str:
    """An access token."""
    with product.client() as anonymous:
        answer = anonymous.post("/auth/login", json={"email": email, "password": password})
    return str(answer.raise_for_status().json()["data"]["access_token"])


def new_key(product: Product, token: str, scopes: tuple[str, ...] = SCOPES) -> str:
    with product.client(Authorization=f"Bearer {token}") as signed_in:
        answer = signed_in.post("/api/keys", json={"name": "Test", "scopes": list(scopes)})
    return str(answer.raise_for_status().json()["api_key"])


@contextlib.contextmanager
def new_user(product: Product) -> Iterator[User]:
    """Somebody new, whose credits have been granted."""
    email = f"user-{new_id().hex}@example.com"
    with product.client() as anonymous:
        anonymous.post(
            "/auth/register", json={"email": email, "password": PASSWORD}
        ).raise_for_status()
    token = log_in(product, email)
    with holder_of(product, email, token, new_key(product, token)) as user:
        wait_until(lambda: user.balance()["total_credits"] > 0)
        yield user


@contextlib.contextmanager
def holder_of(product: Product, email: str, token: str, key: str) -> Iterator[User]:
    """Somebody who has been here before."""
    with product.client(**{"X-API-Key": key}) as client:
        yield User(email, token, key, client)


@contextlib.contextmanager
def fresh_database(server_dsn: str) -> Iterator[str]:
    """The DSN of an empty database, dropped at the end."""
    name = f"smartspec_system_{new_id().hex}"
    asyncio.run(_fetch(server_dsn, f"CREATE DATABASE {name}"))
    try:
        yield f"{server_dsn.rsplit('/', 1)[0]}/{name}"
    finally:
        asyncio.run(_fetch(server_dsn, f"DROP DATABASE {name} WITH (FORCE)"))
