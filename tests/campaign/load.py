"""Clients over real HTTP: each asks until it is answered, and remembers what it was told."""

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Self
from uuid import UUID

import httpx

from kernel.identifiers import parsed
from services.simulator.domain.scenarios import draw
from tests.campaign.final_reads import Told

REQUESTS_BY_USER: Final = 30
SPENDER: Final = 2
"""Of each three users the third asks for four pictures at a time: more than its plan pays."""
USERS_IN_TURN: Final = 3
CANCELS: Final = 0.1
"""The share of accepted tasks that their user thinks better of."""
FAULTS: Final[Mapping[str, str]] = {
    "answer_lost": "provider_unknown",
    "fail": "provider_failed",
    "lost": "provider_failed",
    "moderated": "content_moderated",
    "state_backwards": "",
    "wrong_mime": "unsupported_type",
}
"""What a provider's fault comes to: the code of the task's error, "" where it is to be borne."""
FAULTY: Final = 0.2
"""The share of requests whose provider misbehaves."""
AT_ONCE_MAX: Final = 32
ASK_AGAIN_AFTER_S: Final = 0.25
WITHOUT_HOPE_S: Final = 1.0
ENDED: Final = frozenset({"completed", "failed", "cancelled"})
PASSWORD: Final = "correct horse battery"
_GENERATION: Final = "/api/v2/generation"
_SCOPES: Final = ("generation:create", "generation:read", "generation:delete", "credits:read")
_TIMEOUT: Final = httpx.Timeout(20.0, connect=2.0)
_TRY_AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_KILLED_BESIDE: Final = "provider_unknown"
_IN_PROGRESS: Final = "idempotency_in_progress"

Send = Callable[[], Awaitable[httpx.Response]]


@dataclass
class Outcomes:
    """What the clients were told so far, by the SHA-256 of the prompt."""

    accepted: dict[str, UUID] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    statuses: Counter[str] = field(default_factory=Counter)
    unexplained: list[str] = field(default_factory=list)
    asked_again: int = 0

    def told(self) -> Told:
        return Told(dict(self.accepted), frozenset(self.refused), frozenset(self.unknown))


class Load:
    """Asks for as many tasks as it is allowed, at most `AT_ONCE_MAX` at once; use as a context."""

    def __init__(self, url: str, seed: int) -> None:
        self.outcomes = Outcomes()
        self._seed = seed
        self._client = httpx.AsyncClient(base_url=url, timeout=_TIMEOUT, trust_env=False)
        self._keys: dict[int, asyncio.Task[str]] = {}
        self._requests: list[asyncio.Task[None]] = []
        self._slots = asyncio.Semaphore(AT_ONCE_MAX)
        self._up = asyncio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        running = [*self._requests, *self._keys.values()]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self._client.aclose()

    @property
    def unanswered(self) -> int:
        """Requests that have begun or may begin, and whose tasks have not all ended."""
        return sum(not request.done() for request in self._requests)

    def allow(self, count: int) -> None:
        """Let `count` more requests begin."""
        for _ in range(count):
            number = len(self._requests)
            self._requests.append(asyncio.create_task(self._request(number)))

    def expect(self, *, up: bool) -> None:
        """Whether it is worth asking now; without hope each client still asks now and then."""
        if up:
            self._up.set()
        else:
            self._up.clear()

    async def accepted_again(self, timeout_s: float) -> float:
        """Seconds until a request that begins now, beside all others, was answered; `timeout_s`
        when it was not."""
        began_s = time.monotonic()
        number = len(self._requests)
        self._requests.append(asyncio.create_task(self._ask(number)))
        prompt = hashlib.sha256(self._prompt(number).encode()).hexdigest()
        outcomes = self.outcomes
        while prompt not in outcomes.accepted and prompt not in outcomes.refused:
            if time.monotonic() - began_s > timeout_s:
                return timeout_s
            await asyncio.sleep(ASK_AGAIN_AFTER_S)
        return time.monotonic() - began_s

    async def settle(self, timeout_s: float) -> int:
        """Wait until each request was answered and each task has ended; how many have not.

        Raises what a request met that it must not meet.
        """
        done, pending = await asyncio.wait(self._requests, timeout=timeout_s)
        for task in done:
            task.result()
        return len(pending)

    async def _request(self, number: int) -> None:
        async with self._slots:
            await self._ask(number)

    async def _ask(self, number: int) -> None:
        user = number // REQUESTS_BY_USER
        prompt = self._prompt(number)
        request = hashlib.sha256(prompt.encode()).hexdigest()
        self.outcomes.unknown.add(request)
        headers = {
            "X-API-Key": await asyncio.shield(self._key_of(user)),
            "Idempotency-Key": request,
        }
        task = await self._generate(request, _body(prompt, user), headers)
        if task is not None:
            await self._follow(number, task, headers["X-API-Key"])

    async def _generate(
        self, request: str, body: dict[str, Any], headers: dict[str, str]
    ) -> str | None:
        """The task's id, or None when it was refused for want of credits."""
        answer = await self._answer(
            lambda: self._client.post(f"{_GENERATION}/generate", json=body, headers=headers)
        )
        if answer.status_code == httpx.codes.PAYMENT_REQUIRED:
            self.outcomes.refused.add(request)
            self.outcomes.unknown.discard(request)
            return None
        assert answer.status_code == httpx.codes.CREATED, answer.text
        shown = str(answer.json()["task"]["id"])
        task_id = parsed("task", shown)
        assert task_id is not None, shown
        self.outcomes.accepted[request] = task_id
        self.outcomes.unknown.discard(request)
        return shown

    async def _follow(self, number: int, task: str, api_key: str) -> None:
        """To its end; now and then the user cancels first. Who is late, or asks again because an
        answer was lost, removes the task."""
        headers = {"X-API-Key": api_key}
        path = f"{_GENERATION}/tasks/{task}"
        cancels = draw(self._seed, f"cancel:{number}") < CANCELS
        if cancels:
            answer = await self._answer(lambda: self._client.delete(path, headers=headers))
            assert answer.status_code in {httpx.codes.OK, httpx.codes.NOT_FOUND}, answer.text
        while True:
            answer = await self._answer(
                lambda: self._client.get(f"{path}/wait?timeout=10", headers=headers)
            )
            if cancels and answer.status_code == httpx.codes.NOT_FOUND:
                self.outcomes.statuses["removed"] += 1
                return
            assert answer.status_code == httpx.codes.OK, answer.text
            shown = answer.json()["task"]
            if shown["status"] in ENDED:
                self._ended(number, shown)
                return
            await asyncio.sleep(ASK_AGAIN_AFTER_S)

    def _ended(self, number: int, task: dict[str, Any]) -> None:
        """A failure needs a reason: the request's own fault, or a kill beside a question."""
        code = task["error"]["code"] if task["status"] == "failed" else ""
        ending = f"failed: {code}" if code else str(task["status"])
        self.outcomes.statuses[ending] += 1
        fault = self._fault(number)
        if code not in {"", _KILLED_BESIDE, FAULTS.get(fault)}:
            words = f"{task['id']} {ending}, and its provider played {fault or 'no fault'}"
            self.outcomes.unexplained.append(words)

    async def _answer(self, send: Send) -> httpx.Response:
        """Ask until there is an answer that counts: lost ones and "not now" are asked again."""
        while True:
            try:
                answer = await send()
            except httpx.TransportError:
                answer = None
            if answer is not None and not _not_now(answer):
                return answer
            self.outcomes.asked_again += 1
            await asyncio.sleep(ASK_AGAIN_AFTER_S)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._up.wait(), WITHOUT_HOPE_S)

    def _prompt(self, number: int) -> str:
        """Like no other of this campaign; some carry a fault for the provider to play."""
        fault = self._fault(number)
        words = f"picture {number} of campaign {self._seed}"
        return f"{words} [[sim:{fault}]]" if fault else words

    def _fault(self, number: int) -> str:
        if draw(self._seed, f"faulty:{number}") >= FAULTY:
            return ""
        return list(FAULTS)[int(draw(self._seed, f"fault:{number}") * len(FAULTS))]

    def _key_of(self, user: int) -> asyncio.Task[str]:
        """The user's key, made once, however many ask for it."""
        if user not in self._keys:
            self._keys[user] = asyncio.create_task(self._new_key(user))
        return self._keys[user]

    async def _new_key(self, user: int) -> str:
        credentials = {"email": f"user{user}@campaign{self._seed}.test", "password": PASSWORD}
        registered = await self._answer(
            lambda: self._client.post("/auth/register", json=credentials)
        )
        # Taken: the answer of the first try was lost, its effect was not.
        assert registered.status_code in {httpx.codes.CREATED, httpx.codes.CONFLICT}
        session = await self._answer(lambda: self._client.post("/auth/login", json=credentials))
        assert session.status_code == httpx.codes.OK, session.text
        bearer = {"Authorization": f"Bearer {session.json()['data']['access_token']}"}
        wanted = {"name": "campaign", "scopes": list(_SCOPES)}
        key = await self._answer(
            lambda: self._client.post("/api/keys", json=wanted, headers=bearer)
        )
        assert key.status_code in {httpx.codes.OK, httpx.codes.CREATED}, key.text
        return str(key.json()["api_key"])


def _not_now(answer: httpx.Response) -> bool:
    if answer.status_code in _TRY_AGAIN:
        return True
    return answer.status_code == httpx.codes.CONFLICT and answer.json()["error"] == _IN_PROGRESS


def _body(prompt: str, user: int) -> dict[str, Any]:
    pictures = 4 if user % USERS_IN_TURN == SPENDER else 1
    options = {"resolution": "256x256", "num_images": pictures}
    return {"model_id": "flux-2", "prompt": prompt, "options": options}
