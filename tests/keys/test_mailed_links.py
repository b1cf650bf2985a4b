"""Verifying an address and setting a new password by a mailed link, good once and for a while."""

import asyncio
from datetime import timedelta

import httpx

from kernel.testing import FakeClock
from services.keys.adapters.mails import AGAIN_AFTER, ATTEMPTS_MAX
from tests.keys.conftest import ANONYMOUS, PASSWORD, Keys, Person
from tests.keys.test_sign_ins import login, outcomes, refresh

NEW_PASSWORD = "a new horse, a new battery"


async def links(keys: Keys) -> list[str]:
    """The tokens of the mails that are sent now."""
    return [mail.words.partition("#token=")[2].split()[0] for mail in await keys.mailed()]


async def verify(keys: Keys, token: str) -> httpx.Response:
    return await keys.call("POST", "/auth/verify-email", ANONYMOUS, {"token": token})


async def forgot(keys: Keys, email: str) -> httpx.Response:
    return await keys.call("POST", "/auth/password/forgot", ANONYMOUS, {"email": email})


async def reset(keys: Keys, token: str, password: str = NEW_PASSWORD) -> httpx.Response:
    body = {"token": token, "password": password}
    return await keys.call("POST", "/auth/password/reset", ANONYMOUS, body)


async def forgetful(keys: Keys) -> tuple[Person, str]:
    """Somebody, and the token of the link by which they may set a new password."""
    person = await keys.register()
    await links(keys)
    await forgot(keys, person.email)
    (token,) = await links(keys)
    return person, token


async def is_verified(keys: Keys, person: Person) -> bool:
    me = await keys.call("GET", "/auth/me", person.identity)
    return bool(me.json()["data"]["is_verified"])


def refused(answer: httpx.Response) -> bool:
    fault = answer.json()
    return (answer.status_code, fault["error"], fault["details"]) == (
        422,
        "invalid_token",
        {"field": "token"},
    )


async def test_registering_mails_a_link_that_verifies_the_address(keys: Keys) -> None:
    person = await keys.register("Ada@example.com")
    (mail,) = await keys.mailed()
    assert mail.address == "ada@example.com"
    assert "http://smartspec.test/verify-email#token=" in mail.words
    assert not await is_verified(keys, person)
    answer = await verify(keys, mail.words.partition("#token=")[2].split()[0])
    assert (answer.status_code, answer.json()["success"]) == (200, True)
    assert await is_verified(keys, person)
    assert await outcomes(keys, person.identity.user_id, "verify_email") == ["succeeded"]


async def test_a_link_verifies_once_and_not_after_three_days(keys: Keys, clock: FakeClock) -> None:
    await keys.register()
    (token,) = await links(keys)
    assert (await verify(keys, token)).status_code == 200
    assert refused(await verify(keys, token))
    await keys.register()
    (late,) = await links(keys)
    clock.turn(timedelta(days=3))
    assert refused(await verify(keys, late))


async def test_of_many_who_use_a_link_at_once_one_succeeds(keys: Keys) -> None:
    await keys.register()
    (token,) = await links(keys)
    answers = await asyncio.gather(*(verify(keys, token) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] + [422] * 19
    assert await keys.count("keys.events WHERE type = 'UserVerified'") == 1


async def test_answers_every_bad_token_alike(keys: Keys) -> None:
    _, reset_token = await forgetful(keys)
    for token in ("x", "é" * 20, reset_token):
        assert refused(await verify(keys, token)), token
    await keys.register()
    (verify_token,) = await links(keys)
    for token in ("x", "é" * 20, verify_token):
        assert refused(await reset(keys, token)), token


async def test_names_the_field_that_is_wrong(keys: Keys) -> None:
    for path, body, field in (
        ("/auth/verify-email", {}, "token"),
        ("/auth/verify-email", {"token": ""}, "token"),
        ("/auth/verify-email", {"token": "x" * 201}, "token"),
        ("/auth/verify-email", {"token": 7}, "token"),
        ("/auth/verify-email", {"token": "x", "code": "1"}, "code"),
        ("/auth/password/forgot", {}, "email"),
        ("/auth/password/forgot", {"email": "ada"}, "email"),
        ("/auth/password/reset", {"token": "x"}, "password"),
        ("/auth/password/reset", {"token": "x", "password": "1234567"}, "password"),
        ("/auth/password/reset", {"password": NEW_PASSWORD}, "token"),
    ):
        answer = await keys.call("POST", path, ANONYMOUS, body)
        assert answer.status_code == 422, (path, body)
        assert answer.json()["details"]["fields"][0]["field"] == field, (path, body)


async def test_a_new_password_replaces_the_old_one_and_ends_every_session(keys: Keys) -> None:
    person, token = await forgetful(keys)
    sessions = [await keys.sign_in(person) for _ in range(2)]
    answer = await reset(keys, token)
    assert (answer.status_code, answer.json()["success"]) == (200, True)
    for session in sessions:
        assert (await refresh(keys, session["refresh_token"])).status_code == 401
    assert await keys.count("keys.sessions") == 0
    assert (await login(keys, person.email, PASSWORD)).status_code == 401
    assert (await login(keys, person.email, NEW_PASSWORD)).status_code == 200
    assert await outcomes(keys, person.identity.user_id, "reset_password") == ["succeeded"]
    assert await is_verified(keys, person), "the link came to this address"


async def test_a_link_sets_a_password_once_and_not_after_an_hour(
    keys: Keys, clock: FakeClock
) -> None:
    _, token = await forgetful(keys)
    assert (await reset(keys, token)).status_code == 200
    assert refused(await reset(keys, token))
    _, late = await forgetful(keys)
    clock.turn(timedelta(hours=1))
    assert refused(await reset(keys, late))


async def test_of_many_resets_at_once_one_succeeds(keys: Keys) -> None:
    person, token = await forgetful(keys)
    passwords = [f"password number {n}" for n in range(20)]
    answers = await asyncio.gather(*(reset(keys, token, password) for password in passwords))
    statuses = [answer.status_code for answer in answers]
    assert sorted(statuses) == [200] + [422] * 19
    assert (await login(keys, person.email, passwords[statuses.index(200)])).status_code == 200


async def test_one_used_link_ends_the_others(keys: Keys) -> None:
    person, first = await forgetful(keys)
    await forgot(keys, person.email)
    (second,) = await links(keys)
    assert (await reset(keys, second)).status_code == 200
    assert refused(await reset(keys, first))
    assert await keys.count("keys.mail_tokens") == 0


async def test_nobody_is_mailed_at_an_unknown_address(keys: Keys) -> None:
    answer = await forgot(keys, "nobody@example.com")
    assert answer.status_code == 202
    assert await keys.count("keys.mails") == 1
    assert await keys.mailed() == []
    assert await keys.count("keys.mails") == 0
    assert await keys.count("keys.mail_tokens") == 0


async def test_whoever_asks_often_is_mailed_three_links_at_most(
    keys: Keys, clock: FakeClock
) -> None:
    person = await keys.register()
    await links(keys)
    for _ in range(2):
        await asyncio.gather(*(forgot(keys, person.email) for _ in range(3)))
        assert len(await links(keys)) == 1, "one that waits already is enough"
    await forgot(keys, person.email)
    assert len(await links(keys)) == 1
    await forgot(keys, person.email)
    assert await links(keys) == []
    clock.turn(timedelta(hours=1))
    await forgot(keys, person.email)
    assert len(await links(keys)) == 1


async def test_a_mail_that_fails_is_tried_again_and_its_first_token_is_void(
    keys: Keys, clock: FakeClock
) -> None:
    person = await keys.register()
    keys.mailer.broken = True
    assert await links(keys) == []
    assert await keys.count("keys.mail_tokens") == 0
    keys.mailer.broken = False
    assert await links(keys) == [], "not yet"
    clock.turn(AGAIN_AFTER[0])
    (token,) = await links(keys)
    assert (await verify(keys, token)).status_code == 200
    assert await is_verified(keys, person)
    assert await keys.count("keys.mails") == 0


async def test_a_mail_that_never_leaves_is_given_up(keys: Keys, clock: FakeClock) -> None:
    await keys.register()
    keys.mailer.broken = True
    for attempt in range(ATTEMPTS_MAX):
        assert await keys.count("keys.mails") == 1, attempt
        await keys.mailed()
        clock.turn(AGAIN_AFTER[attempt])
    assert await keys.count("keys.mails") == 0


async def test_two_workers_send_a_mail_once(keys: Keys) -> None:
    for _ in range(3):
        await keys.register()
    await asyncio.gather(keys.mailed(), keys.mailed())
    assert len({mail.mail_id for mail in keys.mailer.sent}) == len(keys.mailer.sent) == 3


async def test_enters_bad_tokens_in_a_log_that_is_nobodys(keys: Keys) -> None:
    await verify(keys, "x")
    count = await keys.count(
        "keys_read.key_audit_logs WHERE action = 'verify_email' AND outcome = 'invalid_token'"
    )
    assert count == 1
