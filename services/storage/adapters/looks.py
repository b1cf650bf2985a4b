"""What children are asked to do with media: an order as of JSON in, facts out.

Everything that decodes is loaded here, so that the process that forks them has it.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from services.storage.adapters import films, pictures, reencoding, sounds, uploaded_films
from services.storage.adapters.blurhashes import blurhash_of
from services.storage.adapters.decoding import UPLOAD_SECONDS_MAX
from services.storage.adapters.media import Wanted

Order = Mapping[str, Any]
Facts = Mapping[str, Any]


def prepare(order: Order) -> None:
    """Before the fork; not everybody has pictures scored, and the model takes 100 MB."""
    if order["scored"]:
        from services.storage.adapters import nsfw  # noqa: PLC0415

        nsfw.load()


def look_at_picture(order: Order) -> Facts:
    fitted = Path(order["fitted"])
    return _seen(pictures.look(_path(order), _small(order), fitted, _wanted(order)), order)


def look_at_film(order: Order) -> Facts:
    return asdict(films.examine(_path(order), _small(order), _wanted(order), _score(order)))


def listen_to_sound(order: Order) -> Facts:
    return asdict(sounds.examine(_path(order), _small(order), _wanted(order)))


def take_in_picture(order: Order) -> Facts:
    clean, mime_type = Path(order["clean"]), order["mime_type"]
    return _seen(reencoding.take_in(_path(order), clean, _small(order), mime_type), order)


def take_in_film(order: Order) -> Facts:
    facts = uploaded_films.take_in(_path(order), _small(order), order["mime_type"], _score(order))
    return asdict(facts)


def take_in_sound(order: Order) -> Facts:
    facts = sounds.examine(
        _path(order),
        _small(order),
        Wanted("audio", mime_type=order["mime_type"]),
        seconds_max=UPLOAD_SECONDS_MAX,
        may_be_silent=True,
    )
    return asdict(facts)


def _seen(looked: pictures.Looked, order: Order) -> Facts:
    score = _score(order)
    facts = replace(
        looked.facts,
        blurhash=blurhash_of(looked.small),
        nsfw_score=None if score is None else score(looked.small),
    )
    return asdict(facts)


def _score(order: Order) -> films.Score | None:
    if not order["scored"]:
        return None
    from services.storage.adapters import nsfw  # noqa: PLC0415 - it is loaded: see prepare

    return nsfw.score


def _path(order: Order) -> Path:
    return Path(order["path"])


def _small(order: Order) -> Path:
    return Path(order["thumbnail"])


def _wanted(order: Order) -> Wanted:
    return Wanted(**order["wanted"])
