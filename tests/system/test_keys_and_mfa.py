"""Each row of seed 000's tables of keys and of second factors, through the edge, in every way to
run; codes are those of the real clock."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx
import pyotp
import pytest

from kernel.clock import SystemClock, new_id
from tests.system.product import PASSWORD, V2, Product, log_in, wait_until

KEYS = "/api/keys"
MFA = f"{KEYS}/mfa"
STEP = timedelta(seconds=30)


@dataclass
class Holder:
    """Somebody signed in, with a second factor; each code is shown once."""

    product: Product
    client: httpx.Client
    secret: str = ""
    backup_codes: list[str] = field(default_factory=list)

    def set_up(self) -> httpx.Response:
        answer = self.client.post(f"{MFA}/totp/setup")
        self.secret = answer.raise_for_status().json()["secret"]
        return answer

    def confirm(self) -> httpx.Response:
        code = pyotp.TOTP(self.secret).at(SystemClock().now())
        answer = self.client.post(f"{MFA}/totp/verify-setup", json={"code": code})
        self.backup_codes = answer.raise_for_status().json()["backup_codes"]
        return answer

    def create(self, **asked: Any) -> dict[str, Any]:
        body = {"name": "a key", "scopes": ["generation:read", "credits:read"], **asked}
        answer = self.client.post(KEYS, json=body)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def challenge(self, operation: str, key_id: str | None = None) -> httpx.Response:
        body = {"operation": operation} | ({} if key_id is None else {"key_id": key_id})
        return self.client.post(f"{MFA}/challenge", json=body)

    def proof(self, operation: str, key_id: str | None = None) -> dict[str, str]:
        """The header that shows a proof, bought with a backup code."""
        challenge_id = self.challenge(operation, key_id).raise_for_status().json()["challenge_id"]
        body = {"challenge_id": challenge_id, "backup_code": self.backup_codes.pop()}
        verified = self.client.post(f"{MFA}/verify", json=body).raise_for_status()
        return {"X-MFA-Token": verified.json()["mfa_token"]}

    def status_of(self, api_key: str) -> int:
        """What the edge answers who shows it, in either form."""
        forms = ({"X-API-Key": api_key}, {"Authorization": f"Bearer {api_key}"})
        found = set()
        for headers in forms:
            with self.product.client(**headers) as client:
                found.add(client.get(f"{V2}/credits").status_code)
        assert len(found) == 1, "both forms are one"
        return found.pop()


@pytest.fixture(scope="module")
def holder(product: Product) -> Iterator[Holder]:
    with signed_in(product) as client:
        holder = Holder(product, client)
        holder.set_up()
        holder.confirm()
        yield holder


def signed_in(product: Product) -> httpx.Client:
    """Somebody new, without a second factor. Close it."""
    email = f"user-{new_id().hex}@example.com"
    with product.client() as anonymous:
        anonymous.post(
            "/auth/register", json={"email": email, "password": PASSWORD}
        ).raise_for_status()
    return product.client(Authorization=f"Bearer {log_in(product, email)}")


def test_post_keys_creates_a_key_that_works_and_is_shown_once(holder: Holder) -> None:
    created = holder.create()
    assert created["api_key"].startswith("sk_live_")
    assert holder.status_of(created["api_key"]) == 200
    assert created["api_key"] not in holder.client.get(f"{KEYS}/{created['id']}").text
    assert created["api_key"] not in holder.client.get(KEYS).text


def test_get_keys_lists_all_keys_newest_first(holder: Holder) -> None:
    first, second = holder.create(), holder.create()
    listed = holder.client.get(KEYS).raise_for_status().json()
    assert [key["id"] for key in listed["keys"][:2]] == [second["id"], first["id"]]


def test_get_key_gets_its_details(holder: Holder) -> None:
    created = holder.create(name="in detail")
    key = holder.client.get(f"{KEYS}/{created['id']}").raise_for_status().json()["key"]
    assert (key["id"], key["name"], key["version"]) == (created["id"], "in detail", 1)


def test_rotate_gives_a_new_secret_and_keeps_the_old_one_for_a_while(holder: Holder) -> None:
    created = holder.create()
    rotated = holder.client.post(
        f"{KEYS}/{created['id']}/rotate", headers=holder.proof("rotate_key", created["id"])
    )
    assert rotated.status_code == 200, rotated.text
    assert holder.status_of(rotated.json()["api_key"]) == 200
    assert holder.status_of(created["api_key"]) == 200


def test_rotate_without_grace_ends_the_old_secret_within_a_second(holder: Holder) -> None:
    created = holder.create()
    assert holder.status_of(created["api_key"]) == 200
    rotated = holder.client.post(
        f"{KEYS}/{created['id']}/rotate",
        json={"grace_period_hours": 0},
        headers=holder.proof("rotate_key", created["id"]),
    )
    wait_until(lambda: holder.status_of(created["api_key"]) == 401, timeout_s=1)
    assert holder.status_of(rotated.json()["api_key"]) == 200


def test_revoke_ends_a_key_within_a_second_for_good(holder: Holder) -> None:
    created = holder.create()
    assert holder.status_of(created["api_key"]) == 200
    holder.client.post(f"{KEYS}/{created['id']}/revoke").raise_for_status()
    wait_until(lambda: holder.status_of(created["api_key"]) == 401, timeout_s=1)


def test_delete_ends_a_key_and_lists_it_no_more(holder: Holder) -> None:
    created = holder.create()
    deleted = holder.client.delete(
        f"{KEYS}/{created['id']}", headers=holder.proof("delete_key", created["id"])
    )
    assert deleted.status_code == 204
    wait_until(lambda: holder.status_of(created["api_key"]) == 401, timeout_s=1)
    assert holder.client.get(f"{KEYS}/{created['id']}").status_code == 404


def test_rotation_and_deletion_without_a_second_factor_say_how_to_go_on(product: Product) -> None:
    with signed_in(product) as client:
        created = Holder(product, client).create()
        for answer in (
            client.post(f"{KEYS}/{created['id']}/rotate"),
            client.delete(f"{KEYS}/{created['id']}"),
        ):
            fault = answer.json()
            assert (answer.status_code, fault["error"]) == (403, "mfa_required")
            assert f"POST {MFA}/totp/setup" in fault["details"]["steps"]


def test_mfa_status_says_whether_there_is_one(product: Product, holder: Holder) -> None:
    assert holder.client.get(f"{MFA}/status").raise_for_status().json()["enrolled"] is True
    with signed_in(product) as client:
        assert client.get(f"{MFA}/status").raise_for_status().json()["enrolled"] is False


def test_totp_setup_shows_a_secret_and_its_picture(product: Product) -> None:
    with signed_in(product) as client:
        shown = Holder(product, client).set_up().json()
    assert set(shown) == {"secret", "otpauth_uri", "qr_svg"}
    assert shown["secret"] in shown["otpauth_uri"]


def test_totp_verify_setup_shows_ten_backup_codes(product: Product) -> None:
    with signed_in(product) as client:
        holder = Holder(product, client)
        holder.set_up()
        assert len(set(holder.confirm().json()["backup_codes"])) == 10


def test_challenge_and_verify_give_a_proof_for_a_code(holder: Holder) -> None:
    created = holder.create()
    challenge = holder.challenge("rotate_key", created["id"])
    assert challenge.status_code == 201
    # This step's code has confirmed the setup; the next one's is within the drift.
    code = pyotp.TOTP(holder.secret).at(SystemClock().now() + STEP)
    verified = holder.client.post(
        f"{MFA}/verify", json={"challenge_id": challenge.json()["challenge_id"], "code": code}
    )
    assert verified.status_code == 200, verified.text
    assert set(verified.json()) == {"mfa_token", "expires_at"}


def test_regenerate_replaces_the_backup_codes(product: Product) -> None:
    with signed_in(product) as client:
        holder = Holder(product, client)
        holder.set_up()
        holder.confirm()
        answer = client.post(
            f"{MFA}/backup-codes/regenerate", headers=holder.proof("regenerate_backup_codes")
        )
    fresh = answer.raise_for_status().json()["backup_codes"]
    assert len(fresh) == 10
    assert not set(fresh) & set(holder.backup_codes)


def test_a_locked_second_factor_stops_no_other_call(product: Product) -> None:
    with signed_in(product) as client:
        holder = Holder(product, client)
        holder.set_up()
        holder.confirm()
        created = holder.create()
        for _ in range(5):
            challenge_id = holder.challenge("rotate_key", created["id"]).json()["challenge_id"]
            wrong = client.post(
                f"{MFA}/verify", json={"challenge_id": challenge_id, "backup_code": "wrong"}
            )
            assert wrong.status_code == 422
        challenge_id = holder.challenge("rotate_key", created["id"]).json()["challenge_id"]
        right = {"challenge_id": challenge_id, "backup_code": holder.backup_codes[0]}
        assert client.post(f"{MFA}/verify", json=right).status_code == 429
        assert client.get(KEYS).status_code == 200
        assert holder.status_of(created["api_key"]) == 200


def test_audit_says_what_was_tried_with_a_key(holder: Holder) -> None:
    created = holder.create()
    holder.client.post(f"{KEYS}/{created['id']}/rotate")
    holder.client.post(f"{KEYS}/{created['id']}/revoke").raise_for_status()
    entries = (
        holder.client.get(f"{KEYS}/{created['id']}/audit").raise_for_status().json()["entries"]
    )
    assert [(entry["action"], entry["outcome"]) for entry in entries] == [
        ("revoke_key", "succeeded"),
        ("rotate_key", "mfa_required"),
        ("create_key", "succeeded"),
    ]
