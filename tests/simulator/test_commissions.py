"""What may be asked of the studio, and that a job of any medium survives the journal."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from services.simulator.adapters.files import ResultFiles
from services.simulator.adapters.journal import Bounds, Journal
from services.simulator.api.results import Results
from services.simulator.domain.commissions import (
    MAX_TEXT_CHARS,
    Avatar,
    Commission,
    Film,
    Picture,
    Speech,
    expected_ms,
)
from services.simulator.domain.jobs import Job
from services.simulator.domain.scenarios import Scenario
from services.simulator.domain.voices import VOICES, Unspeakable, check_language, voice_named

EACH: list[Commission] = [
    Picture("a cat", 1, 64, 64, "jpg"),
    Speech("Hello.", "heart"),
    Speech("Hello.", "heart", kind="wav"),
    Film("a cat", 1, 128, 72, 1.0, first_frame="http://x/y.png"),
    Avatar("Hello.", "anna", "heart", 128, 72, caption=True, emotion="happy"),
]
TYPES = {
    "png": ("image/png", b"\x89PNG"),
    "mp3": ("audio/mpeg", b"ID3"),
    "wav": ("audio/wav", b"RIFF"),
    "mp4": ("video/mp4", b"\0\0\0"),
}


def journal_in(folder: Path) -> Journal:
    journal = Journal(folder / "journal.jsonl", Bounds(100, 10, 86_400_000))
    journal.open(2_000)
    return journal


def job(name: str, commission: Commission) -> Job:
    canned = (Scenario("canned"),)
    return Job(name, "kie", "k", "m", "{}", commission, 18, 1_000, scenarios=canned)


def test_a_job_of_every_medium_is_read_back_as_it_was(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    jobs = [job(str(nth), commission) for nth, commission in enumerate(EACH)]
    for one in jobs:
        journal.accept(one)
    journal.close()
    again = journal_in(tmp_path)
    assert list(again.jobs.values()) == jobs
    again.close()


@pytest.mark.parametrize("commission", EACH)
async def test_a_canned_file_is_served_as_what_it_is(
    tmp_path: Path, commission: Commission
) -> None:
    journal = journal_in(tmp_path)
    one = job("t", commission)
    journal.accept(one)
    results = Results(journal, ResultFiles(tmp_path / "files", 1_000_000))
    transport = httpx.ASGITransport(Starlette(routes=results.routes()))
    async with httpx.AsyncClient(transport=transport, base_url="http://kie.test") as http:
        answer = await http.get(f"/kie/files/{one.filename}")
    media_type, signature = TYPES[one.filename.rpartition(".")[2]]
    assert answer.headers["content-type"] == media_type
    assert answer.content.startswith(signature)
    assert b"digitalsourcetype/" in answer.content
    journal.close()


@pytest.mark.parametrize(
    "asked",
    [
        lambda: Speech("x" * (MAX_TEXT_CHARS + 1), "heart"),
        lambda: Speech("Hello.", "heart", speed=9),
        lambda: Avatar("Hello.", "anna", "heart", 128, 71),
        lambda: Picture("a cat", 1, 9_000, 9_000, "png"),
        lambda: Picture("a cat", 1, 0, 64, "png"),
        lambda: Film("a cat", 1, 8, 72, 1),
        lambda: Film("a cat", 1, 127, 72, 1),
        lambda: Film("a cat", 1, 128, 72, 61),
        lambda: Film("a cat", 1, 128, 72, 0),
        lambda: Film("a cat", 1, 128, 72, 1, fps=100),
        lambda: Film("a cat", 1, 20_000, 20_000, 1),
    ],
)
def test_refuses_what_is_beyond_the_bounds(asked: Callable[[], Commission]) -> None:
    with pytest.raises(ValueError, match=r"a (text|speed|film|picture|frame)"):
        asked()


def test_longer_and_larger_is_expected_to_take_longer() -> None:
    short, long = Film("a cat", 1, 128, 72, 1), Film("a cat", 1, 128, 72, 9)
    large = Film("a cat", 1, 1280, 720, 1)
    assert expected_ms(short) < expected_ms(long)
    assert expected_ms(short) < expected_ms(large)
    assert expected_ms(Speech("Hi.", "x")) < expected_ms(Speech("Hi." * 999, "x"))
    assert expected_ms(Avatar("Hi.", "a", "x", 64, 64)) < expected_ms(
        Avatar("Hi." * 999, "a", "x", 64, 64)
    )


def test_another_vendors_voice_is_always_the_same_one_of_ours() -> None:
    names = [f"voice-{nth}" for nth in range(60)]
    assert [voice_named(name) for name in names] == [voice_named(name) for name in names]
    assert {voice_named(name) for name in names} == set(VOICES.values())
    assert voice_named("deep") is VOICES["deep"]


@pytest.mark.parametrize("language", ["", "en", "en-GB", "en_us", "EN", "English"])
def test_the_voices_speak_english(language: str) -> None:
    check_language("Hello, naïve café no. 7!", language)


@pytest.mark.parametrize(
    ("text", "language"),
    [("Hola", "es"), ("Hello", "ja-JP"), ("Привет, мир", "en"), ("你好世界", ""), ("สวัสดี", "")],
)
def test_no_voice_speaks_another_language(text: str, language: str) -> None:
    with pytest.raises(Unspeakable, match="unsupported_language"):
        check_language(text, language)
