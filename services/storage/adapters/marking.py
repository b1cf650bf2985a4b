"""Makes an output say that it was generated: a watermark, XMP, then a signature over all; in the
child only.

Pictures that stand still are written anew, in their own type and nearly their own bytes; whatever
else is signed as it is. A type that C2PA has no place in, like GIF, stays as it came.
"""

import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from PIL import Image

from services.storage.adapters.claims import Made
from services.storage.adapters.marks import DIGITAL_SOURCE_TYPES, xmp_packet
from services.storage.adapters.media import MediaFacts, digest_of
from services.storage.adapters.pictures import MAX_PIXELS, TURNS, opened, orientation_of, workable
from services.storage.adapters.provenance import NotSigned, sign
from services.storage.adapters.reencoding import options_like
from services.storage.adapters.signers import Signer
from services.storage.adapters.watermark import CannotMark, embed

MARKED_TYPES: Final = frozenset({"image/png", "image/jpeg", "image/webp"})
GENERATED: Final = frozenset(
    {
        "trainedAlgorithmicMedia",
        "algorithmicMedia",
        "compositeSynthetic",
        "compositeWithTrainedAlgorithmicMedia",
    }
)
"""What a vendor may say of how it was made; of other claims none is believed here."""
_LABEL: Final = re.compile(
    re.escape(DIGITAL_SOURCE_TYPES.encode()) + rb"([A-Za-z]{1,64})(?![A-Za-z])"
)
_LABEL_WITHIN_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Watermark:
    """`number` is of 48 bits and not 0."""

    number: int
    secret: bytes


@dataclass(frozen=True, slots=True)
class Marked:
    """`facts` are those of the new file; `source_type` is what it says now."""

    facts: MediaFacts
    source_type: str
    watermarked: bool
    signed: bool


def mark_and_sign(
    path: Path,
    target: Path,
    facts: MediaFacts,
    made: Made,
    *,
    signer: Signer,
    watermark: Watermark,
    original: Path | None = None,
) -> Marked:
    """Write the output at `path`, whose facts are known, to `target`, which must not be there yet.

    `original` is what the vendor sent, where `path` was made from it; its manifest is kept. How it
    was made is what the vendor's label says, else what `made` does.

    Raises:
        MediaRefused: as `pictures.examine` does.
    """
    vendors = original or path
    made = replace(made, source_type=labelled(vendors) or made.source_type)
    written, watermarked = target.with_name(f"{target.name}.marked"), False
    try:
        if facts.mime_type in MARKED_TYPES:
            watermarked = _write_marked(path, written, facts.mime_type, made, watermark)
        source = written if written.exists() else path
        signed = _signed(source, target, facts.mime_type, made, signer=signer, parent=vendors)
    finally:
        written.unlink(missing_ok=True)
    changed = replace(facts, sha256=digest_of(target), size=target.stat().st_size)
    return Marked(changed, made.source_type, watermarked, signed)


def labelled(path: Path) -> str | None:
    """How it was made by IPTC's terms, as a label near the file's start or end says: XMP, a tag."""
    with path.open("rb") as file:
        near = file.read(_LABEL_WITHIN_BYTES)
        file.seek(max(len(near), path.stat().st_size - _LABEL_WITHIN_BYTES))
        near += file.read(_LABEL_WITHIN_BYTES)
    said = (found[1].decode() for found in _LABEL.finditer(near))
    return next((each for each in said if each in GENERATED), None)


def work(order: Mapping[str, Any]) -> Mapping[str, Any]:
    """`mark_and_sign` by an order as of JSON, `Marked` as such."""
    made = order["made"]
    marked = mark_and_sign(
        Path(order["path"]),
        Path(order["target"]),
        MediaFacts(**order["facts"]),
        Made(**{**made, "at": datetime.fromisoformat(made["at"])}),
        signer=Signer(**order["signer"]),
        watermark=Watermark(order["mark"], bytes.fromhex(order["secret"])),
        original=Path(order["original"]),
    )
    return asdict(marked)


def _write_marked(
    path: Path, written: Path, mime_type: str, made: Made, watermark: Watermark
) -> bool:
    """Write a still picture anew, whether or not it can be watermarked."""
    with opened(path, MAX_PIXELS) as image:
        if mime_type != "image/jpeg" and getattr(image, "n_frames", 1) > 1:
            return False
        if image.mode == "CMYK":
            image.info.pop("icc_profile", None)  # of inks, which are no more
        image.info["xmp"] = xmp_packet(made.source_type).encode()
        options = options_like(image, mime_type, path)
        turn = TURNS.get(orientation_of(image))
        shown = workable(image)
        shown, watermarked = _watermarked(
            shown if turn is None else shown.transpose(turn), watermark
        )
    shown.save(written, **options)
    return watermarked


def _watermarked(shown: Image.Image, watermark: Watermark) -> tuple[Image.Image, bool]:
    try:
        return embed(shown, watermark.number, watermark.secret), True
    except CannotMark:
        shown.info = {}
        return shown, False


def _signed(
    source: Path, target: Path, mime_type: str, made: Made, *, signer: Signer, parent: Path
) -> bool:
    """Where it can't be signed it is copied."""
    try:
        sign(source, target, mime_type, made, signer, parent=parent)
    except NotSigned:
        shutil.copyfile(source, target)
        return False
    return True
