"""Messages out: what keys remembers -> what it tells; no hash, name or address passes here."""

from typing import assert_never

from contracts import keys as public
from contracts.envelope import PublicEvent
from kernel.unit import Recorded
from services.keys.domain import (
    AuditRecorded,
    BackupCodesRegenerated,
    Event,
    KeyCreated,
    KeyDeleted,
    KeyRevoked,
    KeyRotated,
    MfaChallenged,
    MfaDisabled,
    MfaEnrolled,
    MfaFailed,
    MfaProofSpent,
    MfaVerified,
    PasswordReset,
    PlanChanged,
    SessionRevoked,
    SessionStarted,
    TotpSetUp,
    UserDisabled,
    UserErased,
    UserRegistered,
    UserVerified,
)


def announce(recorded: Recorded[Event]) -> PublicEvent | None:
    """The public event that says `recorded`; None for what stays here."""
    event = recorded.event
    match event:
        case UserRegistered():
            return public.UserRegistered(
                user_id=event.user_id,
                account_id=event.account_id,
                plan=event.plan,
                role=event.role,
                registered_at=event.registered_at,
            )
        case UserVerified():
            return public.UserVerified(user_id=event.user_id, verified_at=event.verified_at)
        case UserDisabled():
            return public.UserDisabled(
                user_id=event.user_id, account_id=event.account_id, disabled_at=event.disabled_at
            )
        case UserErased():
            return public.UserErased(
                user_id=event.user_id, account_id=event.account_id, erased_at=event.erased_at
            )
        case SessionRevoked():
            return public.SessionRevoked(
                session_id=event.session_id, user_id=event.user_id, revoked_at=event.revoked_at
            )
        case KeyCreated():
            return public.KeyCreated(
                key_id=event.key_id,
                user_id=event.user_id,
                account_id=event.account_id,
                scopes=event.scopes,
                expires_at=event.expires_at,
                created_at=event.created_at,
            )
        case KeyRotated():
            return public.KeyRotated(
                key_id=event.key_id,
                user_id=event.user_id,
                key_version=event.version,
                previous_valid_until=event.previous_valid_until,
                rotated_at=event.rotated_at,
            )
        case KeyRevoked():
            return public.KeyRevoked(
                key_id=event.key_id, user_id=event.user_id, revoked_at=event.revoked_at
            )
        case KeyDeleted():
            return public.KeyDeleted(
                key_id=event.key_id, user_id=event.user_id, deleted_at=event.deleted_at
            )
        case MfaEnrolled():
            return public.MfaEnrolled(user_id=event.user_id, enrolled_at=event.enrolled_at)
        case MfaDisabled():
            return public.MfaDisabled(user_id=event.user_id, disabled_at=event.disabled_at)
        case TotpSetUp() | MfaChallenged() | MfaVerified() | MfaFailed() | MfaProofSpent():
            return None
        case BackupCodesRegenerated() | AuditRecorded() | PasswordReset() | SessionStarted():
            return None
        case PlanChanged():  # credits has said it
            return None
        case _:
            assert_never(event)
