"""The children that look at media: what they answer, and all the ways they may end."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from services.storage.adapters import inspector, sandbox
from services.storage.adapters.jobs import JOBS, Job
from services.storage.adapters.media import Bands, MediaRefused, Wanted
from services.storage.adapters.sandbox import CHILDREN_AT_ONCE_MAX, CheckFailed, Studio
from tests.storage import dying_jobs
from tests.storage.test_pictures import encoded

ALL = [name for name in vars(dying_jobs) if name[0].islower()]
DYING: Mapping[str, Job] = {
    name: Job(f"tests.storage.dying_jobs:{name}", "damaged_film", 2 << 20, 1) for name in ALL
}
WHERE_WE_FORK = pytest.mark.skipif(not sandbox.FORKS, reason="nothing is forked here")


@pytest.fixture
async def studio() -> AsyncIterator[Studio]:
    studio = Studio()
    yield studio
    await studio.aclose()


@pytest.fixture(params=[True, False] if sandbox.FORKS else [False], ids=["forked", "fresh"])
async def dying(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Studio]:
    """Its jobs do what they should not."""
    monkeypatch.setattr(sandbox, "FORKS", request.param)
    studio = Studio(jobs=DYING)
    yield studio
    await studio.aclose()


async def written(path: Path) -> str:
    async with asyncio.timeout(30):
        while not (text := read(path)):  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0.01)
    return text


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


async def test_a_child_tells_facts_and_refusals(
    studio: Studio, recordings: Mapping[str, bytes], tmp_path: Path
) -> None:
    path, small, fitted = tmp_path / "output", tmp_path / "small", tmp_path / "fitted"
    path.write_bytes(recordings["avatar"])

    facts = await studio.examined(path, small, Wanted("avatar", 128, 72), fitted)
    assert (facts.mime_type, facts.width, facts.duration_seconds) == ("video/mp4", 128, 1.0)
    assert small.read_bytes()[8:12] == b"WEBP"

    for kind, code in (("audio", "unsupported_type"), ("image", "unsupported_type")):
        with pytest.raises(MediaRefused) as refused:
            await studio.examined(path, small, Wanted(kind), fitted)
        assert refused.value.code == code


async def test_pictures_are_looked_at_in_a_child_as_well_and_made_to_fit(
    studio: Studio, tmp_path: Path
) -> None:
    path, small, fitted = tmp_path / "output", tmp_path / "small", tmp_path / "fitted"
    path.write_bytes(encoded("JPEG"))

    facts = await studio.examined(path, small, Wanted("image", 64, 48), fitted)
    assert (facts.mime_type, facts.width, facts.height) == ("image/jpeg", 64, 48)
    assert not fitted.exists()

    facts = await studio.examined(path, small, Wanted("image", 32, 32), fitted)
    assert (facts.mime_type, facts.width, facts.height) == ("image/png", 32, 32)
    assert facts.size == fitted.stat().st_size


@pytest.mark.parametrize(
    ("bands", "safety"), [(Bands(0.0, 1.0), "review"), (Bands(1.0, 1.0), "allow"), (None, None)]
)
async def test_what_is_shown_is_judged_by_its_score(
    bands: Bands | None, safety: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "output"
    path.write_bytes(encoded("PNG"))
    studio = Studio(bands)

    facts = await studio.examined(path, tmp_path / "small", Wanted("image"), tmp_path / "fitted")
    await studio.aclose()

    assert facts.safety == safety
    assert (facts.nsfw_score is None) == (bands is None)
    assert facts.blurhash is not None


async def test_what_is_not_safe_is_refused_as_an_output_and_as_an_upload(tmp_path: Path) -> None:
    path, small, other = tmp_path / "output", tmp_path / "small", tmp_path / "other"
    path.write_bytes(encoded("PNG"))
    studio = Studio(Bands(0.0, 0.0))

    with pytest.raises(MediaRefused) as output:
        await studio.examined(path, small, Wanted("image"), other)
    with pytest.raises(MediaRefused) as upload:
        await studio.taken_in(path, other, small, "image/png")
    await studio.aclose()

    assert (output.value.code, upload.value.code) == ("unsafe_output", "unsafe_content")


@pytest.mark.parametrize(
    ("name", "order", "code"),
    [
        ("die_of", {"signal": "SIGXCPU"}, "too_complex"),
        ("die_of", {"signal": "SIGSEGV"}, "damaged_film"),
        ("die_of", {"signal": "SIGABRT"}, "damaged_film"),
        ("take_all_memory", {}, "too_complex"),
        ("spin", {}, "too_complex"),
    ],
)
async def test_what_ends_its_decoder_is_refused(
    name: str, order: Mapping[str, str], code: str, dying: Studio
) -> None:
    with pytest.raises(MediaRefused) as refused:
        await dying.do(name, order)

    assert refused.value.code == code


async def test_a_child_cannot_write_more_than_it_may(dying: Studio, tmp_path: Path) -> None:
    with pytest.raises(MediaRefused) as refused:
        await dying.do("write_too_much", {"note": tmp_path / "note"})

    assert refused.value.code == "too_complex"
    assert (tmp_path / "note").stat().st_size == DYING["write_too_much"].written_bytes_max


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("die_of", {"signal": "SIGKILL"}),
        ("leave", {}),
        ("be_wrong", {}),
        ("say_nonsense", {}),
        ("say_too_much", {}),
    ],
)
async def test_a_child_that_ends_without_an_answer_may_be_asked_again(
    name: str, order: Mapping[str, str], dying: Studio
) -> None:
    with pytest.raises(CheckFailed) as failed:
        await dying.do(name, order)

    assert "canary" not in str(failed.value)


async def test_a_child_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    slow = Job("tests.storage.dying_jobs:sleep", "damaged_film", timeout_s=0.5)
    studio = Studio(jobs={"sleep": slow})

    with pytest.raises(CheckFailed):
        await studio.do("sleep", {"note": tmp_path / "note"})
    await studio.aclose()

    if note := read(tmp_path / "note"):
        assert not is_alive(int(note))


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_child_ends_with_the_wish_and_another_goes_on(
    dying: Studio, tmp_path: Path
) -> None:
    first, second = (
        asyncio.create_task(dying.do("sleep", {"note": tmp_path / name})) for name in "ab"
    )
    pid, other = [int(await written(tmp_path / name)) for name in "ab"]

    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert not is_alive(pid)
    assert is_alive(other)

    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second


@WHERE_WE_FORK
async def test_children_end_with_the_studio(tmp_path: Path) -> None:
    studio = Studio(jobs=DYING)
    looking = asyncio.create_task(studio.do("sleep", {"note": tmp_path / "note"}))
    pid = int(await written(tmp_path / "note"))

    await studio.aclose()

    with pytest.raises(CheckFailed):
        await looking
    async with asyncio.timeout(10):
        while is_alive(pid):  # noqa: ASYNC110 - the kernel ends it, and its new parent reaps it
            await asyncio.sleep(0.01)


@WHERE_WE_FORK
async def test_the_process_that_forks_is_started_again_when_it_has_died(tmp_path: Path) -> None:
    studio = Studio(jobs=DYING)

    with pytest.raises(CheckFailed):
        await studio.do("kill_the_parent", {})
    told = await studio.do("tell", {})
    again = await studio.do("tell", {})
    await studio.aclose()

    assert told["parent"] == again["parent"]
    assert told["pid"] != again["pid"]


@WHERE_WE_FORK
async def test_a_child_knows_no_secret_has_nothing_open_and_is_limited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SMARTSPEC_MASTER_KEY", "canary")
    studio = Studio(jobs=DYING)

    told = await studio.do("tell", {})
    await studio.aclose()

    assert not [name for name in told["names"] if "SMARTSPEC" in name]
    assert told["opened"] == 1  # its own answer
    assert (told["core"], told["memory"]) == (0, inspector.MEMORY_BYTES_MAX)
    assert told["niceness"] >= inspector.NICENESS


@WHERE_WE_FORK
async def test_no_thread_runs_where_children_are_forked(tmp_path: Path) -> None:
    """A lock that it held would be held in the child for ever."""
    path = tmp_path / "output"
    path.write_bytes(encoded("PNG"))
    studio = Studio(Bands(0.2, 0.8), {**JOBS, **DYING})

    await studio.examined(path, tmp_path / "small", Wanted("image"), tmp_path / "fitted")
    told = await studio.do("tell", {})
    await studio.aclose()

    assert (told["threads"], told["parents_threads"]) == (1, 1)


async def test_only_so_many_are_looked_at_at_once(tmp_path: Path) -> None:
    studio = Studio(jobs=DYING)
    looking = [
        asyncio.create_task(studio.do("sleep", {"note": tmp_path / str(number)}))
        for number in range(CHILDREN_AT_ONCE_MAX + 1)
    ]
    for number in range(CHILDREN_AT_ONCE_MAX):
        await written(tmp_path / str(number))

    assert not (tmp_path / str(CHILDREN_AT_ONCE_MAX)).exists()
    looking[0].cancel()
    await written(tmp_path / str(CHILDREN_AT_ONCE_MAX))

    await studio.aclose()
    assert await outcomes(looking) == {"CancelledError", "CheckFailed"}


async def outcomes(tasks: list[asyncio.Task[Mapping[str, object]]]) -> set[str]:
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    return {type(one).__name__ for one in ended}
