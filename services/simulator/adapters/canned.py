"""Tiny real files of every kind that need no renderer: for benchmarks of everything else."""

from functools import lru_cache
from pathlib import Path
from typing import Final, assert_never

from services.simulator.adapters.label import XMP
from services.simulator.adapters.png import canned_png
from services.simulator.domain.commissions import Avatar, Commission, Film, Picture, Speech

SIDE_PX: Final = 64
FOLDER: Final = Path(__file__).parent / "canned_files"


def canned_file(commission: Commission) -> bytes:
    """A picture of SIDE_PX pixels a side, as PNG; else half a second of the commission's kind."""
    match commission:
        case Picture():
            return canned_png(commission.seed, SIDE_PX, XMP)
        case Speech():
            return _stored(f"speech.{commission.kind}")
        case Film():
            return _stored("film.mp4")
        case Avatar():
            return _stored("avatar.mp4")
        case _ as never:
            assert_never(never)


@lru_cache(maxsize=4)
def _stored(name: str) -> bytes:
    return (FOLDER / name).read_bytes()
