"""Writes uploaded pictures anew, so that nothing is kept but what is seen; in the child only.

Whatever stands before, between or behind the pixels (EXIF, texts, a page, an archive) is left out,
but for the colour profile and the IPTC digital source type, for which GIF has no place. The type
stays, and the size as shown; animations stay such.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from PIL import Image, ImageSequence
from PIL.JpegImagePlugin import JpegImageFile, get_sampling

from services.storage.adapters.marks import png_marks, xmp_of
from services.storage.adapters.media import MediaFacts, MediaRefused, digest_of
from services.storage.adapters.pictures import (
    MAX_PIXELS,
    PNG_SPEED,
    TURNS,
    Looked,
    decode_every_frame,
    mime_type_of,
    opened,
    orientation_of,
    upright_size,
    write_small,
)

_PROFILE_BYTES_MAX: Final = 1 << 20
_WEBP_LOSSY: Final = {"quality": 92, "method": 2}
_WEBP_LOSSLESS: Final = {"lossless": True, "quality": 20, "method": 1}
_KEPT_OF_INFO: Final = ("transparency", "background", "default_image", "duration")


def take_in(path: Path, clean: Path, small_path: Path, mime_type: str) -> Looked:
    """Decode all of the picture at `path`, and write it to `clean`; the facts are those of `clean`.

    Raises:
        MediaRefused: as `pictures.examine` does; unsupported_type for one of another type.
    """
    with opened(path, MAX_PIXELS) as image:
        image.verify()
    with opened(path, MAX_PIXELS) as image:
        if mime_type_of(image) != mime_type:
            raise MediaRefused("unsupported_type", f"This is not {mime_type}.")
        durations_ms = decode_every_frame(image, MAX_PIXELS)
        size = upright_size(image)
        small = write_small(image, small_path)
        options = options_like(image, mime_type, path)
        if len(durations_ms) > 1 and mime_type != "image/jpeg":  # a JPEG's others are not shown
            _write_animation(image, clean, options, durations_ms)
        else:
            _write_still(image, clean, options)
    return Looked(MediaFacts(mime_type, *size, digest_of(clean), clean.stat().st_size), small)


def _write_still(image: Image.Image, clean: Path, options: Mapping[str, Any]) -> None:
    upright = _upright(image)
    upright.info = _kept(image)
    upright.save(clean, **options)


def _write_animation(
    image: Image.Image, clean: Path, options: Mapping[str, Any], durations_ms: list[float]
) -> None:
    if image.format != "PNG":  # of whose frames each tells its own
        options = {**options, "duration": [round(each) for each in durations_ms]}
    if "loop" in image.info:
        options = {**options, "loop": image.info["loop"]}
    if orientation_of(image) not in TURNS:
        image.info = _kept(image)
        image.save(clean, save_all=True, **options)
        return
    first, *others = (_upright(frame.copy()) for frame in ImageSequence.Iterator(image))
    first.save(clean, save_all=True, append_images=others, **options)


def _upright(image: Image.Image) -> Image.Image:
    turn = TURNS.get(orientation_of(image))
    return image if turn is None else image.transpose(turn)


def _kept(image: Image.Image) -> dict[str | tuple[int, int], Any]:
    """What says how the pixels are shown."""
    return {name: image.info[name] for name in _KEPT_OF_INFO if name in image.info}


def options_like(image: Image.Image, mime_type: str, path: Path) -> Mapping[str, Any]:
    """How to write one like it."""
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or len(profile) > _PROFILE_BYTES_MAX:
        profile = b""
    match mime_type:
        case "image/png":
            marks = png_marks(image)
            return {"format": "PNG", "pnginfo": marks, "icc_profile": profile or None, **PNG_SPEED}
        case "image/gif":
            return {"format": "GIF", "comment": b""}
        case "image/webp":
            speed = _WEBP_LOSSLESS if _is_lossless(path) else _WEBP_LOSSY
            return {"format": "WEBP", "xmp": xmp_of(image), "icc_profile": profile, **speed}
        case _:
            tables = _like(image)
            return {"format": "JPEG", "xmp": xmp_of(image), "icc_profile": profile, **tables}


def _like(image: Image.Image) -> Mapping[str, Any]:
    """A JPEG's own tables, so that little is lost; turned, they don't fit its pixels any more."""
    assert isinstance(image, JpegImageFile)
    tables = image.quantization
    if orientation_of(image) in TURNS or sorted(tables) != list(range(len(tables))):
        return {"quality": 95}
    progressive = bool(image.info.get("progressive"))
    return {"qtables": tables, "subsampling": get_sampling(image), "progressive": progressive}


def _is_lossless(path: Path) -> bool:
    """Whether the first picture in a WebP is a VP8L chunk (RFC 9649); in an animation it lies
    behind the 16 bytes of its frame's head."""
    with path.open("rb") as file:
        file.seek(12)
        while len(head := file.read(8)) == 8:  # noqa: PLR2004 - a name and a length
            name, length = head[:4], int.from_bytes(head[4:], "little")
            if name in {b"VP8L", b"VP8 "}:
                return name == b"VP8L"
            file.seek(16 if name == b"ANMF" else length + length % 2, 1)
    return False
