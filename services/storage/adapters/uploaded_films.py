"""Goes through uploaded films without watching them; in the child only.

Their packets are read to the end, and a few key frames are decoded: of a film of a gigabyte the
rest would take minutes. So a damaged frame is not found, but what is no film is, and what says
absurd things of itself.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from services.storage.adapters.decoding import (
    UPLOAD_SECONDS_MAX,
    check_not_too_long,
    opened,
)
from services.storage.adapters.endings import mp4_ends_where_it_says, webm_ends_where_it_says
from services.storage.adapters.film_headers import check_mp4, check_webm
from services.storage.adapters.films import (
    SCORED_EVERY_S,
    SCORED_FRAMES_MAX,
    Worst,
    check_size,
    write_poster,
)
from services.storage.adapters.media import (
    MediaFacts,
    MediaRefused,
    Wanted,
    checked_type,
    digest_of,
)
from services.storage.adapters.scoring import Score

FORMATS: Final = {"video/mp4": "mp4", "video/webm": "webm"}
ENDINGS: Final = {"video/mp4": mp4_ends_where_it_says, "video/webm": webm_ends_where_it_says}
CHECKS: Final = {"video/mp4": check_mp4, "video/webm": check_webm}
FILMS: Final = {
    "video/mp4": ("h264", "hevc", "av1", "vp9", "mpeg4"),
    "video/webm": ("vp8", "vp9", "av1"),
}
SOUNDS: Final = {
    "video/mp4": ("aac", "mp3", "opus", "ac3", "eac3", "alac", "flac"),
    "video/webm": ("vorbis", "opus"),
}
PACKETS_MAX: Final = 4_000_000
"""Of the film and its sounds: four hours of them are 1.6 million."""
SIDE_PX_MAX: Final = 16_384
EARLY_S_MAX: Final = 60.0
"""A sound that begins before its film, or a length that nobody knows, makes times negative."""
PACKETS_TO_A_FRAME_MAX: Final = 64
"""A decoder that has shown nothing by then shows nothing."""


@dataclass(slots=True)
class _Walked:
    """Where the film's key frames are, in its own units of time, and where it ends."""

    keys: list[int]
    first: int
    end: int


def take_in(
    path: Path, poster: Path, mime_type: str, score: Score | None, sha256: str | None = None
) -> MediaFacts:
    """The facts of an MP4 or WebM that can be read to its end; `poster` is written. `sha256` is the
    file's, where it is known.

    Raises:
        MediaRefused: unsupported_type, too_many_pixels, too_many_frames, too_long, damaged_film.
    """
    checked_type(path, FORMATS, Wanted("video", mime_type=mime_type))
    with opened(path, FORMATS[mime_type], "damaged_film") as container:
        film = _film_of(container, mime_type)
        width, height = film.codec_context.width, film.codec_context.height
        check_size(width, height, Wanted("video"))
        if not (0 < width <= SIDE_PX_MAX and 0 < height <= SIDE_PX_MAX):
            raise ValueError("no film has this size")
        _check_said_length(container)
        if not ENDINGS[mime_type](path):
            raise ValueError("it is cut short, or something follows it")
        CHECKS[mime_type](path)
        walked = _walk(container, film)
        seconds = float((walked.end - walked.first) * _unit(film))
        check_not_too_long(seconds, UPLOAD_SECONDS_MAX)
        worst = Worst(score, seconds)
        middle = None
        for at, frame in _shown(container, film, _looked_at(walked, film, scored=bool(score))):
            worst.see(frame, float(at * _unit(film)))
            if middle is None or at <= (walked.first + walked.end) / 2:
                middle = frame
        if middle is None:
            raise ValueError("there is no frame")
        blurhash = write_poster(middle, poster)
    return MediaFacts(
        mime_type=mime_type,
        width=width,
        height=height,
        sha256=sha256 or digest_of(path),
        size=path.stat().st_size,
        duration_seconds=round(seconds, 3),
        blurhash=blurhash,
        nsfw_score=worst.score,
    )


def _film_of(container: InputContainer, mime_type: str) -> VideoStream:
    films, sounds = container.streams.video, container.streams.audio
    names = [one.codec_context.codec.canonical_name for one in films]
    if len(names) != 1 or names[0] not in FILMS[mime_type]:
        raise MediaRefused("unsupported_type", "This is not one film of a type that is kept.")
    if any(one.codec_context.codec.canonical_name not in SOUNDS[mime_type] for one in sounds):
        raise MediaRefused("unsupported_type", "The film's sound is of no type that is kept.")
    return films[0]


def _unit(film: VideoStream) -> Fraction:
    """Seconds of one of its units of time. Raises ValueError when there is none."""
    if not film.time_base:
        raise ValueError("there is no unit of time")
    return film.time_base


def _check_said_length(container: InputContainer) -> None:
    """Before anything is read: what it says need not be true, but must be possible."""
    for said in (container.duration, container.start_time):
        said_s = (said or 0) / av.time_base
        if said_s < -EARLY_S_MAX:
            raise ValueError("no film lasts so long")
        check_not_too_long(said_s, UPLOAD_SECONDS_MAX)


def _walk(container: InputContainer, film: VideoStream) -> _Walked:
    """Raises MediaRefused (too_many_frames), and ValueError for packets that are cut short."""
    walked = _Walked([], first=0, end=0)
    count = 0
    for packet in container.demux(film, *container.streams.audio):
        if packet.is_corrupt:
            raise ValueError("a packet is cut short")
        count += 1
        if count > PACKETS_MAX:
            raise MediaRefused("too_many_frames", "This film has too many frames.")
        if packet.stream_index != film.index or packet.pts is None:
            continue
        at, length = packet.pts, packet.duration or 0
        walked.first = min(walked.first, at) if walked.keys else at
        walked.end = max(walked.end, at + length)
        if packet.is_keyframe:
            walked.keys.append(at)
    if not walked.keys:
        raise ValueError("there is no frame")
    return walked


def _looked_at(walked: _Walked, film: VideoStream, *, scored: bool) -> list[int]:
    """The first, the middle and the last key frame; where scored, those of `Worst` besides."""
    keys = sorted(walked.keys)
    chosen = {keys[0], keys[(len(keys) - 1) // 2], keys[-1]}
    if scored:
        length = walked.end - walked.first
        step = max(SCORED_EVERY_S / float(_unit(film)), length / SCORED_FRAMES_MAX)
        next_at = -math.inf
        for key in keys:
            if key >= next_at:
                chosen.add(key)
                next_at = key + step
    return sorted(chosen)


def _shown(
    container: InputContainer, film: VideoStream, places: list[int]
) -> Iterator[tuple[int, VideoFrame]]:
    """The key frames there. Raises ValueError for one that cannot be shown."""
    film.codec_context.thread_count = 1
    for at in places:
        container.seek(at, stream=film)
        yield at, _frame_from_here(container, film)


def _frame_from_here(container: InputContainer, film: VideoStream) -> VideoFrame:
    for count, packet in enumerate(container.demux(film)):
        for frame in packet.decode():
            if isinstance(frame, VideoFrame):
                if frame.is_corrupt or (frame.width, frame.height) != (
                    film.codec_context.width,
                    film.codec_context.height,
                ):
                    raise ValueError("a key frame is damaged")
                return frame
        if count > PACKETS_TO_A_FRAME_MAX:
            break
    raise ValueError("a key frame cannot be shown")
