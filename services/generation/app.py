"""Composition root of generation."""

from collections.abc import Mapping
from datetime import timedelta

from kernel.encryption import Personal
from kernel.event_store import EventStore
from kernel.http import Idempotency, create_app
from kernel.http.dead_letters import dead_letter_routes
from kernel.inbox import Inbox
from kernel.leavers import Leavers
from kernel.objects import LocalObjectStore
from kernel.outbox import Publisher
from kernel.projections import History
from kernel.secrets import Secrets
from kernel.service import Platform, Service
from kernel.settings import read_settings
from kernel.waiting import Turns, Waiters
from services.generation.adapters.catalogue_file import read_catalogue
from services.generation.adapters.changes import TaskChanges
from services.generation.adapters.due_list import DueList
from services.generation.adapters.google import GoogleProvider
from services.generation.adapters.kie import KieProvider
from services.generation.adapters.leaving import Leaving
from services.generation.adapters.provider_jobs import ProviderJobs
from services.generation.adapters.providers import Provider
from services.generation.api import Tasks, routes
from services.generation.domain.task import TASK
from services.generation.inbox import subscriptions
from services.generation.outbox import announce
from services.generation.read_model import READ_MODEL, project
from services.generation.settings import GenerationSettings

SCHEMA = "generation"
AGGREGATES = (TASK,)
HISTORY = History(SCHEMA, AGGREGATES, READ_MODEL)
SANDBOX_KEY = "sandbox"
CREATIONS_AT_ONCE_MAX = 24
CREATION_TURN_TIMEOUT_S = 10.0


def compose(platform: Platform, _: Secrets) -> Service:
    """This service by the environment's settings."""
    settings = read_settings(GenerationSettings)
    return create_service(settings, platform, configured_providers(settings, platform.vendors_url))


def configured_providers(
    settings: GenerationSettings, sandbox_url: str | None = None
) -> dict[str, Provider]:
    """Each provider that has a key; without one, the simulator at `sandbox_url` plays it."""
    providers: dict[str, Provider] = {}
    if settings.kie_ai_api_key is not None:
        key = settings.kie_ai_api_key.get_secret_value()
        providers["kie"] = KieProvider(settings.kie_ai_base_url, key)
    elif sandbox_url is not None:
        providers["kie"] = KieProvider(f"{sandbox_url}/kie", SANDBOX_KEY)
    if settings.google_api_key is not None:
        key = settings.google_api_key.get_secret_value()
        providers["google"] = GoogleProvider(settings.google_base_url, key)
    elif sandbox_url is not None:
        providers["google"] = GoogleProvider(f"{sandbox_url}/google", SANDBOX_KEY)
    return providers


def create_service(
    settings: GenerationSettings, platform: Platform, providers: Mapping[str, Provider]
) -> Service:
    database, clock = platform.database, platform.clock
    store = EventStore(
        database, SCHEMA, AGGREGATES, clock=clock, announce=announce, project=project
    )
    waiters = Waiters()
    catalogue = read_catalogue()
    personal = Personal(SCHEMA, platform.encryption)
    due = DueList(database, timedelta(seconds=settings.unknown_for_s))
    publisher = Publisher(store, platform.bus, sole_owner=platform.sole_owner)
    idempotency = Idempotency(database, SCHEMA, clock, sole_owner=platform.sole_owner)
    jobs = ProviderJobs(
        store,
        due,
        personal,
        providers,
        LocalObjectStore(settings.objects_root),
        first_look_s=settings.first_look_s,
        sole_owner=platform.sole_owner,
    )
    tasks = Tasks(
        store=store,
        due=due,
        personal=personal,
        idempotency=idempotency,
        publisher=publisher,
        waiters=waiters,
        turns=Turns(CREATIONS_AT_ONCE_MAX, CREATION_TURN_TIMEOUT_S),
        links=platform.links,
        catalogue=catalogue,
        configured_providers=frozenset(providers),
        reserve_timeout_s=settings.reserve_timeout_s,
        deadline_s=settings.deadline_s,
    )
    inbox = Inbox("generation", store, subscriptions(catalogue))
    leaving = Leaving(store)
    shut_outs = Leavers(database, clock, f"{SCHEMA}.shut_outs", leaving.shut_out)
    erasures = Leavers(database, clock, f"{SCHEMA}.erasures", leaving.erase)
    return Service(
        name="generation",
        app=create_app(
            "generation",
            [routes(tasks), dead_letter_routes(inbox)],
            internal_tokens=platform.internal_tokens,
            ready=database.answers,
        ),
        store=store,
        read_model=READ_MODEL,
        inbox=inbox,
        publisher=publisher,
        waiters=waiters,
        workers=(
            jobs.run,
            TaskChanges(store, platform.bus, waiters).run,
            idempotency.run,
            shut_outs.run,
            erasures.run,
        ),
        resources=tuple(providers.values()),
    )
