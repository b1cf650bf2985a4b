"""Reads a text aloud: hibari's network, with pitch and resonances moved for each voice.

The network tells a spectrum and a pitch for every 12.5 ms; the same frames say how far a mouth is
open. Its other voices would be downloaded, so the one in the package serves for all of them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np

from services.simulator.adapters.renderer.noise import Array
from services.simulator.domain.voices import Unspeakable, Voice, check_language, voice_named

RATE: Final = 24_000
FRAMES_PER_S: Final = 80
PHONEMES_AT_ONCE: Final = 200
"""The network's memory grows with the square of a stretch; most sentences are shorter."""
WORD_CHARS: Final = 40
"""What has no space for longer is no word and is broken."""
UNVOICED_HZ: Final = 40.0
PEAK: Final = 0.9
USUAL_LOUDNESS: Final = 0.12
"""Root of the mean square; what goes beyond PEAK is bent below it."""
SILENT: Final = 1e-4
PAUSE_S: Final = 0.125
LOW_BINS: Final = slice(5, 50)
"""100 to 1000 Hz, where an open mouth is loud; a hiss is above."""
_SENTENCE_END: Final = re.compile(r"(?<=[.!?…])\s+|\n+")


@dataclass(frozen=True, slots=True)
class Spoken:
    """`sound` is float32 at RATE in -PEAK..PEAK; `openness` has FRAMES_PER_S values in 0..1.

    `sentences` are the text's sentences with the second each begins and ends.
    """

    sound: Array
    openness: Array
    sentences: tuple[tuple[str, float, float], ...]

    @property
    def duration_s(self) -> float:
        return self.sound.size / RATE


@lru_cache(maxsize=1)
def _hibari() -> Any:
    from hibari import Hibari  # noqa: PLC0415 - its weights and word lists are loaded when needed

    return Hibari(voice="heart", threads=1)


def speak(text: str, voice: str, speed: float, language: str, seed: int) -> Spoken:
    """The text as sound. Raises `Unspeakable` if any voice here would keep silent."""
    check_language(text, language)
    manner = voice_named(voice)
    rng = np.random.default_rng(seed)
    sounds: list[Array] = []
    openness: list[Array] = []
    sentences = []
    at_s = 0.0
    for sentence in _sentences(text):
        begun_s = at_s
        for phonemes in _stretches(sentence):
            sound, opened = _stretch(phonemes, manner, speed, rng)
            sounds.append(sound)
            openness.append(opened)
            at_s += sound.size / RATE
        if at_s > begun_s:
            sentences.append((sentence, begun_s, at_s))
            sounds.append(np.zeros(int(PAUSE_S * RATE), np.float32))
            openness.append(np.zeros(round(PAUSE_S * FRAMES_PER_S), np.float32))
            at_s += PAUSE_S
    if not sounds:
        raise Unspeakable("nothing in the text can be spoken")
    whole = np.concatenate(sounds)
    loudness = float(np.sqrt(np.square(whole).mean()))
    if loudness < SILENT:
        raise Unspeakable("the voice kept silent")
    whole = PEAK * np.tanh(whole * (USUAL_LOUDNESS / loudness / PEAK))
    return Spoken(whole, _evened(np.concatenate(openness)), tuple(sentences))


def _sentences(text: str) -> Iterator[str]:
    broken = re.sub(rf"(\S{{{WORD_CHARS}}})(?=\S)", r"\1 ", text)
    for sentence in _SENTENCE_END.split(broken):
        if sentence.strip():
            yield " ".join(sentence.split())


def _stretches(sentence: str) -> Iterator[str]:
    """The sentence's phonemes, at most PHONEMES_AT_ONCE at a time, broken between words."""
    stretch = ""
    for word in " ".join(_hibari().phonemize(sentence)).split():
        if stretch and len(stretch) + len(word) >= PHONEMES_AT_ONCE:
            yield from _speakable(stretch)
            stretch = ""
        stretch = f"{stretch} {word}" if stretch else word[:PHONEMES_AT_ONCE]
    yield from _speakable(stretch)


def _speakable(phonemes: str) -> Iterator[str]:
    """Nothing where there are only marks: the network would hum at them."""
    if any(sign.isalpha() for sign in phonemes):
        yield phonemes


def _stretch(
    phonemes: str, manner: Voice, speed: float, rng: np.random.Generator
) -> tuple[Array, Array]:
    """(sound at RATE, loudness of an open mouth for each of the network's frames)."""
    from hibari import dsp  # noqa: PLC0415 - with the rest of hibari

    hibari = _hibari()
    given = {
        "ids": np.asarray([hibari.ids(phonemes)], np.int64),
        "speed": np.asarray([speed], np.float32),
    }
    tone, turn, hiss, rest, phase, pitch = (out[0] for out in hibari.sess.run(None, given))
    voiced = pitch > UNVOICED_HZ
    pitch = np.where(voiced, np.maximum(pitch * manner.pitch, UNVOICED_HZ * 1.05), pitch)
    tone, turn, hiss, rest = (_stretched(one, manner.formant) for one in (tone, turn, hiss, rest))
    sound = dsp.synth(tone, turn, hiss, rest, phase, pitch, rng)
    power = np.exp(2 * np.minimum(tone[LOW_BINS], 7)).mean(axis=0)
    loud = np.sqrt(power) * voiced
    return np.asarray(sound, np.float32), np.asarray(loud, np.float32)


def _stretched(spectrum: Array, factor: float) -> Array:
    """The spectrum with its frequencies (rows) times `factor`."""
    if factor == 1:
        return spectrum
    rows = spectrum.shape[0]
    place = np.minimum(np.arange(rows, dtype=np.float32) / factor, rows - 1)
    low = place.astype(np.int32)
    part = (place - low)[:, None]
    high = np.minimum(low + 1, rows - 1)
    warped: Array = spectrum[low] * (1 - part) + spectrum[high] * part
    return warped.astype(np.float32)


def _evened(loud: Array) -> Array:
    """Loudness as a mouth's opening in 0..1, without flutter."""
    usual = float(np.percentile(loud, 95)) or 1.0
    soft = np.convolve(np.clip(loud / usual, 0, 1) ** 0.6, (0.25, 0.5, 0.25), mode="same")
    opened: Array = np.clip(soft, 0, 1).astype(np.float32)
    return opened
