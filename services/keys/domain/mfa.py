"""Second factors: what is in use, which challenges are open, which proofs are unspent.

Bounded, whatever is asked; it must not know secrets or codes, nor how a code is made.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, TypeVar, assert_never
from uuid import UUID

from kernel.messages import Aggregate
from services.keys.domain.mfa_messages import (
    BackupCodesRegenerated,
    Method,
    MfaChallenged,
    MfaDisabled,
    MfaEnrolled,
    MfaEvent,
    MfaFailed,
    MfaProofSpent,
    MfaVerified,
    TotpSetUp,
)

CHALLENGES_MAX: Final = 5
"""Open at once, of one user; a new one takes the place of the oldest."""
PROOFS_MAX: Final = 5
"""Unspent at once, of one user; the same."""
FAILURES_MAX: Final = 5
"""In a row: of one challenge, and of one user within a while."""
NO_STEP: Final = -1
"""Before every time step."""


@dataclass(frozen=True, slots=True)
class Setup:
    """A secret that waits for its first code."""

    setup_id: UUID
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Challenge:
    challenge_id: UUID
    operation: str
    key_id: UUID | None
    expires_at: datetime
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Proof:
    """That the challenge was verified; `sha256` is the hash of what shows it."""

    challenge_id: UUID
    sha256: str
    operation: str
    key_id: UUID | None
    expires_at: datetime


Lasting = TypeVar("Lasting", Challenge, Proof)


@dataclass(frozen=True, slots=True)
class Mfa:
    """`totp_id` and `codes_id` name the secret and the list in use, None before enrolment.

    `last_step` is the last time step whose code was taken; `codes_left` are the unused places of
    the list; `failed_at` are the wrong codes since the last right one or lock.
    """

    totp_id: UUID | None = None
    last_step: int = NO_STEP
    codes_id: UUID | None = None
    codes_left: tuple[int, ...] = ()
    setup: Setup | None = None
    challenges: tuple[Challenge, ...] = ()
    proofs: tuple[Proof, ...] = ()
    failed_at: tuple[datetime, ...] = ()
    locked_until: datetime | None = None

    @property
    def enrolled(self) -> bool:
        return self.totp_id is not None


def lasting(items: tuple[Lasting, ...], at: datetime) -> tuple[Lasting, ...]:
    """Those that have not expired by `at`."""
    return tuple(item for item in items if item.expires_at > at)


def _evolve(state: Mfa, event: MfaEvent) -> Mfa:
    match event:
        case TotpSetUp():
            return replace(state, setup=Setup(event.setup_id, event.expires_at))
        case MfaEnrolled():
            # What the factor before has opened or proved ends with it.
            return Mfa(
                totp_id=event.setup_id,
                last_step=event.step,
                codes_id=event.codes_id,
                codes_left=tuple(range(event.codes_count)),
            )
        case MfaChallenged():
            return _with_challenge(state, event)
        case MfaVerified():
            return _with_proof(state, event)
        case MfaFailed():
            return _with_failure(state, event)
        case MfaProofSpent():
            return replace(state, proofs=_others(state.proofs, event.challenge_id))
        case MfaDisabled():
            return Mfa()
        case BackupCodesRegenerated():
            left = tuple(range(event.codes_count))
            return replace(state, codes_id=event.codes_id, codes_left=left)
        case _:
            assert_never(event)


def _with_challenge(state: Mfa, event: MfaChallenged) -> Mfa:
    fresh = Challenge(event.challenge_id, event.operation, event.key_id, event.expires_at)
    challenges = (*lasting(state.challenges, event.challenged_at), fresh)
    return replace(state, challenges=challenges[-CHALLENGES_MAX:])


def _with_proof(state: Mfa, event: MfaVerified) -> Mfa:
    fresh = Proof(
        event.challenge_id, event.proof_sha256, event.operation, event.key_id, event.expires_at
    )
    verified = replace(
        state,
        challenges=_others(state.challenges, event.challenge_id),
        proofs=(*lasting(state.proofs, event.verified_at), fresh)[-PROOFS_MAX:],
        failed_at=(),
        locked_until=None,
    )
    if event.method == Method.TOTP:
        return replace(verified, last_step=event.place)
    left = tuple(place for place in state.codes_left if place != event.place)
    return replace(verified, codes_left=left)


def _with_failure(state: Mfa, event: MfaFailed) -> Mfa:
    challenges = tuple(
        replace(challenge, failures=event.failures)
        if challenge.challenge_id == event.challenge_id
        else challenge
        for challenge in state.challenges
    )
    if event.challenge_locked and event.challenge_id is not None:
        challenges = _others(challenges, event.challenge_id)
    locked = event.locked_until is not None
    return replace(
        state,
        challenges=challenges,
        failed_at=() if locked else (*state.failed_at, event.failed_at)[1 - FAILURES_MAX :],
        locked_until=event.locked_until,
    )


def _others(items: tuple[Lasting, ...], challenge_id: UUID) -> tuple[Lasting, ...]:
    return tuple(item for item in items if item.challenge_id != challenge_id)


MFA: Aggregate[MfaEvent, Mfa] = Aggregate(
    name="mfa",
    state=Mfa,
    initial_state=Mfa,
    evolve=_evolve,
    events=(
        TotpSetUp,
        MfaEnrolled,
        MfaChallenged,
        MfaVerified,
        MfaFailed,
        MfaProofSpent,
        BackupCodesRegenerated,
        MfaDisabled,
    ),
)
