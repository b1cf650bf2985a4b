"""What children are asked to do with films and sounds: an order as of JSON in, facts out."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from services.storage.adapters import films, sounds, uploaded_films
from services.storage.adapters.decoding import UPLOAD_SECONDS_MAX
from services.storage.adapters.media import Wanted
from services.storage.adapters.scoring import prepare, score_of

__all__ = ["listen", "look", "prepare", "take_in_film", "take_in_sound"]

Order = Mapping[str, Any]
Facts = Mapping[str, Any]


def look(order: Order) -> Facts:
    wanted = Wanted(**order["wanted"])
    return asdict(films.examine(*_paths(order), wanted, score_of(order)))


def listen(order: Order) -> Facts:
    return asdict(sounds.examine(*_paths(order), Wanted(**order["wanted"])))


def take_in_film(order: Order) -> Facts:
    mime_type = order["mime_type"]
    return asdict(
        uploaded_films.take_in(*_paths(order), mime_type, score_of(order), order["sha256"])
    )


def take_in_sound(order: Order) -> Facts:
    facts = sounds.examine(
        *_paths(order),
        Wanted("audio", mime_type=order["mime_type"]),
        seconds_max=UPLOAD_SECONDS_MAX,
        may_be_silent=True,
        sha256=order["sha256"],
    )
    return asdict(facts)


def _paths(order: Order) -> tuple[Path, Path]:
    return Path(order["path"]), Path(order["thumbnail"])
