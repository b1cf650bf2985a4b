"""ElevenLabs' own: formats, limits of length and number, its lists and its quota."""

import asyncio
from typing import Any

import pytest

from services.simulator.domain.commissions import Speech
from services.simulator.domain.elevenlabs import FORMATS, MODELS, VOICES, read_order
from services.simulator.domain.orders import Refused
from tests.simulator.clients import SPEAKER, VENDORS, xi_api_key
from tests.simulator.conftest import Caller, Vendor

KEY = xi_api_key("k")
SPEECH = VENDORS["elevenlabs"]


@pytest.mark.parametrize(
    ("given", "code", "word"),
    [
        ({"voice": "nobody"}, 400, "voice_not_found"),
        ({"form": "opus_48000_64"}, 400, "output_format_not_allowed"),
        ({"model_id": "eleven_v9"}, 400, "model_not_found"),
        ({"text": "x" * 10_001}, 400, "max_character_limit_exceeded"),
        ({"text": ""}, 422, "value_error"),
        ({"voice_settings": {"speed": 3}}, 422, "value_error"),
        ({"seed": -1}, 422, "value_error"),
        ({"language_code": "th"}, 400, "unsupported_language"),
        ({"text": "สวัสดี"}, 400, "unsupported_language"),
    ],
)
def test_refuses_in_the_vendors_words(given: dict[str, Any], code: int, word: str) -> None:
    voice, form = given.pop("voice", SPEAKER), given.pop("form", "")
    with pytest.raises(Refused) as refused:
        read_order(voice, form, {"text": "Hello.", **given})
    assert (refused.value.code, refused.value.word) == (code, word)


def test_flash_costs_half_and_takes_more_than_is_spoken() -> None:
    read = read_order(SPEAKER, "", {"text": "x" * 40_000, "model_id": "eleven_flash_v2_5"})
    assert isinstance(read.commission, Speech)
    assert (read.price_credits, len(read.commission.text)) == (20_000, 5_000)


@pytest.mark.parametrize("form", ["mp3_44100_128", "wav_44100"])
async def test_answers_with_the_audio_and_its_cost(canned: Caller, form: str) -> None:
    path = f"{SPEECH.path}?output_format={form}"
    answer = await canned.http.post(path, json={"text": "Hello."}, headers=KEY)
    expected = {"mp3": ("audio/mpeg", 6), "wav": ("audio/wav", 6)}[FORMATS[form]]
    assert (answer.headers["content-type"], int(answer.headers["character-cost"])) == expected
    assert answer.headers["request-id"] == (await canned.asked())[-1]["task_id"]


async def test_a_fault_of_a_field_is_a_list(canned: Caller) -> None:
    answer = await canned.http.post(SPEECH.path, json={}, headers=KEY)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "text"]


async def test_a_key_speaks_only_so_often_at_once(vendor: Vendor) -> None:
    async with vendor(canned=True, elevenlabs_concurrent_max=2) as caller:
        slow = "a [[sim:latency seconds=0.3]]"
        answers = await asyncio.gather(*(SPEECH.create(caller.http, slow) for _ in range(3)))
        assert sorted(one.status_code for one in answers) == [200, 200, 429]
        assert (await SPEECH.create(caller.http)).status_code == 200


async def test_lists_voices_and_models_and_what_was_used(canned: Caller) -> None:
    async def got(path: str) -> Any:
        return (await canned.http.get(f"/elevenlabs/{path}", headers=KEY)).json()

    assert [one["voice_id"] for one in (await got("v2/voices"))["voices"]] == list(VOICES)
    assert [one["model_id"] for one in await got("v1/models")] == list(MODELS)
    await SPEECH.create(canned.http, "Hello.")
    used = await got("v1/user/subscription")
    assert (used["character_count"], used["character_limit"]) == (6, 1_000_000)
