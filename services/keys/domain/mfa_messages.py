"""What a second factor is asked, and what is remembered of it: no secret and no code.

What a code matched is worked out outside: a command carries which secret or list it was compared
with, and where in it the code was found.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class Method(StrEnum):
    """What a code is of. Events keep the words, not the members."""

    TOTP = "totp"
    BACKUP_CODE = "backup_code"


class Operation(StrEnum):
    """What a proof may be for. Events keep the words, not the members."""

    ROTATE_KEY = "rotate_key"
    DELETE_KEY = "delete_key"
    REGENERATE_BACKUP_CODES = "regenerate_backup_codes"
    REPLACE_TOTP = "replace_totp"


KEY_OPERATIONS = frozenset({Operation.ROTATE_KEY, Operation.DELETE_KEY})
"""Those that are about one key."""


@dataclass(frozen=True, slots=True)
class SetUpTotp:
    """`setup_id` names a new secret; whoever has a second factor shows a proof (`REPLACE_TOTP`)."""

    user_id: UUID
    setup_id: UUID
    proof_sha256: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class ConfirmTotp:
    """A code of the new secret `setup_id`, found at time step `step`, or nowhere (None).

    `codes_id` names the new list of `codes_count` backup codes.
    """

    user_id: UUID
    setup_id: UUID | None
    step: int | None
    codes_id: UUID
    codes_count: int
    at: datetime


@dataclass(frozen=True, slots=True)
class ChallengeMfa:
    """`key_id` is the user's own key, None where the operation is about none."""

    user_id: UUID
    challenge_id: UUID
    operation: str
    key_id: UUID | None
    at: datetime


@dataclass(frozen=True, slots=True)
class VerifyMfa:
    """A code that was compared with the secret, or list of backup codes, `secret_id`.

    `place` is the time step, or the place in the list, where it was found; None: nowhere.
    `proof_sha256` is the hash of the proof that a right code earns.
    """

    user_id: UUID
    challenge_id: UUID
    method: str
    secret_id: UUID | None
    place: int | None
    proof_sha256: str
    at: datetime


@dataclass(frozen=True, slots=True)
class SpendProof:
    """`proof_sha256` is the hash of what was shown as a proof; None: nothing was."""

    user_id: UUID
    proof_sha256: str | None
    operation: str
    key_id: UUID | None
    at: datetime


@dataclass(frozen=True, slots=True)
class RegenerateBackupCodes:
    user_id: UUID
    codes_id: UUID
    codes_count: int
    proof_sha256: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class DisableMfa:
    """Whoever set it up may not have been who the account belongs to."""

    user_id: UUID
    at: datetime


@dataclass(frozen=True, slots=True)
class TotpSetUp:
    user_id: UUID
    setup_id: UUID
    expires_at: datetime
    set_up_at: datetime


@dataclass(frozen=True, slots=True)
class MfaEnrolled:
    """The secret `setup_id` is the second factor, whatever there was before; `step` is used."""

    user_id: UUID
    setup_id: UUID
    step: int
    codes_id: UUID
    codes_count: int
    enrolled_at: datetime


@dataclass(frozen=True, slots=True)
class MfaChallenged:
    user_id: UUID
    challenge_id: UUID
    operation: str
    key_id: UUID | None
    expires_at: datetime
    challenged_at: datetime


@dataclass(frozen=True, slots=True)
class MfaVerified:
    """A right code, which is used by it; who holds the proof may do the operation once."""

    user_id: UUID
    challenge_id: UUID
    operation: str
    key_id: UUID | None
    method: str
    place: int
    proof_sha256: str
    expires_at: datetime
    verified_at: datetime


@dataclass(frozen=True, slots=True)
class MfaFailed:
    """A wrong code: the challenge's `failures`-th (None: a secret was being confirmed).

    `challenge_locked`: it was its last; `locked_until`: it was the user's last for now.
    """

    user_id: UUID
    challenge_id: UUID | None
    method: str
    failures: int
    challenge_locked: bool
    locked_until: datetime | None
    failed_at: datetime


@dataclass(frozen=True, slots=True)
class MfaProofSpent:
    """The proof that the challenge had earned was taken for its operation."""

    user_id: UUID
    challenge_id: UUID
    spent_at: datetime


@dataclass(frozen=True, slots=True)
class BackupCodesRegenerated:
    user_id: UUID
    codes_id: UUID
    codes_count: int
    regenerated_at: datetime


@dataclass(frozen=True, slots=True)
class MfaDisabled:
    """There is no second factor any more, nor one that waits."""

    user_id: UUID
    disabled_at: datetime


MfaCommand = (
    SetUpTotp
    | ConfirmTotp
    | ChallengeMfa
    | VerifyMfa
    | SpendProof
    | RegenerateBackupCodes
    | DisableMfa
)
MfaEvent = (
    TotpSetUp
    | MfaEnrolled
    | MfaChallenged
    | MfaVerified
    | MfaFailed
    | MfaProofSpent
    | BackupCodesRegenerated
    | MfaDisabled
)
