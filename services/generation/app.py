"""Composition root of generation."""

from collections.abc import Callable, Mapping
from datetime import timedelta

from starlette.types import ASGIApp
from yaml import YAMLError

from kernel.encryption import Personal
from kernel.event_store import EventStore
from kernel.http import Idempotency, create_app
from kernel.http.dead_letters import dead_letter_routes
from kernel.http.peer import Peer
from kernel.inbox import Inbox
from kernel.leavers import Leavers
from kernel.objects import object_store
from kernel.outbound import Outbound
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
from services.generation.adapters.elevenlabs import ElevenLabsProvider
from services.generation.adapters.feeds import Followers
from services.generation.adapters.google import GoogleProvider
from services.generation.adapters.heygen import HeyGenProvider, HeyGenV2Provider
from services.generation.adapters.input_images import InputImages
from services.generation.adapters.job_records import JobRecords
from services.generation.adapters.job_requests import JobRequests
from services.generation.adapters.kie import KieProvider
from services.generation.adapters.lanes import Lanes
from services.generation.adapters.leaving import Leaving
from services.generation.adapters.leonardo import LeonardoProvider
from services.generation.adapters.moderation_file import read_prompt_rules
from services.generation.adapters.own_keys import OwnKeys
from services.generation.adapters.progress import TaskProgress
from services.generation.adapters.provider_jobs import ProviderJobs
from services.generation.adapters.providers import Provider
from services.generation.adapters.queue import Queue
from services.generation.adapters.quotes import Quotes
from services.generation.adapters.undelivered import Undelivered
from services.generation.adapters.uploaded_files import UploadedFiles
from services.generation.adapters.vendor_lists import VendorLists
from services.generation.adapters.vendors import Vendors
from services.generation.api import (
    Feed,
    Hints,
    Histories,
    Screening,
    Tasks,
    callback_routes,
    internal_routes,
    routes,
    undelivered_routes,
    vendor_list_routes,
)
from services.generation.domain.moderation import PromptRules
from services.generation.domain.task import TASK
from services.generation.inbox import subscriptions
from services.generation.outbox import announce
from services.generation.read_model import READ_MODEL, project
from services.generation.settings import GenerationSettings

SCHEMA = "generation"
AGGREGATES = (TASK,)
HISTORY = History(SCHEMA, AGGREGATES, READ_MODEL)
ADAPTERS: Mapping[str, Callable[[str, str], Provider]] = {
    "kie": KieProvider,
    "google": GoogleProvider,
    "heygen": HeyGenProvider,
    "leonardo": LeonardoProvider,
    "elevenlabs": ElevenLabsProvider,
}
"""By the name in the catalogue, which is also the simulator's."""
OLD_HEYGEN = ("heygen", "v2")
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
    for name, (base_url, api_key) in settings.vendors.items():
        adapter = HeyGenV2Provider if (name, settings.heygen_api) == OLD_HEYGEN else ADAPTERS[name]
        if api_key is not None:
            providers[name] = adapter(base_url, api_key.get_secret_value())
        elif sandbox_url is not None:
            providers[name] = adapter(f"{sandbox_url}/{name}", SANDBOX_KEY)
        else:
            keyless[name] = adapter(base_url, NO_KEY)
    played = frozenset(name for name in providers if settings.vendors[name][1] is None)
    return Vendors(providers, own_keys, keyless, played)


def callbacks_of(platform: Platform) -> Callbacks:
    secret = platform.encryption.derived_secret("callbacks")
    former = platform.encryption.former_secrets("callbacks")
    return Callbacks(secret, platform.public_base_url, former)


def prompt_rules_of(settings: GenerationSettings) -> PromptRules:
    """Raises `WrongSettings` for a file of the operator's that can't be read or is malformed."""
    try:
        return read_prompt_rules(settings.moderation_file)
    except (OSError, ValueError, YAMLError) as fault:
        words = f"SmartSpec can't start: SMARTSPEC_MODERATION_FILE: {fault}"
        raise WrongSettings(words) from None


def create_service(settings: GenerationSettings, platform: Platform, vendors: Vendors) -> Service:
    database, clock = platform.database, platform.clock
    store = EventStore(
        database, SCHEMA, AGGREGATES, clock=clock, announce=announce, project=project
    )
    waiters = Waiters()
    catalogue = read_catalogue()
    personal = Personal(SCHEMA, platform.encryption)
    due = DueList(database, timedelta(seconds=settings.unknown_for_s))
    objects = object_store(settings, platform.links)
    outbound = Outbound()
    input_images = InputImages(objects, outbound, UploadedFiles(database))
    publisher = Publisher(store, platform.bus, sole_owner=platform.sole_owner)
    idempotency = Idempotency(database, SCHEMA, clock, sole_owner=platform.sole_owner)
    progress = TaskProgress(due, platform.bus, clock)
    callbacks = callbacks_of(platform)
    breakers = Breakers("submits")
    first_look_s = settings.first_look_s
    jobs = ProviderJobs(
        store,
        due,
        Lanes(database, catalogue.limits, breakers, vendors.played),
        JobRecords(store, objects, timedelta(seconds=first_look_s)),
        JobRequests(database, personal, input_images, callbacks),
        breakers=breakers,
        vendors=vendors,
        catalogue=catalogue,
        first_look_s=first_look_s,
        sole_owner=platform.sole_owner,
        progressed=progress.grown,
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
        objects=objects,
        catalogue=catalogue,
        screening=Screening(prompt_rules_of(settings)),
        vendors=vendors,
        quotes=Quotes(database, clock),
        input_images=input_images,
        own_key_price_percent=settings.own_key_price_percent,
        reserve_timeout_s=settings.reserve_timeout_s,
        deadline_s=settings.deadline_s,
    )
    followers = Followers(store, platform.bus, waiters)
    feed = Feed(tasks, Histories(store, personal), followers)
    vendor_lists = VendorLists(vendors, clock)
    undelivered = Undelivered(database, clock)
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
                routes(tasks, feed),
                vendor_list_routes(vendor_lists),
                undelivered_routes(tasks, undelivered),
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
        prepare=(objects.check,),
        workers=(
            jobs.run,
            TaskChanges(store, platform.bus, waiters).run,
            progress.run,
            followers.run,
            undelivered.run,
            idempotency.run,
            shut_outs.run,
            erasures.run,
        ),
        resources=(vendor_lists, vendors, outbound, objects),
    )
