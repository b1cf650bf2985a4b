"""Composition root of credits."""

from collections.abc import Mapping

import asyncpg
from starlette.types import ASGIApp

from kernel.clock import SystemClock
from kernel.event_store import EventStore
from kernel.http import Idempotency, create_app
from kernel.http.dead_letters import dead_letter_routes
from kernel.http.peer import Peer
from kernel.inbox import Inbox
from kernel.money import to_units
from kernel.objects import ObjectStoreAway, object_store
from kernel.outbox import Publisher
from kernel.projections import History
from kernel.secrets import Secrets
from kernel.service import Ground, Platform, Service
from kernel.settings import WrongSettings, read_settings
from kernel.sql import Database
from services.credits.adapters.due_accounts import DueAccounts
from services.credits.adapters.generation_tasks import GenerationTasks
from services.credits.adapters.reconciler import Reconciler
from services.credits.adapters.seals import Seals
from services.credits.adapters.verification import verified
from services.credits.api import (
    Codes,
    Postings,
    balance_routes,
    code_routes,
    explanation_routes,
    plan_routes,
    posting_routes,
    proof_routes,
    reconciliation_routes,
    redeem_routes,
    subscription_routes,
    usage_routes,
)
from services.credits.domain import (
    ACCOUNT,
    BUDGET,
    CODE,
    HOLD,
    PLAN,
    PLANS,
    POSTING,
    STORAGE_METER,
    SUBSCRIPTION,
    DefinePlan,
    PlanTerms,
)
from services.credits.inbox import Terms, end_hold, subscriptions
from services.credits.outbox import announce
from services.credits.read_model import READ_MODEL, project
from services.credits.settings import CreditsSettings

SCHEMA = "credits"
AGGREGATES = (ACCOUNT, HOLD, BUDGET, POSTING, PLAN, SUBSCRIPTION, CODE, STORAGE_METER)
HISTORY = History(SCHEMA, AGGREGATES, READ_MODEL)
FREE_PLAN = "free"


def compose(
    platform: Platform, _: Secrets, upstreams: Mapping[str, ASGIApp] | None = None
) -> Service:
    """This service by the environment's settings, beside services of this process or of others."""
    settings = read_settings(CreditsSettings)
    return create_service(settings, platform, generation_of(settings, platform, upstreams))


def generation_of(
    settings: CreditsSettings, ground: Ground, upstreams: Mapping[str, ASGIApp] | None
) -> Peer:
    """Generation. Raises `WrongSettings` when it is in another process, and nothing says where."""
    if upstreams is not None:
        return Peer.here("generation", upstreams["generation"], ground.internal_tokens)
    if not settings.generation_url:
        raise WrongSettings("SmartSpec can't start: credits needs GENERATION_URL")
    return Peer.at("generation", settings.generation_url, ground.internal_tokens)


def create_service(settings: CreditsSettings, platform: Platform, generation: Peer) -> Service:
    database, clock = platform.database, platform.clock
    store = EventStore(
        database,
        SCHEMA,
        AGGREGATES,
        clock=clock,
        announce=announce,
        project=project,
    )
    terms = Terms(
        low_below_units=to_units(settings.low_balance_credits),
        storage_units_per_gb_month=to_units(settings.storage_credits_per_gb_month),
    )
    idempotency = Idempotency(database, SCHEMA, clock, sole_owner=platform.sole_owner)
    codes = Codes(store, idempotency)
    objects = object_store(settings)
    tasks = GenerationTasks(generation)
    inbox = Inbox("credits", store, subscriptions(terms))
    free = PlanTerms("Free", monthly_units=to_units(settings.free_plan_credits))

    async def define_free_plan() -> None:
        command = DefinePlan(FREE_PLAN, free, clock.now(), if_new=True)
        await store.handle(PLANS, PLAN.stream_id(FREE_PLAN), command)

    return Service(
        name="credits",
        app=create_app(
            "credits",
            [
                balance_routes(database, clock),
                usage_routes(database, clock),
                proof_routes(database),
                explanation_routes(store, tasks),
                redeem_routes(codes),
                posting_routes(Postings(store, idempotency)),
                plan_routes(store),
                code_routes(codes),
                subscription_routes(store),
                reconciliation_routes(database),
                dead_letter_routes(inbox),
            ],
            internal_tokens=platform.internal_tokens,
            ready=database.answers,
        ),
        store=store,
        read_model=READ_MODEL,
        inbox=inbox,
        publisher=Publisher(store, platform.bus, sole_owner=platform.sole_owner),
        prepare=(define_free_plan, objects.check),
        workers=(
            DueAccounts(store).run,
            Seals(database, clock, objects).run,
            Reconciler(store, tasks, end_hold).run,
            idempotency.run,
        ),
        resources=(generation, objects),
    )


async def ledger_verdict(database: Database, *, tell_all: bool = False) -> tuple[int, str]:
    """Whether the ledger is whole, as an exit status and in words: the first fault, or all."""
    objects = object_store(read_settings(CreditsSettings))
    try:
        await objects.check()
        faults, figures = await verified(database, AGGREGATES, objects, SystemClock().now())
    except asyncpg.UndefinedTableError as error:  # never started on this database, or dropped
        return (
            1,
            f"ledger: can't be read: {error}; `python -m services migrate` or `rebuild credits`",
        )
    except ObjectStoreAway as error:
        return 1, f"ledger: can't be verified: {error}"
    finally:
        await objects.aclose()
    if not faults:
        return 0, f"ledger: whole: {figures.words()}"
    told = faults if tell_all else faults[:1]
    lines = [f"ledger: {fault.words()}" for fault in told]
    return 1, "\n".join([*lines, f"ledger: {len(faults)} faults: {figures.words()}"])
