import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from PIL import Image

from services.storage.adapters.media import MediaRefused, Wanted
from services.storage.adapters.sounds import examine
from tests.storage import recordings as made

Recordings = Mapping[str, bytes]
AUDIO = Wanted("audio")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sound"


def damaged_in_the_middle(content: bytes) -> bytes:
    start, end = len(content) * 7 // 10, len(content) * 8 // 10
    changed = bytes(byte ^ 0x5A for byte in content[start:end])
    return content[:start] + changed + content[end:]


def sent_while_made(wav: bytes, length: bytes) -> bytes:
    """Who did not know the length yet wrote this one."""
    return wav[:4] + length + wav[8:40] + length + wav[44:]


def refusal(content: bytes, path: Path, wanted: Wanted = AUDIO) -> str:
    """The code; there is no waveform of what is refused."""
    path.write_bytes(content)
    waveform = path.with_name("waveform")
    with pytest.raises(MediaRefused) as refused:
        examine(path, waveform, wanted)
    assert not waveform.exists()
    return refused.value.code


@pytest.mark.parametrize(
    ("name", "wanted", "mime_type"),
    [
        ("mp3", AUDIO, "audio/mpeg"),
        ("wav", AUDIO, "audio/wav"),
        ("mp3", Wanted("audio", duration_seconds=1.0, mime_type="audio/mpeg"), "audio/mpeg"),
        ("wav", Wanted("audio", duration_seconds=0.91, mime_type="audio/wav"), "audio/wav"),
    ],
)
def test_tells_the_facts_of_a_sound_as_it_was_wanted(
    name: str, wanted: Wanted, mime_type: str, recordings: Recordings, path: Path
) -> None:
    path.write_bytes(recordings[name])

    facts = examine(path, path.with_name("waveform"), wanted)

    assert (facts.mime_type, facts.width, facts.height) == (mime_type, None, None)
    assert facts.duration_seconds == pytest.approx(1.0, abs=0.05)
    assert facts.sha256 == hashlib.sha256(recordings[name]).hexdigest()
    assert facts.size == len(recordings[name])


@pytest.mark.parametrize("length", [b"\0" * 4, b"\xff" * 4])
def test_a_wav_may_have_been_sent_while_it_was_made(
    length: bytes, recordings: Recordings, path: Path
) -> None:
    path.write_bytes(sent_while_made(recordings["wav"], length))

    facts = examine(path, path.with_name("waveform"), Wanted("audio", duration_seconds=1.0))

    assert facts.duration_seconds == 1.0


def test_an_mp3_may_have_been_joined_of_several(recordings: Recordings, path: Path) -> None:
    path.write_bytes(recordings["mp3"] * 2)

    facts = examine(path, path.with_name("waveform"), AUDIO)

    assert facts.duration_seconds == pytest.approx(2.0, abs=0.1)


def test_the_waveform_is_high_where_it_is_loud(path: Path) -> None:
    quiet, loud = made.wav(volume=0.1), made.wav(volume=0.9)
    both = quiet[:44] + quiet[44:] + loud[44:]
    path.write_bytes(sent_while_made(both, b"\xff" * 4))

    examine(path, path.with_name("waveform"), AUDIO)

    with Image.open(path.with_name("waveform")) as waveform:
        assert (waveform.format, waveform.size) == ("WEBP", (512, 128))
        alpha = waveform.convert("RGBA").getchannel("A")
        left, right = (
            alpha.crop(half).getbbox() for half in ((0, 0, 244, 128), (268, 0, 512, 128))
        )
    assert left is not None
    assert right is not None
    assert left[3] - left[1] == pytest.approx(0.1 * 126, abs=3)
    assert right[3] - right[1] == pytest.approx(0.9 * 126, abs=3)


@pytest.mark.parametrize(
    ("name", "wanted", "code"),
    [
        ("mp3", Wanted("audio", mime_type="audio/wav"), "unsupported_type"),
        ("wav", Wanted("audio", mime_type="audio/mpeg"), "unsupported_type"),
        ("wav", Wanted("audio", duration_seconds=1.11), "wrong_duration"),
        ("mp3", Wanted("audio", duration_seconds=0.8), "wrong_duration"),
        ("avatar", AUDIO, "unsupported_type"),
    ],
)
def test_refuses_a_sound_that_is_not_as_it_was_wanted(
    name: str, wanted: Wanted, code: str, recordings: Recordings, path: Path
) -> None:
    assert refusal(recordings[name], path, wanted) == code


@pytest.mark.parametrize(
    "content",
    [b"", b"<!doctype html><script>alert(1)</script>", b"OggS" + bytes(99), b"fLaC" + bytes(99)],
)
def test_refuses_what_is_no_sound_of_a_type_that_is_kept(content: bytes, path: Path) -> None:
    assert refusal(content, path) == "unsupported_type"


@pytest.mark.parametrize("make", [made.wav, made.mp3])
def test_refuses_what_nobody_can_hear(make: Callable[..., bytes], path: Path) -> None:
    assert refusal(make(volume=0.0), path) == "silent"
    assert refusal(make(volume=0.001), path) == "silent"


def test_refuses_a_wav_without_a_sample(path: Path) -> None:
    assert refusal(made.wav(0.0), path) == "silent"


@pytest.mark.parametrize("name", ["mp3", "wav"])
@pytest.mark.parametrize("part", [0.05, 0.5, 0.8])
def test_refuses_a_sound_cut_short(
    name: str, part: float, recordings: Recordings, path: Path
) -> None:
    whole = recordings[name]
    assert refusal(whole[: int(len(whole) * part)], path) == "damaged_sound"


def test_refuses_an_mp3_that_is_damaged(recordings: Recordings, path: Path) -> None:
    assert refusal(damaged_in_the_middle(recordings["mp3"]), path) == "damaged_sound"


@pytest.mark.parametrize("magic", [b"ID3\4\0\0\0\0\0\0", b"\xff\xfb\x90\0", b"RIFF\0\1\0\0WAVE"])
def test_refuses_a_page_behind_the_first_bytes_of_a_sound(magic: bytes, path: Path) -> None:
    assert refusal(magic + b"<html><script>alert(1)</script>" * 20, path) == "damaged_sound"


@pytest.mark.parametrize("name", ["wav", "mp3"])
def test_refuses_a_sound_without_an_end(name: str, recordings: Recordings, path: Path) -> None:
    path.write_bytes(recordings[name])
    with pytest.raises(MediaRefused) as refused:
        examine(path, path.with_name("waveform"), AUDIO, seconds_max=0.9)
    assert refused.value.code == "too_long"


def test_who_brings_a_sound_may_bring_silence(path: Path) -> None:
    path.write_bytes(made.wav(volume=0.0))
    facts = examine(path, path.with_name("waveform"), AUDIO, may_be_silent=True)
    assert facts.duration_seconds == 1.0
