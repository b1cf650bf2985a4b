"""Uploaded films: read to the end, seen in part, and taken at their word nowhere."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image

from services.storage.adapters import uploaded_films
from services.storage.adapters.films import SCORED_FRAMES_MAX
from services.storage.adapters.media import MediaRefused
from services.storage.adapters.uploaded_films import take_in
from tests.storage import recordings as made

Recordings = Mapping[str, bytes]


def webm(volume: float | None = None, codec: str = "libvpx") -> bytes:
    return made.mp4(codec=codec, container_format="webm", volume=volume)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "upload"


def refusal(content: bytes, path: Path, mime_type: str = "video/mp4") -> str:
    """The code; there is no poster of what is refused."""
    path.write_bytes(content)
    poster = path.with_name("poster")
    with pytest.raises(MediaRefused) as refused:
        take_in(path, poster, mime_type, None)
    assert not poster.exists()
    return refused.value.code


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg4"])
def test_tells_the_facts_of_an_mp4(codec: str, path: Path) -> None:
    content = made.mp4(codec=codec, volume=made.LOUD)
    path.write_bytes(content)

    facts = take_in(path, path.with_name("poster"), "video/mp4", None)

    assert (facts.mime_type, facts.width, facts.height) == ("video/mp4", 128, 72)
    assert facts.duration_seconds == pytest.approx(1.0, abs=0.05)
    assert (facts.size, facts.sha256) == (len(content), hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
@pytest.mark.parametrize("volume", [None, made.LOUD])
def test_tells_the_facts_of_a_webm(codec: str, volume: float | None, path: Path) -> None:
    path.write_bytes(webm(volume, codec))

    facts = take_in(path, path.with_name("poster"), "video/webm", None)

    assert (facts.mime_type, facts.width, facts.height) == ("video/webm", 128, 72)
    assert facts.duration_seconds == pytest.approx(1.0, abs=0.05)


def test_the_poster_is_a_key_frame_around_the_middle(path: Path) -> None:
    path.write_bytes(made.mp4(2.0, keys_every=4))

    facts = take_in(path, path.with_name("poster"), "video/mp4", None)

    assert facts.blurhash is not None
    with Image.open(path.with_name("poster")) as poster:
        assert (poster.format, poster.size) == ("WEBP", (128, 72))
        grey = poster.convert("L").getpixel((64, 36))
        assert isinstance(grey, int)
        assert 90 < grey < 150


def test_the_worst_of_the_frames_that_are_seen_is_its_score(path: Path) -> None:
    path.write_bytes(made.mp4(3.0, keys_every=6))
    seen: list[int] = []

    def brightness(image: Image.Image) -> float:
        grey = image.convert("L").getpixel((64, 36))
        assert isinstance(grey, int)
        seen.append(grey)
        return grey / 255

    facts = take_in(path, path.with_name("poster"), "video/mp4", brightness)

    assert facts.nsfw_score == max(seen) / 255
    assert 3 <= len(seen) <= SCORED_FRAMES_MAX
    assert seen == sorted(seen)
    assert seen[-1] > 150


@pytest.mark.parametrize(
    ("name", "mime_type"),
    [("film", "video/webm"), ("mp3", "video/mp4"), ("wav", "video/webm"), ("mp3", "video/webm")],
)
def test_refuses_what_is_of_another_type_than_was_said(
    name: str, mime_type: str, recordings: Recordings, path: Path
) -> None:
    assert refusal(recordings[name], path, mime_type) == "unsupported_type"


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.99])
def test_refuses_a_film_cut_short(part: float, recordings: Recordings, path: Path) -> None:
    content = recordings["avatar"]
    assert refusal(content[: int(len(content) * part)], path) == "damaged_film"


def sent_while_made(content: bytes) -> bytes:
    """Its segment and its clusters say no length."""
    changed = bytearray(content)
    for name in (b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"):
        at = changed.index(name) + len(name)
        length = 9 - changed[at].bit_length()
        changed[at : at + length] = ((1 << (7 * length + 1)) - 1).to_bytes(length)
    return bytes(changed)


def test_takes_a_webm_that_was_sent_while_it_was_made(path: Path) -> None:
    path.write_bytes(sent_while_made(webm()))

    facts = take_in(path, path.with_name("poster"), "video/webm", None)

    assert facts.duration_seconds == pytest.approx(1.0, abs=0.05)


def test_refuses_what_goes_on_behind_a_webm_that_was_sent_while_it_was_made(path: Path) -> None:
    assert refusal(sent_while_made(webm()) + b"<script>", path, "video/webm") == "damaged_film"


@pytest.mark.parametrize("part", [0.02, 0.1, 0.5, 0.99])
def test_refuses_a_webm_cut_short(part: float, path: Path) -> None:
    content = webm()
    assert refusal(content[: int(len(content) * part)], path, "video/webm") == "damaged_film"


@pytest.mark.parametrize("more", [b"PK\x03\x04canary", b"<script>canary()</script>" * 9])
def test_refuses_what_goes_on_behind_the_film(
    more: bytes, recordings: Recordings, path: Path
) -> None:
    assert refusal(recordings["film"] + more, path) == "damaged_film"
    assert refusal(webm() + more, path, "video/webm") == "damaged_film"


def test_refuses_too_many_packets_pixels_and_seconds(
    recordings: Recordings, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(uploaded_films, "PACKETS_MAX", 10)
        assert refusal(recordings["film"], path) == "too_many_frames"
    with monkeypatch.context() as patched:
        patched.setattr(uploaded_films, "UPLOAD_SECONDS_MAX", 0.9)
        assert refusal(recordings["film"], path) == "too_long"
    monkeypatch.setattr("services.storage.adapters.films.PIXELS_MAX", 128 * 72 - 1)
    assert refusal(recordings["film"], path) == "too_many_pixels"


def test_refuses_a_film_whose_key_frames_are_damaged(path: Path) -> None:
    content = bytearray(made.mp4(keys_every=4))
    start = content.index(b"mdat") + 4
    content[start + 60 : start + 4_000] = bytes(len(content[start + 60 : start + 4_000]))

    assert refusal(bytes(content), path) == "damaged_film"
