"""Decodes films and sounds, to the last frame, with FFmpeg's libraries; imported in the child only.

FFmpeg conceals damage where it can, but tells of each packet and frame where it did.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from services.storage.adapters.media import MediaRefused, Wanted

SECONDS_MAX: Final = 600.0
UPLOAD_SECONDS_MAX: Final = 4 * 3600.0
STREAMS_MAX: Final = 4
"""A film, its sound, and what some tools add: a time code, a cover, chapters."""
OFF_BY_S_MAX: Final = 0.1


@contextmanager
def opened(path: Path, container_format: str, damaged: str) -> Iterator[InputContainer]:
    """The file as this format and no other, reading nothing but it; its damage is a refusal.

    Raises:
        MediaRefused: `damaged`, or unsupported_type for too many streams.
    """
    options = {"protocol_whitelist": "file"}
    try:
        with av.open(f"file:{path}", format=container_format, options=options) as container:
            _check_streams(container)
            yield container
    except (MediaRefused, MemoryError):
        raise
    except Exception as error:  # decoders of hostile bytes raise anything
        raise MediaRefused(damaged, "This file cannot be decoded to its end.") from error


def _check_streams(container: InputContainer) -> None:
    if len(container.streams) > STREAMS_MAX:
        raise MediaRefused("unsupported_type", "This file has too many streams.")


def frames(
    container: InputContainer,
    streams: Sequence[VideoStream | AudioStream],
    *,
    may_end_anywhere: bool = False,
    losses_max: float = 0.0,
    seconds_max: float,
) -> Iterator[VideoFrame | AudioFrame]:
    """Every frame of these streams. `may_end_anywhere` where the file does not say its length;
    `losses_max` is the part of its packets that may be none of its sound or film.

    Raises:
        MediaRefused: too_long.
        ValueError: a packet is damaged or cut short.
    """
    for stream in streams:
        stream.codec_context.thread_count = 1
    packets = lost = 0
    for packet in container.demux(*streams):
        if packet.is_corrupt and not may_end_anywhere:
            raise ValueError("a packet is cut short")
        packets += 1
        try:
            decoded = packet.decode()
        except av.error.InvalidDataError:
            lost += 1
            continue
        for frame in decoded:
            if isinstance(frame, VideoFrame | AudioFrame):
                _check_frame(frame, seconds_max)
                yield frame
    if lost > packets * losses_max:
        raise ValueError("packets are damaged")


def _check_frame(frame: VideoFrame | AudioFrame, seconds_max: float) -> None:
    if frame.is_corrupt:
        raise ValueError("a frame is damaged")
    check_not_too_long(frame.time or 0.0, seconds_max)


def check_not_too_long(seconds: float, seconds_max: float) -> None:
    """Raises MediaRefused (too_long)."""
    if seconds > seconds_max:
        raise MediaRefused("too_long", f"This lasts more than {seconds_max:g} seconds.")


def check_duration(seconds: float, wanted: Wanted, off_by_s_max: float = OFF_BY_S_MAX) -> None:
    """Raises MediaRefused (wrong_duration)."""
    asked = wanted.duration_seconds
    if asked is not None and abs(seconds - asked) > off_by_s_max:
        raise MediaRefused("wrong_duration", f"This lasts {seconds:.3f} s, not {asked:g} s.")
