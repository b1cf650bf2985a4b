"""Hostile files are refused in a child that may take only so much, and nothing of them is left."""

from collections.abc import AsyncIterator, Awaitable
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from PIL import Image

from services.storage.adapters.jobs import JOBS
from services.storage.adapters.media import MediaFacts, MediaRefused, Wanted
from services.storage.adapters.sandbox import Studio
from tests.storage.hostile_files import FILMS, PAGE, PICTURES, POLYGLOTS, SOUNDS

BOUNDED = {
    name: replace(job, cpu_s_max=20, written_bytes_max=min(job.written_bytes_max, 8 << 20))
    for name, job in JOBS.items()
}
"""The kernel ends what takes more, and it is told as too_complex: none of these gets so far."""


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def studio() -> AsyncIterator[Studio]:
    studio = Studio(jobs=BOUNDED)
    yield studio
    await studio.aclose()


async def code_of(looking: Awaitable[MediaFacts]) -> str | None:
    """What it is refused with; None where it is taken."""
    try:
        await looking
    except MediaRefused as refused:
        return refused.code
    return None


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def called(content: bytes) -> str:
    """What its first bytes say."""
    if content.startswith(b"GIF"):
        return "image/gif"
    return "image/jpeg" if content.startswith(b"\xff\xd8") else "image/png"


@pytest.mark.parametrize("name", PICTURES)
async def test_a_hostile_picture_is_refused_or_made_harmless(
    name: str, studio: Studio, tmp_path: Path
) -> None:
    content, codes = PICTURES[name]
    path, small, clean = (tmp_path / part for part in ("in", "small", "clean"))
    path.write_bytes(content)

    as_output = await code_of(studio.examined(path, small, Wanted("image"), clean))
    as_upload = await code_of(studio.taken_in(path, clean, small, called(content)))

    if codes:
        assert {as_output, as_upload} <= codes
        assert left_in(tmp_path) == ["in"]
        return
    assert (as_output, as_upload) == (None, None)
    with Image.open(clean) as image:
        image.load()
        assert image.size == (8, 8)
        assert not image.info
    assert clean.stat().st_size < 1_000


@pytest.mark.parametrize("name", POLYGLOTS)
async def test_of_a_picture_that_is_something_else_too_the_picture_is_kept(
    name: str, studio: Studio, tmp_path: Path
) -> None:
    content, mime_type = POLYGLOTS[name]
    path, small, clean = (tmp_path / part for part in ("in", "small", "clean"))
    path.write_bytes(content)

    facts = await studio.taken_in(path, clean, small, mime_type)

    assert facts.mime_type == mime_type
    for made in (clean.read_bytes(), small.read_bytes()):
        assert PAGE not in made
        assert b"alert" not in made
        assert b"PK\x03\x04" not in made


@pytest.mark.parametrize("name", [*FILMS, *SOUNDS])
async def test_a_hostile_film_or_sound_is_refused(
    name: str, studio: Studio, tmp_path: Path
) -> None:
    content, mime_type, codes = {**FILMS, **SOUNDS}[name]
    path, small, clean = (tmp_path / part for part in ("in", "small", "clean"))
    path.write_bytes(content)

    code = await code_of(studio.taken_in(path, clean, small, mime_type))

    assert code in (codes or {"damaged_film", "damaged_sound", "unsupported_type", "too_long"})
    assert left_in(tmp_path) == ["in"]
