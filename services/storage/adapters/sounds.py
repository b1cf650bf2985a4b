"""Listens to MP3 and WAV files, and draws what is heard; knows no keys and no owners."""

import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from PIL import Image, ImageDraw

from services.storage.adapters.decoding import (
    SECONDS_MAX,
    check_duration,
    check_not_too_long,
    frames,
    opened,
)
from services.storage.adapters.media import (
    THUMBNAIL_LOOK,
    THUMBNAIL_SIDE_PX,
    MediaFacts,
    MediaRefused,
    Wanted,
    checked_type,
    digest_of,
)

FORMATS: Final = {"audio/mpeg": "mp3", "audio/wav": "wav"}
CODECS: Final = {
    "audio/mpeg": ("mp3",),
    "audio/wav": ("pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le"),
}
CHANNELS_MAX: Final = 8
LOSSES_MAX: Final = 0.05
"""Of an MP3's packets: where several were joined, their tags lie between, and players skip them."""
PEAK_MIN: Final = 10 ** (-50 / 20)
"""-50 dB of the loudest: what never reaches it nobody hears."""

_BLOCKS_PER_S: Final = 200
_XING: Final = re.compile(
    rb"(?:Xing|Info)\0\0\0[\x01\x03\x05\x07\x09\x0b\x0d\x0f](?P<frames>.{4})", re.DOTALL
)
_FRAMES_OFF_MAX: Final = 3  # the decoder drops what the encoder had put before the sound
_BAR_PX, _GAP_PX, _HEIGHT_PX = 3, 1, 128
_COLOUR: Final = (99, 102, 241, 255)  # legible on white and on black
_UNKNOWN_LENGTHS: Final = (0, 0xFFFFFFFF)  # of a WAV that was sent while it was made


class Loudness:
    """How loud a sound was from block to block, 1 at most, and how long in seconds and frames."""

    def __init__(self, seconds_max: float) -> None:
        self._seconds_max = seconds_max
        self.frames = 0
        self.seconds = 0.0
        self._peaks: list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = []
        self._as_floats = AudioResampler("fltp")

    def hear(self, frame: AudioFrame) -> None:
        """Raises MediaRefused (too_long)."""
        self.frames += 1
        self.seconds += frame.samples / frame.sample_rate
        check_not_too_long(self.seconds, self._seconds_max)
        for part in self._as_floats.resample(frame):
            loud = np.nan_to_num(np.abs(part.to_ndarray().astype(np.float32)).max(axis=0))
            starts = np.arange(0, len(loud), max(1, frame.sample_rate // _BLOCKS_PER_S))
            self._peaks.append(np.maximum.reduceat(loud, starts))

    @property
    def is_silent(self) -> bool:
        return not any(peaks.max() >= PEAK_MIN for peaks in self._peaks)

    def bars(self, count: int) -> Sequence[float]:
        """The loudest of each of `count` parts of equal length."""
        peaks = np.minimum(np.concatenate(self._peaks), 1.0)
        starts = np.arange(count) * len(peaks) // count
        return [float(peak) for peak in np.maximum.reduceat(peaks, starts)]


def examine(
    path: Path,
    waveform: Path,
    wanted: Wanted,
    *,
    seconds_max: float = SECONDS_MAX,
    may_be_silent: bool = False,
    sha256: str | None = None,
) -> MediaFacts:
    """The facts of an MP3 or WAV that decodes to its end and can be heard; `waveform` is written.
    `sha256` is the file's, where it is known.

    Raises:
        MediaRefused: unsupported_type, damaged_sound, too_long, wrong_duration, silent.
    """
    mime_type = checked_type(path, FORMATS, wanted)
    heard = Loudness(seconds_max)
    with opened(path, FORMATS[mime_type], "damaged_sound") as container:
        stream = _only_stream(container, CODECS[mime_type])
        open_end = mime_type == "audio/wav" and _riff_length(path) in _UNKNOWN_LENGTHS
        losses_max = LOSSES_MAX if mime_type == "audio/mpeg" else 0.0
        for frame in frames(
            container,
            [stream],
            may_end_anywhere=open_end,
            losses_max=losses_max,
            seconds_max=seconds_max,
        ):
            if isinstance(frame, AudioFrame):
                heard.hear(frame)
        if heard.frames < _frames_said(path) - _FRAMES_OFF_MAX:
            raise ValueError("the end is missing")
    if heard.frames == 0 or (heard.is_silent and not may_be_silent):
        raise MediaRefused("silent", "There is nothing to hear.")
    check_duration(heard.seconds, wanted)
    draw(heard, waveform)
    size, duration_s = path.stat().st_size, round(heard.seconds, 3)
    return MediaFacts(mime_type, None, None, sha256 or digest_of(path), size, duration_s)


def draw(heard: Loudness, target: Path) -> None:
    """Write a WebP of bars, transparent around them."""
    step = _BAR_PX + _GAP_PX
    image = Image.new("RGBA", (THUMBNAIL_SIDE_PX, _HEIGHT_PX))
    pen = ImageDraw.Draw(image)
    for number, peak in enumerate(heard.bars(THUMBNAIL_SIDE_PX // step)):
        half = max(1, round(peak * (_HEIGHT_PX // 2 - 1)))
        left, middle = number * step, _HEIGHT_PX // 2
        box = (left, middle - half, left + _BAR_PX - 1, middle + half - 1)
        pen.rounded_rectangle(box, radius=1, fill=_COLOUR)
    image.save(target, "WEBP", **THUMBNAIL_LOOK)


def _only_stream(container: InputContainer, codecs: Sequence[str]) -> AudioStream:
    streams = container.streams.audio
    if len(streams) != 1 or streams[0].codec_context.codec.canonical_name not in codecs:
        raise MediaRefused("unsupported_type", "This is not one sound of a type that is kept.")
    if not 1 <= streams[0].codec_context.channels <= CHANNELS_MAX:
        raise MediaRefused("unsupported_type", "This sound has too many channels.")
    return streams[0]


def _riff_length(path: Path) -> int:
    with path.open("rb") as file:
        return int(struct.unpack("<4xI", file.read(8))[0])


def _frames_said(path: Path) -> int:
    """How many frames Xing's header in the first frame of an MP3 counts; 0 where there is none."""
    with path.open("rb") as file:
        head = file.read(10)
        if head[:3] == b"ID3":  # a tag; its length is four times seven bits
            a, b, c, d = head[6:10]
            file.seek(10 + (a << 21 | b << 14 | c << 7 | d))
        else:
            file.seek(0)
        first_frame = file.read(256)
    found = _XING.search(first_frame)
    return int.from_bytes(found["frames"]) if found else 0
