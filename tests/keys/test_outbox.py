"""What keys says of what it remembers."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from contracts import keys as public
from contracts.envelope import PublicEvent
from kernel.clock import new_id
from kernel.context import Origin
from kernel.unit import Recorded
from services.keys.domain import (
    Event,
    KeyCreated,
    KeyDeleted,
    KeyRevoked,
    KeyRotated,
    MfaDisabled,
    MfaEnrolled,
    PasswordReset,
    PlanChanged,
    SessionRevoked,
    SessionStarted,
    UserDisabled,
    UserErased,
    UserRegistered,
    UserVerified,
)
from services.keys.outbox import announce

NOW = datetime(2026, 1, 1, tzinfo=UTC)
USER_ID, ACCOUNT_ID, KEY_ID, SESSION_ID = (UUID(int=n) for n in range(1, 5))
CREATED = KeyCreated(
    key_id=KEY_ID,
    user_id=USER_ID,
    account_id=ACCOUNT_ID,
    key_sha256="ab" * 32,
    prefix="sk_live_1234",
    name="a telling name",
    scopes=("keys:read",),
    expires_at=None,
    monthly_credit_limit_units=1,
    created_by_key_id=None,
    created_at=NOW,
)
ROTATED = KeyRotated(KEY_ID, USER_ID, 2, "cd" * 32, "sk_live_5678", NOW, NOW)


def said(event: Event) -> PublicEvent | None:
    recorded: Recorded[Any] = Recorded(new_id(), "stream-1", 1, event, NOW, Origin("request-1"))
    return announce(recorded)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (
            UserRegistered(USER_ID, ACCOUNT_ID, "user", "free", NOW),
            public.UserRegistered(
                user_id=USER_ID,
                account_id=ACCOUNT_ID,
                plan="free",
                role="user",
                registered_at=NOW,
            ),
        ),
        (
            UserVerified(USER_ID, NOW),
            public.UserVerified(user_id=USER_ID, verified_at=NOW),
        ),
        (
            UserDisabled(USER_ID, ACCOUNT_ID, UUID(int=9), NOW),
            public.UserDisabled(user_id=USER_ID, account_id=ACCOUNT_ID, disabled_at=NOW),
        ),
        (
            UserErased(USER_ID, ACCOUNT_ID, NOW),
            public.UserErased(user_id=USER_ID, account_id=ACCOUNT_ID, erased_at=NOW),
        ),
        (
            SessionRevoked(USER_ID, SESSION_ID, NOW),
            public.SessionRevoked(session_id=SESSION_ID, user_id=USER_ID, revoked_at=NOW),
        ),
        (
            CREATED,
            public.KeyCreated(
                key_id=KEY_ID,
                user_id=USER_ID,
                account_id=ACCOUNT_ID,
                scopes=("keys:read",),
                expires_at=None,
                created_at=NOW,
            ),
        ),
        (
            ROTATED,
            public.KeyRotated(
                key_id=KEY_ID,
                user_id=USER_ID,
                key_version=2,
                previous_valid_until=NOW,
                rotated_at=NOW,
            ),
        ),
        (
            KeyDeleted(KEY_ID, USER_ID, NOW),
            public.KeyDeleted(key_id=KEY_ID, user_id=USER_ID, deleted_at=NOW),
        ),
        (
            KeyRevoked(KEY_ID, USER_ID, NOW),
            public.KeyRevoked(key_id=KEY_ID, user_id=USER_ID, revoked_at=NOW),
        ),
        (
            MfaEnrolled(USER_ID, KEY_ID, 1, ACCOUNT_ID, 10, NOW),
            public.MfaEnrolled(user_id=USER_ID, enrolled_at=NOW),
        ),
        (MfaDisabled(USER_ID, NOW), public.MfaDisabled(user_id=USER_ID, disabled_at=NOW)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_says_each_event_in_public_words(event: Event, expected: PublicEvent) -> None:
    assert said(event) == expected


@pytest.mark.parametrize("secret", [CREATED.key_sha256, CREATED.prefix, CREATED.name])
def test_tells_neither_hash_nor_prefix_nor_name_of_a_key(secret: str) -> None:
    event = said(CREATED)
    assert event is not None
    assert secret not in event.model_dump_json()


@pytest.mark.parametrize("secret", [ROTATED.key_sha256, ROTATED.prefix])
def test_tells_neither_hash_nor_prefix_of_a_new_secret(secret: str) -> None:
    event = said(ROTATED)
    assert event is not None
    assert secret not in event.model_dump_json()


@pytest.mark.parametrize(
    "event",
    [
        SessionStarted(USER_ID, SESSION_ID, NOW, NOW),
        PasswordReset(USER_ID, NOW),
        PlanChanged(USER_ID, "studio", NOW),
    ],
)
def test_keeps_to_itself_who_signs_in_or_sets_a_password_and_what_others_have_said(
    event: Event,
) -> None:
    assert said(event) is None
