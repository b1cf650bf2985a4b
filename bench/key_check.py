"""python -m bench.key_check: what it costs to know whose an API key is, once it has been asked for.

Prints JSON and writes bench/results/key_check.json; what the figures mean is in bench/README.md.
"""

import gc
import hashlib
import json
import random
import statistics
import sys
from asyncio import Runner
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from multiprocessing import get_context
from time import perf_counter, process_time
from typing import Any, Final

import jwt
import psutil

from bench.repetitions import SEED, Case, Figures, Medians, Row, ratio, repeated, run
from kernel.clock import SystemClock, new_id
from kernel.http import InternalTokens
from kernel.http.access_tokens import AccessTokens
from kernel.http.api_key_format import api_key_from
from kernel.http.token_keys import TokenKeys
from services.gateway.adapters.holder import Holder
from services.gateway.adapters.key_ring import KNOWN_MAX, KeyRing
from services.gateway.adapters.keys_service import KeyFacts
from services.gateway.adapters.request_headers import RequestHeaders
from services.gateway.adapters.session_ring import SessionRing
from services.gateway.api.authentication import Authority
from services.gateway.api.routes import ROUTES
from tests.gateway.driving import SECRET, World, api_key

PATH: Final = "/api/v2/generation/tasks"
ADDRESS: Final = "192.0.2.7"
KEYS: Final = 1_000
ROUNDS: Final = 20
"""Of all keys, for one figure."""
TIMINGS: Final = 1_000
"""Of each kind of bad key, in turn."""
KINDS: Final = ("unknown", "malformed", "mistyped", "foreign", "revoked", "expired")
SCOPES: Final = ["generation:create", "generation:read", "generation:delete", "credits:read"]


async def measure() -> dict[str, Any]:
    result = await repeated(
        [
            Case("key_check", _key_check),
            Case("sha256_and_dict", _sha256_and_dict),
            Case("pyjwt_hs256", _pyjwt),
            Case("bad_keys_asked_for", lambda: _bad_keys(fresh=True)),
            Case("bad_keys_remembered", lambda: _bad_keys(fresh=False)),
        ]
    )
    memory = await _memory()
    return {**result, "memory": memory, "table": _table(result["cases"], memory)}


def _table(cases: Medians, memory: Figures) -> list[Row]:
    def us(case: str) -> str:
        return f"{cases[case]['cpu_us']['median']:.1f} us"

    return [
        Row(
            "who holds a key, from memory: identify and admit",
            f"{ratio(cases, 'cpu_us', 'key_check', 'pyjwt_hs256')}x one PyJWT decode",
            f"{us('key_check')} (PyJWT {us('pyjwt_hs256')},"
            f" SHA-256 and a dict {us('sha256_and_dict')})",
            "25 us",
        ),
        Row(
            f"{KNOWN_MAX:,} keys in memory",
            "-",
            f"{memory['rss_mb']:.0f} MB",
            "100 MB",
        ),
        Row(
            "bad keys of six kinds, slowest beside fastest median",
            f"{cases['bad_keys_asked_for']['slowest_to_fastest']['median']}x,"
            f" remembered {cases['bad_keys_remembered']['slowest_to_fastest']['median']}x",
            f"{cases['bad_keys_asked_for']['unknown_us']['median']:.0f} us"
            f" and {cases['bad_keys_remembered']['unknown_us']['median']:.0f} us",
            "1x",
        ),
    ]


async def _key_check() -> Figures:
    keys = [_new_key() for _ in range(KEYS)]
    clock = SystemClock()
    authority = Authority(
        KeyRing(_resolve, clock),
        SessionRing(_nobody, clock),
        AccessTokens(TokenKeys.shared(SECRET, "HS256"), timedelta(minutes=30), clock),
        InternalTokens(SECRET.encode(), clock),
        clock,
    )
    (route,) = [one for one in ROUTES if (one.method, one.path) == ("GET", PATH)]
    headers = [RequestHeaders([(b"x-api-key", key.encode())]) for key in keys]

    async def check_all() -> None:
        for one in headers:
            authority.admit(route, await authority.identify(route, one, ADDRESS))

    return await _timed(check_all)


async def _sha256_and_dict() -> Figures:
    """What no cache by the full hash can do without."""
    keys = [_new_key() for _ in range(KEYS)]
    known = {hashlib.sha256(key.encode()).digest(): key for key in keys}

    async def check_all() -> None:
        for key in keys:
            known.get(hashlib.sha256(key.encode()).digest())

    return await _timed(check_all)


async def _pyjwt() -> Figures:
    """What a gateway does that asks nobody: believing a token until it ends."""
    claims = {"sub": str(new_id()), "acc": str(new_id()), "role": "user", "scp": SCOPES}
    tokens = [jwt.encode({**claims, "n": n}, SECRET, "HS256") for n in range(KEYS)]

    async def check_all() -> None:
        for token in tokens:
            jwt.decode(token, SECRET, algorithms=["HS256"])

    return await _timed(check_all)


async def _timed(check_all: Callable[[], Awaitable[None]]) -> Figures:
    """Processor time of one check, once all of them are remembered."""
    await check_all()
    began_s = process_time()
    for _ in range(ROUNDS):
        await check_all()
    return {"cpu_us": (process_time() - began_s) / ROUNDS / KEYS * 1e6}


async def _memory() -> Figures:
    """In a process of its own, so that nothing freed before is used again."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(_filled).result()


def _filled() -> Figures:
    with Runner() as runner:
        return runner.run(_fill())


async def _fill() -> Figures:
    ring = KeyRing(_resolve, SystemClock())
    await ring.holder(_new_key())
    gc.collect()
    before = psutil.Process().memory_info().rss
    for _ in range(KNOWN_MAX):
        await ring.holder(_new_key())
    gc.collect()
    assert len(ring) == KNOWN_MAX
    return {"rss_mb": (psutil.Process().memory_info().rss - before) / 1e6}


async def _bad_keys(*, fresh: bool) -> Figures:
    """Whole requests to the edge, each kind in its turn: with a new key each time, for which keys
    is asked, or with one that is remembered."""
    world = World()
    kept = {kind: await _bad_key(kind, world) for kind in KINDS}
    took_s: dict[str, list[float]] = {kind: [] for kind in KINDS}
    draw = random.Random(SEED)  # noqa: S311 - repeatable
    for _ in range(TIMINGS):
        for kind in draw.sample(KINDS, len(KINDS)):
            key = await _bad_key(kind, world) if fresh else kept[kind]
            if not fresh:
                await world.ask("GET", PATH, [api_key(key)])
            began_s = perf_counter()
            answer = await world.ask("GET", PATH, [api_key(key)])
            took_s[kind].append(perf_counter() - began_s)
            assert answer.status == 401, answer  # noqa: PLR2004 - HTTP's own number
    medians = {kind: statistics.median(values) * 1e6 for kind, values in took_s.items()}
    return {
        **{f"{kind}_us": value for kind, value in medians.items()},
        "slowest_to_fastest": max(medians.values()) / min(medians.values()),
    }


async def _bad_key(kind: str, world: World) -> str:
    """`expired` as keys tells it: like one that never was. What is done for a revoked one is done
    for each kind, so that all are asked after the same work."""
    key, revoked = _new_key(), world.key()
    await world.ask("GET", PATH, [api_key(revoked)])
    await world.revoke(revoked)
    match kind:
        case "malformed":
            return f"xx_live_{key[8:]}"
        case "mistyped":
            return key[:-1] + ("0" if key[-1] != "0" else "1")
        case "foreign":
            return f"sk-proj-{key[8:]}"
        case "revoked":
            return revoked
        case _:
            return key


def _new_key() -> str:
    return api_key_from(hashlib.sha256(new_id().bytes).digest())


async def _nobody(_: object) -> Holder | None:
    return None


async def _resolve(_: object) -> Holder | None:
    """As keys says it: somebody new each time, by JSON, with an end and rates of their own."""
    facts: Mapping[str, Any] = {
        "key_id": str(new_id()),
        "user_id": str(new_id()),
        "account_id": str(new_id()),
        "role": "user",
        "plan": "free",
        "scopes": SCOPES,
        "expires_at": "2099-01-01T00:00:00Z",
        "valid_until": None,
        "monthly_credit_limit_units": 1_000_000,
        "allowed_ips": ["192.0.2.0/24"],
        "rate_limits": {"api": "20/minute"},
        "version": 1,
        "active": True,
    }
    return KeyFacts.model_validate_json(json.dumps(facts)).holder()


if __name__ == "__main__":
    sys.exit(run("key_check", measure))
