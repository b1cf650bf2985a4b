"""Sound and film into files: MP3, WAV and MP4 by PyAV, each with its label."""

import io
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import av
import numpy as np
import numpy.typing as npt
from av.audio.resampler import AudioResampler
from av.video.stream import VideoStream
from PIL import Image

from services.simulator.adapters.label import comment_for, labelled_mp3, labelled_mp4, labelled_wav
from services.simulator.adapters.renderer.noise import Array
from services.simulator.adapters.renderer.voice import RATE

SOUND_RATE: Final = 44_100
MP3_BITS_PER_S: Final = 128_000
OPTIONS: Final = {"mp3": {"compression_level": "7"}, "wav": {}}
"""LAME's search for the best bits, cut short: a third less time for the same rate."""
AAC_BITS_PER_S: Final = 96_000
EXACT: Final = {"fflags": "+bitexact"}
"""No encoder's version and no date in a file: the same commission is the same bytes."""
X264: Final = {"preset": "superfast", "crf": "22", "threads": "1"}
"""A third of a medium preset's time; one thread, as each render process has one processor."""
BT709: Final = 1

Planes = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.uint8]]
"""Luma (height x width) and the two colour differences (half each way), in video's range."""


def sound_file(sound: Array, kind: str, source: str) -> bytes:
    """Mono sound at RATE as a file of 44.1 kHz; `kind` is mp3 (128 kbit/s) or wav (16 bits)."""
    out = io.BytesIO()
    codec = "libmp3lame" if kind == "mp3" else "pcm_s16le"
    options = {**EXACT, "id3v2_version": "0"} if kind == "mp3" else EXACT
    with av.open(out, "w", format=kind, options=options) as container:
        stream: Any = container.add_stream(codec, rate=SOUND_RATE, options=OPTIONS[kind])
        stream.layout = "mono"
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        if kind == "mp3":
            stream.bit_rate = MP3_BITS_PER_S
        else:
            container.metadata["comment"] = comment_for(source)
        for frame in _frames(sound, stream):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    label = labelled_mp3 if kind == "mp3" else labelled_wav
    return label(out.getvalue(), source)


def _frames(sound: Array, stream: Any) -> Iterator[av.AudioFrame]:
    """The sound at the stream's rate and in its format, in frames of the codec's size."""
    context = stream.codec_context
    resampler = AudioResampler(context.format, "mono", SOUND_RATE, context.frame_size or 4096)
    for begin in range(0, sound.size, RATE):  # a second at a time: a speech may take minutes
        second = np.ascontiguousarray(sound[None, begin : begin + RATE], np.float32)
        given = av.AudioFrame.from_ndarray(second, "fltp", "mono")
        given.sample_rate = RATE
        given.pts = begin
        given.time_base = Fraction(1, RATE)
        yield from resampler.resample(given)
    yield from resampler.resample(None)


class Reel:
    """An MP4 with its index before its frames: H.264, and AAC if there is sound.

    Add as many frames as were asked for, then take the `content` after the `with` block.
    """

    def __init__(
        self,
        scratch: Path,
        size: tuple[int, int],
        fps: int,
        source: str,
        sound: Array | None = None,
    ) -> None:
        """`size` is width and height, both even; `sound` is mono at RATE.

        `scratch` is a file that may be written meanwhile: the index can be moved to the front
        only by reading what was written.
        """
        self._scratch = scratch
        self._source = source
        options = {**EXACT, "movflags": "+faststart"}
        self._container = av.open(str(scratch), "w", format="mp4", options=options)
        self._container.metadata["comment"] = comment_for(source)
        self._video: VideoStream = self._container.add_stream("libx264", rate=fps, options=X264)
        self._video.width, self._video.height = size
        self._video.pix_fmt = "yuv420p"
        context = self._video.codec_context
        context.flags |= av.codec.context.Flags.bitexact
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = 1  # studio swing
        self._fps = fps
        self._count = 0
        self._voice: Any = None
        self._sound: Iterator[av.AudioFrame] = iter(())
        if sound is not None:
            self._voice = self._container.add_stream("aac", rate=SOUND_RATE)
            self._voice.layout = "mono"
            self._voice.bit_rate = AAC_BITS_PER_S
            self._voice.codec_context.flags |= av.codec.context.Flags.bitexact
            self._sound = _frames(sound, self._voice)
        self._sounded_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if error is not None:
            with suppress(av.error.FFmpegError):  # a half-made film has no end to write
                self._container.close()
            self._scratch.unlink(missing_ok=True)
            return
        self._container.mux(self._video.encode(None))
        self._add_sound(float("inf"))
        if self._voice is not None:
            self._container.mux(self._voice.encode(None))
        self._container.close()

    def content(self) -> bytes:
        """The whole file; the scratch is gone afterwards."""
        whole = self._scratch.read_bytes()
        self._scratch.unlink()
        return labelled_mp4(whole, self._source)

    def add(self, planes: Planes) -> None:
        """One frame more, and the sound until its end."""
        packed = np.concatenate([plane.reshape(-1) for plane in planes])
        flat = packed.reshape(-1, planes[0].shape[1])
        frame = av.VideoFrame.from_ndarray(flat, "yuv420p")
        frame.pts = self._count
        self._count += 1
        self._container.mux(self._video.encode(frame))
        self._add_sound(self._count / self._fps)

    def _add_sound(self, until_s: float) -> None:
        while self._sounded_s < until_s:
            frame = next(self._sound, None)
            if frame is None:
                return
            self._sounded_s += frame.samples / SOUND_RATE
            self._container.mux(self._voice.encode(frame))


def planes_of(image: Image.Image) -> Planes:
    """An RGB picture of even sides as video has it."""
    frame = av.VideoFrame.from_ndarray(np.asarray(image), "rgb24").reformat(
        format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG"
    )
    flat: npt.NDArray[Any] = frame.to_ndarray()
    width, height = image.size
    luma = flat[:height]
    halves = flat[height:].reshape(2, height // 2, width // 2)
    return luma.copy(), halves[0].copy(), halves[1].copy()
