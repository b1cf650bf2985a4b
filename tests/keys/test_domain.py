"""The rules of users and API keys, given / when / then."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.errors import Error, Forbidden, NotFound, Rejected, Unauthenticated
from kernel.testing import Spec
from services.keys.domain import (
    API_KEY,
    KEYS,
    USERS,
    ApiKey,
    CreateKey,
    Creator,
    KeyCreated,
    KeyEvent,
    KeyRevoked,
    Register,
    RevokeKey,
    Scope,
    UserRegistered,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
USER_ID, STRANGER_ID, ACCOUNT_ID, KEY_ID, OWN_KEY_ID = (UUID(int=n) for n in range(1, 6))

CREATE = CreateKey(
    key_id=KEY_ID,
    user_id=USER_ID,
    account_id=ACCOUNT_ID,
    key_sha256="ab" * 32,
    prefix="sk_live_1234",
    name="ci",
    scopes=("generation:read",),
    expires_at=NOW + timedelta(days=10),
    monthly_credit_limit_units=50_000,
    created_by=None,
    at=NOW,
)
CREATED = KeyCreated(
    key_id=KEY_ID,
    user_id=USER_ID,
    account_id=ACCOUNT_ID,
    key_sha256="ab" * 32,
    prefix="sk_live_1234",
    name="ci",
    scopes=("generation:read",),
    expires_at=NOW + timedelta(days=10),
    monthly_credit_limit_units=50_000,
    created_by_key_id=None,
    created_at=NOW,
)
REVOKE = RevokeKey(KEY_ID, USER_ID, NOW)
REVOKED = KeyRevoked(KEY_ID, USER_ID, NOW)
OWN = ApiKey(
    USER_ID,
    scopes=("generation:read", "keys:write"),
    expires_at=NOW + timedelta(days=10),
)


def by(own: ApiKey) -> CreateKey:
    return replace(CREATE, created_by=Creator(OWN_KEY_ID, own))


def test_registers_a_user_with_an_account() -> None:
    command = Register(USER_ID, ACCOUNT_ID, "user", "free", NOW)
    registered = UserRegistered(USER_ID, ACCOUNT_ID, "user", "free", NOW)
    Spec(USERS).when(command).then(registered)


def test_refuses_to_register_a_user_twice() -> None:
    registered = UserRegistered(USER_ID, ACCOUNT_ID, "user", "free", NOW)
    command = Register(USER_ID, UUID(int=99), "admin", "free", NOW)
    Spec(USERS).given(registered).when(command).refused(Rejected, "user_exists")


def test_creates_a_key() -> None:
    Spec(KEYS).when(CREATE).then(CREATED)


def test_refuses_to_create_a_key_twice() -> None:
    Spec(KEYS).given(CREATED).when(CREATE).refused(Rejected, "key_exists")


def test_revokes_a_key() -> None:
    Spec(KEYS).given(CREATED).when(REVOKE).then(REVOKED)


def test_writes_nothing_when_a_revoked_key_is_revoked() -> None:
    Spec(KEYS).given(CREATED, REVOKED).when(REVOKE).then_nothing()


def test_knows_no_key_to_revoke_before_it_was_created() -> None:
    Spec(KEYS).when(REVOKE).refused(NotFound, "key_not_found")


def test_answers_for_another_users_key_as_for_none() -> None:
    command = replace(REVOKE, user_id=STRANGER_ID)
    Spec(KEYS).given(CREATED).when(command).refused(NotFound, "key_not_found")


def test_a_key_creates_one_that_equals_it_at_most() -> None:
    Spec(KEYS).when(by(OWN)).then(replace(CREATED, created_by_key_id=OWN_KEY_ID))


def test_an_unlimited_key_creates_an_unlimited_one() -> None:
    unlimited = replace(OWN, expires_at=None)
    command = replace(by(unlimited), expires_at=None, monthly_credit_limit_units=None)
    Spec(KEYS).when(command).then(
        replace(
            CREATED,
            expires_at=None,
            monthly_credit_limit_units=None,
            created_by_key_id=OWN_KEY_ID,
        )
    )


def test_refuses_a_key_more_scope_than_its_creator() -> None:
    command = replace(by(OWN), scopes=("generation:read", "storage:delete"))
    Spec(KEYS).when(command).refused(Forbidden, "exceeds_own_key")


def test_refuses_a_key_a_longer_life_than_its_creator() -> None:
    command = replace(by(OWN), expires_at=NOW + timedelta(days=10, microseconds=1))
    Spec(KEYS).when(command).refused(Forbidden, "exceeds_own_key")


def test_refuses_an_endless_key_to_one_that_ends() -> None:
    Spec(KEYS).when(replace(by(OWN), expires_at=None)).refused(Forbidden, "exceeds_own_key")


@pytest.mark.parametrize("units", [None, 50_001, 50_000, 1])
def test_refuses_any_key_to_one_with_a_limit_which_would_spend_beside_it(units: int | None) -> None:
    limited = replace(OWN, monthly_credit_limit_units=50_000)
    command = replace(by(limited), monthly_credit_limit_units=units)
    Spec(KEYS).when(command).refused(Forbidden, "exceeds_own_key")


def test_a_revoked_key_creates_none() -> None:
    revoked = replace(OWN, revoked_at=NOW)
    Spec(KEYS).when(by(revoked)).refused(Unauthenticated, "invalid_api_key")


def test_an_expired_key_creates_none() -> None:
    expired = replace(OWN, expires_at=NOW)
    command = replace(by(expired), expires_at=NOW)
    Spec(KEYS).when(command).refused(Unauthenticated, "invalid_api_key")


def test_another_users_key_creates_none() -> None:
    foreign = replace(OWN, user_id=STRANGER_ID)
    Spec(KEYS).when(by(foreign)).refused(Unauthenticated, "invalid_api_key")


def test_an_unknown_key_creates_none() -> None:
    Spec(KEYS).when(by(ApiKey())).refused(Unauthenticated, "invalid_api_key")


COMMANDS = st.sampled_from(
    (
        CREATE,
        REVOKE,
        replace(REVOKE, at=NOW + timedelta(days=1)),
        replace(REVOKE, user_id=STRANGER_ID),
    )
)


@given(st.lists(COMMANDS, max_size=12))
def test_a_key_once_revoked_stays_so_and_repeats_write_nothing(
    commands: list[CreateKey | RevokeKey],
) -> None:
    history: list[KeyEvent] = []
    revoked_at = None
    for command in commands:
        state = API_KEY.fold(history)
        try:
            events = KEYS.decide(command, state)
        except Error:
            continue
        if revoked_at is not None:
            assert events == ()
        history.extend(events)
        now_revoked_at = API_KEY.fold(history).revoked_at
        assert revoked_at in {None, now_revoked_at}
        revoked_at = now_revoked_at
    assert sum(isinstance(event, KeyRevoked) for event in history) <= 1
    assert sum(isinstance(event, KeyCreated) for event in history) <= 1


BOUNDS = st.builds(
    ApiKey,
    user_id=st.just(USER_ID),
    scopes=st.lists(st.sampled_from([scope.value for scope in Scope]), max_size=4).map(tuple),
    expires_at=st.none() | st.integers(1, 5).map(lambda days: NOW + timedelta(days=days)),
    monthly_credit_limit_units=st.none() | st.integers(0, 5),
)


@given(BOUNDS, BOUNDS)
def test_no_key_ever_exceeds_the_key_that_created_it(own: ApiKey, asked: ApiKey) -> None:
    command = replace(
        by(own),
        scopes=asked.scopes,
        expires_at=asked.expires_at,
        monthly_credit_limit_units=asked.monthly_credit_limit_units,
    )
    ends_within = asked.expires_at is not None and asked.expires_at <= (own.expires_at or NOW)
    within = (
        set(asked.scopes) <= set(own.scopes)
        and (own.expires_at is None or ends_within)
        and own.monthly_credit_limit_units is None
    )
    try:
        created = bool(KEYS.decide(command, ApiKey()))
    except Forbidden:
        created = False
    assert created == within
