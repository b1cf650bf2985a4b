"""Tasks under their user's own key of a vendor: decided and priced once, made under no other."""

from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from kernel.http import Identity
from kernel.projections import verify
from kernel.service import Platform
from kernel.settings import WrongSettings, read_settings
from kernel.testing import FakeClock
from services.generation.adapters.catalogue_file import read_catalogue
from services.generation.adapters.google import GoogleProvider
from services.generation.adapters.kie import KieProvider
from services.generation.adapters.own_keys import KNOWN_FOR
from services.generation.adapters.providers import Fault, Job, Provider, Refused, Succeeded
from services.generation.app import AGGREGATES, keys_of, vendors_of
from services.generation.domain.orders import order_of
from services.generation.domain.prices import Quality, QualityPrice
from services.generation.domain.task import Stage
from services.generation.settings import GenerationSettings
from tests.generation.conftest import PLATFORM_KEY, Bench, Generation, generation_on, person
from tests.generation.scripted_vendor import listening
from tests.own_keys import FakeKeys

EVERY = {"kie", "google", "heygen", "leonardo", "elevenlabs"}
OWN_KEY = "a key of my own, 0123456789"
URL = "https://cdn.test/a.png"


def give_key(service: Generation | Bench, user_id: UUID, provider: str = "kie") -> None:
    service.keys.known[user_id, provider] = OWN_KEY


async def estimated(generation: Generation, who: Identity) -> tuple[float, bool]:
    body = {"model_id": "nano-banana-pro", "options": {"quality": "hd", "num_images": 2}}
    answer = (await generation.call("POST", "/estimate", who, body)).json()
    return answer["credits"], answer["breakdown"]["own_key"]


async def job_owners(generation: Generation) -> list[UUID | None]:
    rows = await generation.rows("SELECT key_owner_id FROM generation.provider_jobs")
    return [row["key_owner_id"] for row in rows]


async def test_a_task_under_an_own_key_costs_a_fifth(generation: Generation) -> None:
    me = person()
    assert await estimated(generation, me) == (3.0, False)
    give_key(generation, me.user_id)
    assert await estimated(generation, me) == (0.6, True)
    options = {"quality": "hd", "num_images": 2}
    answer = await generation.create(me, options=options)
    assert (answer.status_code, answer.json()["credits_reserved"]) == (201, 0.6)
    [heard] = generation.ledger.heard
    assert heard.price_units == 6_000
    assert await job_owners(generation) == [me.user_id] * 2
    assert await verify(generation.platform.database, "generation", AGGREGATES) == []


async def test_a_task_of_somebody_else_or_of_another_provider_costs_all_of_it(
    generation: Generation,
) -> None:
    me, other = person(), person()
    give_key(generation, me.user_id, "google")
    give_key(generation, other.user_id)
    answer = await generation.create(me)
    assert answer.json()["credits_reserved"] == 1.0
    assert await job_owners(generation) == [None]


async def test_a_key_counts_from_the_very_next_task_and_one_taken_away_no_more(
    generation: Generation,
) -> None:
    me = person()
    assert (await generation.create(me)).json()["credits_reserved"] == 1.0
    give_key(generation, me.user_id)
    assert (await generation.create(me)).json()["credits_reserved"] == 0.2
    generation.keys.known.clear()
    assert (await generation.create(me)).json()["credits_reserved"] == 1.0


async def test_creates_nothing_while_keys_can_not_say_what_it_costs(
    generation: Generation,
) -> None:
    me = person()
    give_key(generation, me.user_id)
    await generation.create(me)
    generation.keys.away = True
    answer = await generation.create(me)
    assert (answer.status_code, answer.json()["error"]) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert len(generation.ledger.heard) == 1
    generation.keys.away = False
    assert (await generation.create(me)).status_code == 201


async def test_an_own_key_opens_a_provider_for_which_the_platform_has_none(
    generation: Generation,
) -> None:
    me = person()
    refused = await generation.create(me, model_id="gemini-image")
    assert (refused.status_code, refused.json()["error"]) == (503, "provider_not_configured")
    give_key(generation, me.user_id, "google")
    answer = await generation.create(me, model_id="gemini-image")
    assert (answer.status_code, answer.json()["credits_reserved"]) == (201, 0.2)


@pytest.mark.parametrize(("percent", "price"), [(0, 0.0), (33, 0.33), (100, 1.0)])
async def test_the_part_of_the_price_is_a_setting(
    platform: Platform, clock: FakeClock, tmp_path: Path, percent: int, price: float
) -> None:
    async with generation_on(
        platform,
        clock,
        tmp_path,
        reserve_timeout_s=30,
        SMARTSPEC_OWN_KEY_PRICE_PERCENT=percent,
    ) as generation:
        me = person()
        give_key(generation, me.user_id)
        answer = await generation.create(me)
        assert (answer.status_code, answer.json()["credits_reserved"]) == (201, price)


@pytest.mark.parametrize(
    ("percent", "units"), [(0, 0), (1, 300), (20, 6_000), (33, 9_900), (100, 30_000)]
)
def test_a_part_of_a_price(percent: int, units: int) -> None:
    model = read_catalogue().find("nano-banana-pro")
    assert order_of(model, {"quality": "hd", "num_images": 2}, None, percent).price_units == units


def test_a_part_is_rounded_up_and_so_never_nothing() -> None:
    cheap = QualityPrice({Quality.HD: 101, Quality.STANDARD: 1})
    assert cheap.of(Quality.HD, 3, 20) == 3 * 21
    assert cheap.of(Quality.STANDARD, 1, 1) == 1
    assert cheap.of(Quality.STANDARD, 1, 0) == 0
    assert cheap.of(Quality.UHD, 1, 20) is None


async def test_the_own_key_is_what_the_provider_is_asked_and_looked_at_with(bench: Bench) -> None:
    give_key(bench, bench.user_id)
    task = await bench.task(own_key=True)
    bench.provider.looks.append(Succeeded((URL,)))
    await bench.attend()
    await bench.attend(after_s=1)
    assert bench.provider.keys == [OWN_KEY] * 2
    assert (await bench.state(task)).stage == Stage.STORING
    assert bench.keys.asked == 1, "the key is known for a while"


async def test_the_platforms_key_makes_what_was_priced_for_it(bench: Bench) -> None:
    """Whatever keys its user has brought since."""
    await bench.task()
    give_key(bench, bench.user_id)
    await bench.attend()
    await bench.attend(after_s=1)
    assert bench.provider.keys == [PLATFORM_KEY] * 2
    assert bench.keys.asked == 0


async def test_asks_later_and_never_under_the_platforms_key_while_keys_is_away(
    bench: Bench,
) -> None:
    give_key(bench, bench.user_id)
    task = await bench.task(own_key=True)
    bench.keys.away = True
    for _ in range(3):
        assert await bench.attend(after_s=30) == 1
    assert bench.provider.asked == []
    assert (await bench.state(task)).stage == Stage.QUEUED
    bench.keys.away = False
    await bench.attend(after_s=30)
    bench.keys.away = True
    await bench.attend(after_s=KNOWN_FOR.total_seconds())
    assert bench.provider.looked_at == []
    bench.keys.away = False
    await bench.attend(after_s=30)
    assert bench.provider.keys == [OWN_KEY] * 2


async def test_a_key_that_was_taken_away_fails_the_task_and_costs_nothing(bench: Bench) -> None:
    task = await bench.task(own_key=True)
    await bench.attend()
    assert bench.provider.asked == []
    [*_, failed] = await bench.events(task)
    assert (failed["type"], failed["outcome"], failed["code"], failed["charged_units"]) == (
        *("TaskFailed", "provider_failed", "own_key_refused"),
        0,
    )


async def test_a_key_that_is_taken_away_while_its_job_runs_is_soon_not_used_any_more(
    bench: Bench,
) -> None:
    give_key(bench, bench.user_id)
    task = await bench.task(own_key=True)
    await bench.attend()
    bench.keys.known.clear()
    await bench.attend(after_s=1)
    assert bench.provider.keys == [OWN_KEY] * 2
    bench.clock.turn(KNOWN_FOR)
    await bench.attend()
    assert bench.provider.keys == [OWN_KEY] * 2
    assert (await bench.state(task)).stage == Stage.FAILED


async def test_a_refused_own_key_is_its_users_matter_and_nobody_elses(bench: Bench) -> None:
    give_key(bench, bench.user_id)
    mine, theirs = await bench.task(own_key=True), None
    bench.provider.submissions.append(Refused(Fault.AUTH, "no access"))
    await bench.attend()
    theirs = await bench.task()
    await bench.attend()
    assert (await bench.state(mine)).stage == Stage.FAILED
    assert (await bench.events(mine))[-1]["code"] == "own_key_refused"
    assert (await bench.state(theirs)).stage == Stage.PROCESSING
    assert bench.provider.keys == [OWN_KEY, PLATFORM_KEY]


async def test_a_job_that_is_asked_for_again_keeps_its_key(bench: Bench) -> None:
    give_key(bench, bench.user_id)
    await bench.task(own_key=True)
    bench.provider.looks.append(Refused(Fault.LOST, "no such task"))
    await bench.attend()
    await bench.attend(after_s=1)
    await bench.attend(after_s=1)
    assert bench.provider.keys == [OWN_KEY] * 3
    assert len(bench.provider.asked) == 2


async def test_a_task_whose_provider_has_lost_the_platforms_key_fails(
    bench: Bench, clock: FakeClock
) -> None:
    task = await bench.task()
    await bench.rows("UPDATE generation.provider_jobs SET provider = 'google' RETURNING 1")
    await bench.attend()
    assert (await bench.events(task))[-1]["code"] == "provider_unavailable"


async def test_a_vendor_hears_the_own_key_and_then_the_platforms_again() -> None:
    job = Job("nano-banana-pro", "a harbour", 1_024, 576, {})
    async with listening() as vendor:
        kie = KieProvider(vendor.address, PLATFORM_KEY)
        google = GoogleProvider(vendor.address, PLATFORM_KEY)
        providers: list[Provider] = [kie.under(OWN_KEY), kie, google.under(OWN_KEY), google]
        for provider in providers:
            vendor.say({"code": 401, "error": {"message": "no"}}, 401)
            assert isinstance(await provider.submit(job), Refused)
        heard = [
            headers.get("authorization") or headers.get("x-goog-api-key")
            for _, headers, _ in vendor.heard
        ]
        assert heard == [f"Bearer {OWN_KEY}", f"Bearer {PLATFORM_KEY}", OWN_KEY, PLATFORM_KEY]
        vendor.say({"code": 404, "msg": "no"})
        await kie.under(OWN_KEY).look("job-1")
        assert vendor.heard[-1][1]["authorization"] == f"Bearer {OWN_KEY}"
        await kie.aclose()
        await google.aclose()


async def test_has_to_know_where_keys_is_unless_it_is_in_the_same_process(
    platform: Platform,
) -> None:
    with pytest.raises(WrongSettings, match="KEYS_URL"):
        keys_of(read_settings(GenerationSettings), platform, None)
    elsewhere = read_settings(GenerationSettings, KEYS_URL="http://a:8001/, http://b:8001")
    assert elsewhere.keys_url == ("http://a:8001", "http://b:8001")
    for peer in (
        keys_of(elsewhere, platform, None),
        keys_of(read_settings(GenerationSettings), platform, {"keys": FakeKeys(platform)}),
    ):
        assert peer.name == "keys"
        await peer.aclose()


def test_every_vendor_can_be_asked_under_an_own_key_and_those_with_a_key_under_the_platforms(
    platform: Platform,
) -> None:
    own_keys = FakeKeys(platform).own_keys
    bare = vendors_of(read_settings(GenerationSettings), own_keys)
    assert (set(bare.providers), set(bare.keyless)) == (set(), EVERY)
    played = vendors_of(read_settings(GenerationSettings), own_keys, "http://127.0.0.1:1")
    assert (set(played.providers), set(played.keyless)) == (EVERY, set())
    one = vendors_of(read_settings(GenerationSettings, KIE_AI_API_KEY="a key"), own_keys)
    assert (set(one.providers), set(one.keyless)) == ({"kie"}, EVERY - {"kie"})


async def test_no_row_and_no_event_of_generation_has_a_key_in_it(bench: Bench) -> None:
    give_key(bench, bench.user_id)
    task = await bench.task(own_key=True)
    bench.provider.submissions.append(Refused(Fault.AUTH, "no access"))
    await bench.attend()
    bench.clock.turn(timedelta(seconds=1))
    kept = [*(await bench.events(task)), *(await bench.job_rows(task))]
    assert kept
    assert OWN_KEY not in str(kept)
