"""A second factor over HTTP: set up, proved by a code, and spent on the one thing it was for."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import httpx
import pyotp
import pytest

from kernel.testing import FakeClock
from tests.keys.conftest import Keys, Person

STEP = timedelta(seconds=30)
MFA = "/api/keys/mfa"
ALL_AT_ONCE = 20


@dataclass
class Holder:
    """Somebody with an authenticator, and the clock that it goes by."""

    keys: Keys
    person: Person
    clock: FakeClock
    secret: str
    backup_codes: list[str] = field(default_factory=list)

    async def call(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> httpx.Response:
        return await self.keys.call(method, path, self.person.identity, body, **headers)

    def next_code(self) -> str:
        """One that was never shown: the next step's."""
        self.clock.turn(STEP)
        return pyotp.TOTP(self.secret).at(self.clock.now())

    def wrong_code(self) -> str:
        now = self.clock.now()
        right = {pyotp.TOTP(self.secret).at(now + step * STEP) for step in range(-2, 3)}
        return next(code for code in map("{:06}".format, range(10)) if code not in right)

    async def challenge(self, operation: str, key_id: str | None = None) -> str:
        body = {"operation": operation} | ({} if key_id is None else {"key_id": key_id})
        answer = await self.call("POST", f"{MFA}/challenge", body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["challenge_id"])

    async def verify(self, challenge_id: str, **code: str) -> httpx.Response:
        return await self.call("POST", f"{MFA}/verify", {"challenge_id": challenge_id, **code})

    async def proof(self, operation: str, key_id: str | None = None) -> str:
        answer = await self.verify(await self.challenge(operation, key_id), code=self.next_code())
        assert answer.status_code == 200, answer.text
        return str(answer.json()["mfa_token"])

    async def rotate(self, key_id: str, proof: str) -> httpx.Response:
        return await self.call("POST", f"/api/keys/{key_id}/rotate", X_MFA_Token=proof)


async def enrolled(keys: Keys, clock: FakeClock) -> Holder:
    """Somebody new who has a second factor."""
    person = await keys.register()
    setup = await keys.call("POST", f"{MFA}/totp/setup", person.identity)
    holder = Holder(keys, person, clock, setup.json()["secret"])
    confirmed = await holder.call("POST", f"{MFA}/totp/verify-setup", {"code": holder.next_code()})
    assert confirmed.status_code == 200, confirmed.text
    holder.backup_codes = confirmed.json()["backup_codes"]
    return holder


@pytest.fixture
async def holder(keys: Keys, clock: FakeClock) -> Holder:
    return await enrolled(keys, clock)


def statuses(answers: Sequence[httpx.Response]) -> dict[int, int]:
    found = [answer.status_code for answer in answers]
    return {status: found.count(status) for status in sorted(set(found))}


def refusal(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]


async def test_setting_up_shows_a_secret_a_link_and_a_picture(keys: Keys) -> None:
    person = await keys.register()
    answer = await keys.call("POST", f"{MFA}/totp/setup", person.identity)
    shown = answer.json()
    assert answer.status_code == 200
    link = pyotp.parse_uri(shown["otpauth_uri"])
    assert isinstance(link, pyotp.TOTP)
    assert (link.secret, link.issuer, link.name) == (shown["secret"], "SmartSpec", person.email)
    assert shown["qr_svg"].startswith("<svg")
    assert "script" not in shown["qr_svg"]


async def test_is_in_use_from_its_first_code_on(keys: Keys, holder: Holder) -> None:
    stranger = await keys.register()
    without = (await keys.call("GET", f"{MFA}/status", stranger.identity)).json()
    assert (without["enrolled"], without["methods"], without["backup_codes_left"]) == (False, [], 0)
    status = (await holder.call("GET", f"{MFA}/status")).json()
    assert (status["enrolled"], status["methods"]) == (True, ["totp", "backup_code"])
    assert status["backup_codes_left"] == len(set(holder.backup_codes)) == 10


async def test_without_one_a_rotation_is_refused_and_told_how_to_go_on(keys: Keys) -> None:
    person = await keys.register()
    created = await keys.create_key(person.identity)
    for method, path in (("POST", "/rotate"), ("DELETE", "")):
        answer = await keys.call(method, f"/api/keys/{created['id']}{path}", person.identity)
        assert refusal(answer) == (403, "mfa_required")
        details = answer.json()["details"]
        assert details["header"] == "X-MFA-Token"
        assert details["steps"] == [
            f"POST {MFA}/totp/setup",
            f"POST {MFA}/totp/verify-setup",
            f"POST {MFA}/challenge",
            f"POST {MFA}/verify",
        ]


async def test_a_code_proves_one_operation_which_then_works(holder: Holder) -> None:
    created = await holder.keys.create_key(holder.person.identity)
    rotated = await holder.rotate(created["id"], await holder.proof("rotate_key", created["id"]))
    assert rotated.status_code == 200, rotated.text
    deleted = await holder.call(
        "DELETE",
        f"/api/keys/{created['id']}",
        X_MFA_Token=await holder.proof("delete_key", created["id"]),
    )
    assert deleted.status_code == 204


async def test_a_proof_is_for_one_operation_on_one_key_of_one_user_and_once(
    holder: Holder, keys: Keys, clock: FakeClock
) -> None:
    mine, other = [await keys.create_key(holder.person.identity) for _ in range(2)]
    proof = await holder.proof("rotate_key", mine["id"])
    stranger = await enrolled(keys, clock)
    theirs = await keys.create_key(stranger.person.identity)

    assert refusal(await holder.rotate(other["id"], proof)) == (403, "mfa_required")
    deleting = await holder.call("DELETE", f"/api/keys/{mine['id']}", X_MFA_Token=proof)
    assert refusal(deleting) == (403, "mfa_required")
    assert refusal(await stranger.rotate(theirs["id"], proof)) == (403, "mfa_required")
    assert (await holder.rotate(mine["id"], proof)).status_code == 200
    assert refusal(await holder.rotate(mine["id"], proof)) == (403, "mfa_required")


async def test_a_proof_lasts_five_minutes(holder: Holder, clock: FakeClock) -> None:
    created = await holder.keys.create_key(holder.person.identity)
    proof = await holder.proof("rotate_key", created["id"])
    clock.turn(timedelta(minutes=5))
    assert refusal(await holder.rotate(created["id"], proof)) == (403, "mfa_required")


async def test_one_code_shown_twenty_times_at_once_is_taken_once(holder: Holder) -> None:
    created = await holder.keys.create_key(holder.person.identity)
    challenge_id = await holder.challenge("rotate_key", created["id"])
    code = holder.next_code()
    answers = await asyncio.gather(
        *(holder.verify(challenge_id, code=code) for _ in range(ALL_AT_ONCE))
    )
    assert statuses(answers)[200] == 1
    assert set(statuses(answers)) <= {200, 404, 422, 429}


async def test_one_code_for_twenty_challenges_at_once_is_taken_once(holder: Holder) -> None:
    challenges = [await holder.challenge("regenerate_backup_codes") for _ in range(ALL_AT_ONCE)]
    code = holder.next_code()
    answers = await asyncio.gather(
        *(holder.verify(challenge_id, code=code) for challenge_id in challenges)
    )
    assert statuses(answers)[200] == 1


async def test_one_backup_code_shown_twenty_times_at_once_is_taken_once(holder: Holder) -> None:
    challenges = [await holder.challenge("regenerate_backup_codes") for _ in range(ALL_AT_ONCE)]
    code = holder.backup_codes[3]
    answers = await asyncio.gather(
        *(holder.verify(challenge_id, backup_code=code) for challenge_id in challenges)
    )
    assert statuses(answers)[200] == 1
    assert (await holder.call("GET", f"{MFA}/status")).json()["backup_codes_left"] == 9


async def test_one_proof_shown_twenty_times_at_once_is_spent_once(holder: Holder) -> None:
    created = await holder.keys.create_key(holder.person.identity)
    proof = await holder.proof("rotate_key", created["id"])
    answers = await asyncio.gather(
        *(holder.rotate(created["id"], proof) for _ in range(ALL_AT_ONCE))
    )
    assert statuses(answers)[200] == 1
    assert set(statuses(answers)) <= {200, 403, 409}


async def test_five_wrong_codes_lock_the_factor_and_nothing_else(
    holder: Holder, clock: FakeClock
) -> None:
    created = await holder.keys.create_key(holder.person.identity)
    lefts = []
    for _ in range(5):
        challenge_id = await holder.challenge("rotate_key", created["id"])
        answer = await holder.verify(challenge_id, code=holder.wrong_code())
        assert refusal(answer) == (422, "invalid_code")
        lefts.append(answer.json()["details"]["attempts_left"])
    assert lefts == [4, 3, 2, 1, 0]

    fresh = await holder.challenge("rotate_key", created["id"])
    locked = await holder.verify(fresh, code=holder.next_code())
    assert refusal(locked) == (429, "mfa_locked")
    assert 0 < int(locked.headers["Retry-After"]) <= 15 * 60

    assert (await holder.call("GET", "/api/keys")).status_code == 200
    by_key = holder.person.with_key(created["id"], "generation:read", "keys:read")
    assert (await holder.keys.call("GET", "/api/keys", by_key)).status_code == 200
    assert (await holder.keys.sign_in(holder.person))["access_token"]

    clock.turn(timedelta(minutes=15))
    again = await holder.challenge("rotate_key", created["id"])
    assert (await holder.verify(again, code=holder.next_code())).status_code == 200


async def test_a_challenge_is_for_who_asked_for_it(
    holder: Holder, keys: Keys, clock: FakeClock
) -> None:
    challenge_id = await holder.challenge("regenerate_backup_codes")
    stranger = await enrolled(keys, clock)
    answer = await stranger.verify(challenge_id, code=stranger.next_code())
    unknown = await stranger.verify("chg_" + "0" * 32, code=stranger.next_code())
    assert refusal(answer) == refusal(unknown) == (404, "challenge_not_found")
    assert (await holder.verify(challenge_id, code=holder.next_code())).status_code == 200


async def test_new_backup_codes_take_the_place_of_the_old(holder: Holder) -> None:
    proof = await holder.proof("regenerate_backup_codes")
    answer = await holder.call("POST", f"{MFA}/backup-codes/regenerate", X_MFA_Token=proof)
    fresh = answer.json()["backup_codes"]
    assert len(set(fresh) | set(holder.backup_codes)) == 20
    challenge_id = await holder.challenge("regenerate_backup_codes")
    old = await holder.verify(challenge_id, backup_code=holder.backup_codes[0])
    assert refusal(old) == (422, "invalid_code")
    assert (await holder.verify(challenge_id, backup_code=fresh[0])).status_code == 200


async def test_a_second_factor_is_replaced_by_who_shows_the_present_one(holder: Holder) -> None:
    assert refusal(await holder.call("POST", f"{MFA}/totp/setup")) == (409, "mfa_already_enrolled")
    proof = await holder.proof("replace_totp")
    setup = await holder.call("POST", f"{MFA}/totp/setup", X_MFA_Token=proof)
    assert setup.status_code == 200, setup.text
    changed = replace(holder, secret=setup.json()["secret"])
    confirmed = await holder.call("POST", f"{MFA}/totp/verify-setup", {"code": changed.next_code()})
    assert confirmed.status_code == 200, confirmed.text
    challenge_id = await holder.challenge("regenerate_backup_codes")
    assert (await holder.verify(challenge_id, code=holder.next_code())).status_code == 422
    assert (await holder.verify(challenge_id, code=changed.next_code())).status_code == 200


async def test_no_api_key_touches_a_second_factor(holder: Holder) -> None:
    created = await holder.keys.create_key(holder.person.identity)
    by_key = holder.person.with_key(created["id"], "keys:write", "keys:read")
    for method, path, body in (
        ("GET", "status", None),
        ("POST", "totp/setup", None),
        ("POST", "totp/verify-setup", {"code": "123456"}),
        ("POST", "challenge", {"operation": "regenerate_backup_codes"}),
        ("POST", "verify", {"challenge_id": "x", "code": "123456"}),
        ("POST", "backup-codes/regenerate", None),
    ):
        answer = await holder.keys.call(method, f"{MFA}/{path}", by_key, body)
        assert refusal(answer) == (403, "access_denied"), path


WRONG: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("totp/verify-setup", {}, "code"),
    ("totp/verify-setup", {"code": "12345"}, "code"),
    ("totp/verify-setup", {"code": "12345a"}, "code"),
    ("totp/verify-setup", {"code": "١٢٣٤٥٦"}, "code"),
    ("totp/verify-setup", {"code": 123456}, "code"),
    ("challenge", {}, "operation"),
    ("challenge", {"operation": "anything"}, "operation"),
    ("challenge", {"operation": "rotate_key"}, "key_id"),
    ("challenge", {"operation": "regenerate_backup_codes", "key_id": "key_1"}, "key_id"),
    ("challenge", {"operation": "rotate_key", "key_id": "k" * 101}, "key_id"),
    ("verify", {"code": "123456"}, "challenge_id"),
    ("verify", {"challenge_id": "x"}, "code"),
    ("verify", {"challenge_id": "x", "code": "123456", "backup_code": "a"}, "code"),
    ("verify", {"challenge_id": "x", "code": ""}, "code"),
    ("verify", {"challenge_id": "x", "backup_code": ""}, "backup_code"),
    ("verify", {"challenge_id": "x", "backup_code": "a" * 65}, "backup_code"),
    ("verify", {"challenge_id": "x", "code": "123456", "user_id": "y"}, "user_id"),
)


async def test_names_the_field_that_is_wrong_and_counts_no_guess(holder: Holder) -> None:
    for path, body, named in WRONG:
        answer = await holder.call("POST", f"{MFA}/{path}", body)
        details = answer.json()["details"]
        field = details.get("field") or details["fields"][0]["field"]
        assert (answer.status_code, field) == (422, named), (path, body)
    status = (await holder.call("GET", f"{MFA}/status")).json()
    assert (status["enrolled"], status["locked_until"]) == (True, None)
