"""Read models of keys, disposable: who stands behind an id, which keys live, what was tried.

They hold hashes of keys, never a key, and no address or name of a person.
"""

from collections.abc import Iterable
from typing import assert_never

from kernel.projections import ReadModel
from kernel.sql import Statement
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
from services.keys.read_model.api_key_versions import (
    live_key,
    project_first_version,
    project_next_version,
)
from services.keys.read_model.api_keys import (
    ever_had_key,
    key_of,
    keys_of,
    project_created_key,
    project_deleted_key,
    project_revoked_key,
    project_rotated_key,
)
from services.keys.read_model.audit_log import entries_of_key, project_audit_log
from services.keys.read_model.identities import (
    active_identity,
    identities_page,
    identity_of,
    project_identities,
)
from services.keys.read_model.metadata import METADATA
from services.keys.read_model.mfa_verifications import (
    challenge_of,
    project_challenge,
    project_failed_challenge,
    project_spent_proof,
    project_verified_challenge,
)

__all__ = [
    "METADATA",
    "READ_MODEL",
    "active_identity",
    "challenge_of",
    "entries_of_key",
    "ever_had_key",
    "identities_page",
    "identity_of",
    "key_of",
    "keys_of",
    "live_key",
    "project",
]


def project(recorded: Recorded[Event]) -> Iterable[Statement]:
    """The statements that bring every read model up to `recorded`."""
    event = recorded.event
    match event:
        case UserRegistered() | UserVerified() | PlanChanged() | UserDisabled() | UserErased():
            return project_identities(event)
        case PasswordReset() | SessionStarted() | SessionRevoked():
            return ()
        case KeyCreated():
            return (*project_created_key(event), *project_first_version(event))
        case KeyRotated():
            return (*project_rotated_key(event), *project_next_version(event))
        case KeyRevoked():
            return project_revoked_key(event)
        case KeyDeleted():
            return project_deleted_key(event)
        case MfaChallenged():
            return project_challenge(event)
        case MfaVerified():
            return project_verified_challenge(event)
        case MfaFailed():
            return project_failed_challenge(event)
        case MfaProofSpent():
            return project_spent_proof(event)
        case TotpSetUp() | MfaEnrolled() | BackupCodesRegenerated() | MfaDisabled():
            return ()
        case AuditRecorded():
            return project_audit_log(event)
        case _:
            assert_never(event)


READ_MODEL = ReadModel(METADATA, project)
