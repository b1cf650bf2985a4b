"""A new master key while serving: everything is found and read at every moment, by nobody twice."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pyotp
import pytest

from kernel.encryption import Encryption
from kernel.http.access_tokens import AccessTokens
from kernel.service import Platform
from kernel.settings import Settings, read_settings
from kernel.testing import FakeClock
from services.keys.adapters.renewal import renew_lookups
from services.reencrypting import reencrypt_all
from tests.keys.conftest import ANONYMOUS, PASSWORD, Keys, Person, serving
from tests.keys.test_mailed_links import NEW_PASSWORD, forgot, links, reset
from tests.keys.test_own_account import erase, update
from tests.keys.test_provider_keys import API_KEY, resolve, set_key
from tests.keys.test_sign_ins import login

OLD = "an old master key that is long enough for anyone"
NEW = "a new master key that is long enough for anyone"
SCHEMAS = ("credits", "generation", "keys", "storage")


def under(
    platform: Platform, access_tokens: AccessTokens, *master_keys: str
) -> AbstractAsyncContextManager[Keys]:
    """Keys with these master keys, the first of which encrypts."""
    return serving(replace(platform, encryption=Encryption(master_keys)), access_tokens)


async def reencrypt(dsn: str, *master_keys: str) -> int:
    """The command's exit status."""
    settings = read_settings(
        Settings, ENCRYPTION_MASTER_KEY=",".join(master_keys), JWT_SECRET_KEY="x" * 32
    )
    return await reencrypt_all(dsn, settings, SCHEMAS)


async def mfa(keys: Keys, person: Person, path: str, **body: Any) -> dict[str, Any]:
    answer = await keys.call("POST", f"/api/keys/mfa/{path}", person.identity, body or None)
    assert answer.is_success, answer.text
    return dict(answer.json())


async def proves(keys: Keys, person: Person, key_id: str, **code: str) -> bool:
    challenge = await mfa(keys, person, "challenge", operation="rotate_key", key_id=key_id)
    proof = await mfa(keys, person, "verify", challenge_id=challenge["challenge_id"], **code)
    return bool(proof["mfa_token"])


@pytest.fixture
async def old(platform: Platform, access_tokens: AccessTokens) -> AsyncIterator[Keys]:
    async with under(platform, access_tokens, OLD) as keys:
        yield keys


async def test_the_old_key_can_be_taken_away_once_everything_is_under_the_new_one(
    *,
    old: Keys,
    platform: Platform,
    access_tokens: AccessTokens,
    clock: FakeClock,
    database_dsn: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ada = await old.register("ada@example.com", "Ada L")
    await update(old, ada, username="ada_l")
    await set_key(old, ada)
    key = (await old.create_key(ada.identity))["id"]
    totp = pyotp.TOTP((await mfa(old, ada, "totp/setup"))["secret"])
    codes = (await mfa(old, ada, "totp/verify-setup", code=totp.at(clock.now())))["backup_codes"]
    clock.turn(timedelta(minutes=2))

    async with under(platform, access_tokens, NEW, OLD) as both:
        assert (await login(both, ada.email)).status_code == 200
        bob = await both.register("bob@example.com")
        assert await reencrypt(database_dsn, NEW, OLD) == 0
        said = capsys.readouterr().out
        assert "keys.provider_keys: 1 renewed" in said
        assert "keys.users: 1 renewed" in said, "Bob's was new already"
        assert "keys.personal: 0 renewed" not in said
        assert await reencrypt(database_dsn, NEW, OLD) == 0
        again = capsys.readouterr().out.splitlines()
        assert [line.partition(": ")[2] for line in again] == ["0 renewed"] * len(again)
        assert (await login(both, ada.email)).status_code == 200

    async with under(platform, access_tokens, NEW) as new:
        for person in (ada, bob):
            assert (await login(new, person.email)).status_code == 200
        me = (await new.call("GET", "/auth/me", ada.identity)).json()["data"]
        assert (me["email"], me["username"], me["full_name"]) == (ada.email, "ada_l", "Ada L")
        assert (await update(new, bob, username="ADA_L")).status_code == 409
        assert (await resolve(new, ada)).json() == {"api_key": API_KEY}
        assert await proves(new, ada, key, code=totp.at(clock.now()))
        assert await proves(new, ada, key, backup_code=codes[0])
        assert (await erase(new, ada)).status_code == 202
        assert await new.count("keys.provider_keys") == 0


async def test_nobody_is_missed_or_registered_twice_before_and_while_it_runs(
    old: Keys, platform: Platform, access_tokens: AccessTokens
) -> None:
    people = [await old.register(f"p{n}@example.com") for n in range(6)]
    for n, person in enumerate(people):
        await update(old, person, username=f"name_{n}")
    both = Encryption([NEW, OLD])
    async with under(platform, access_tokens, NEW, OLD) as keys:
        late = await keys.register("late@example.com")

        async def come_and_go(n: int) -> list[int]:
            body = {"email": f"P{n}@example.com", "password": PASSWORD}
            found = []
            for _ in range(3):
                found += [
                    (await login(keys, people[n].email)).status_code,
                    (await keys.call("POST", "/auth/register", ANONYMOUS, body)).status_code,
                    (await update(keys, late, username=f"NAME_{n}")).status_code,
                ]
            return found

        renewed, *told = await asyncio.gather(
            renew_lookups(platform.database, both), *(come_and_go(n) for n in range(6))
        )
        assert renewed == 6
        assert told == [[200, 409, 409] * 3] * 6
        assert await keys.count("keys.users") == 7
        assert await renew_lookups(platform.database, both) == 0


async def test_an_address_and_a_username_are_one_persons_whichever_key_comes_first(
    platform: Platform, access_tokens: AccessTokens
) -> None:
    """As while processes are restarted one after the other."""
    async with AsyncExitStack() as stack:
        sides = [
            await stack.enter_async_context(under(platform, access_tokens, *order))
            for order in ((OLD, NEW), (NEW, OLD))
        ]
        for n in range(5):
            body = {"email": f"p{n}@example.com", "password": PASSWORD}
            answers = await asyncio.gather(
                *(side.call("POST", "/auth/register", ANONYMOUS, body) for side in sides * 2)
            )
            assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
        people = [await side.register() for side in sides]
        for n in range(5):
            answers = await asyncio.gather(
                *(
                    update(side, person, username=f"name_{n}")
                    for side, person in zip(sides, people, strict=True)
                )
            )
            assert sorted(answer.status_code for answer in answers) == [200, 409]
        assert await sides[0].count("keys.users") == 7


async def test_a_mail_that_was_asked_for_under_the_old_key_is_sent_under_the_new_one(
    old: Keys, platform: Platform, access_tokens: AccessTokens
) -> None:
    person = await old.register("ada@example.com")
    await links(old)
    await forgot(old, person.email)
    async with under(platform, access_tokens, NEW, OLD) as keys:
        await renew_lookups(platform.database, keys.platform.encryption)
        await forgot(keys, person.email)
        (token,) = await links(keys)
        assert (await reset(keys, token)).status_code == 200
        assert (await login(keys, person.email, NEW_PASSWORD)).status_code == 200


async def test_says_which_rows_no_key_opens_and_leaves_them(
    old: Keys, database_dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    person = await old.register("ada@example.com")
    assert await reencrypt(database_dsn, NEW) == 1
    said = capsys.readouterr().out
    assert "keys.personal: 2 under no key of ENCRYPTION_MASTER_KEY" in said
    assert "keys.users" not in said
    assert (await login(old, person.email)).status_code == 200
