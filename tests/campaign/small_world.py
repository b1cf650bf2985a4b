"""A small real history: the services of one process, over a bus in memory, until all is quiet."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import httpx
from argon2 import PasswordHasher

from kernel.bus import Bus, MemoryBus
from kernel.clock import SystemClock
from kernel.encryption import Encryption
from kernel.http import Identity, InternalTokens
from kernel.http.access_tokens import AccessTokens
from kernel.http.identity import HEADER
from kernel.http.token_keys import TokenKeys
from kernel.identifiers import parsed
from kernel.links import MediaLinks
from kernel.runtime import Endpoint, Runtime, bind
from kernel.service import Platform, Service
from kernel.sql import Database
from services.credits import app as credits_app
from services.credits.settings import CreditsSettings
from services.generation import app as generation_app
from services.generation.adapters.own_keys import OwnKeys
from services.generation.settings import GenerationSettings
from services.keys import app as keys_app
from services.keys.adapters import Passwords
from services.keys.adapters.users import Users
from services.keys.settings import KeysSettings
from services.simulator import app as simulator_app
from services.simulator.settings import SimulatorSettings
from services.storage import app as storage_app
from services.storage.settings import StorageSettings
from tests.campaign.final_reads import Told

Services = dict[str, Service]
Mutate = Callable[[Services], object]

BASE_URL = "http://smartspec.test"
PROMPTS = (
    "a lighthouse at dawn",
    "a market by night",
    "a fox in the snow [[sim:fail]]",
    "a harbour from above [[sim:lost]]",
)
"""Two complete; one fails at the vendor, one is lost by it and asked for again."""
QUIET_TIMEOUT_S = 20.0
LOOK_EVERY_S = 0.02
_SCOPES = frozenset({"generation:create", "generation:read"})
_CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@dataclass(frozen=True)
class World:
    """Where it lived, and what its client was told."""

    home: Path
    told: Told

    @property
    def objects_root(self) -> Path:
        return self.home / "objects"

    @property
    def journal(self) -> Path:
        return self.home / "simulator" / "journal.jsonl"


async def live(
    dsn: str,
    home: Path,
    *,
    prompts: Sequence[str] = PROMPTS,
    mutate: Mutate = lambda _: None,
    bus: Bus | None = None,
) -> World:
    """Run every service on a fresh, migrated database; ask for `prompts`; end when all is quiet.

    `mutate` may change the services before they start. Raises TimeoutError when one task does not
    end in time.
    """
    database = await Database.connect(dsn)
    try:
        platform = _platform(database, bus or MemoryBus())
        vendors = bind("127.0.0.1", 0)
        services = _services(platform, home, f"http://127.0.0.1:{vendors.getsockname()[1]}")
        mutate(services)
        simulator = simulator_app.create_app(
            SimulatorSettings(home=home / "simulator", canned=True, warm_after_s=60), platform.clock
        )
        runtime = Runtime(
            list(services.values()), platform.bus, [Endpoint("simulator", simulator, vendors)]
        )
        told: list[Told] = []

        async def on_ready() -> None:
            told.append(await _asked(platform, services, prompts))
            await _quiet(database)
            runtime.stop()

        await asyncio.wait_for(runtime.run(on_ready), QUIET_TIMEOUT_S + 10)
        return World(home, told[0])
    finally:
        await database.close()


def _platform(database: Database, bus: Bus) -> Platform:
    clock = SystemClock()
    encryption = Encryption(["a master key of this small world"])
    return Platform(
        database=database,
        bus=bus,
        clock=clock,
        encryption=encryption,
        internal_tokens=InternalTokens(encryption.derived_secret("internal"), clock),
        links=MediaLinks(encryption.derived_secret("links"), BASE_URL),
        public_base_url=BASE_URL,
        sole_owner=True,
    )


def _services(platform: Platform, home: Path, vendors_url: str) -> Services:
    access_tokens = AccessTokens(
        TokenKeys.shared("a secret of this small world, long enough", "HS256"),
        timedelta(minutes=5),
        platform.clock,
    )
    generation = GenerationSettings(
        SMARTSPEC_FIRST_LOOK_S=0.02, SMARTSPEC_UNKNOWN_FOR_S=1, SMARTSPEC_TASK_DEADLINE_S=10
    )
    keys = keys_app.create_service(
        KeysSettings(SMARTSPEC_HOME=home), platform, access_tokens, Passwords(hasher=_CHEAP)
    )
    assert keys.app is not None
    peer = generation_app.keys_of(generation, platform, {"keys": keys.app})
    own_keys = OwnKeys(peer, platform.clock)
    made = generation_app.create_service(
        generation, platform, generation_app.vendors_of(generation, own_keys, vendors_url)
    )
    assert made.app is not None
    credits_settings = CreditsSettings(SMARTSPEC_HOME=home)
    asked = credits_app.generation_of(credits_settings, platform, {"generation": made.app})
    return {
        "keys": keys,
        "credits": credits_app.create_service(credits_settings, platform, asked),
        "generation": made,
        "storage": storage_app.create_service(
            StorageSettings(SMARTSPEC_HOME=home),
            platform,
            allowed_origins=frozenset({vendors_url}),
        ),
    }


async def _asked(platform: Platform, services: Services, prompts: Sequence[str]) -> Told:
    """One user asks for each prompt once, all at once, and waits for all that was accepted."""
    who = await _registered(platform, services)
    app = services["generation"].app
    assert app is not None
    headers = {HEADER: platform.internal_tokens.mint(who)}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url=BASE_URL, headers=headers
    ) as client:
        answers = await asyncio.gather(*(_ask(client, prompt) for prompt in prompts))
        told = Told({})
        for prompt, answer in zip(prompts, answers, strict=True):
            request = hashlib.sha256(prompt.encode()).hexdigest()
            if isinstance(answer, UUID):
                told = replace(told, accepted={**told.accepted, request: answer})
            else:
                told = replace(told, refused=told.refused | {request})
    return told


async def _registered(platform: Platform, services: Services) -> Identity:
    """A user whose account is open."""
    store = services["keys"].store
    assert store is not None
    users = Users(store, platform.encryption, Passwords(hasher=_CHEAP))
    user_id = await users.register("ada@example.com", "correct horse battery")
    async with platform.database.connection() as connection:
        account_id = await connection.fetchval(
            "SELECT account_id FROM keys_read.identities WHERE user_id = $1", user_id
        )
    await _until(platform.database, "SELECT count(*) = 1 FROM credits_read.credits_balances")
    return Identity(user_id, account_id, "user", "free", _SCOPES)


async def _ask(client: httpx.AsyncClient, prompt: str) -> UUID | None:
    """The task; None when it was refused for want of credits."""
    body = {"model_id": "flux-2", "prompt": prompt, "options": {"resolution": "256x256"}}
    answer = await client.post("/api/v2/generation/generate", json=body)
    if answer.status_code == httpx.codes.PAYMENT_REQUIRED:
        return None
    assert answer.status_code == httpx.codes.CREATED, answer.text
    return parsed("task", answer.json()["task"]["id"])


async def _quiet(database: Database) -> None:
    """Every task has ended, and nothing waits to be said or tried."""
    schemas = ("credits", "generation", "keys", "storage")
    empty = " AND ".join(f"NOT EXISTS (SELECT FROM {name}.outbox)" for name in schemas)
    await _until(
        database,
        "SELECT NOT EXISTS (SELECT FROM generation.streams WHERE state->>'stage'"
        f" NOT IN ('completed', 'failed', 'cancelled')) AND {empty}",
    )


async def _until(database: Database, question: str) -> None:
    async with asyncio.timeout(QUIET_TIMEOUT_S), database.connection() as connection:
        while not await connection.fetchval(question):  # noqa: ASYNC110 - no one tells us
            await asyncio.sleep(LOOK_EVERY_S)
