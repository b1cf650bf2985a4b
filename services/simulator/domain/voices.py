"""The voices there are and what they speak: one recorded voice with six pitches and throats."""

import hashlib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

LANGUAGES: Final = frozenset({"", "en", "eng", "english"})
"""What a language's first part may be; empty leaves it to the voice."""
ENOUGH_LATIN: Final = 0.5


@dataclass(frozen=True, slots=True)
class Voice:
    """How the recorded voice is changed: both are factors, of its pitch and of its resonances."""

    gender: str
    pitch: float = 1.0
    formant: float = 1.0


VOICES: Final[Mapping[str, Voice]] = {
    "heart": Voice("female"),
    "bright": Voice("female", 1.15, 1.06),
    "narrator": Voice("male", 0.72, 0.93),
    "male": Voice("male", 0.60, 0.88),
    "deep": Voice("male", 0.52, 0.84),
    "child": Voice("neutral", 1.35, 1.16),
}
"""Every pair was heard to stay clear: a transcriber got each word."""


class Unspeakable(Exception):
    """The voices do not speak this language, or there is nothing in the text to say."""


def voice_named(name: str) -> Voice:
    """One of VOICES; a name of another vendor's is always the same one of them."""
    if name in VOICES:
        return VOICES[name]
    digest = hashlib.sha256(name.encode("utf-8", "replace")).digest()
    return list(VOICES.values())[digest[0] % len(VOICES)]


def check_language(text: str, language: str) -> None:
    """Raise `Unspeakable` for a language other than English, told or seen in the letters."""
    tongue = language.lower().replace("_", "-").partition("-")[0].strip()
    if tongue not in LANGUAGES:
        raise Unspeakable(f"unsupported_language: {language[:40]}")
    letters = [letter for letter in text if letter.isalpha()]
    latin = sum(1 for letter in letters if unicodedata.name(letter, "").startswith("LATIN"))
    if latin < ENOUGH_LATIN * len(letters):
        raise Unspeakable("unsupported_language: the text is written in another alphabet")
