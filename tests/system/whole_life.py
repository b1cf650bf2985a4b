"""Somebody who uses all there is of accounts, keys and codes, over HTTP."""

import re

import httpx
import pyotp

from kernel.clock import SystemClock, new_id
from tests.system.product import PASSWORD, V2, Product, log_in
from tests.system.test_account_life import mailed

MFA = "/api/keys/mfa"
REDEEM = f"{V2}/credits/redeem"


def whole_life(product: Product) -> dict[str, str]:
    """What somebody is given, or gives, who uses all there is of accounts, keys and codes; each of
    it was sent rightly, and then wrongly."""
    email, new_password = f"life-{new_id().hex}@example.com", f"{PASSWORD} {new_id().hex}"
    provider_key = f"vendor-{new_id().hex}"
    with product.client() as anonymous:
        signing_in = {"email": email, "password": PASSWORD}
        anonymous.post("/auth/register", json=signing_in).raise_for_status()
        session = anonymous.post("/auth/login", json=signing_in).raise_for_status().json()["data"]
        refreshed = anonymous.post(
            "/auth/refresh", json={"refresh_token": session["refresh_token"]}
        ).raise_for_status()
        session_after = refreshed.json()["data"]
    with product.client(Authorization=f"Bearer {session_after['access_token']}") as client:
        secret = client.post(f"{MFA}/totp/setup").raise_for_status().json()["secret"]
        code = pyotp.TOTP(secret).at(SystemClock().now())
        confirmed = client.post(f"{MFA}/totp/verify-setup", json={"code": code}).raise_for_status()
        codes = confirmed.json()["backup_codes"]
        created = client.post("/v1/keys", json={"name": "life"}).raise_for_status().json()
        native = client.post("/api/keys", json={"name": "life", "scopes": ["generation:read"]})
        key_id = native.raise_for_status().json()["id"]
        asked = {"operation": "rotate_key", "key_id": key_id}
        challenge = client.post(f"{MFA}/challenge", json=asked).raise_for_status().json()
        proving = {"challenge_id": challenge["challenge_id"], "backup_code": codes[0]}
        proof = client.post(f"{MFA}/verify", json=proving).raise_for_status().json()["mfa_token"]
        rotated = client.post(
            f"/api/keys/{key_id}/rotate",
            headers={"X-MFA-Token": proof, "Idempotency-Key": new_id().hex},
        ).raise_for_status()
        vendors = client.put("/api/keys/providers/kie", json={"api_key": provider_key})
        vendors.raise_for_status()
        code_redeemed, code_not_redeemed = _codes(product)
        redeemed = client.post(REDEEM, json={"code": code_redeemed})
        redeemed.raise_for_status()
        asking = {"email": email}
        client.post("/auth/password/forgot", json=asking).raise_for_status()
        reset_token = mailed(product, email, "reset-password")
        words = {
            "an address": email,
            "a new password": new_password,
            "a refresh token": session["refresh_token"],
            "the refresh token after it": session_after["refresh_token"],
            "an access token": session_after["access_token"],
            "a TOTP secret": secret,
            "a backup code that was shown": codes[0],
            "a backup code that was not": codes[1],
            "a proof": proof,
            "a key of another form": created["key"],
            "a key that was rotated": native.json()["api_key"],
            "its next secret": rotated.json()["api_key"],
            "a provider's key": provider_key,
            "a link's token": reset_token,
            "a redeem code that was used": code_redeemed,
            "a redeem code that was not": code_not_redeemed,
            "a redeem code without its dashes": code_redeemed.replace("-", ""),
        }
        for word in words.values():
            for path in ("/auth/refresh", "/auth/verify-email", f"{MFA}/verify", "/api/keys"):
                _refused(client.post(path, json={"token": word, "refresh_token": [word]}), word)
                _refused(client.post(path, json=word), word)
            _refused(client.put("/api/keys/providers/kie", json={"api_key": [word]}), word)
            _refused(client.post(REDEEM, json={"code": [word], "token": word}), word)
            _refused(client.post(REDEEM, json={"code": f"{word}!"}), word)
        # A log shows paths: what is a secret by its form is not shown there either.
        for word in (proof, session["refresh_token"], native.json()["api_key"]):
            _refused(client.get(f"/api/keys/{word}", params={"cursor": word}), word)
            path = f"/api/keys/{key_id}/rotate"
            _refused(client.post(path, headers={"X-MFA-Token": word}), word)
        reset = {"token": reset_token, "password": new_password}
        client.post("/auth/password/reset", json=reset).raise_for_status()
    return words


def _codes(product: Product) -> list[str]:
    """Two redeem codes of the admin."""
    found = re.search(r"as the admin: (\S+)  password: (\S+)", product.words())
    assert found is not None
    token = log_in(product, found[1], found[2])
    with product.client(Authorization=f"Bearer {token}") as admin:
        issued = admin.post("/api/admin/credits/codes", json={"amount": 1, "count": 2})
    codes: list[str] = issued.raise_for_status().json()["codes"]
    return codes


def _refused(answer: httpx.Response, word: str) -> None:
    """Without saying it again."""
    assert 400 <= answer.status_code < 500, answer.text
    assert word not in answer.text
