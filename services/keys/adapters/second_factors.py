"""Second factors at work: each step in one transaction with its audit entry.

What a code matches is worked out here, and the rules decide on it; a wrong code is an event too, so
it is recorded before it is refused.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from kernel.clock import new_id
from kernel.encryption import Encryption
from kernel.errors import Forbidden, Invalid
from kernel.event_store import EventStore
from kernel.http import Attempt as IdempotentAttempt
from kernel.http import Idempotency
from kernel.unit import Recorded, Unit
from services.keys.adapters.audit_trail import Attempt, AuditTrail
from services.keys.adapters.backup_codes import BACKUP_CODES, new_backup_codes
from services.keys.adapters.mfa_proofs import new_mfa_token, proof_sha256
from services.keys.adapters.mfa_records import MfaRecords
from services.keys.adapters.totp import new_totp_secret
from services.keys.domain import (
    MFA,
    PROVING,
    USER,
    ChallengeMfa,
    ConfirmTotp,
    DisableMfa,
    Method,
    Mfa,
    MfaEvent,
    MfaFailed,
    MfaVerified,
    RegenerateBackupCodes,
    SetUpTotp,
    VerifyMfa,
    attempts_left,
    invalid_code,
)

_WRONG_CODE: Final = "invalid_code"


@dataclass(frozen=True, slots=True)
class ShownProof:
    """`token` is shown this once, and good until `expires_at`."""

    token: str
    expires_at: datetime


class SecondFactors:
    """Each is done for `attempt.user_id`, and entered in their audit log.

    A wrong code is returned as the refusal that it is: it is entered already, and is to be raised
    outside of `AuditTrail.refusals`.
    """

    def __init__(
        self,
        store: EventStore,
        encryption: Encryption,
        audit: AuditTrail,
        idempotency: Idempotency,
    ) -> None:
        self._store = store
        self._records = MfaRecords(store.schema, encryption)
        self._audit = audit
        self._idempotency = idempotency

    async def state(self, user_id: UUID) -> Mfa:
        state, _ = await self._store.read(MFA, MFA.stream_id(user_id))
        return state

    async def set_up(self, attempt: Attempt, token: str | None) -> str:
        """A new secret, in use once it is confirmed. Raises `Forbidden` for whom nobody is (any
        more), `Rejected` (`mfa_already_enrolled`)."""
        user_id, setup_id, secret = attempt.user_id, new_id(), new_totp_secret()

        async def work(unit: Unit) -> str:
            await _require_active(unit, user_id)
            before = await _state(unit, user_id)
            command = SetUpTotp(user_id, setup_id, proof_sha256(token), unit.now)
            await unit.decide(PROVING, MFA.stream_id(user_id), command)
            if before.setup is not None:
                self._records.forget_secret(unit, user_id, before.setup.setup_id)
            await self._records.keep_secret(unit, user_id, setup_id, secret)
            await self._audit.note(unit, attempt)
            return secret

        return await self._store.transact(work)

    async def confirm(self, attempt: Attempt, code: str) -> tuple[str, ...] | Invalid:
        """The backup codes, shown this once. Raises `Invalid` (`mfa_not_set_up`), `RateLimited`."""
        user_id, codes_id, codes = attempt.user_id, new_id(), new_backup_codes()

        async def work(unit: Unit) -> tuple[str, ...] | Invalid:
            before = await _state(unit, user_id)
            setup_id = None if before.setup is None else before.setup.setup_id
            step = await self._records.step(unit, user_id, setup_id, code, unit.now)
            command = ConfirmTotp(user_id, setup_id, step, codes_id, BACKUP_CODES, unit.now)
            (recorded,) = await unit.decide(PROVING, MFA.stream_id(user_id), command)
            if isinstance(recorded.event, MfaFailed):
                return await self._wrong(unit, attempt, recorded)
            self._records.forget_secret(unit, user_id, before.totp_id)
            self._records.forget_codes(unit, user_id, before.codes_id)
            await self._records.keep_codes(unit, user_id, codes_id, codes)
            await self._audit.note(unit, attempt)
            return codes

        return await self._store.transact(work)

    async def challenge(
        self, attempt: Attempt, operation: str, idempotent: IdempotentAttempt | None
    ) -> UUID:
        """A challenge for `operation` on `attempt.key_id`. Raises `Rejected` (`mfa_not_enrolled`),
        and as `Idempotency.claim`."""
        user_id, challenge_id = attempt.user_id, new_id()

        async def work(unit: Unit) -> UUID:
            await self._idempotency.claim(unit, idempotent, str(challenge_id))
            command = ChallengeMfa(user_id, challenge_id, operation, attempt.key_id, unit.now)
            await unit.decide(PROVING, MFA.stream_id(user_id), command)
            await self._audit.note(unit, attempt)
            return challenge_id

        return await self._store.transact(work)

    async def verify(
        self, attempt: Attempt, challenge_id: UUID, method: Method, code: str
    ) -> ShownProof | Invalid:
        """A proof for the challenge's operation. Raises `NotFound`, `RateLimited`."""
        user_id, token = attempt.user_id, new_mfa_token()
        sha256 = proof_sha256(token)
        assert sha256 is not None, "there is a token"

        async def work(unit: Unit) -> ShownProof | Invalid:
            secret_id, place = await self._found(unit, user_id, method, code)
            command = VerifyMfa(
                user_id=user_id,
                challenge_id=challenge_id,
                method=method.value,
                secret_id=secret_id,
                place=place,
                proof_sha256=sha256,
                at=unit.now,
            )
            before = await _state(unit, user_id)
            (recorded,) = await unit.decide(PROVING, MFA.stream_id(user_id), command)
            about = replace(attempt, key_id=_key_of(before, challenge_id))
            if not isinstance(recorded.event, MfaVerified):
                return await self._wrong(unit, about, recorded)
            await self._audit.note(unit, about)
            return ShownProof(token, recorded.event.expires_at)

        return await self._store.transact(work)

    async def regenerate(self, attempt: Attempt, token: str | None) -> tuple[str, ...]:
        """New backup codes, shown this once. Raises `Forbidden` (`mfa_required`)."""
        user_id, codes_id, codes = attempt.user_id, new_id(), new_backup_codes()

        async def work(unit: Unit) -> tuple[str, ...]:
            await _require_active(unit, user_id)
            before = await _state(unit, user_id)
            command = RegenerateBackupCodes(
                user_id, codes_id, BACKUP_CODES, proof_sha256(token), unit.now
            )
            await unit.decide(PROVING, MFA.stream_id(user_id), command)
            self._records.forget_codes(unit, user_id, before.codes_id)
            await self._records.keep_codes(unit, user_id, codes_id, codes)
            await self._audit.note(unit, attempt)
            return codes

        return await self._store.transact(work)

    async def drop(self, unit: Unit, user_id: UUID) -> None:
        """Leave the user without a second factor, in the transaction that says why."""
        before = await _state(unit, user_id)
        await unit.decide(PROVING, MFA.stream_id(user_id), DisableMfa(user_id, unit.now))
        setup_id = None if before.setup is None else before.setup.setup_id
        self._records.forget_secret(unit, user_id, setup_id)
        self._records.forget_secret(unit, user_id, before.totp_id)
        self._records.forget_codes(unit, user_id, before.codes_id)

    async def _found(
        self, unit: Unit, user_id: UUID, method: Method, code: str
    ) -> tuple[UUID | None, int | None]:
        """What the code was compared with, and where in it it was found."""
        state = await _state(unit, user_id)
        if method is Method.TOTP:
            step = await self._records.step(unit, user_id, state.totp_id, code, unit.now)
            return state.totp_id, step
        return state.codes_id, await self._records.place(unit, user_id, state.codes_id, code)

    async def _wrong(self, unit: Unit, attempt: Attempt, recorded: Recorded[MfaEvent]) -> Invalid:
        """The refusal of a code that `recorded` says was wrong, entered in the log."""
        assert isinstance(recorded.event, MfaFailed), "a code is right or wrong"
        await self._audit.note(unit, attempt, _WRONG_CODE)
        left = attempts_left(await _state(unit, attempt.user_id), unit.now)
        return invalid_code(recorded.event.method, left)


async def _require_active(unit: Unit, user_id: UUID) -> None:
    """What is kept of somebody after they were erased would stay for ever."""
    if not (await unit.state(USER, USER.stream_id(user_id))).is_active:
        raise Forbidden("access_denied", "Only a registered user can have a second factor.")


async def _state(unit: Unit, user_id: UUID) -> Mfa:
    return await unit.state(MFA, MFA.stream_id(user_id))


def _key_of(state: Mfa, challenge_id: UUID) -> UUID | None:
    """The key that a challenge is about."""
    for challenge in state.challenges:
        if challenge.challenge_id == challenge_id:
            return challenge.key_id
    return None
