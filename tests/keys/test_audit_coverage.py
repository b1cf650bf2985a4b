"""Every operation on keys, second factors and sign-ins makes an entry, done or refused."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import httpx
import pyotp
import pytest

from kernel.clock import new_id
from kernel.http import Identity
from kernel.http.access_tokens import AccessTokens
from kernel.identifiers import shown
from kernel.service import Platform
from kernel.testing import FakeClock
from services.keys.domain.audit import SUCCEEDED, Action
from services.keys.settings import KeysSettings
from tests.keys.conftest import ANONYMOUS, PASSWORD, Keys, Person, serving
from tests.keys.google import playing_google
from tests.keys.test_firebase import PROJECT, id_token
from tests.keys.test_firebase import sign_in as sign_in_by_firebase
from tests.keys.test_mailed_links import forgot, links, reset, verify
from tests.keys.test_sign_ins import login, refresh, signed_in

MFA = "/api/keys/mfa"


@dataclass
class Scene:
    """Somebody with a second factor, asked for whatever an action needs."""

    keys: Keys
    clock: FakeClock
    person: Person
    secret: str = field(default="", repr=False)

    async def post(self, path: str, body: Any = None, **headers: str) -> httpx.Response:
        return await self.keys.call("POST", path, self.person.identity, body, **headers)

    def code(self) -> str:
        """The next one: each is good once."""
        self.clock.turn(timedelta(seconds=30))
        return str(pyotp.TOTP(self.secret).at(self.clock.now()))

    async def enrol(self) -> httpx.Response:
        self.secret = (await self.post(f"{MFA}/totp/setup")).json()["secret"]
        return await self.post(f"{MFA}/totp/verify-setup", {"code": self.code()})

    async def challenge(self, operation: str, key_id: str | None = None) -> httpx.Response:
        return await self.post(f"{MFA}/challenge", {"operation": operation, "key_id": key_id})

    async def verified(self, operation: str, key_id: str | None = None) -> httpx.Response:
        await self.enrol()
        begun = (await self.challenge(operation, key_id)).json()
        body = {"challenge_id": begun["challenge_id"], "code": self.code()}
        return await self.post(f"{MFA}/verify", body)

    async def proof(self, operation: str, key_id: str | None = None) -> dict[str, str]:
        return {"X-MFA-Token": (await self.verified(operation, key_id)).json()["mfa_token"]}

    async def key(self) -> str:
        return str((await self.keys.create_key(self.person.identity))["id"])

    async def signed_in(self) -> Identity:
        return signed_in(self.keys, self.person, await self.keys.sign_in(self.person))

    async def link(self) -> str:
        (token,) = await links(self.keys)
        return token


Do = Callable[[Scene], Awaitable[httpx.Response]]


async def register(scene: Scene) -> httpx.Response:
    return await register_again(scene, f"{new_id().hex}@example.com")


async def register_again(scene: Scene, email: str = "") -> httpx.Response:
    body = {"email": email or scene.person.email, "password": PASSWORD}
    return await scene.keys.call("POST", "/auth/register", ANONYMOUS, body)


async def sign_in(scene: Scene) -> httpx.Response:
    return await login(scene.keys, scene.person.email)


async def guess(scene: Scene) -> httpx.Response:
    return await login(scene.keys, scene.person.email, "a wrong password")


async def by_firebase(scene: Scene) -> httpx.Response:
    return await sign_in_by_firebase(scene.keys, id_token(scene.clock))


async def by_nobodys_firebase(scene: Scene) -> httpx.Response:
    return await sign_in_by_firebase(scene.keys, id_token(scene.clock, aud="another"))


async def stay(scene: Scene) -> httpx.Response:
    session = await scene.keys.sign_in(scene.person)
    return await refresh(scene.keys, session["refresh_token"])


async def stay_by_nothing(scene: Scene) -> httpx.Response:
    return await refresh(scene.keys, "rt_" + "x" * 64)


async def sign_out(scene: Scene) -> httpx.Response:
    return await scene.keys.call("POST", "/auth/logout", await scene.signed_in())


async def sign_out_without_session(scene: Scene) -> httpx.Response:
    return await scene.post("/auth/logout")


async def verify_email(scene: Scene) -> httpx.Response:
    return await verify(scene.keys, await scene.link())


async def verify_nothing(scene: Scene) -> httpx.Response:
    return await verify(scene.keys, "x")


async def forget(scene: Scene) -> httpx.Response:
    return await forgot(scene.keys, scene.person.email)


async def reset_password(scene: Scene) -> httpx.Response:
    await links(scene.keys)
    await forgot(scene.keys, scene.person.email)
    return await reset(scene.keys, await scene.link())


async def reset_nothing(scene: Scene) -> httpx.Response:
    return await reset(scene.keys, "x")


async def rename(scene: Scene) -> httpx.Response:
    return await scene.keys.call("PATCH", "/auth/me", scene.person.identity, {"username": "Ada"})


async def rename_as_another(scene: Scene) -> httpx.Response:
    other = await scene.keys.register()
    await scene.keys.call("PATCH", "/auth/me", other.identity, {"username": "Ada"})
    return await rename(scene)


async def disable(scene: Scene) -> httpx.Response:
    admin = replace((await scene.keys.register()).identity, role="admin")
    return await disable_by(scene, admin)


async def disable_as_user(scene: Scene) -> httpx.Response:
    return await disable_by(scene, scene.person.identity)


async def disable_by(scene: Scene, caller: Identity) -> httpx.Response:
    whom = shown("user", scene.person.identity.user_id)
    return await scene.keys.call("POST", f"/api/admin/users/{whom}/disable", caller)


async def erase(scene: Scene, password: str = PASSWORD) -> httpx.Response:
    body = {"password": password}
    return await scene.keys.call("DELETE", "/auth/me", scene.person.identity, body)


async def erase_by_guess(scene: Scene) -> httpx.Response:
    return await erase(scene, "a wrong password")


async def create(scene: Scene) -> httpx.Response:
    return await scene.post("/api/keys", {"name": "n", "scopes": ["keys:read"]})


async def create_beyond(scene: Scene) -> httpx.Response:
    body = {"name": "n", "scopes": ["keys:read"], "rate_limits": {"api": "100000/minute"}}
    return await scene.post("/api/keys", body)


async def rotate(scene: Scene) -> httpx.Response:
    key_id = await scene.key()
    proof = await scene.proof("rotate_key", key_id)
    return await scene.post(f"/api/keys/{key_id}/rotate", None, **proof)


async def rotate_without_proof(scene: Scene) -> httpx.Response:
    return await scene.post(f"/api/keys/{await scene.key()}/rotate")


async def revoke(scene: Scene) -> httpx.Response:
    return await scene.post(f"/api/keys/{await scene.key()}/revoke")


async def revoke_nobodys(scene: Scene) -> httpx.Response:
    return await scene.post(f"/api/keys/{shown('key', new_id())}/revoke")


async def own_key(
    scene: Scene, method: str, body: Any = None, caller: Identity | None = None
) -> httpx.Response:
    path = "/api/keys/providers/kie"
    return await scene.keys.call(method, path, caller or scene.person.identity, body)


async def set_own_key(scene: Scene) -> httpx.Response:
    return await own_key(scene, "PUT", {"api_key": "vendors-key-0123456789"})


async def set_own_key_by_a_key(scene: Scene) -> httpx.Response:
    by_key = scene.person.with_key(await scene.key(), "keys:write")
    return await own_key(scene, "PUT", {"api_key": "vendors-key-0123456789"}, by_key)


async def delete_own_key(scene: Scene) -> httpx.Response:
    await set_own_key(scene)
    return await own_key(scene, "DELETE")


async def delete_no_own_key(scene: Scene) -> httpx.Response:
    return await own_key(scene, "DELETE")


async def delete(scene: Scene) -> httpx.Response:
    key_id = await scene.key()
    proof = await scene.proof("delete_key", key_id)
    path = f"/api/keys/{key_id}"
    return await scene.keys.call("DELETE", path, scene.person.identity, None, **proof)


async def delete_without_proof(scene: Scene) -> httpx.Response:
    return await scene.keys.call("DELETE", f"/api/keys/{await scene.key()}", scene.person.identity)


async def set_up(scene: Scene) -> httpx.Response:
    return await scene.post(f"{MFA}/totp/setup")


async def set_up_again(scene: Scene) -> httpx.Response:
    await scene.enrol()
    return await set_up(scene)


async def confirm(scene: Scene) -> httpx.Response:
    return await scene.enrol()


async def confirm_nothing(scene: Scene) -> httpx.Response:
    return await scene.post(f"{MFA}/totp/verify-setup", {"code": "000000"})


async def challenge(scene: Scene) -> httpx.Response:
    await scene.enrol()
    return await scene.challenge("rotate_key", await scene.key())


async def challenge_without_factor(scene: Scene) -> httpx.Response:
    return await scene.challenge("rotate_key", await scene.key())


async def verify_code(scene: Scene) -> httpx.Response:
    return await scene.verified("rotate_key", await scene.key())


async def verify_another_code(scene: Scene) -> httpx.Response:
    begun = (await challenge(scene)).json()
    wrong = f"{(int(scene.code()) + 1) % 1_000_000:06}"
    body = {"challenge_id": begun["challenge_id"], "code": wrong}
    return await scene.post(f"{MFA}/verify", body)


async def regenerate(scene: Scene) -> httpx.Response:
    proof = await scene.proof("regenerate_backup_codes")
    return await scene.post(f"{MFA}/backup-codes/regenerate", None, **proof)


async def regenerate_without_proof(scene: Scene) -> httpx.Response:
    await scene.enrol()
    return await scene.post(f"{MFA}/backup-codes/regenerate")


DONE: dict[Action, Do] = {
    Action.REGISTER: register,
    Action.SIGN_IN: sign_in,
    Action.SIGN_IN_BY_FIREBASE: by_firebase,
    Action.REFRESH_SESSION: stay,
    Action.SIGN_OUT: sign_out,
    Action.VERIFY_EMAIL: verify_email,
    Action.FORGET_PASSWORD: forget,
    Action.RESET_PASSWORD: reset_password,
    Action.UPDATE_USER: rename,
    Action.DISABLE_USER: disable,
    Action.ERASE_USER: erase,
    Action.CREATE_KEY: create,
    Action.ROTATE_KEY: rotate,
    Action.REVOKE_KEY: revoke,
    Action.DELETE_KEY: delete,
    Action.SET_PROVIDER_KEY: set_own_key,
    Action.DELETE_PROVIDER_KEY: delete_own_key,
    Action.SET_UP_MFA: set_up,
    Action.CONFIRM_MFA: confirm,
    Action.CHALLENGE_MFA: challenge,
    Action.VERIFY_MFA: verify_code,
    Action.REGENERATE_BACKUP_CODES: regenerate,
}
REFUSED: dict[Action, tuple[Do, str]] = {
    Action.REGISTER: (register_again, "email_taken"),
    Action.SIGN_IN: (guess, "invalid_credentials"),
    Action.SIGN_IN_BY_FIREBASE: (by_nobodys_firebase, "invalid_firebase_token"),
    Action.REFRESH_SESSION: (stay_by_nothing, "invalid_refresh_token"),
    Action.SIGN_OUT: (sign_out_without_session, "unauthenticated"),
    Action.VERIFY_EMAIL: (verify_nothing, "invalid_token"),
    Action.RESET_PASSWORD: (reset_nothing, "invalid_token"),
    Action.UPDATE_USER: (rename_as_another, "username_taken"),
    Action.DISABLE_USER: (disable_as_user, "access_denied"),
    Action.ERASE_USER: (erase_by_guess, "wrong_password"),
    Action.CREATE_KEY: (create_beyond, "exceeds_plan"),
    Action.ROTATE_KEY: (rotate_without_proof, "mfa_required"),
    Action.REVOKE_KEY: (revoke_nobodys, "key_not_found"),
    Action.DELETE_KEY: (delete_without_proof, "mfa_required"),
    Action.SET_PROVIDER_KEY: (set_own_key_by_a_key, "access_denied"),
    Action.DELETE_PROVIDER_KEY: (delete_no_own_key, "provider_key_not_found"),
    Action.SET_UP_MFA: (set_up_again, "mfa_already_enrolled"),
    Action.CONFIRM_MFA: (confirm_nothing, "mfa_not_set_up"),
    Action.CHALLENGE_MFA: (challenge_without_factor, "mfa_not_enrolled"),
    Action.VERIFY_MFA: (verify_another_code, "invalid_code"),
    Action.REGENERATE_BACKUP_CODES: (regenerate_without_proof, "mfa_required"),
}
NEVER_REFUSED = {Action.FORGET_PASSWORD}
"""Whoever asks is told nothing, so there is nothing to refuse."""


@pytest.fixture
async def scene(
    platform: Platform, access_tokens: AccessTokens, clock: FakeClock
) -> AsyncIterator[Scene]:
    with playing_google() as google:
        settings = KeysSettings(firebase_project_id=PROJECT, firebase_jwks_url=google.url)
        async with serving(platform, access_tokens, settings) as keys:
            yield Scene(keys, clock, await keys.register())
            for resource in keys.service.resources:
                await resource.aclose()


async def last_outcome(scene: Scene, action: Action) -> str | None:
    async with scene.keys.platform.database.connection() as connection:
        outcome: str | None = await connection.fetchval(
            "SELECT data ->> 'outcome' FROM keys.events"
            " WHERE type = 'AuditRecorded' AND data ->> 'action' = $1"
            " ORDER BY position DESC LIMIT 1",
            action.value,
        )
    return outcome


def test_the_tables_name_every_action() -> None:
    assert DONE.keys() == set(Action)
    assert REFUSED.keys() | NEVER_REFUSED == set(Action)


@pytest.mark.parametrize("action", DONE, ids=str)
async def test_what_is_done_is_entered(scene: Scene, action: Action) -> None:
    answer = await DONE[action](scene)
    assert answer.is_success, answer.text
    assert await last_outcome(scene, action) == SUCCEEDED


@pytest.mark.parametrize("action", REFUSED, ids=str)
async def test_what_is_refused_is_entered_with_the_code_that_was_told(
    scene: Scene, action: Action
) -> None:
    do, code = REFUSED[action]
    answer = await do(scene)
    assert (answer.is_error, answer.json()["error"]) == (True, code)
    assert await last_outcome(scene, action) == code
