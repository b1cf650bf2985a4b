"""Tiny real films and sounds: 128x72 px, a second, a tone."""

import io
import tempfile
import wave
from fractions import Fraction

import av
import numpy as np

FPS, RATE = 24, 24_000
LOUD = 0.5


def tone(seconds: float = 1.0, volume: float = LOUD) -> np.ndarray:
    at = np.arange(round(seconds * RATE)) / RATE
    return (volume * np.sin(at * 2 * np.pi * 440)).astype(np.float32)


def wav(seconds: float = 1.0, volume: float = LOUD) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((tone(seconds, volume) * 32_767).astype("<i2").tobytes())
    return buffer.getvalue()


def mp3(seconds: float = 1.0, volume: float = LOUD) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", RATE, layout="mono")
        encode_sound(container, stream, tone(seconds, volume))
    return buffer.getvalue()


def mp4(
    seconds: float = 1.0,
    *,
    volume: float | None = None,
    size: tuple[int, int] = (128, 72),
    codec: str = "libx264",
    sounds: int = 1,
    index_first: bool = False,
    container_format: str = "mp4",
    keys_every: int = 12,
) -> bytes:
    """Black first, white in the end; without sound when `volume` is None. `keys_every` frames one
    is whole."""
    options = {"movflags": "+faststart"} if index_first else {}
    with (
        tempfile.NamedTemporaryFile(suffix=f".{container_format}") as file,
        av.open(file.name, "w", options=options, format=container_format) as container,
    ):
        film = container.add_stream(codec, rate=FPS, options={"g": str(keys_every)})
        assert isinstance(film, av.VideoStream)
        film.width, film.height, film.pix_fmt = *size, "yuv420p"
        heard = [] if volume is None else [_sound(container) for _ in range(sounds)]
        count = round(seconds * FPS)
        for number in range(count):
            grey = np.full((size[1], size[0], 3), 255 * number // count, np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(film.encode(frame))
        container.mux(film.encode())
        for stream in heard:
            encode_sound(container, stream, tone(seconds, volume or 0.0))
        container.close()
        return file.read()


def _sound(container: av.container.OutputContainer) -> av.AudioStream:
    codec = "aac" if container.format.name == "mp4" else "libopus"
    stream = container.add_stream(codec, RATE, layout="mono")
    assert isinstance(stream, av.AudioStream)
    return stream


def encode_sound(
    container: av.container.OutputContainer, stream: av.AudioStream, samples: np.ndarray
) -> None:
    frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
    frame.sample_rate, frame.pts = RATE, 0
    container.mux(stream.encode(frame))
    container.mux(stream.encode())
