"""Looks at and remakes pictures; knows no keys and no owners, and trusts no name or header.

Every function here blocks on the CPU for up to seconds: call it with `asyncio.to_thread` (Pillow
lets other threads run). A decoder's own faults are contained by no child process, as those of films
and sounds are: the limits below, checked before decoding, are what stands.
"""

import math
import re
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from services.storage.adapters.media import (
    THUMBNAIL_SIDE_PX,
    MediaFacts,
    MediaRefused,
    digest_of,
    type_of,
)

MAX_PIXELS: Final = 40_000_000
MAX_FRAMES: Final = 500
MAX_ANIMATION_PIXELS: Final = 4 * MAX_PIXELS
MAX_SIDE_PX: Final = 16_383  # WebP's limit
DIGITAL_SOURCE_TYPES: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/"

_FORMATS: Final = {
    "image/png": "PNG",
    "image/apng": "PNG",
    "image/jpeg": "JPEG",
    "image/webp": "WEBP",
    "image/gif": "GIF",
}
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_FIRST_SIDEWAYS: Final = 5
_SOURCE_TYPE: Final = re.compile(re.escape(DIGITAL_SOURCE_TYPES) + r"([A-Za-z]{1,64})\b", re.ASCII)
_TEXT_KEY: Final = "digitalSourceType"
_MAX_PROFILE_BYTES: Final = 64 * 1024
# How many times larger than the result a cheap first reduction may leave a picture.
_GAP: Final = 2.0
# Run-length matching after PNG's filters: as small as level 3 on photographs, a third faster.
_PNG_SPEED: Final = {"compress_level": 3, "compress_type": zlib.Z_RLE}
_WEBP_SPEED: Final = {"quality": 80, "method": 0}

# Both are Pillow's only for the whole process; a warning would decode the bomb all the same.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
warnings.simplefilter("error", Image.DecompressionBombWarning)


def examine(path: Path, *, max_pixels: int = MAX_PIXELS) -> MediaFacts:
    """The facts of a PNG, JPEG, WebP or GIF that decodes to its last frame.

    `width` and `height` are those shown, EXIF orientation applied.
    `max_pixels` bounds one frame, before it is decoded, and is itself at most `MAX_PIXELS`.

    Raises:
        MediaRefused: unsupported_type, too_many_pixels, too_many_frames, damaged_picture.
    """
    with _opened(path, max_pixels) as image:
        image.verify()
    with _opened(path, max_pixels) as image:
        _decode_every_frame(image, max_pixels)
        width, height = image.size
        if _orientation(image) >= _FIRST_SIDEWAYS:
            width, height = height, width
        mime_type = Image.MIME["JPEG" if image.format == "MPO" else str(image.format)]
    return MediaFacts(mime_type, width, height, digest_of(path), path.stat().st_size)


def fit_exactly(source: Path, target_path: Path, width: int, height: int) -> None:
    """Write `source` as a PNG of exactly these pixels: cropped around its centre, resampled.

    The first frame, upright; EXIF and all other metadata dropped, but for the colour profile and
    the IPTC digital source type, which says how the picture was made. Both paths may be the same.

    Raises:
        MediaRefused: as `examine` does.
        ValueError: no picture has this size.
    """
    if not (0 < width <= MAX_SIDE_PX and 0 < height <= MAX_SIDE_PX and width * height < MAX_PIXELS):
        raise ValueError(f"no picture is {width}x{height}")
    with _opened(source, MAX_PIXELS) as image:
        remade = _remade(image, width, height)
        marks, profile = _png_marks(image), _profile(image)
    remade.save(target_path, "PNG", pnginfo=marks, icc_profile=profile, **_PNG_SPEED)


def thumbnail(source: Path, target_path: Path, long_side_px: int = THUMBNAIL_SIDE_PX) -> None:
    """Write `source` as a WebP whose longer side is at most `long_side_px`; never enlarges.

    Metadata as in `fit_exactly`.

    Raises:
        MediaRefused: as `examine` does.
    """
    with _opened(source, MAX_PIXELS) as image:
        scale = min(1.0, long_side_px / max(image.size))
        width, height = (max(1, round(side * scale)) for side in image.size)
        if _orientation(image) >= _FIRST_SIDEWAYS:
            width, height = height, width
        remade = _remade(image, width, height)
        source_type, profile = _source_type(image), _profile(image)
    xmp = xmp_packet(source_type).encode() if source_type else b""
    remade.save(target_path, "WEBP", xmp=xmp, icc_profile=profile or b"", **_WEBP_SPEED)


def xmp_packet(source_type: str) -> str:
    """XMP that says nothing but the IPTC digital source type, like `algorithmicMedia`."""
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about=""'
        ' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
        f' Iptc4xmpExt:DigitalSourceType="{DIGITAL_SOURCE_TYPES}{source_type}"/>'
        "</rdf:RDF></x:xmpmeta>"
    )


@contextmanager
def _opened(path: Path, max_pixels: int) -> Iterator[Image.Image]:
    """A picture whose type and size are allowed, not decoded yet; its damage is a refusal."""
    name = _FORMATS.get(type_of(path) or "")
    with path.open("rb") as file:
        if name is None:
            raise MediaRefused("unsupported_type", "This is no PNG, JPEG, WebP or GIF picture.")
        try:
            with Image.open(file, formats=[name]) as image:
                _check_pixels(image, max_pixels)
                yield image
        except (MediaRefused, MemoryError):
            raise
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise _too_many_pixels() from None
        except Exception as error:  # decoders of hostile bytes raise anything: struct, zlib, Key...
            raise MediaRefused("damaged_picture", "This picture cannot be decoded.") from error


def _check_pixels(image: Image.Image, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        raise _too_many_pixels()


def _too_many_pixels() -> MediaRefused:
    return MediaRefused("too_many_pixels", "This picture has too many pixels.")


def _decode_every_frame(image: Image.Image, max_pixels: int) -> None:
    image.load()
    pixels = image.width * image.height
    for number in range(1, MAX_FRAMES + 1):
        try:
            image.seek(number)
        except EOFError:
            image.seek(0)
            return
        _check_pixels(image, max_pixels)
        pixels += image.width * image.height
        if pixels > MAX_ANIMATION_PIXELS:
            raise MediaRefused("too_many_pixels", "This animation has too many pixels.")
        image.load()
    raise MediaRefused("too_many_frames", "This animation has too many frames.")


def _remade(image: Image.Image, width: int, height: int) -> Image.Image:
    """The first frame upright, `width` x `height`, without metadata."""
    orientation = _orientation(image)
    size = (height, width) if orientation >= _FIRST_SIDEWAYS else (width, height)
    cover = max(size[0] / image.width, size[1] / image.height)
    # A JPEG is decoded at a half, quarter or eighth where that is enough.
    image.draft(
        None, (math.ceil(image.width * cover * _GAP), math.ceil(image.height * cover * _GAP))
    )
    remade = _workable(image)
    if remade.size != size:
        box = _centre_box(remade.size, size)
        remade = remade.resize(size, Image.Resampling.LANCZOS, box, reducing_gap=_GAP)
    if orientation in _TURNS:
        remade = remade.transpose(_TURNS[orientation])
    if remade is image:
        remade = image.copy()
    remade.info = {}
    return remade


def _centre_box(
    inside: tuple[int, int], like: tuple[int, int]
) -> tuple[float, float, float, float]:
    """The largest box of the proportions of `like` around the centre of `inside`."""
    scale = min(inside[0] / like[0], inside[1] / like[1])
    margin_x = max(0.0, (inside[0] - like[0] * scale) / 2)
    margin_y = max(0.0, (inside[1] - like[1] * scale) / 2)
    return margin_x, margin_y, inside[0] - margin_x, inside[1] - margin_y


def _workable(image: Image.Image) -> Image.Image:
    """Decoded, in a mode that can be resampled and written: L, LA, RGB or RGBA."""
    image.load()
    if image.mode.startswith("I;16"):
        # Pillow's own conversion clips what is above 255 instead of scaling.
        return image.point(lambda value: value * (1 / 256)).convert("L")
    if image.has_transparency_data:
        return image if image.mode in {"LA", "RGBA"} else image.convert("RGBA")
    if image.mode in {"L", "1"}:
        return image.convert("L")
    return image if image.mode == "RGB" else image.convert("RGB")


def _orientation(image: Image.Image) -> int:
    return int(image.getexif().get(ExifTags.Base.Orientation, 1))


def _source_type(image: Image.Image) -> str | None:
    """The digital source type that the picture claims in XMP or in a PNG text."""
    xmp = image.info.get("xmp", b"")
    text = xmp.decode("utf-8", "replace") if isinstance(xmp, bytes) else str(xmp)
    claimed = _SOURCE_TYPE.search(f"{text} {image.info.get(_TEXT_KEY, '')}")
    return claimed[1] if claimed else None


def _png_marks(image: Image.Image) -> PngInfo:
    marks = PngInfo()
    if source_type := _source_type(image):
        marks.add_itxt("XML:com.adobe.xmp", xmp_packet(source_type))
        marks.add_text(_TEXT_KEY, DIGITAL_SOURCE_TYPES + source_type)
    return marks


def _profile(image: Image.Image) -> bytes | None:
    """The colour profile, where it still fits the mode that the picture is written in."""
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or len(profile) > _MAX_PROFILE_BYTES:
        return None
    return profile if image.mode in {"RGB", "RGBA", "P"} else None
