"""Watches MP4 films, with their sound, and keeps a frame; knows no keys and no owners."""

from pathlib import Path
from typing import Final

from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image

from services.storage.adapters.blurhashes import blurhash_of
from services.storage.adapters.decoding import (
    OFF_BY_S_MAX,
    SECONDS_MAX,
    check_duration,
    frames,
    opened,
)
from services.storage.adapters.endings import mp4_ends_where_it_says
from services.storage.adapters.media import (
    THUMBNAIL_LOOK,
    THUMBNAIL_SIDE_PX,
    MediaFacts,
    MediaRefused,
    Wanted,
    checked_type,
    digest_of,
)
from services.storage.adapters.scoring import Score
from services.storage.adapters.sounds import Loudness

MIME_TYPE: Final = "video/mp4"
PIXELS_MAX: Final = 4_096 * 2_304
"""Of a frame: 4K, the cinema's or television's, lying or standing."""
FRAMES_MAX: Final = 60 * 600
SCORED_FRAMES_MAX: Final = 60
SCORED_EVERY_S: Final = 1.0
_SCORED_SIDE_PX: Final = 256


class Worst:
    """The highest score of a film's frames: one of a second, and of a long film as many as may be,
    spread over its length."""

    def __init__(self, score: Score | None, length_s: float) -> None:
        self._score = score
        self._every_s = max(SCORED_EVERY_S, length_s / SCORED_FRAMES_MAX)
        self._next_s = -float("inf")
        self._count = 0
        self.score: float | None = None

    def see(self, frame: VideoFrame, at_s: float) -> None:
        if self._score is None or at_s < self._next_s or self._count >= SCORED_FRAMES_MAX:
            return
        self._next_s = at_s + self._every_s
        self._count += 1
        self.score = max(self.score or 0.0, self._score(picture_of(frame, _SCORED_SIDE_PX)))


class _Shown:
    """What was seen so far of a film of `width` x `height` px."""

    def __init__(self, stream: VideoStream, score: Score | None) -> None:
        self.width, self.height = stream.codec_context.width, stream.codec_context.height
        self._middle: VideoFrame | None = None
        self._count = 0
        self._first_s = self._last_s = 0.0
        length_s = float((stream.duration or 0) * (stream.time_base or 0))
        self._middle_s = length_s / 2
        self.worst = Worst(score, length_s)
        self._usual_s = 1 / float(stream.average_rate or 1)

    def see(self, frame: VideoFrame) -> None:
        """Raises MediaRefused (too_many_frames), and ValueError for one of another size."""
        if (frame.width, frame.height) != (self.width, self.height):
            raise ValueError("the size changes on the way")
        self._count += 1
        if self._count > FRAMES_MAX:
            raise MediaRefused("too_many_frames", "This film has too many frames.")
        self._last_s = float(frame.time)
        if self._middle is None:
            self._first_s = self._last_s
        if self._middle is None or self._last_s - self._first_s <= self._middle_s:
            self._middle = frame
        self.worst.see(frame, self._last_s)

    def middle_frame(self) -> VideoFrame:
        """Raises ValueError when none was seen."""
        if self._middle is None:
            raise ValueError("there is no frame")
        return self._middle

    @property
    def frame_s(self) -> float:
        """How long a frame is shown, on average."""
        if self._count <= 1:
            return self._usual_s
        return (self._last_s - self._first_s) / (self._count - 1)

    @property
    def seconds(self) -> float:
        return self._last_s - self._first_s + self.frame_s


def examine(path: Path, poster: Path, wanted: Wanted, score: Score | None = None) -> MediaFacts:
    """The facts of an MP4 that decodes to its end, film and sound; `poster` is written.

    An avatar is a film that must be heard. `score` tells how unsafe a picture is, 0 to 1.

    Raises:
        MediaRefused: unsupported_type, too_many_pixels, too_many_frames, damaged_film, too_long,
            wrong_size, wrong_duration, silent.
    """
    checked_type(path, (MIME_TYPE,), wanted)
    heard = Loudness(SECONDS_MAX)
    with opened(path, "mp4", "damaged_film") as container:
        film, sounds = _streams(container)
        shown = _Shown(film, score)
        check_size(shown.width, shown.height, wanted)
        for frame in frames(container, [film, *sounds], seconds_max=SECONDS_MAX):
            if isinstance(frame, AudioFrame):
                heard.hear(frame)
            else:
                shown.see(frame)
        middle = shown.middle_frame()
        if not mp4_ends_where_it_says(path):
            raise ValueError("a box is cut short")
    if wanted.kind == "avatar" and heard.is_silent:
        raise MediaRefused("silent", "Nobody is heard speaking.")
    check_duration(shown.seconds, wanted, max(OFF_BY_S_MAX, shown.frame_s))
    return MediaFacts(
        mime_type=MIME_TYPE,
        width=shown.width,
        height=shown.height,
        sha256=digest_of(path),
        size=path.stat().st_size,
        duration_seconds=round(shown.seconds, 3),
        blurhash=write_poster(middle, poster),
        nsfw_score=shown.worst.score,
    )


def _streams(container: InputContainer) -> tuple[VideoStream, tuple[AudioStream, ...]]:
    films, sounds = container.streams.video, container.streams.audio
    if len(films) != 1 or films[0].codec_context.codec.canonical_name != "h264":
        raise MediaRefused("unsupported_type", "This is not one H.264 film.")
    if len(sounds) > 1 or any(s.codec_context.codec.canonical_name != "aac" for s in sounds):
        raise MediaRefused("unsupported_type", "The film's sound is not one of AAC.")
    return films[0], tuple(sounds)


def check_size(width: int, height: int, wanted: Wanted) -> None:
    if width * height > PIXELS_MAX:
        raise MediaRefused("too_many_pixels", "This film has too many pixels.")
    asked = wanted.width, wanted.height
    if None not in asked and (width, height) != asked:
        raise MediaRefused("wrong_size", f"This film is {width}x{height}, not as was asked for.")


def write_poster(frame: VideoFrame, target: Path) -> str:
    """Write it as a WebP of at most a thumbnail's sides; its blurhash."""
    small = picture_of(frame, THUMBNAIL_SIDE_PX)
    small.save(target, "WEBP", **THUMBNAIL_LOOK)
    return blurhash_of(small)


def picture_of(frame: VideoFrame, long_side_px: int) -> Image.Image:
    """It in RGB, its longer side at most so long; never enlarged."""
    scale = min(1.0, long_side_px / max(frame.width, frame.height))
    width, height = (max(1, round(side * scale)) for side in (frame.width, frame.height))
    return Image.fromarray(
        frame.reformat(width, height, format="rgb24", interpolation="AREA").to_ndarray()
    )
