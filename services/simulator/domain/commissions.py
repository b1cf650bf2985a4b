"""What a vendor is asked to make: a picture, a speech, a film or an avatar that speaks.

Each carries all that decides its bytes, so the same commission is the same file. `medium` tells
them apart in the journal and on the way to a render process.
"""

from dataclasses import dataclass
from typing import Final, Literal, assert_never

MAX_TEXT_CHARS: Final = 5_000
MAX_FILM_S: Final = 60.0
MAX_FPS: Final = 60
MAX_PICTURE_PX: Final = 20_000_000
MAX_FRAME_PX: Final = 3_840 * 2_160
MIN_FRAME_SIDE_PX: Final = 16
CHARS_PER_S: Final = 15
"""How quickly the voices speak at their own speed."""
AVATAR_FPS: Final = 25
MIN_SPEED: Final = 0.5
MAX_SPEED: Final = 2.0


@dataclass(frozen=True, slots=True)
class Picture:
    """`width` and `height` in pixels. Raises ValueError for none and beyond MAX_PICTURE_PX."""

    prompt: str
    seed: int
    width: int
    height: int
    kind: Literal["png", "jpg"]
    medium: Literal["picture"] = "picture"

    def __post_init__(self) -> None:
        if min(self.width, self.height) < 1 or self.width * self.height > MAX_PICTURE_PX:
            raise ValueError(f"a picture has between 1 and {MAX_PICTURE_PX} pixels")


@dataclass(frozen=True, slots=True)
class Speech:
    """`text` read aloud by one of `domain.voices`; `speed` 1 is the voice's own.

    An unknown `voice` is one of the known ones, chosen by its name. Raises ValueError beyond
    MAX_TEXT_CHARS and for a speed outside MIN_SPEED..MAX_SPEED. A `language` the voices do not
    speak fails in the studio, as a vendor's model would.
    """

    text: str
    voice: str
    speed: float = 1.0
    language: str = "en"
    kind: Literal["mp3", "wav"] = "mp3"
    seed: int = 0
    medium: Literal["speech"] = "speech"

    def __post_init__(self) -> None:
        _check_words(self.text, self.speed)


@dataclass(frozen=True, slots=True)
class Film:
    """A silent film of `duration_s * fps` frames; `width` and `height` are even numbers of pixels.

    `first_frame` is the address of the picture it begins with, or empty: it only decides the
    seed here; the picture itself reaches the renderer as a file. Raises ValueError for odd sides
    and beyond the bounds.
    """

    prompt: str
    seed: int
    width: int
    height: int
    duration_s: float
    fps: int = 24
    first_frame: str = ""
    kind: Literal["mp4"] = "mp4"
    medium: Literal["film"] = "film"

    def __post_init__(self) -> None:
        _check_frame(self.width, self.height)
        if not 1 <= self.fps <= MAX_FPS:
            raise ValueError(f"a film has between 1 and {MAX_FPS} frames a second")
        if not 0 < self.duration_s <= MAX_FILM_S or self.frames < 1:
            raise ValueError(f"a film lasts at most {MAX_FILM_S:g} s, and at least a frame")

    @property
    def frames(self) -> int:
        return round(self.duration_s * self.fps)


@dataclass(frozen=True, slots=True)
class Avatar:
    """A drawn person (which one, `avatar` decides) who says `script`; as long as it takes to say.

    `caption` burns the words in; `emotion` is a word like happy, sad, angry or surprised, and
    anything else is a calm face. Raises ValueError for odd sides and beyond the bounds.
    """

    script: str
    avatar: str
    voice: str
    width: int
    height: int
    speed: float = 1.0
    caption: bool = False
    emotion: str = ""
    kind: Literal["mp4"] = "mp4"
    medium: Literal["avatar"] = "avatar"

    def __post_init__(self) -> None:
        _check_words(self.script, self.speed)
        _check_frame(self.width, self.height)


Commission = Picture | Speech | Film | Avatar
MEDIA: Final = {"picture": Picture, "speech": Speech, "film": Film, "avatar": Avatar}


def expected_ms(commission: Commission) -> int:
    """A guess at how long it takes one processor: it makes progress move and bounds patience."""
    match commission:
        case Picture(width=width, height=height):
            return 250 + _megapixels_ms(width, height, 100)
        case Speech(text=text):
            return 500 + 2 * len(text)
        case Film(width=width, height=height, frames=frames):
            return 500 + frames * (2 + _megapixels_ms(width, height, 13))
        case Avatar(script=script, speed=speed, width=width, height=height):
            frames = round(len(script) / (CHARS_PER_S * speed) * AVATAR_FPS)
            return 1_000 + len(script) + frames * (2 + _megapixels_ms(width, height, 8))
        case _ as never:
            assert_never(never)


def _megapixels_ms(width: int, height: int, each_ms: int) -> int:
    return width * height * each_ms // 1_000_000


def _check_words(text: str, speed: float) -> None:
    if len(text) > MAX_TEXT_CHARS:
        raise ValueError(f"a text has at most {MAX_TEXT_CHARS} characters")
    if not MIN_SPEED <= speed <= MAX_SPEED:
        raise ValueError(f"a speed lies between {MIN_SPEED:g} and {MAX_SPEED:g}")


def _check_frame(width: int, height: int) -> None:
    """H.264 with halved colour has no odd sides."""
    if width % 2 or height % 2 or min(width, height) < MIN_FRAME_SIDE_PX:
        raise ValueError(f"a frame's sides are even numbers from {MIN_FRAME_SIDE_PX} pixels on")
    if width * height > MAX_FRAME_PX:
        raise ValueError(f"a frame has at most {MAX_FRAME_PX} pixels")
