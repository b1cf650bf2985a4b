"""HTTP in: what proves the caller's account, for whoever wants to add it up."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel

from kernel.http import Caller
from kernel.identifiers import shown
from kernel.sql import Database
from services.credits import read_model
from services.credits.adapters.seals import chain
from services.credits.api.answers import BalanceBody, balance_body
from services.credits.api.exact_json import Credits, ExactResponse, exact_credits
from services.credits.api.words import before_version


class ChainBody(BaseModel):
    """The last seal of the whole ledger: `head` (hex) is the hash over all events up to `position`.
    `unsealed_events` wait for the next one; of very many, some thousands are counted."""

    head: str
    seal_no: int
    position: int
    sealed_at: datetime | None
    unsealed_events: int


class AccountBody(BaseModel):
    """As its `entries` add up: `posted` is granted - used, `available` is posted - held."""

    granted: Credits
    used: Credits
    held: Credits
    posted: Credits
    available: Credits
    entries: int


class OpenHoldBody(BaseModel):
    task_id: str
    amount: Credits
    since: datetime
    entry_id: str


class HoldEndingBody(BaseModel):
    """`held` is `committed` and `released` together."""

    task_id: str
    held: Credits
    committed: Credits
    released: Credits
    ended_at: datetime
    ended_by: Literal["commit", "release"]
    hold_entry_id: str
    ending_entry_id: str
    balance_after: BalanceBody


class ProofAnswer(BaseModel):
    """Open holds and endings are listed newest first; `next_cursor` is of the endings."""

    success: Literal[True] = True
    chain: ChainBody
    account: AccountBody
    open_holds: list[OpenHoldBody]
    open_holds_more: bool
    endings: list[HoldEndingBody]
    next_cursor: str | None


def proof_routes(database: Database) -> APIRouter:
    router = APIRouter(prefix="/api/v2/generation/credits", tags=["credits"])

    @router.get("/proof", response_model=ProofAnswer)
    async def get_proof(
        caller: Caller,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        cursor: str | None = None,
    ) -> ExactResponse:
        """The caller's account as its entries add up, its open holds, how each other hold ended,
        and the head of the chain that seals the ledger."""
        before = before_version(cursor)
        sealed = await _chain_body(database)
        proof = await read_model.proof(
            database, caller.account_id, before_version=before, limit=limit + 1
        )
        endings, more = proof.endings[:limit], len(proof.endings) > limit
        answer = ProofAnswer(
            chain=sealed,
            account=_account_body(proof.sums, proof.entries),
            open_holds=[
                _open_hold_body(hold) for hold in proof.open_holds[: read_model.OPEN_HOLDS_MAX]
            ],
            open_holds_more=len(proof.open_holds) > read_model.OPEN_HOLDS_MAX,
            endings=[_ending_body(ending) for ending in endings],
            next_cursor=str(endings[-1].account_version) if more else None,
        )
        return ExactResponse(answer)

    return router


async def _chain_body(database: Database) -> ChainBody:
    seal, sealed_at, waiting = await chain(database)
    return ChainBody(
        head=seal.head.hex(),
        seal_no=seal.seal_no,
        position=seal.last_position,
        sealed_at=sealed_at,
        unsealed_events=waiting,
    )


def _account_body(sums: read_model.Balance, entries: int) -> AccountBody:
    return AccountBody(
        granted=exact_credits(sums.total_units),
        used=exact_credits(sums.used_units),
        held=exact_credits(sums.reserved_units),
        posted=exact_credits(sums.total_units - sums.used_units),
        available=exact_credits(sums.available_units),
        entries=entries,
    )


def _open_hold_body(hold: read_model.OpenHold) -> OpenHoldBody:
    return OpenHoldBody(
        task_id=shown("task", hold.task_id),
        amount=exact_credits(hold.amount_units),
        since=hold.since,
        entry_id=shown("entry", hold.entry_id),
    )


def _ending_body(ending: read_model.HoldEnding) -> HoldEndingBody:
    return HoldEndingBody(
        task_id=shown("task", ending.task_id),
        held=exact_credits(ending.held_units),
        committed=exact_credits(ending.committed_units),
        released=exact_credits(ending.held_units - ending.committed_units),
        ended_at=ending.at,
        ended_by="commit" if ending.kind == "commit" else "release",
        hold_entry_id=shown("entry", ending.hold_entry_id),
        ending_entry_id=shown("entry", ending.entry_id),
        balance_after=balance_body(ending.after),
    )
