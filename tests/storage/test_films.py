import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image

from services.storage.adapters import films
from services.storage.adapters.films import examine
from services.storage.adapters.media import MediaRefused, Wanted
from tests.storage import recordings as made
from tests.storage.test_sounds import damaged_in_the_middle

Recordings = Mapping[str, bytes]
VIDEO, AVATAR = Wanted("video"), Wanted("avatar")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "film"


def refusal(content: bytes, path: Path, wanted: Wanted = VIDEO) -> str:
    """The code; there is no poster of what is refused."""
    path.write_bytes(content)
    poster = path.with_name("poster")
    with pytest.raises(MediaRefused) as refused:
        examine(path, poster, wanted)
    assert not poster.exists()
    return refused.value.code


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("film", VIDEO),
        ("film", Wanted("video", 128, 72, 1.0, "video/mp4")),
        ("mute", VIDEO),
        ("avatar", VIDEO),
        ("avatar", Wanted("avatar", 128, 72)),
    ],
)
def test_tells_the_facts_of_a_film_as_it_was_wanted(
    name: str, wanted: Wanted, recordings: Recordings, path: Path
) -> None:
    path.write_bytes(recordings[name])

    facts = examine(path, path.with_name("poster"), wanted)

    assert (facts.mime_type, facts.width, facts.height) == ("video/mp4", 128, 72)
    assert facts.duration_seconds == pytest.approx(1.0, abs=0.001)
    assert facts.sha256 == hashlib.sha256(recordings[name]).hexdigest()
    assert facts.size == len(recordings[name])


def test_the_poster_is_the_frame_in_the_middle(recordings: Recordings, path: Path) -> None:
    path.write_bytes(recordings["film"])

    examine(path, path.with_name("poster"), VIDEO)

    with Image.open(path.with_name("poster")) as poster:
        assert (poster.format, poster.size) == ("WEBP", (128, 72))
        grey = poster.convert("L").getpixel((64, 36))
        assert isinstance(grey, int)
        assert 110 < grey < 145


def test_the_poster_of_a_large_film_is_small(path: Path) -> None:
    path.write_bytes(made.mp4(1 / made.FPS, size=(720, 1280)))

    facts = examine(path, path.with_name("poster"), VIDEO)

    assert (facts.width, facts.height) == (720, 1280)
    assert facts.duration_seconds == pytest.approx(1 / made.FPS, abs=0.001)
    with Image.open(path.with_name("poster")) as poster:
        assert poster.size == (288, 512)


@pytest.mark.parametrize(
    ("name", "wanted", "code"),
    [
        ("film", Wanted("video", 128, 74), "wrong_size"),
        ("film", Wanted("video", 72, 128), "wrong_size"),
        ("film", Wanted("video", duration_seconds=1.11), "wrong_duration"),
        ("film", Wanted("video", duration_seconds=0.89), "wrong_duration"),
        ("film", Wanted("video", mime_type="video/webm"), "unsupported_type"),
        ("film", AVATAR, "silent"),
        ("mute", AVATAR, "silent"),
        ("mp3", VIDEO, "unsupported_type"),
        ("wav", AVATAR, "unsupported_type"),
    ],
)
def test_refuses_a_film_that_is_not_as_it_was_wanted(
    name: str, wanted: Wanted, code: str, recordings: Recordings, path: Path
) -> None:
    assert refusal(recordings[name], path, wanted) == code


@pytest.mark.parametrize(
    "content", [b"", b"<!doctype html><script>alert(1)</script>", b"\x89PNG\r\n\x1a\n" + bytes(99)]
)
def test_refuses_what_is_no_film(content: bytes, path: Path) -> None:
    assert refusal(content, path) == "unsupported_type"


def test_refuses_other_codecs_and_more_than_one_sound(path: Path) -> None:
    assert refusal(made.mp4(codec="mpeg4"), path) == "unsupported_type"
    assert refusal(made.mp4(volume=made.LOUD, sounds=2), path) == "unsupported_type"


@pytest.mark.parametrize("name", ["film", "avatar"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.99])
def test_refuses_a_film_cut_short_anywhere(
    name: str, part: float, recordings: Recordings, path: Path
) -> None:
    whole = recordings[name]
    assert refusal(whole[: int(len(whole) * part)], path) == "damaged_film"


def test_refuses_a_film_whose_frames_are_damaged(recordings: Recordings, path: Path) -> None:
    assert refusal(damaged_in_the_middle(recordings["avatar"]), path) == "damaged_film"


def test_refuses_a_page_behind_the_first_bytes_of_a_film(
    recordings: Recordings, path: Path
) -> None:
    content = recordings["film"][:40] + b"<html><script>alert(1)</script>" * 20
    assert refusal(content, path) == "damaged_film"


def test_refuses_too_many_pixels_frames_and_seconds(
    recordings: Recordings, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(films, "PIXELS_MAX", 128 * 72 - 1)
        assert refusal(recordings["film"], path) == "too_many_pixels"
    with monkeypatch.context() as patched:
        patched.setattr(films, "FRAMES_MAX", 23)
        assert refusal(recordings["film"], path) == "too_many_frames"
    monkeypatch.setattr(films, "SECONDS_MAX", 0.9)
    assert refusal(recordings["film"], path) == "too_long"
