"""Looks at and remakes pictures; knows no keys and no owners, and trusts no name or header.

Every function here blocks on the CPU for up to seconds, and a decoder may have faults of its own:
it runs in a child process. The limits below are checked before anything is decoded.
"""

import math
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import ExifTags, Image

from services.storage.adapters.marks import png_marks, profile_of, xmp_of
from services.storage.adapters.media import (
    THUMBNAIL_LOOK,
    THUMBNAIL_SIDE_PX,
    MediaFacts,
    MediaRefused,
    Wanted,
    digest_of,
    type_of,
)

MAX_PIXELS: Final = 40_000_000
MAX_FRAMES: Final = 500
MAX_ANIMATION_PIXELS: Final = 4 * MAX_PIXELS
MAX_SIDE_PX: Final = 16_383  # WebP's limit

_FORMATS: Final = {
    "image/png": "PNG",
    "image/apng": "PNG",
    "image/jpeg": "JPEG",
    "image/webp": "WEBP",
    "image/gif": "GIF",
}
TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_FIRST_SIDEWAYS: Final = 5
# How many times larger than the result a cheap first reduction may leave a picture.
_GAP: Final = 2.0
# Run-length matching after PNG's filters: as small as level 3 on photographs, a third faster.
PNG_SPEED: Final = {"compress_level": 3, "compress_type": zlib.Z_RLE}

# Both are Pillow's only for the whole process; a warning would decode the bomb all the same.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
warnings.simplefilter("error", Image.DecompressionBombWarning)


@dataclass(frozen=True, slots=True)
class Looked:
    """What was seen; `small` is the thumbnail, in L, LA, RGB or RGBA."""

    facts: MediaFacts
    small: Image.Image


def look(path: Path, small_path: Path, fitted: Path, wanted: Wanted) -> Looked:
    """As `examine`, then `fit_exactly` to `fitted` where the size is not the one wanted, then
    `thumbnail` to `small_path`; decoded once.

    Raises:
        MediaRefused: as `examine` does.
    """
    with opened(path, MAX_PIXELS) as image:
        image.verify()
    with opened(path, MAX_PIXELS) as image:
        decode_every_frame(image, MAX_PIXELS)
        size = upright_size(image)
        asked = (wanted.width or size[0], wanted.height or size[1])
        if asked == size:
            return Looked(_facts(path, mime_type_of(image), size), write_small(image, small_path))
        _check_possible(*asked)
        remade = _write_fitted(image, fitted, *asked)
        small = write_small(remade, small_path, like=image)
    return Looked(_facts(fitted, "image/png", asked), small)


def examine(path: Path, *, max_pixels: int = MAX_PIXELS) -> MediaFacts:
    """The facts of a PNG, JPEG, WebP or GIF that decodes to its last frame.

    `width` and `height` are those shown, EXIF orientation applied.
    `max_pixels` bounds one frame, before it is decoded, and is itself at most `MAX_PIXELS`.

    Raises:
        MediaRefused: unsupported_type, too_many_pixels, too_many_frames, damaged_picture.
    """
    with opened(path, max_pixels) as image:
        image.verify()
    with opened(path, max_pixels) as image:
        decode_every_frame(image, max_pixels)
        return _facts(path, mime_type_of(image), upright_size(image))


def fit_exactly(source: Path, target_path: Path, width: int, height: int) -> None:
    """Write `source` as a PNG of exactly these pixels: cropped around its centre, resampled.

    The first frame, upright; EXIF and all other metadata dropped, but for the colour profile and
    the IPTC digital source type, which says how the picture was made. Both paths may be the same.

    Raises:
        MediaRefused: as `examine` does.
        ValueError: no picture has this size.
    """
    _check_possible(width, height)
    with opened(source, MAX_PIXELS) as image:
        _write_fitted(image, target_path, width, height)


def thumbnail(source: Path, target_path: Path, long_side_px: int = THUMBNAIL_SIDE_PX) -> None:
    """Write `source` as a WebP whose longer side is at most `long_side_px`; never enlarges.

    Metadata as in `fit_exactly`.

    Raises:
        MediaRefused: as `examine` does.
    """
    with opened(source, MAX_PIXELS) as image:
        write_small(image, target_path, long_side_px)


def write_small(
    image: Image.Image,
    target_path: Path,
    long_side_px: int = THUMBNAIL_SIDE_PX,
    *,
    like: Image.Image | None = None,
) -> Image.Image:
    """As `thumbnail`, of a picture that is open; metadata is that of `like`, or its own."""
    scale = min(1.0, long_side_px / max(image.size))
    width, height = (max(1, round(side * scale)) for side in upright_size(image))
    remade = _remade(image, width, height)
    xmp, profile = xmp_of(like or image), profile_of(like or image)
    remade.save(target_path, "WEBP", xmp=xmp, icc_profile=profile or b"", **THUMBNAIL_LOOK)
    return remade


def _write_fitted(image: Image.Image, target_path: Path, width: int, height: int) -> Image.Image:
    remade = _remade(image, width, height)
    marks, profile = png_marks(image), profile_of(image)
    remade.save(target_path, "PNG", pnginfo=marks, icc_profile=profile, **PNG_SPEED)
    return remade


def _check_possible(width: int, height: int) -> None:
    if not (0 < width <= MAX_SIDE_PX and 0 < height <= MAX_SIDE_PX and width * height < MAX_PIXELS):
        raise ValueError(f"no picture is {width}x{height}")


def _facts(path: Path, mime_type: str, size: tuple[int, int]) -> MediaFacts:
    return MediaFacts(mime_type, *size, digest_of(path), path.stat().st_size)


def mime_type_of(image: Image.Image) -> str:
    return Image.MIME["JPEG" if image.format == "MPO" else str(image.format)]


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height as shown, EXIF orientation applied."""
    width, height = image.size
    return (height, width) if orientation_of(image) >= _FIRST_SIDEWAYS else (width, height)


@contextmanager
def opened(path: Path, max_pixels: int) -> Iterator[Image.Image]:
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


def decode_every_frame(image: Image.Image, max_pixels: int) -> list[float]:
    """How long each is shown, in ms; of a still picture there is one, and it says nothing."""
    image.load()
    durations_ms = [image.info.get("duration", 0)]
    pixels = image.width * image.height
    for number in range(1, MAX_FRAMES + 1):
        try:
            image.seek(number)
        except EOFError:
            image.seek(0)
            return durations_ms
        _check_pixels(image, max_pixels)
        pixels += image.width * image.height
        if pixels > MAX_ANIMATION_PIXELS:
            raise MediaRefused("too_many_pixels", "This animation has too many pixels.")
        image.load()
        durations_ms.append(image.info.get("duration", 0))
    raise MediaRefused("too_many_frames", "This animation has too many frames.")


def _remade(image: Image.Image, width: int, height: int) -> Image.Image:
    """The first frame upright, `width` x `height`, without metadata."""
    orientation = orientation_of(image)
    size = (height, width) if orientation >= _FIRST_SIDEWAYS else (width, height)
    cover = max(size[0] / image.width, size[1] / image.height)
    # A JPEG is decoded at a half, quarter or eighth where that is enough.
    image.draft(
        None, (math.ceil(image.width * cover * _GAP), math.ceil(image.height * cover * _GAP))
    )
    remade = workable(image)
    if remade.size != size:
        box = _centre_box(remade.size, size)
        remade = remade.resize(size, Image.Resampling.LANCZOS, box, reducing_gap=_GAP)
    if orientation in TURNS:
        remade = remade.transpose(TURNS[orientation])
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


def workable(image: Image.Image) -> Image.Image:
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


def orientation_of(image: Image.Image) -> int:
    return int(image.getexif().get(ExifTags.Base.Orientation, 1))
