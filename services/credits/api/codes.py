"""HTTP in: redeem codes, issued by admins and brought by signed-in people.

A code is shown once, to the admin who issues it; its hash alone is kept, in events, records and
ids. It has 100 bits from the operating system, so guessing one is out of reach and no salt is
needed.
"""

import hashlib
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import AfterValidator, BaseModel, Field, SecretStr

from kernel.clock import random_token
from kernel.errors import Forbidden
from kernel.event_store import EventStore
from kernel.http import (
    Attempt,
    Caller,
    Idempotency,
    Identity,
    Replay,
    Resumed,
    idempotency_key,
)
from kernel.money import to_units
from kernel.unit import Unit
from services.credits import read_model
from services.credits.adapters.due_accounts import book
from services.credits.api.answers import BalanceBody, balance_body
from services.credits.api.exact_json import (
    Credits,
    ExactResponse,
    ExactRoute,
    exact_credits,
    exact_text,
    replayed,
)
from services.credits.api.words import Amount, Moment, Reason, StrictRequest, refuse
from services.credits.domain import (
    ACCOUNT,
    CODE,
    Code,
    CodeIssued,
    GrantEntered,
    Redeem,
    redeem,
)

CODES_MAX: Final = 1_000
CODE_LENGTH_MAX: Final = 100
GRANT_DAYS_MAX: Final = 3_650
GROUPS: Final = 5
GROUP_LENGTH: Final = 4
_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_READ_AS: Final = str.maketrans("OIL", "011", "- ")
"""Crockford's base32 has no letter that looks like a digit: who reads one meant the digit."""


def _brought(code: SecretStr) -> SecretStr:
    if not normalised(code.get_secret_value()):
        raise ValueError("must not be blank")
    return code


class RedeemRequest(StrictRequest):
    code: Annotated[SecretStr, Field(max_length=CODE_LENGTH_MAX), AfterValidator(_brought)]


class RedeemAnswer(BaseModel):
    """`balance` is what the grant left; what is left of it ends at `ends_at`, if it does."""

    success: Literal[True] = True
    amount: Credits
    ends_at: datetime | None
    balance: BalanceBody


class IssueRequest(StrictRequest):
    """Codes are good until `expires_at`; what one grants ends `grant_days` after it was
    redeemed."""

    amount: Amount
    count: Annotated[int, Field(ge=1, le=CODES_MAX, strict=True)] = 1
    expires_at: Moment | None = None
    grant_days: Annotated[int, Field(ge=1, le=GRANT_DAYS_MAX, strict=True)] | None = None
    note: Reason | None = None


class IssueAnswer(BaseModel):
    """`codes` are shown this once; null in a repeated answer."""

    success: Literal[True] = True
    codes: list[str] | None
    count: int
    amount: Credits
    expires_at: datetime | None
    grant_days: int | None
    note: str | None


class Codes:
    def __init__(self, store: EventStore, idempotency: Idempotency) -> None:
        self._store = store
        self._idempotency = idempotency

    async def issue(
        self, caller: Identity, body: IssueRequest, attempt: Attempt | None
    ) -> Response:
        match await self._idempotency.earlier(attempt):
            case Replay(status, answer):
                return replayed(status, answer)
            case Resumed():
                return replayed(201, exact_text(_issued(body, None)))
        if body.expires_at is not None and body.expires_at <= self._store.clock.now():
            raise refuse("expires_at", "is past.")
        codes = [new_code() for _ in range(body.count)]
        streams = {CODE.stream_id(hash_of(code)): hash_of(code) for code in codes}

        async def work(unit: Unit) -> None:
            await self._idempotency.claim(unit, attempt, "codes")
            await unit.load(dict.fromkeys(streams, CODE))
            for stream_id, code_hash in streams.items():
                issued = CodeIssued(
                    code_hash,
                    to_units(body.amount),
                    caller.user_id,
                    unit.now,
                    body.note or "",
                    body.expires_at,
                    body.grant_days,
                )
                await unit.decide_on(((CODE, stream_id),), lambda _, issued=issued: [issued])

        await self._store.transact(work)
        await self._idempotency.answered(attempt, 201, exact_text(_issued(body, None)))
        return ExactResponse(_issued(body, codes), 201)

    async def redeem(
        self, caller: Identity, body: RedeemRequest, attempt: Attempt | None
    ) -> Response:
        match await self._idempotency.earlier(attempt):
            case Replay(status, answer):
                return replayed(status, answer)
            case Resumed(code_hash):
                first = await self._redeemed(code_hash, caller.account_id)
                return replayed(200, exact_text(first))
        code_hash = hash_of(body.code.get_secret_value())

        async def work(unit: Unit) -> None:
            await self._idempotency.claim(unit, attempt, code_hash)
            recorded = await unit.decide_on(
                (
                    (CODE, CODE.stream_id(code_hash)),
                    (ACCOUNT, ACCOUNT.stream_id(caller.account_id)),
                ),
                lambda code, account: redeem(
                    Redeem(code_hash, caller.account_id, unit.now, _grant_ends_at(code, unit.now)),
                    code,
                    account,
                ),
            )
            book(unit, recorded)

        await self._store.transact(work)
        redeemed = await self._redeemed(code_hash, caller.account_id)
        await self._idempotency.answered(attempt, 200, exact_text(redeemed))
        return ExactResponse(redeemed)

    async def _redeemed(self, code_hash: str, account_id: UUID) -> RedeemAnswer:
        """The same each time: of the code's entry, not of what came after."""
        stream_id = CODE.stream_id(code_hash)
        _, version = await self._store.read(CODE, stream_id)
        entry = await read_model.entry_made_with(
            self._store.database,
            account_id,
            (stream_id, version),
            GrantEntered,
        )
        return RedeemAnswer(
            amount=exact_credits(entry.amount_units),
            ends_at=entry.expires_at,
            balance=balance_body(entry.after),
        )


def redeem_routes(codes: Codes) -> APIRouter:
    router = APIRouter(prefix="/api/v2/generation/credits", tags=["credits"])

    @router.post("/redeem", response_model=RedeemAnswer)
    async def redeem_code(caller: Caller, request: Request, body: RedeemRequest) -> Response:
        """What the code is worth, once. 404 `code_not_found`; 409 `code_redeemed`,
        `code_expired`, `balance_too_large`, `too_many_grants`."""
        if caller.key_id is not None:
            raise Forbidden(
                "access_denied", "This is for a signed-in person; no API key may do it."
            )
        attempt = await idempotency_key(request, str(caller.user_id))
        return await codes.redeem(caller, body, attempt)

    return router


def code_routes(codes: Codes) -> APIRouter:
    router = APIRouter(prefix="/api/admin/credits", tags=["admin"], route_class=ExactRoute)

    @router.post("/codes", status_code=201, response_model=IssueAnswer)
    async def issue_codes(caller: Caller, request: Request, body: IssueRequest) -> Response:
        """New codes, shown this once."""
        caller.require_admin()
        attempt = await idempotency_key(request, str(caller.user_id))
        return await codes.issue(caller, body, attempt)

    return router


def new_code() -> str:
    """`XXXX-XXXX-XXXX-XXXX-XXXX` in Crockford's base32: 100 bits."""
    length = GROUPS * GROUP_LENGTH
    # A byte's low five bits are uniform, because 32 divides 256.
    letters = "".join(_CROCKFORD[byte % len(_CROCKFORD)] for byte in random_token(length))
    return "-".join(letters[at : at + GROUP_LENGTH] for at in range(0, length, GROUP_LENGTH))


def normalised(code: str) -> str:
    """In one spelling, however it was typed."""
    return code.upper().translate(_READ_AS)


def hash_of(code: str) -> str:
    """Hex SHA-256 of the code in its one spelling."""
    return hashlib.sha256(normalised(code).encode()).hexdigest()


def _grant_ends_at(code: Code, now: datetime) -> datetime | None:
    if code.issued is None or code.issued.grant_days is None:
        return None
    return now + timedelta(days=code.issued.grant_days)


def _issued(body: IssueRequest, codes: list[str] | None) -> IssueAnswer:
    return IssueAnswer(
        codes=codes,
        count=body.count,
        amount=exact_credits(to_units(body.amount)),
        expires_at=body.expires_at,
        grant_days=body.grant_days,
        note=body.note,
    )
