"""Makes what a commission asks for, by rule and not by a vendor's model; knows nothing of vendors.

Imports numpy, Pillow, PyAV and a voice, so only worker processes import it, each part when it is
first needed. The same commission gives the same bytes (on the same versions of all of them).
"""

from pathlib import Path
from typing import assert_never

from services.simulator.adapters.renderer import finish
from services.simulator.adapters.renderer.encode import encode
from services.simulator.adapters.renderer.paint import painted
from services.simulator.domain.commissions import Avatar, Commission, Film, Picture, Speech


def make(commission: Commission, scratch: Path, first_frame_path: Path | None = None) -> bytes:
    """The whole file; raises whatever kept it from being made.

    `scratch` is a file that may be written meanwhile. A film begins with the picture in
    `first_frame_path`, if there is one.
    """
    match commission:
        case Picture(prompt, seed, width, height, kind):
            return render(prompt, seed, width, height, kind)
        case Speech():
            from services.simulator.adapters.renderer.speech import speech_file  # noqa: PLC0415

            return speech_file(commission)
        case Film():
            from services.simulator.adapters.renderer.film import film_file  # noqa: PLC0415

            return film_file(commission, scratch, first_frame_path)
        case Avatar():
            from services.simulator.adapters.renderer.avatar import avatar_file  # noqa: PLC0415

            return avatar_file(commission, scratch)
        case _ as never:
            assert_never(never)


def render(prompt: str, seed: int, width: int, height: int, kind: str) -> bytes:
    """A picture of exactly `width` x `height` pixels; `kind` is png or jpg."""
    image = painted(prompt, seed, width, height)
    finish.mark(image)
    return encode(image, kind)
