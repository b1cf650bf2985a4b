"""What a child may be asked to do, and what it may take up; loads no decoder itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_HERE: Final = __name__.rpartition(".")[0]
_SMALL: Final = 4 << 20
"""A small picture is never more, whatever it is made of."""
_SIGNED: Final = 640 << 20
"""As much as the largest film that is kept, and what is added to it."""
_PICTURE: Final = 160 << 20
"""As many bytes as the largest picture has when it is decoded."""


@dataclass(frozen=True, slots=True)
class Job:
    """`function` ("module:name") takes an order and gives an answer, both as of JSON. It is loaded
    before the process forks; a child runs it. `damaged` is the refusal of what ends its decoder.
    """

    function: str
    damaged: str
    written_bytes_max: int = _SMALL
    cpu_s_max: int = 180
    timeout_s: float = 300.0


JOBS: Final[Mapping[str, Job]] = {
    "look_at_picture": Job(f"{_HERE}.picture_jobs:look", "damaged_picture", _PICTURE, 60),
    "look_at_film": Job(f"{_HERE}.recording_jobs:look", "damaged_film"),
    "listen_to_sound": Job(f"{_HERE}.recording_jobs:listen", "damaged_sound"),
    "take_in_picture": Job(f"{_HERE}.picture_jobs:take_in", "damaged_picture", _PICTURE, 60),
    "take_in_film": Job(f"{_HERE}.recording_jobs:take_in_film", "damaged_film"),
    "take_in_sound": Job(f"{_HERE}.recording_jobs:take_in_sound", "damaged_sound"),
    "check_document": Job(f"{_HERE}.documents:check", "damaged_document"),
    "mark_and_sign": Job(f"{_HERE}.marking:work", "damaged_file", _SIGNED),
    "verify": Job(f"{_HERE}.verdicts:work", "damaged_file", cpu_s_max=30, timeout_s=60.0),
}
