"""Speeches, films and avatars, decoded as a player would; small, and made once for all tests."""

import io
import itertools
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from services.simulator.adapters.pool import RenderFailed, RenderProcess
from services.simulator.adapters.renderer import make
from services.simulator.adapters.renderer.avatar import OPENINGS, openings
from services.simulator.adapters.renderer.captions import captions_of
from services.simulator.adapters.renderer.voice import speak
from services.simulator.domain.commissions import Avatar, Commission, Film, Speech
from services.simulator.domain.voices import VOICES, Unspeakable

Pixels = npt.NDArray[np.uint8]
LINE = "Hello there. How are you today?"
FILM = Film("sunset over mountains, zoom in", 3, 128, 72, 1.0)
AVATAR = Avatar(LINE, "anna", "heart", 192, 192)
PATIENCE_S = 30.0


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reels") / "scratch"


@pytest.fixture(scope="session")
def speech(scratch: Path) -> bytes:
    return make(Speech(LINE, "narrator"), scratch)


@pytest.fixture(scope="session")
def film(scratch: Path) -> bytes:
    return make(FILM, scratch)


@pytest.fixture(scope="session")
def avatar(scratch: Path) -> bytes:
    return make(AVATAR, scratch)


def opened(content: bytes) -> Any:
    return av.open(io.BytesIO(content))


def sound_of(content: bytes) -> npt.NDArray[np.float64]:
    """Samples at 44.1 kHz in -1..1."""
    with opened(content) as container:
        parts = [frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]
        whole = np.concatenate(parts)
    scale = 32_768 if whole.dtype == np.int16 else 1
    return whole.astype(float) / scale


def frames_of(content: bytes) -> Pixels:
    with opened(content) as container:
        return np.stack([one.to_ndarray(format="rgb24") for one in container.decode(video=0)])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def seconds(content: bytes) -> float:
    with opened(content) as container:
        return float(container.duration) / av.time_base


# Speech


def test_a_speech_is_an_mp3_of_the_promised_rate_that_is_heard(speech: bytes) -> None:
    with opened(speech) as container:
        (stream,) = container.streams
        assert (stream.codec_context.name, stream.rate) == ("mp3float", 44_100)
        assert stream.codec_context.bit_rate == 128_000
    sound = sound_of(speech)
    assert np.abs(sound).max() > 0.2
    assert np.abs(sound).max() <= 1.0
    assert 0.05 < sound.std() < 0.3


def test_a_speech_may_be_a_wav(scratch: Path, speech: bytes) -> None:
    wav = make(Speech(LINE, "narrator", kind="wav"), scratch)
    with opened(wav) as container:
        (stream,) = container.streams
        assert (stream.codec_context.name, stream.rate) == ("pcm_s16le", 44_100)
        assert stream.channels == 1
    assert seconds(wav) == pytest.approx(seconds(speech), abs=0.1)


def test_the_same_speech_is_the_same_bytes(scratch: Path, speech: bytes) -> None:
    assert make(Speech(LINE, "narrator"), scratch) == speech


def test_more_words_take_longer_and_a_quick_voice_is_done_sooner() -> None:
    usual = speak(LINE, "heart", 1.0, "en", 0).duration_s
    assert 1.0 < usual < 5.0
    assert speak(f"{LINE} {LINE}", "heart", 1.0, "en", 0).duration_s > 1.8 * usual
    assert speak(LINE, "heart", 1.5, "en", 0).duration_s < 0.8 * usual


def test_every_voice_sounds_different() -> None:
    heard = {name: speak("Hello.", name, 1.0, "en", 0).sound for name in VOICES}
    pitches = {name: dominant_hz(sound) for name, sound in heard.items()}
    assert pitches["deep"] < pitches["narrator"] < pitches["heart"] < pitches["child"]
    assert len({sound.tobytes() for sound in heard.values()}) == len(VOICES)


def dominant_hz(sound: npt.NDArray[Any]) -> float:
    """The pitch: where the sound resembles itself most, between 50 and 500 Hz."""
    spectrum = np.fft.rfft(sound, 2 * sound.size)
    likeness = np.fft.irfft(np.abs(spectrum) ** 2)
    near, far = 24_000 // 500, 24_000 // 50
    return float(24_000 / (near + int(np.argmax(likeness[near:far]))))


@pytest.mark.parametrize(
    ("text", "language"), [("...", "en"), ("", "en"), ("🎉🎉", "en"), ("你好", ""), ("Hola", "es")]
)
def test_what_cannot_be_spoken_is_an_error_and_never_silence(
    scratch: Path, text: str, language: str
) -> None:
    with pytest.raises(Unspeakable):
        make(Speech(text, "heart", language=language), scratch)


def test_a_text_without_a_single_mark_is_spoken_in_stretches() -> None:
    spoken = speak("and so on " * 60, "heart", 2.0, "en", 0)
    assert spoken.duration_s > 10
    assert len(spoken.openness) == pytest.approx(spoken.duration_s * 80, abs=2)


# Film


def test_a_film_has_exactly_the_size_rate_and_length_asked_for(film: bytes) -> None:
    with opened(film) as container:
        (stream,) = container.streams
        assert (stream.width, stream.height, stream.average_rate) == (128, 72, 24)
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.frames == 24
    assert seconds(film) == 1.0
    assert frames_of(film).shape == (24, 72, 128, 3)


def test_a_film_can_be_played_before_it_is_loaded(film: bytes, avatar: bytes) -> None:
    for content in (film, avatar):
        assert 0 < content.index(b"moov") < content.index(b"mdat")


def test_the_camera_moves_all_the_time_and_the_mark_does_not(film: bytes) -> None:
    frames = frames_of(film).astype(float)
    steps = np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3))
    assert steps.min() > 0.1
    assert np.abs(frames[-1] - frames[0]).mean() > 5


def test_the_same_film_is_the_same_bytes_and_another_seed_another(
    scratch: Path, film: bytes
) -> None:
    assert make(FILM, scratch) == film
    other = Film(FILM.prompt, 4, 128, 72, 1.0)
    assert make(other, scratch) != film


def test_a_film_begins_with_the_picture_it_was_given(tmp_path: Path, scratch: Path) -> None:
    picture = Image.new("RGB", (400, 225), (20, 40, 200))
    picture.paste((220, 30, 30), (0, 0, 200, 225))
    path = tmp_path / "first.png"
    picture.save(path)
    film = Film("a cat", 1, 128, 72, 0.25, first_frame="http://x/first.png")
    frames = frames_of(make(film, scratch, path)).astype(float)
    expected = np.asarray(picture.resize((128, 72)), float)
    assert np.abs(frames[0] - expected)[:56].mean() < 6
    assert np.abs(frames[-1] - expected)[:56].mean() > np.abs(frames[0] - expected)[:56].mean()


def test_a_first_frame_that_is_no_picture_fails_the_film(tmp_path: Path, scratch: Path) -> None:
    path = tmp_path / "first.png"
    path.write_text("<!doctype html>")
    with pytest.raises(OSError, match="cannot identify"):
        make(FILM, scratch, path)


# Avatar


def test_an_avatar_is_seen_and_heard_as_long_as_the_speech_takes(avatar: bytes) -> None:
    spoken = speak(LINE, "heart", 1.0, "", 0)
    with opened(avatar) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.width, video.height, audio.codec_context.name) == (192, 192, "aac")
        assert video.frames == round(spoken.duration_s * 25)
        assert float(audio.duration * audio.time_base) == pytest.approx(spoken.duration_s, abs=0.1)
    assert sound_of(avatar).std() > 0.03


def test_the_mouth_opens_as_the_voice_grows_louder(avatar: bytes) -> None:
    frames = frames_of(avatar).astype(float)
    mouth = frames[:, 104:128, 86:106].mean(axis=3)
    dark = (mouth < 70).mean(axis=(1, 2))
    sound = sound_of(avatar)
    size = 44_100 // 25
    count = min(len(dark), len(sound) // size)
    loud = sound[: count * size].reshape(count, size).std(axis=1)
    assert dark.max() > dark.min() + 0.1
    assert np.corrcoef(dark[:count], loud)[0, 1] > 0.5


def test_captions_are_seen_only_when_asked_for(scratch: Path, avatar: bytes) -> None:
    captioned = Avatar(LINE, "anna", "heart", 192, 192, caption=True)
    changed = np.abs(frames_of(make(captioned, scratch)).astype(float) - frames_of(avatar))
    by_row = changed.mean(axis=(0, 2, 3))
    assert by_row[165:178].mean() > 8
    assert by_row[:140].mean() < 2


def test_an_emotion_and_another_avatar_change_the_face(scratch: Path) -> None:
    faces = [
        frames_of(make(Avatar("Oh!", name, "heart", 64, 64, emotion=emotion), scratch))[0]
        for name, emotion in (("anna", ""), ("anna", "angry"), ("bob", ""))
    ]
    assert len({one.tobytes() for one in faces}) == 3


def test_a_mouth_is_shut_in_silence_and_wide_at_the_loudest() -> None:
    shown = openings(np.repeat([0.0, 1.0, 0.0], 40).astype(np.float32), 30)
    assert (shown[4], shown[15], shown[26]) == (0, OPENINGS - 1, 0)


def test_captions_share_a_sentences_time_and_fit_the_frame() -> None:
    words = "one two three four five six seven eight nine ten eleven twelve " * 3
    captions = captions_of([(words.strip(), 1.0, 9.0)], (320, 180))
    assert captions[0].begins_s == 1.0
    assert captions[-1].ends_s == pytest.approx(9.0)
    assert all(a.ends_s == b.begins_s for a, b in itertools.pairwise(captions))
    assert " ".join(" ".join(one.text.split()) for one in captions) == words.strip()
    assert all(one.text.count("\n") < 2 for one in captions)


# Labels


def test_every_file_says_what_made_it(speech: bytes, film: bytes, avatar: bytes) -> None:
    for content, source in (
        (speech, "trainedAlgorithmicMedia"),
        (film, "algorithmicMedia"),
        (avatar, "compositeSynthetic"),
    ):
        term = f"digitalsourcetype/{source}"
        assert f"{term}</Iptc4xmpExt:DigitalSourceType>".encode() in content
        with opened(content) as container:
            assert container.metadata["comment"].endswith(term)
            assert "sandbox" in container.metadata["comment"]


def test_films_carry_the_sandbox_mark_in_their_corner(scratch: Path) -> None:
    plain = Film("white abstract", 1, 256, 144, 0.1)
    corner = frames_of(make(plain, scratch))[0, 124:140, 200:].astype(float)
    assert corner.std() > 12


# The render process


async def test_a_render_process_speaks_films_and_fails_what_it_cannot_say(tmp_path: Path) -> None:
    process = RenderProcess(PATIENCE_S)
    mute: Commission = Speech("你好", "heart")
    with pytest.raises(RenderFailed, match="unsupported_language"):
        await process.render(mute, tmp_path / "mute.mp3")
    pid = process.pid
    await process.render(Speech("Hi.", "heart"), tmp_path / "x.mp3")
    await process.render(Film("a cat", 1, 64, 64, 0.1), tmp_path / "x.mp4")
    assert process.pid == pid
    assert names(tmp_path) == ["x.mp3", "x.mp4"]
    await process.stop()
