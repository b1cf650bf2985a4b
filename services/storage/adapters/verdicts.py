"""Reads what a file of anybody's says of how it was made: its signature, its watermark, its label;
in the child only. What that is worth is for others to judge.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from services.storage.adapters import provenance
from services.storage.adapters.claims import Told
from services.storage.adapters.marking import labelled
from services.storage.adapters.marks import source_type_of
from services.storage.adapters.media import MediaRefused, type_of
from services.storage.adapters.pictures import (
    MAX_PIXELS,
    TURNS,
    opened,
    orientation_of,
    workable,
)
from services.storage.adapters.signers import Trusted
from services.storage.adapters.watermark import read

PICTURES: Final = frozenset({"image/png", "image/apng", "image/jpeg", "image/webp", "image/gif"})
RECORDINGS: Final = frozenset({"video/mp4", "audio/mpeg", "audio/wav"})


def verdict(path: Path, trusted: Trusted, secrets: Sequence[bytes]) -> Told:
    """Of pictures the first frame is decoded; of films and sounds nothing is.

    Raises:
        MediaRefused: unsupported_type; of pictures also as `pictures.examine` does.
    """
    mime_type = type_of(path)
    if mime_type in PICTURES:
        mark, label = _seen(path, secrets)
    elif mime_type in RECORDINGS:
        mark, label = None, labelled(path)
    else:
        raise MediaRefused(
            "unsupported_type", "This is no PNG, JPEG, WebP, GIF, MP4, MP3 or WAV file."
        )
    signed_as = "image/png" if mime_type == "image/apng" else mime_type
    return Told(signed_as, provenance.read(path, signed_as, trusted), mark, label)


def work(order: Mapping[str, Any]) -> Mapping[str, Any]:
    """`verdict` by an order as of JSON, `Told` as such."""
    given = order["trusted"]
    trusted = Trusted(given["anchors"], [(each[0], each[1]) for each in given["names"]])
    secrets = [bytes.fromhex(each) for each in order["secrets"]]
    return verdict(Path(order["path"]), trusted, secrets).as_json()


def _seen(path: Path, secrets: Sequence[bytes]) -> tuple[int | None, str | None]:
    with opened(path, MAX_PIXELS) as image:
        turn = TURNS.get(orientation_of(image))
        shown = workable(image)
        mark = read(shown if turn is None else shown.transpose(turn), secrets)
        return mark, source_type_of(image) or labelled(path)
