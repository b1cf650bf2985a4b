"""A speech as a file: the voice, and its label."""

from services.simulator.adapters.label import TRAINED
from services.simulator.adapters.renderer.reel import sound_file
from services.simulator.adapters.renderer.voice import speak
from services.simulator.domain.commissions import Speech


def speech_file(speech: Speech) -> bytes:
    """MP3 or WAV of 44.1 kHz, one channel, as long as the text takes. Raises `Unspeakable`."""
    spoken = speak(speech.text, speech.voice, speech.speed, speech.language, speech.seed)
    return sound_file(spoken.sound, speech.kind, TRAINED)
