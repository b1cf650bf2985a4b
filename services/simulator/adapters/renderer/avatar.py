"""A drawn person who speaks: the mouth follows the voice, the eyes blink, captions if asked for."""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from services.simulator.adapters.label import COMPOSITE
from services.simulator.adapters.renderer import finish
from services.simulator.adapters.renderer.camera import Box, Camera, Overlay
from services.simulator.adapters.renderer.captions import Caption, captions_of, drawn
from services.simulator.adapters.renderer.cosmos import backdrop
from services.simulator.adapters.renderer.figure import Easel, Expression, Looks, bust, face, looks
from services.simulator.adapters.renderer.noise import Array
from services.simulator.adapters.renderer.reel import Reel
from services.simulator.adapters.renderer.sky import Colour, toned
from services.simulator.adapters.renderer.voice import speak
from services.simulator.domain.commissions import AVATAR_FPS as FPS
from services.simulator.domain.commissions import Avatar

OPENINGS: Final = 7
"""How many mouths are drawn, from shut to wide open."""
ART_PX: Final = 1_280
"""The person is drawn at most this long and enlarged, as scenes are."""
ROOM: Final = 1.04
"""What the camera has to sway in."""
BLINK_FRAMES: Final = 3
BLINK_EVERY_S: Final = (2.0, 5.0)
WALLS: Final[tuple[Colour, ...]] = (
    (0.55, 0.66, 0.74),
    (0.70, 0.62, 0.54),
    (0.52, 0.64, 0.56),
    (0.62, 0.56, 0.70),
)
MOODS: Final[Mapping[str, Expression]] = {
    "happy": Expression(smile=0.8, lift=0.3),
    "excited": Expression(smile=1.0, lift=0.8),
    "friendly": Expression(smile=0.5, lift=0.2),
    "sad": Expression(smile=-0.7, frown=-0.9),
    "angry": Expression(smile=-0.5, frown=1.0),
    "serious": Expression(frown=0.5),
    "surprised": Expression(lift=1.0),
}


def avatar_file(avatar: Avatar, scratch: Path) -> bytes:
    """An MP4 with sound, as long as the speech to a frame. Raises `Unspeakable`."""
    spoken = speak(avatar.script, avatar.voice, avatar.speed, "", seed=0)
    size = (avatar.width, avatar.height)
    frames = max(1, round(spoken.duration_s * FPS))
    digest = hashlib.sha256(avatar.avatar.encode("utf-8", "replace")).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    cameras = _cameras(rng, size, MOODS.get(avatar.emotion.lower(), Expression()))
    mouths = openings(spoken.openness, frames)
    shut = _blinks(rng, frames)
    lines = captions_of(spoken.sentences, size) if avatar.caption else ()
    overlay = lru_cache(maxsize=1)(lambda line: Overlay(drawn(line, size)))
    mark = Overlay(finish.marked_layer(size))
    with Reel(scratch, size, FPS, COMPOSITE, spoken.sound) as reel:
        for number in range(frames):
            camera = cameras[int(mouths[number]), bool(shut[number])]
            frame = camera.see(_view(number / FPS))
            if line := _line_at(lines, number / FPS):
                overlay(line).over(frame)
            mark.over(frame)
            reel.add(frame)
    return reel.content()


def openings(openness: Array, frames: int) -> Array:
    """Which of the OPENINGS mouths each of `frames` frames shows."""
    edges = np.linspace(0, openness.size, frames + 1)
    inside = np.interp((edges[:-1] + edges[1:]) / 2, np.arange(openness.size) + 0.5, openness)
    return np.rint(inside * (OPENINGS - 1)).astype(np.int64)


def _cameras(
    rng: np.random.Generator, size: tuple[int, int], mood: Expression
) -> dict[tuple[int, bool], Camera]:
    """One for each mouth with eyes open and shut, over the same person."""
    scale = ROOM * min(1.0, ART_PX / max(size))
    width, height = (max(16, 2 * round(side * scale / 2)) for side in size)
    wall = WALLS[int(rng.integers(0, len(WALLS)))]
    low = toned(wall, (0.10, 0.11, 0.16), 0.5)
    easel = Easel(backdrop(rng, (height, width), low, wall))
    person = looks(rng, None, long_hair=bool(rng.uniform() < 0.5))  # noqa: PLR2004 - a half
    bust(easel, person)
    return {
        (opening, blinking): Camera(
            _portrait(easel, person, mood, opening, blinking=blinking), size
        )
        for opening in range(OPENINGS)
        for blinking in (False, True)
    }


def _portrait(
    easel: Easel, person: Looks, mood: Expression, opening: int, *, blinking: bool
) -> Image.Image:
    easel = easel.copied()
    opened = opening / (OPENINGS - 1)
    face(easel, person, Expression(opened, blinking, mood.smile, mood.lift, mood.frown))
    return Image.fromarray((np.clip(easel.painted(), 0, 1) * 255).astype(np.uint8))


def _blinks(rng: np.random.Generator, frames: int) -> Array:
    shut = np.zeros(frames, bool)
    at = 0
    while at < frames:
        at += round(float(rng.uniform(*BLINK_EVERY_S)) * FPS)
        shut[at : at + BLINK_FRAMES] = True
    return shut


def _view(at_s: float) -> Box:
    """The camera breathes: a slow sway within the room it has."""
    near = 1 / ROOM
    left = (1 - near) * (0.5 + 0.45 * float(np.sin(at_s * 0.9)))
    top = (1 - near) * (0.5 + 0.45 * float(np.sin(at_s * 1.4 + 1.0)))
    return left, top, left + near, top + near


def _line_at(lines: tuple[Caption, ...], at_s: float) -> Caption | None:
    return next((line for line in lines if line.begins_s <= at_s < line.ends_s), None)
