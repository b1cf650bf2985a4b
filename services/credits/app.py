"""Composition root of credits."""

from kernel.event_store import EventStore
from kernel.http import create_app
from kernel.http.dead_letters import dead_letter_routes
from kernel.inbox import Inbox
from kernel.outbox import Publisher
from kernel.projections import History
from kernel.secrets import Secrets
from kernel.service import Platform, Service
from kernel.settings import read_settings
from services.credits.api import routes
from services.credits.domain import ACCOUNT, BUDGET, HOLD
from services.credits.inbox import subscriptions
from services.credits.outbox import announce
from services.credits.read_model import READ_MODEL, project
from services.credits.settings import CreditsSettings

SCHEMA = "credits"
AGGREGATES = (ACCOUNT, HOLD, BUDGET)
HISTORY = History(SCHEMA, AGGREGATES, READ_MODEL)


def compose(platform: Platform, _: Secrets) -> Service:
    """This service by the environment's settings."""
    return create_service(read_settings(CreditsSettings), platform)


def create_service(settings: CreditsSettings, platform: Platform) -> Service:
    store = EventStore(
        platform.database,
        SCHEMA,
        AGGREGATES,
        clock=platform.clock,
        announce=announce,
        project=project,
    )
    inbox = Inbox("credits", store, subscriptions(settings.grant_units_by_plan))
    return Service(
        name="credits",
        app=create_app(
            "credits",
            [routes(platform.database), dead_letter_routes(inbox)],
            internal_tokens=platform.internal_tokens,
            ready=platform.database.answers,
        ),
        store=store,
        read_model=READ_MODEL,
        inbox=inbox,
        publisher=Publisher(store, platform.bus, sole_owner=platform.sole_owner),
    )
