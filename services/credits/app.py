"""Composition root of credits."""

from kernel.event_store import EventStore
from kernel.http import Idempotency, create_app
from kernel.http.dead_letters import dead_letter_routes
from kernel.inbox import Inbox
from kernel.money import to_units
from kernel.outbox import Publisher
from kernel.projections import History
from kernel.secrets import Secrets
from kernel.service import Platform, Service
from kernel.settings import read_settings
from services.credits.adapters.due_accounts import DueAccounts
from services.credits.api import (
    Codes,
    Postings,
    balance_routes,
    code_routes,
    plan_routes,
    posting_routes,
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
from services.credits.inbox import Terms, subscriptions
from services.credits.outbox import announce
from services.credits.read_model import READ_MODEL, project
from services.credits.settings import CreditsSettings

SCHEMA = "credits"
AGGREGATES = (ACCOUNT, HOLD, BUDGET, POSTING, PLAN, SUBSCRIPTION, CODE, STORAGE_METER)
HISTORY = History(SCHEMA, AGGREGATES, READ_MODEL)
FREE_PLAN = "free"


def compose(platform: Platform, _: Secrets) -> Service:
    """This service by the environment's settings."""
    return create_service(read_settings(CreditsSettings), platform)


def create_service(settings: CreditsSettings, platform: Platform) -> Service:
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
                redeem_routes(codes),
                posting_routes(Postings(store, idempotency)),
                plan_routes(store),
                code_routes(codes),
                subscription_routes(store),
                dead_letter_routes(inbox),
            ],
            internal_tokens=platform.internal_tokens,
            ready=database.answers,
        ),
        store=store,
        read_model=READ_MODEL,
        inbox=inbox,
        publisher=Publisher(store, platform.bus, sole_owner=platform.sole_owner),
        prepare=(define_free_plan,),
        workers=(DueAccounts(store).run, idempotency.run),
    )
