"""ElevenLabs: what an order says, and what its refusals mean."""

import json
from dataclasses import replace
from typing import Any

import httpx
import pytest

from services.generation.adapters.catalogue_file import read_catalogue
from services.generation.adapters.elevenlabs import DEFAULT_VOICE_ID
from services.generation.adapters.providers import Fault, Job, Made, Refused, Voice
from tests.generation.played_vendors import KEY, Scripted

JOB = Job("eleven_multilingual_v2", "Hello!", None, None, {}, "audio")
SOUND = httpx.Response(200, content=b"ID3 sound", headers={"content-type": "audio/mpeg"})


async def test_orders_speech_and_takes_it_from_the_answer() -> None:
    vendor = Scripted()
    vendor.script.append(SOUND)
    options = {"voice_id": "voice-1", "format": "wav", "speed": 0.9, "language": "de"}
    assert await vendor.provider("elevenlabs").submit(replace(JOB, options=options)) == Made(
        b"ID3 sound"
    )
    [request] = vendor.heard
    assert request.url.raw_path == b"/v1/text-to-speech/voice-1?output_format=wav_44100"
    assert request.headers["xi-api-key"] == KEY
    assert json.loads(request.content) == {
        "text": "Hello!",
        "model_id": "eleven_multilingual_v2",
        "language_code": "de",
        "voice_settings": {"speed": 0.9},
    }


async def test_speaks_as_the_catalogue_says_where_nothing_is_asked() -> None:
    vendor = Scripted()
    vendor.script.append(SOUND)
    await vendor.provider("elevenlabs").submit(JOB)
    options = read_catalogue().find("elevenlabs-tts").options
    assert options.default("voice_id") == DEFAULT_VOICE_ID
    path = f"/v1/text-to-speech/{DEFAULT_VOICE_ID}?output_format=mp3_44100_128"
    assert vendor.heard[0].url.raw_path.decode() == path
    assert json.loads(vendor.heard[0].content) == {"text": "Hello!", "model_id": JOB.model}


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, json={"audio": "none"}),
        httpx.Response(200, content=b"", headers={"content-type": "audio/mpeg"}),
    ],
)
async def test_an_answer_without_sound_can_not_be_read(answer: httpx.Response) -> None:
    vendor = Scripted()
    vendor.script.append(answer)
    refused = await vendor.provider("elevenlabs").submit(JOB)
    assert isinstance(refused, Refused)
    assert refused.fault == Fault.UNKNOWN


@pytest.mark.parametrize(
    ("status", "word", "fault"),
    [
        (401, "invalid_api_key", Fault.AUTH),
        (401, "quota_exceeded", Fault.CREDITS),
        (401, "a new one", Fault.AUTH),
        (400, "voice_not_found", Fault.INVALID),
        (400, "max_character_limit_exceeded", Fault.INVALID),
        (400, "content_against_policy", Fault.MODERATED),
        (403, "output_format_not_allowed", Fault.AUTH),
        (429, "too_many_concurrent_requests", Fault.RATE_LIMITED),
        (429, "system_busy", Fault.RATE_LIMITED),
        (500, "internal_error", Fault.UNAVAILABLE),
        (500, "generation_failed", Fault.FAILED),
        (302, "moved", Fault.UNKNOWN),
        (502, "bad gateway", Fault.UNKNOWN),
        (504, "gateway time-out", Fault.UNKNOWN),
    ],
)
async def test_each_refusal_has_its_fault(status: int, word: str, fault: Fault) -> None:
    vendor = Scripted()
    vendor.say({"detail": {"status": word, "message": "No."}}, status)
    answer = await vendor.provider("elevenlabs").submit(JOB)
    assert isinstance(answer, Refused)
    assert (answer.fault, answer.message) == (fault, "No.")


async def test_a_list_of_faults_is_a_refusal_of_the_request() -> None:
    vendor = Scripted()
    vendor.say({"detail": [{"loc": ["body", "text"], "msg": "is empty", "type": "v"}]}, 422)
    assert await vendor.provider("elevenlabs").submit(JOB) == Refused(Fault.INVALID, "is empty")


async def test_reads_the_voices_to_their_last_page() -> None:
    vendor = Scripted()
    labels: dict[str, Any] = {"gender": "female", "language": "en"}
    more = {"has_more": True, "next_page_token": "t"}
    vendor.say({"voices": [{"voice_id": "a", "name": "Rachel", "labels": labels}], **more})
    vendor.say({"voices": [{"voice_id": "b", "preview_url": "https://cdn.test/b.mp3"}]})
    assert await vendor.provider("elevenlabs").voices() == (
        Voice("a", "Rachel", "en", "female", None),
        Voice("b", "b", "", "", "https://cdn.test/b.mp3"),
    )
    assert vendor.heard[1].url.query == b"page_size=100&next_page_token=t"
