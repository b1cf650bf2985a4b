"""Composition root of generation."""

from collections.abc import Mapping
from datetime import timedelta

from starlette.types import ASGIApp

from kernel.encryption import Personal
from kernel.event_store import EventStore
from kernel.http import Idempotency, create_app
from kernel.http.dead_letters import dead_letter_routes
from kernel.http.peer import Peer
from kernel.inbox import Inbox
from kernel.leavers import Leavers
from kernel.objects import LocalObjectStore
from kernel.outbox import Publisher
from kernel.projections import History
from kernel.secrets import Secrets
from kernel.service import Ground, Platform, Service
from kernel.settings import WrongSettings, read_settings
from kernel.waiting import Turns, Waiters
from services.generation.adapters.breaker import Breakers
from services.generation.adapters.callbacks import Callbacks
from services.generation.adapters.catalogue_file import read_catalogue
from services.generation.adapters.changes import TaskChanges
from services.generation.adapters.due_list import DueList
from services.generation.adapters.google import GoogleProvider
from services.generation.adapters.job_records import JobRecords
from services.generation.adapters.kie import KieProvider
from services.generation.adapters.lanes import Lanes
from services.generation.adapters.leaving import Leaving
from services.generation.adapters.own_keys import OwnKeys
from services.generation.adapters.provider_jobs import ProviderJobs
from services.generation.adapters.providers import Provider
from services.generation.adapters.queue import Queue
from services.generation.adapters.vendors import Vendors
from services.generation.api import Hints, Tasks, callback_routes, internal_routes, routes
from services.generation.domain.task import TASK
from services.generation.inbox import subscriptions
from services.generation.outbox import announce
from services.generation.read_model import READ_MODEL, project
from services.generation.settings import GenerationSettings

SCHEMA = "generation"
AGGREGATES = (TASK,)
HISTORY = History(SCHEMA, AGGREGATES, READ_MODEL)
SANDBOX_KEY = "sandbox"
NO_KEY = ""
CREATIONS_AT_ONCE_MAX = 24
CREATION_TURN_TIMEOUT_S = 10.0


def compose(
    platform: Platform, _: Secrets, upstreams: Mapping[str, ASGIApp] | None = None
) -> Service:
    """This service by the environment's settings, beside services of this process or of others."""
    settings = read_settings(GenerationSettings)
    own_keys = OwnKeys(keys_of(settings, platform, upstreams), platform.clock)
    return create_service(settings, platform, vendors_of(settings, own_keys, platform.vendors_url))


def keys_of(
    settings: GenerationSettings, ground: Ground, upstreams: Mapping[str, ASGIApp] | None
) -> Peer:
    """Keys. Raises `WrongSettings` when it is in another process, and nothing says where."""
    if upstreams is not None:
        return Peer.here("keys", upstreams["keys"], ground.internal_tokens)
    if not settings.keys_url:
        raise WrongSettings("SmartSpec can't start: generation needs KEYS_URL")
    return Peer.at("keys", settings.keys_url, ground.internal_tokens)


def vendors_of(
    settings: GenerationSettings, own_keys: OwnKeys, sandbox_url: str | None = None
) -> Vendors:
    """Each provider that has a key; without one, the simulator at `sandbox_url` plays it."""
    providers: dict[str, Provider] = {}
    keyless: dict[str, Provider] = {}
    kie, google = settings.kie_ai_api_key, settings.google_api_key
    if kie is not None:
        providers["kie"] = KieProvider(settings.kie_ai_base_url, kie.get_secret_value())
    elif sandbox_url is not None:
        providers["kie"] = KieProvider(f"{sandbox_url}/kie", SANDBOX_KEY)
    else:
        keyless["kie"] = KieProvider(settings.kie_ai_base_url, NO_KEY)
    if google is not None:
        providers["google"] = GoogleProvider(settings.google_base_url, google.get_secret_value())
    elif sandbox_url is not None:
        providers["google"] = GoogleProvider(f"{sandbox_url}/google", SANDBOX_KEY)
    else:
        keyless["google"] = GoogleProvider(settings.google_base_url, NO_KEY)
    keys = {"kie": kie, "google": google}
    played = frozenset(name for name in providers if keys[name] is None)
    return Vendors(providers, own_keys, keyless, played)


def callbacks_of(platform: Platform) -> Callbacks:
    secret = platform.encryption.derived_secret("callbacks")
    former = platform.encryption.former_secrets("callbacks")
    return Callbacks(secret, platform.public_base_url, former)


def create_service(settings: GenerationSettings, platform: Platform, vendors: Vendors) -> Service:
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
    callbacks = callbacks_of(platform)
    breakers = Breakers("submits")
    first_look_s = settings.first_look_s
    objects = LocalObjectStore(settings.objects_root)
    jobs = ProviderJobs(
        store,
        due,
        Lanes(database, catalogue.limits, breakers, vendors.played),
        JobRecords(store, objects, timedelta(seconds=first_look_s)),
        breakers=breakers,
        personal=personal,
        vendors=vendors,
        catalogue=catalogue,
        callbacks=callbacks,
        first_look_s=first_look_s,
        sole_owner=platform.sole_owner,
    )
    tasks = Tasks(
        store=store,
        due=due,
        queue=Queue(database, clock),
        personal=personal,
        idempotency=idempotency,
        publisher=publisher,
        waiters=waiters,
        turns=Turns(CREATIONS_AT_ONCE_MAX, CREATION_TURN_TIMEOUT_S),
        links=platform.links,
        catalogue=catalogue,
        vendors=vendors,
        own_key_price_percent=settings.own_key_price_percent,
        reserve_timeout_s=settings.reserve_timeout_s,
        deadline_s=settings.deadline_s,
    )
    hints = Hints(callbacks, due, clock, jobs.wake)
    inbox = Inbox("generation", store, subscriptions())
    leaving = Leaving(store)
    shut_outs = Leavers(database, clock, f"{SCHEMA}.shut_outs", leaving.shut_out)
    erasures = Leavers(database, clock, f"{SCHEMA}.erasures", leaving.erase)
    return Service(
        name="generation",
        app=create_app(
            "generation",
            [
                routes(tasks),
                internal_routes(database, due),
                callback_routes(hints),
                dead_letter_routes(inbox),
            ],
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
        resources=(vendors,),
    )
