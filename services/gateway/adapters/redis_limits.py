"""Moving windows in Redis, shared by every gateway that is given the same one.

The windows are those of `limits` (its scripts, by our clock: gateways' clocks should agree within
what a limit may be off by). `limits` itself makes two trips for each request; here all requests
that come while a trip is under way share the next one, a fifth of the processor time.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from hashlib import sha1
from typing import Any, Final

from limits.aio.storage.redis.bridge import RedisBridge
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from kernel.clock import Clock
from services.gateway.adapters.limits import Charge, Count, LimitsUnavailable, Verdict

TIMEOUT_S: Final = 0.1
"""Of one trip; who came while another was under way waits for both."""
TRIP_MAX: Final = 256
"""Requests that share a trip."""
WAITING_MAX: Final = 4_096
CONNECTIONS_MAX: Final = 4
PREFIX: Final = "smartspec:limits:"
_ACQUIRE: Final = RedisBridge.SCRIPT_ACQUIRE_MOVING_WINDOW
_LOOK: Final = RedisBridge.SCRIPT_MOVING_WINDOW


def _sha(script: bytes) -> str:
    return sha1(script, usedforsecurity=False).hexdigest()


_ACQUIRE_SHA: Final = _sha(_ACQUIRE)
_LOOK_SHA: Final = _sha(_LOOK)

_Taken = tuple[bool, Count]


class _Asked:
    """One request on its way: charges to take, or to give back."""

    __slots__ = ("answer", "charges", "gives_back")

    def __init__(self, charges: Sequence[Charge], *, gives_back: bool) -> None:
        self.charges = charges
        self.gives_back = gives_back
        self.answer: asyncio.Future[list[_Taken]] = asyncio.get_running_loop().create_future()


class RedisLimits:
    """`url` is redis://, rediss:// or unix://. It connects when it is first asked."""

    def __init__(
        self, url: str, clock: Clock, *, prefix: str = PREFIX, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._client = Redis.from_url(
            url,
            max_connections=CONNECTIONS_MAX,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
        )
        self._clock = clock
        self._prefix = prefix
        self._timeout_s = timeout_s
        self._waiting: deque[_Asked] = deque()
        self._trips: asyncio.Task[None] | None = None

    async def take(self, charges: Sequence[Charge]) -> Verdict:
        """At most two trips' time, and another one where one of several charges is refused."""
        taken = await self._told(_Asked(charges, gives_back=False))
        if all(has_room for has_room, _ in taken):
            return Verdict(tuple(count for _, count in taken), None)
        returned = [count.charge for has_room, count in taken if has_room]
        if returned:
            await self.give_back(returned)
        return Verdict(
            tuple(
                count._replace(remaining=count.remaining + 1) if has_room else count
                for has_room, count in taken
            ),
            next(count for has_room, count in taken if not has_room),
        )

    async def give_back(self, charges: Sequence[Charge]) -> None:
        """Takes the newest of each window: all of a window are alike but for moments."""
        await self._told(_Asked(charges, gives_back=True))

    async def aclose(self) -> None:
        """A Redis that is slow to say goodbye is no reason to end with a fault."""
        if self._trips is not None:
            self._trips.cancel()
            with suppress(asyncio.CancelledError):
                await self._trips
        self._fail(self._waiting, "closed")
        with suppress(RedisError):
            await self._client.aclose()

    async def _told(self, asked: _Asked) -> list[_Taken]:
        if len(self._waiting) >= WAITING_MAX:
            raise LimitsUnavailable("too many wait")
        self._waiting.append(asked)
        if self._trips is None or self._trips.done():
            self._trips = asyncio.create_task(self._go())
        return await asked.answer

    async def _go(self) -> None:
        """Trip after trip until nobody waits. One that fails takes all who wait with it: nobody
        waits for a Redis that was silent a moment ago."""
        while self._waiting:
            party = [self._waiting.popleft() for _ in range(min(len(self._waiting), TRIP_MAX))]
            try:
                async with asyncio.timeout(self._timeout_s):
                    answers = await self._trip(party)
            except Exception as error:  # noqa: BLE001 - whatever it is, requests must go on
                self._fail([*party, *self._waiting], type(error).__name__)
                self._waiting.clear()
                with suppress(RedisError, OSError):
                    await self._client.connection_pool.disconnect()
            except asyncio.CancelledError:
                self._fail(party, "closed")
                raise
            else:
                for asked, answer in zip(party, answers, strict=True):
                    if not asked.answer.done():  # it is when its client has left
                        asked.answer.set_result(answer)

    def _fail(self, party: Iterable[_Asked], why: str) -> None:
        for asked in party:
            if not asked.answer.done():
                asked.answer.set_exception(LimitsUnavailable(why))

    async def _trip(self, party: Sequence[_Asked]) -> list[list[_Taken]]:
        now_s = self._clock.now().timestamp()
        said = await self._run(party, now_s)
        if any(isinstance(word, NoScriptError) for word in said):  # a new or emptied Redis
            await self._client.script_load(_ACQUIRE)
            await self._client.script_load(_LOOK)
            said = await self._run(party, now_s)
        for word in said:
            if isinstance(word, Exception):
                raise word
        words = iter(said)
        return [_read(asked, words, now_s) for asked in party]

    async def _run(self, party: Sequence[_Asked], now_s: float) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for asked in party:
            for charge in asked.charges:
                key = self._prefix + charge.key
                amount, period_s = charge.rate.amount, charge.rate.period_s
                if asked.gives_back:
                    pipeline.lpop(key)
                else:
                    pipeline.evalsha(_ACQUIRE_SHA, 1, key, now_s, amount, period_s, 1)
                    pipeline.evalsha(_LOOK_SHA, 1, key, now_s - period_s, amount)
        return await pipeline.execute(raise_on_error=False)


def _read(asked: _Asked, words: Iterator[Any], now_s: float) -> list[_Taken]:
    """What is said of one request: a word for each charge given back, two for each one taken."""
    if asked.gives_back:
        for _ in asked.charges:
            next(words)
        return []
    return [
        (next(words) is not None, _count(charge, next(words), now_s)) for charge in asked.charges
    ]


def _count(charge: Charge, window: Sequence[Any] | None, now_s: float) -> Count:
    """Of the script's answer: when the oldest request came, and how many there are."""
    if window is None:
        return Count(charge, charge.rate.amount, now_s)
    oldest_s, held = float(window[0]), int(window[1])
    return Count(charge, max(0, charge.rate.amount - held), oldest_s + charge.rate.period_s)
