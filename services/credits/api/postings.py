"""HTTP in: what admins post to an account by hand, each once under an id."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import AfterValidator, BaseModel, Field, model_validator

from kernel.clock import new_id
from kernel.errors import NotFound, Rejected
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
from kernel.identifiers import shown
from kernel.messages import Aggregate
from kernel.money import to_units
from kernel.sql import Database
from kernel.unit import Unit
from services.credits import read_model
from services.credits.adapters.due_accounts import book
from services.credits.api.answers import (
    BalanceBody,
    TransactionBody,
    shown_task,
    transaction_body,
)
from services.credits.api.exact_json import (
    Credits,
    ExactResponse,
    ExactRoute,
    exact_credits,
    exact_text,
    replayed,
)
from services.credits.api.words import (
    AccountId,
    Amount,
    Moment,
    Reason,
    StrictRequest,
    TaskId,
    UserId,
    refuse,
)
from services.credits.domain import (
    ACCOUNT,
    HOLD,
    NO_TASK,
    PLAN_GRANT,
    POSTING,
    AdjustmentEntered,
    GrantEntered,
    PostingKind,
    PostingMade,
    RefundEntered,
    post,
)

POSTING_DIFFERS: Final = "posting_differs"
OWN_IDS: Final = (PLAN_GRANT, "code:")
"""How the ids of grants begin that nobody posts by hand."""
_ENTRIES: Final = {
    PostingKind.GRANT: GrantEntered,
    PostingKind.ADJUST: AdjustmentEntered,
    PostingKind.REFUND: RefundEntered,
}
_FIELDS: Final = {"posting_id": "grant_id", "amount_units": "amount", "taken": "direction"}
"""The client's words for the domain's, where they are others."""


def _not_ours(grant_id: str) -> str:
    if grant_id.startswith(OWN_IDS):
        raise ValueError(f"must not begin with {' or '.join(OWN_IDS)}")
    return grant_id


GrantId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,100}$"), AfterValidator(_not_ours)]


class PostingRequest(StrictRequest):
    """Give `user_id` or `account_id`; `direction` is an adjustment's, `expires_at` a grant's and
    `task_id` a refund's alone. What is sent again under the same `grant_id` is posted once."""

    user_id: UserId | None = None
    account_id: AccountId | None = None
    amount: Amount
    reason: Reason
    kind: PostingKind = PostingKind.GRANT
    direction: Literal["credit", "debit"] | None = None
    expires_at: Moment | None = None
    task_id: TaskId | None = None
    grant_id: GrantId | None = None

    @model_validator(mode="after")
    def _fits_its_kind(self) -> "PostingRequest":
        if (self.user_id is None) == (self.account_id is None):
            raise refuse("user_id", "give it or account_id, and not both.")
        adjusts, refunds = self.kind is PostingKind.ADJUST, self.kind is PostingKind.REFUND
        if (self.direction is not None) != adjusts:
            raise refuse("direction", "an adjustment has one, and nothing else.")
        if (self.task_id is not None) != refunds:
            raise refuse("task_id", "a refund has one, and nothing else.")
        if self.expires_at is not None and self.kind is not PostingKind.GRANT:
            raise refuse("expires_at", "a grant alone ends.")
        return self


class PostingBody(BaseModel):
    grant_id: str
    account_id: str
    kind: str
    amount: Credits
    reason: str
    direction: str | None
    expires_at: datetime | None
    task_id: str | None


class PostingAnswer(BaseModel):
    """`transaction` is the ledger entry, `balance` what it left; `repeated` says that it was made
    before."""

    success: Literal[True] = True
    repeated: bool
    posting: PostingBody
    transaction: TransactionBody
    balance: BalanceBody


class Postings:
    def __init__(self, store: EventStore, idempotency: Idempotency) -> None:
        self._store = store
        self._idempotency = idempotency

    async def make(
        self, caller: Identity, body: PostingRequest, attempt: Attempt | None
    ) -> Response:
        match await self._idempotency.earlier(attempt):
            case Replay(status, answer):
                return replayed(status, answer)
            case Resumed(posting_id):
                first = await self._answer(posting_id, repeated=False)
                return replayed(201, exact_text(first))
        asked = await self._asked(caller, body)
        try:
            is_new = await self._record(asked, attempt)
        except Rejected as refused:
            raise _in_clients_words(refused) from None
        answer = await self._answer(asked.posting_id, repeated=not is_new)
        await self._idempotency.answered(attempt, 201, exact_text(answer))
        return ExactResponse(answer, 201)

    async def _asked(self, caller: Identity, body: PostingRequest) -> PostingMade:
        account_id = body.account_id
        if body.user_id is not None:
            account_id = await account_of(self._store.database, body.user_id)
        assert account_id is not None, "the body has one or the other"
        return PostingMade(
            posting_id=body.grant_id or shown("grant", new_id()),
            account_id=account_id,
            kind=body.kind,
            amount_units=to_units(body.amount),
            reason=body.reason,
            by=caller.user_id,
            taken=body.direction == "debit",
            expires_at=body.expires_at,
            task_id=body.task_id,
        )

    async def _record(self, asked: PostingMade, attempt: Attempt | None) -> bool:
        """Whether it was new."""
        parts: list[tuple[Aggregate[Any, Any], str]] = [
            (POSTING, POSTING.stream_id(asked.posting_id)),
            (ACCOUNT, ACCOUNT.stream_id(asked.account_id)),
        ]
        if asked.task_id is not None:
            parts.append((HOLD, HOLD.stream_id(asked.task_id)))

        async def work(unit: Unit) -> bool:
            await self._idempotency.claim(unit, attempt, asked.posting_id)
            recorded = await unit.decide_on(
                parts,
                lambda posting, account, hold=NO_TASK: post(
                    asked, unit.now, posting, account, hold
                ),
            )
            book(unit, recorded)
            return bool(recorded)

        return await self._store.transact(work)

    async def _answer(self, posting_id: str, *, repeated: bool) -> PostingAnswer:
        """The same each time: of the posting and its entry, not of what came after."""
        stream_id = POSTING.stream_id(posting_id)
        posting, _ = await self._store.read(POSTING, stream_id)
        made = posting.made
        assert made is not None
        change = -made.amount_units if made.taken else made.amount_units
        entry = await read_model.entry_made_with(
            self._store.database,
            made.account_id,
            (stream_id, 1),
            _ENTRIES[made.kind],
        )
        transaction = transaction_body(entry, change)
        return PostingAnswer(
            repeated=repeated,
            posting=_posting_body(made),
            transaction=transaction,
            balance=transaction.balance_after,
        )


def posting_routes(postings: Postings) -> APIRouter:
    router = APIRouter(prefix="/api/admin/credits", tags=["admin"], route_class=ExactRoute)

    @router.post("/grants", status_code=201, response_model=PostingAnswer)
    async def post_credits(caller: Caller, request: Request, body: PostingRequest) -> Response:
        """A grant, an adjustment or a refund, once for each `grant_id`. 404 `user_not_found`,
        `account_not_found`, `task_not_found`; 409 `posting_differs`, `exceeds_charge`,
        `balance_too_large`, `too_many_grants`; 422 `insufficient_credits`."""
        caller.require_admin()
        attempt = await idempotency_key(request, str(caller.user_id))
        return await postings.make(caller, body, attempt)

    return router


async def account_of(database: Database, user_id: UUID) -> UUID:
    """Raises `NotFound` for a user without an account."""
    account_id = await read_model.account_of_user(database, user_id)
    if account_id is None:
        raise user_not_found()
    return account_id


def user_not_found() -> NotFound:
    return NotFound("user_not_found", "There is no such user.")


def _posting_body(made: PostingMade) -> PostingBody:
    direction = None
    if made.kind is PostingKind.ADJUST:
        direction = "debit" if made.taken else "credit"
    return PostingBody(
        grant_id=made.posting_id,
        account_id=shown("account", made.account_id),
        kind=made.kind,
        amount=exact_credits(made.amount_units),
        reason=made.reason,
        direction=direction,
        expires_at=made.expires_at,
        task_id=shown_task(made.task_id),
    )


def _in_clients_words(refused: Rejected) -> Rejected:
    named = refused.details.get("fields")
    if refused.code != POSTING_DIFFERS or not isinstance(named, list):
        return refused
    fields = [_FIELDS.get(name, name) for name in map(str, named)]
    words = f"This grant_id was used before, with another {', '.join(fields)}."
    return Rejected(POSTING_DIFFERS, words, {"fields": fields})
