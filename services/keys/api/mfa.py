"""HTTP in: `/api/keys/mfa`, for signed-in people; secrets and codes are shown once, when made."""

from typing import Annotated
from uuid import UUID

import asyncpg
from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse

from kernel.errors import Forbidden, Invalid
from kernel.event_store import EventStore
from kernel.http import Attempt as IdempotentAttempt
from kernel.http import (
    Caller,
    FromClient,
    Idempotency,
    Identity,
    Replay,
    Resumed,
    idempotency_key,
)
from kernel.identifiers import parsed, shown
from services.keys import read_model
from services.keys.adapters import Attempt, AuditTrail, SecondFactors, Users
from services.keys.adapters.totp import otpauth_uri, qr_svg
from services.keys.adapters.users import EMAIL
from services.keys.api.mfa_bodies import (
    TOKEN_LENGTH_MAX,
    BackupCodesAnswer,
    ChallengeAnswer,
    ChallengeRequest,
    SetupAnswer,
    StatusAnswer,
    VerifyAnswer,
    VerifyRequest,
    VerifySetupRequest,
)
from services.keys.domain import (
    KEY_OPERATIONS,
    Method,
    challenge_not_found,
    key_not_found,
)
from services.keys.domain.audit import Action

CHALLENGE = "challenge"
REPLAYED = {"Idempotency-Replayed": "true"}
Proof = Annotated[str | None, Header(alias="X-MFA-Token", max_length=TOKEN_LENGTH_MAX)]


class Challenges:
    """Challenges of one caller, each made once under one Idempotency-Key."""

    def __init__(self, store: EventStore, factors: SecondFactors, idempotency: Idempotency) -> None:
        self._database = store.database
        self._factors = factors
        self._idempotency = idempotency

    async def make(
        self, attempt: Attempt, body: ChallengeRequest, idempotent: IdempotentAttempt | None
    ) -> JSONResponse:
        await self._refuse_other_keys(attempt, body)
        match await self._idempotency.earlier(idempotent):
            case Replay(status, answer):
                return JSONResponse(answer, status, REPLAYED)
            case Resumed(resource):
                answer = await self._answer(attempt.user_id, UUID(resource))
                return JSONResponse(answer, 201, REPLAYED)
        challenge_id = await self._factors.challenge(attempt, body.operation.value, idempotent)
        answer = await self._answer(attempt.user_id, challenge_id)
        await self._idempotency.answered(idempotent, 201, answer)
        return JSONResponse(answer, 201)

    async def _refuse_other_keys(self, attempt: Attempt, body: ChallengeRequest) -> None:
        """Raises `Invalid` for a key where there is none, and the reverse; `NotFound` unless the
        key is the user's own."""
        if body.operation not in KEY_OPERATIONS:
            if body.key_id is not None:
                raise _wrong_key_id("is about no key; leave it out")
            return
        if body.key_id is None:
            raise _wrong_key_id("is about one of your keys; name it")
        if attempt.key_id is None or await self._key(attempt.user_id, attempt.key_id) is None:
            raise key_not_found()

    async def _key(self, user_id: UUID, key_id: UUID) -> asyncpg.Record | None:
        return await read_model.key_of(self._database, user_id, key_id)

    async def _answer(self, user_id: UUID, challenge_id: UUID) -> dict[str, str]:
        row = await read_model.challenge_of(self._database, user_id, challenge_id)
        if row is None:
            raise challenge_not_found()
        answer = ChallengeAnswer(
            challenge_id=shown(CHALLENGE, challenge_id), expires_at=row["expires_at"]
        )
        return answer.model_dump(mode="json")


def mfa_routes(
    store: EventStore,
    factors: SecondFactors,
    users: Users,
    *,
    audit: AuditTrail,
    idempotency: Idempotency,
) -> APIRouter:
    router = APIRouter(prefix="/api/keys/mfa", tags=["mfa"])
    challenges = Challenges(store, factors, idempotency)

    @router.get("/status")
    async def mfa_status(caller: Caller) -> StatusAnswer:
        """Whether there is a second factor, and what is left of it."""
        _require_signed_in(caller)
        state = await factors.state(caller.user_id)
        left, locked_until = len(state.codes_left), state.locked_until
        methods = [Method.TOTP.value] if state.enrolled else []
        return StatusAnswer(
            enrolled=state.enrolled,
            methods=[*methods, *([Method.BACKUP_CODE.value] if left else [])],
            backup_codes_left=left,
            locked_until=locked_until
            if locked_until and locked_until > store.clock.now()
            else None,
        )

    @router.post("/totp/setup")
    async def set_up_totp(caller: Caller, client: FromClient, proof: Proof = None) -> SetupAnswer:
        """A secret for an authenticator, in use once verify-setup has seen its first code. 409
        `mfa_already_enrolled` without a proof of the present one."""
        attempt = Attempt.by(caller, client, Action.SET_UP_MFA)
        async with audit.refusals(attempt):
            _require_signed_in(caller)
            secret = await factors.set_up(attempt, proof)
        personal = await users.personal(caller.user_id)
        uri = otpauth_uri(secret, personal.get(EMAIL, shown("user", caller.user_id)))
        return SetupAnswer(secret=secret, otpauth_uri=uri, qr_svg=qr_svg(uri))

    @router.post("/totp/verify-setup")
    async def verify_totp_setup(
        caller: Caller, client: FromClient, body: VerifySetupRequest
    ) -> BackupCodesAnswer:
        """The secret is in use from now on. 422 `invalid_code`, `mfa_not_set_up`; 429
        `mfa_locked` after five wrong codes in a row."""
        attempt = Attempt.by(caller, client, Action.CONFIRM_MFA)
        async with audit.refusals(attempt):
            _require_signed_in(caller)
            codes = await factors.confirm(attempt, body.code.get_secret_value())
        if isinstance(codes, Invalid):
            raise codes
        return BackupCodesAnswer(backup_codes=list(codes))

    @router.post("/challenge", status_code=201, response_model=ChallengeAnswer)
    async def challenge_mfa(
        caller: Caller, client: FromClient, request: Request, body: ChallengeRequest
    ) -> JSONResponse:
        """Begins the proof for one operation. 409 `mfa_not_enrolled`; 404 `key_not_found` for
        another user's key."""
        key_id = None if body.key_id is None else parsed("key", body.key_id)
        attempt = Attempt.by(caller, client, Action.CHALLENGE_MFA, key_id)
        async with audit.refusals(attempt):
            _require_signed_in(caller)
            idempotent = await idempotency_key(request, str(caller.user_id))
            return await challenges.make(attempt, body, idempotent)

    @router.post("/verify")
    async def verify_mfa(caller: Caller, client: FromClient, body: VerifyRequest) -> VerifyAnswer:
        """The proof, for five minutes and once. 404 `challenge_not_found`; 422 `invalid_code`; 429
        `mfa_locked` after five wrong codes in a row."""
        attempt = Attempt.by(caller, client, Action.VERIFY_MFA)
        async with audit.refusals(attempt):
            _require_signed_in(caller)
            method, code = _code_in(body)
            challenge_id = parsed(CHALLENGE, body.challenge_id)
            if challenge_id is None:
                raise challenge_not_found()
            proof = await factors.verify(attempt, challenge_id, method, code)
        if isinstance(proof, Invalid):
            raise proof
        return VerifyAnswer(mfa_token=proof.token, expires_at=proof.expires_at)

    @router.post("/backup-codes/regenerate")
    async def regenerate_backup_codes(
        caller: Caller, client: FromClient, proof: Proof = None
    ) -> BackupCodesAnswer:
        """New backup codes; the ones before end. 403 `mfa_required`, whatever the policy is."""
        attempt = Attempt.by(caller, client, Action.REGENERATE_BACKUP_CODES)
        async with audit.refusals(attempt):
            _require_signed_in(caller)
            codes = await factors.regenerate(attempt, proof)
        return BackupCodesAnswer(backup_codes=list(codes))

    return router


def _require_signed_in(caller: Identity) -> None:
    if caller.key_id is not None:
        raise Forbidden("access_denied", "This is for a signed-in person; no API key may do it.")


def _code_in(body: VerifyRequest) -> tuple[Method, str]:
    if body.code is not None and body.backup_code is None:
        return Method.TOTP, body.code.get_secret_value()
    if body.backup_code is not None and body.code is None:
        return Method.BACKUP_CODE, body.backup_code.get_secret_value()
    raise Invalid("invalid_request", "code: send either code or backup_code.", {"field": "code"})


def _wrong_key_id(why: str) -> Invalid:
    return Invalid("invalid_request", f"key_id: this operation {why}.", {"field": "key_id"})
