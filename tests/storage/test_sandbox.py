"""The child that looks at films and sounds: what it answers, and all the ways it may end."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from services.storage.adapters import sandbox
from services.storage.adapters.media import MediaRefused, Wanted
from services.storage.adapters.sandbox import CheckFailed, examined

SELF = "import os, signal; os.kill(os.getpid(), signal.{})"
HUNGRY = """
from services.storage.adapters import inspector
inspector._limit()
try:
    bytearray(inspector.MEMORY_BYTES_MAX)
except MemoryError:
    print('{"refused": ["too_complex", "limited"]}')
"""


async def test_a_child_tells_facts_and_refusals(
    recordings: Mapping[str, bytes], tmp_path: Path
) -> None:
    path, small = tmp_path / "output", tmp_path / "small"
    path.write_bytes(recordings["avatar"])

    facts = await examined(path, small, Wanted("avatar", 128, 72))
    assert (facts.mime_type, facts.width, facts.duration_seconds) == ("video/mp4", 128, 1.0)
    assert small.read_bytes()[8:12] == b"WEBP"

    with pytest.raises(MediaRefused) as refused:
        await examined(path, small, Wanted("audio"))
    assert refused.value.code == "unsupported_type"


@pytest.mark.parametrize(
    ("program", "code"),
    [
        (SELF.format("SIGXCPU"), "too_complex"),
        (SELF.format("SIGSEGV"), "damaged_film"),
        (SELF.format("SIGABRT"), "damaged_film"),
        (HUNGRY, "too_complex"),
    ],
)
async def test_what_ends_its_decoder_is_refused(
    program: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "_COMMAND", ("-c", program))

    with pytest.raises(MediaRefused) as refused:
        await examined(tmp_path, tmp_path, Wanted("video"))

    assert refused.value.code == code


@pytest.mark.parametrize(
    "program",
    [
        SELF.format("SIGKILL"),
        "raise SystemExit(1)",
        "print('x' * 100_000, flush=True)",
        "import time; time.sleep(60)",
    ],
)
async def test_a_child_that_ends_without_an_answer_may_be_asked_again(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "_COMMAND", ("-c", program))
    if "sleep" in program:
        monkeypatch.setattr(sandbox, "CHECK_TIMEOUT_S", 0.2)

    with pytest.raises(CheckFailed):
        await examined(tmp_path, tmp_path, Wanted("video"))


async def test_a_child_ends_with_the_wish_and_knows_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = (
        "import os, pathlib, time\n"
        f"out = pathlib.Path({str(tmp_path)!r})\n"
        "(out / 'names').write_text(' '.join(os.environ))\n"
        "(out / 'new').write_text(str(os.getpid()))\n"
        "(out / 'new').rename(out / 'pid')\n"
        "time.sleep(60)"
    )
    monkeypatch.setenv("SMARTSPEC_MASTER_KEY", "canary")
    monkeypatch.setattr(sandbox, "_COMMAND", ("-c", program))
    looking = asyncio.create_task(examined(tmp_path, tmp_path, Wanted("video")))
    async with asyncio.timeout(10):
        while not (tmp_path / "pid").exists():  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0.01)

    looking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await looking

    assert "SMARTSPEC" not in (tmp_path / "names").read_text()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
