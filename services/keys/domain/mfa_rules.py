"""The rules of second factors: each code counts once, guesses are few, a proof is for one thing."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, assert_never
from uuid import UUID

from kernel.messages import Decider
from services.keys.domain.mfa import FAILURES_MAX, MFA, Challenge, Mfa, Proof, lasting
from services.keys.domain.mfa_messages import (
    BackupCodesRegenerated,
    ChallengeMfa,
    ConfirmTotp,
    DisableMfa,
    Method,
    MfaChallenged,
    MfaCommand,
    MfaDisabled,
    MfaEnrolled,
    MfaEvent,
    MfaFailed,
    MfaProofSpent,
    MfaVerified,
    Operation,
    RegenerateBackupCodes,
    SetUpTotp,
    SpendProof,
    TotpSetUp,
    VerifyMfa,
)
from services.keys.domain.mfa_refusals import (
    already_enrolled,
    challenge_not_found,
    mfa_locked,
    mfa_required,
    not_enrolled,
    nothing_to_confirm,
)

SETUP_LASTS: Final = timedelta(minutes=15)
CHALLENGE_LASTS: Final = timedelta(minutes=5)
PROOF_LASTS: Final = timedelta(minutes=5)
LOCKED_FOR: Final = timedelta(minutes=15)
FAILURES_WITHIN: Final = timedelta(minutes=15)


def attempts_left(state: Mfa, at: datetime) -> int:
    """How many wrong codes the user has until they are locked."""
    if state.locked_until is not None and state.locked_until > at:
        return 0
    return FAILURES_MAX - len(_recent(state, at))


def _decide(command: MfaCommand, state: Mfa) -> Sequence[MfaEvent]:
    match command:
        case SetUpTotp():
            return _set_up(command, state)
        case ConfirmTotp():
            return (_confirm(command, state),)
        case ChallengeMfa():
            return (_challenge(command, state),)
        case VerifyMfa():
            return (_verify(command, state),)
        case SpendProof():
            return (_spend(command, state),)
        case RegenerateBackupCodes():
            return _regenerate(command, state)
        case DisableMfa():
            nothing = not state.enrolled and state.setup is None
            return () if nothing else (MfaDisabled(command.user_id, command.at),)
        case _:
            assert_never(command)


def _set_up(command: SetUpTotp, state: Mfa) -> Sequence[MfaEvent]:
    """Whoever has a second factor replaces it by showing it, whatever the policy for keys is."""
    at = command.at
    set_up = TotpSetUp(command.user_id, command.setup_id, at + SETUP_LASTS, at)
    if not state.enrolled:
        return (set_up,)
    proof = _proof(state, command.proof_sha256, Operation.REPLACE_TOTP.value, None, at)
    if proof is None:
        raise already_enrolled()
    return (MfaProofSpent(command.user_id, proof.challenge_id, at), set_up)


def _confirm(command: ConfirmTotp, state: Mfa) -> MfaEnrolled | MfaFailed:
    at = command.at
    _refuse_while_locked(state, at)
    if state.setup is None or state.setup.expires_at <= at:
        raise nothing_to_confirm()
    if command.setup_id != state.setup.setup_id or command.step is None:
        return _failure(command.user_id, None, Method.TOTP.value, state, at)
    return MfaEnrolled(
        user_id=command.user_id,
        setup_id=command.setup_id,
        step=command.step,
        codes_id=command.codes_id,
        codes_count=command.codes_count,
        enrolled_at=at,
    )


def _challenge(command: ChallengeMfa, state: Mfa) -> MfaChallenged:
    """Also while the user is locked: it opens nothing, and the lock stays."""
    if not state.enrolled:
        raise not_enrolled()
    return MfaChallenged(
        user_id=command.user_id,
        challenge_id=command.challenge_id,
        operation=command.operation,
        key_id=command.key_id,
        expires_at=command.at + CHALLENGE_LASTS,
        challenged_at=command.at,
    )


def _verify(command: VerifyMfa, state: Mfa) -> MfaVerified | MfaFailed:
    at = command.at
    _refuse_while_locked(state, at)
    challenge = _open_challenge(state, command.challenge_id, at)
    if command.place is None or not _is_fresh(command, command.place, state):
        return _failure(command.user_id, challenge, command.method, state, at)
    return MfaVerified(
        user_id=command.user_id,
        challenge_id=challenge.challenge_id,
        operation=challenge.operation,
        key_id=challenge.key_id,
        method=command.method,
        place=command.place,
        proof_sha256=command.proof_sha256,
        expires_at=at + PROOF_LASTS,
        verified_at=at,
    )


def _is_fresh(command: VerifyMfa, place: int, state: Mfa) -> bool:
    """Whether the code is of what is in use now, and neither it nor a later one was taken."""
    if command.method == Method.TOTP:
        return command.secret_id == state.totp_id and place > state.last_step
    return command.secret_id == state.codes_id and place in state.codes_left


def _spend(command: SpendProof, state: Mfa) -> MfaProofSpent:
    at = command.at
    proof = _proof(state, command.proof_sha256, command.operation, command.key_id, at)
    if proof is None:
        raise mfa_required(command.operation, enrolled=state.enrolled)
    return MfaProofSpent(command.user_id, proof.challenge_id, at)


def _regenerate(command: RegenerateBackupCodes, state: Mfa) -> Sequence[MfaEvent]:
    operation, at = Operation.REGENERATE_BACKUP_CODES.value, command.at
    spent = _spend(SpendProof(command.user_id, command.proof_sha256, operation, None, at), state)
    codes = (command.codes_id, command.codes_count)
    return (spent, BackupCodesRegenerated(command.user_id, *codes, at))


def _refuse_while_locked(state: Mfa, at: datetime) -> None:
    if state.locked_until is not None and state.locked_until > at:
        raise mfa_locked(state.locked_until, at)


def _open_challenge(state: Mfa, challenge_id: UUID, at: datetime) -> Challenge:
    for challenge in lasting(state.challenges, at):
        if challenge.challenge_id == challenge_id:
            return challenge
    raise challenge_not_found()


def _proof(
    state: Mfa, sha256: str | None, operation: str, key_id: UUID | None, at: datetime
) -> Proof | None:
    for proof in lasting(state.proofs, at):
        if (proof.sha256, proof.operation, proof.key_id) == (sha256, operation, key_id):
            return proof
    return None


def _failure(
    user_id: UUID, challenge: Challenge | None, method: str, state: Mfa, at: datetime
) -> MfaFailed:
    failures = 1 if challenge is None else challenge.failures + 1
    locks_user = len(_recent(state, at)) + 1 >= FAILURES_MAX
    return MfaFailed(
        user_id=user_id,
        challenge_id=None if challenge is None else challenge.challenge_id,
        method=method,
        failures=failures,
        challenge_locked=challenge is not None and failures >= FAILURES_MAX,
        locked_until=at + LOCKED_FOR if locks_user else None,
        failed_at=at,
    )


def _recent(state: Mfa, at: datetime) -> tuple[datetime, ...]:
    return tuple(moment for moment in state.failed_at if moment > at - FAILURES_WITHIN)


PROVING: Decider[MfaCommand, MfaEvent, Mfa] = Decider(MFA, _decide)
