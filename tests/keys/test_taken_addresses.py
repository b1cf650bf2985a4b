"""Whoever shows that an address is theirs gets its account without what another left in it."""

import pytest

from kernel.testing import FakeClock
from tests.keys.conftest import Keys
from tests.keys.test_mailed_links import NEW_PASSWORD, forgot, links, reset, verify
from tests.keys.test_mfa import MFA, Holder, enrolled
from tests.keys.test_sign_ins import login
from tests.keys.watching import entries, facts

KEYS_LEFT = 3


async def furnished(keys: Keys, clock: FakeClock) -> tuple[Holder, list[str]]:
    """Somebody with all that an account can hold, and their API keys."""
    holder = await enrolled(keys, clock)
    created = [await keys.create_key(holder.person.identity) for _ in range(KEYS_LEFT)]
    own = {"api_key": "vendors-key-0123456789"}
    answer = await holder.call("PUT", "/api/keys/providers/kie", own)
    assert answer.status_code == 204
    return holder, [one["api_key"] for one in created]


async def reset_by_mail(keys: Keys, holder: Holder) -> None:
    await links(keys)
    await forgot(keys, holder.person.email)
    (token,) = await links(keys)
    assert (await reset(keys, token)).status_code == 200


async def test_a_reset_of_an_unverified_account_leaves_nothing_that_opens_it(
    keys: Keys, clock: FakeClock
) -> None:
    holder, api_keys = await furnished(keys, clock)
    await reset_by_mail(keys, holder)

    assert [await facts(keys, api_key) for api_key in api_keys] == [None] * KEYS_LEFT
    status = (await holder.call("GET", f"{MFA}/status")).json()
    assert (status["enrolled"], status["backup_codes_left"]) == (False, 0)
    own = (await holder.call("GET", "/api/keys/providers")).json()
    assert own["provider_keys"] == []
    assert [outcome for _, outcome in await entries(keys, "revoke_key")] == [
        "succeeded"
    ] * KEYS_LEFT
    assert (await login(keys, holder.person.email, NEW_PASSWORD)).status_code == 200
    assert (await holder.call("POST", f"{MFA}/totp/setup")).status_code == 200


async def test_a_reset_of_a_verified_account_leaves_keys_and_second_factor(
    keys: Keys, clock: FakeClock
) -> None:
    holder, api_keys = await furnished(keys, clock)
    (token,) = await links(keys)
    assert (await verify(keys, token)).status_code == 200
    await reset_by_mail(keys, holder)

    assert None not in [await facts(keys, api_key) for api_key in api_keys]
    assert (await holder.call("GET", f"{MFA}/status")).json()["enrolled"] is True
    own = (await holder.call("GET", "/api/keys/providers")).json()
    assert [one["provider"] for one in own["provider_keys"]] == ["kie"]


@pytest.mark.parametrize("token", ["", "x" * 43])
async def test_a_bad_token_ends_nothing(keys: Keys, clock: FakeClock, token: str) -> None:
    holder, api_keys = await furnished(keys, clock)
    assert (await reset(keys, token)).status_code == 422
    assert None not in [await facts(keys, api_key) for api_key in api_keys]
    assert (await holder.call("GET", f"{MFA}/status")).json()["enrolled"] is True
