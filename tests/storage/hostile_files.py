"""Files that are made to harm whoever opens them, and a few that only lie."""

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Mapping

from PIL import Image

from tests.storage import recordings as made
from tests.storage.test_pictures import animation, chunk, encoded, png_claiming

PAGE = b"<!doctype html><script>alert(document.cookie)</script>"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def archive(size: int = 20 << 20) -> bytes:
    """A zip of nothing but zeros, a thousand times as large as it is."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("zeros", bytes(size))
    return buffer.getvalue()


def png(*more: bytes, width: int = 8, height: int = 8, rows: bytes | None = None) -> bytes:
    """With chunks of one's own between its head and its pixels."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes((1 + 3 * width) * height) if rows is None else rows, 9)
    body = [chunk(b"IHDR", head), *more, chunk(b"IDAT", pixels), chunk(b"IEND", b"")]
    return SIGNATURE + b"".join(body)


def packed(size: int = 200 << 20) -> bytes:
    return zlib.compress(bytes(size), 9)


def gif_of_huge_frames() -> bytes:
    """Each of 400 frames is 7,000 x 5,000 px in 30 bytes or so."""
    head = b"GIF89a" + struct.pack("<HHBBB", 7_000, 5_000, 0x80, 0, 0) + bytes(6)
    frame = b"," + struct.pack("<HHHHB", 0, 0, 7_000, 5_000, 0) + b"\x02\x02\x4c\x01\x00"
    return head + frame * 400 + b";"


def apng_of_many_frames(count: int = 100_000) -> bytes:
    control = chunk(b"acTL", struct.pack(">II", count, 0))
    return png(control)


def mp4_with(name: bytes, at: int, value: bytes, content: bytes | None = None) -> bytes:
    """A real film, but for some bytes of its box `name`, counted from behind the name."""
    changed = bytearray(content or made.mp4())
    start = changed.index(name) + len(name) + at
    changed[start : start + len(value)] = value
    return bytes(changed)


def webm_with_duration(seconds: float) -> bytes:
    changed = bytearray(made.mp4(codec="libvpx", container_format="webm"))
    start = changed.index(b"\x44\x89\x88") + 3
    changed[start : start + 8] = struct.pack(">d", seconds * 1000)
    return bytes(changed)


def wav_claiming(channels: int, rate: int, bits: int = 16) -> bytes:
    changed = bytearray(made.wav())
    changed[22:24], changed[24:28] = struct.pack("<H", channels), struct.pack("<I", rate)
    changed[34:36] = struct.pack("<H", bits)
    return bytes(changed)


HUGE = b"\xff\xff\xff\xff"

PICTURES: Mapping[str, tuple[bytes, set[str]]] = {
    "a page named as a picture": (PAGE, {"unsupported_type"}),
    "a drawing with a script": (SVG, {"unsupported_type"}),
    "an archive": (archive(), {"unsupported_type"}),
    "nothing": (b"", {"unsupported_type"}),
    "3.6 gigapixels": (png_claiming(60_000, 60_000), {"too_many_pixels"}),
    "one side as long as may be": (png_claiming(2**31 - 1, 1), {"too_many_pixels"}),
    "no side at all": (png_claiming(0, 8), {"damaged_picture"}),
    "more rows than pixels": (png(rows=bytes(200 << 20)), set()),
    "fewer rows than pixels": (png(width=6_000, height=6_000, rows=bytes(9)), {"damaged_picture"}),
    "a packed text": (png(chunk(b"zTXt", b"a\0\0" + packed())), {"damaged_picture"}),
    "a packed international text": (
        png(chunk(b"iTXt", b"a\0\x01\0\0\0" + packed())),
        {"damaged_picture"},
    ),
    "many texts": (png(*[chunk(b"zTXt", b"a\0\0" + packed(1 << 20))] * 80), {"damaged_picture"}),
    "a packed profile": (png(chunk(b"iCCP", b"a\0\0" + packed())), {"damaged_picture"}),
    "a chunk longer than the file": (
        SIGNATURE + chunk(b"IHDR", bytes(13)) + HUGE[:4] + b"tEXt",
        {"damaged_picture"},
    ),
    "an animation of huge frames": (gif_of_huge_frames(), {"too_many_pixels", "damaged_picture"}),
    "an animation of many frames": (animation(501), {"too_many_frames"}),
    "an animation that says how many": (apng_of_many_frames(), {"damaged_picture"}),
    "a picture cut short": (encoded("JPEG")[:-200], {"damaged_picture"}),
    "a page behind a picture's first bytes": (SIGNATURE + PAGE * 20, {"damaged_picture"}),
}
"""Each with the codes that it may be refused with; with none where it is taken, made harmless."""

POLYGLOTS: Mapping[str, tuple[bytes, str]] = {
    "jpeg and script": (encoded("JPEG", comment=b"*/=alert(1)/*") + PAGE, "image/jpeg"),
    "png and zip": (encoded("PNG") + archive(1 << 20), "image/png"),
    "png and page in a chunk": (png(chunk(b"prVt", PAGE)), "image/png"),
    "gif and script": (
        encoded("GIF", Image.new("P", (0x2F2A, 1)), comment=b"*/=1;alert(1)//"),
        "image/gif",
    ),
    "webp and page": (encoded("WEBP") + PAGE, "image/webp"),
}

FILMS: Mapping[str, tuple[bytes, str, set[str]]] = {
    "a page named as a film": (PAGE, "video/mp4", {"unsupported_type"}),
    "a page behind a film's first bytes": (made.mp4()[:40] + PAGE * 20, "video/mp4", set()),
    "a length of 50 days": (mp4_with(b"mvhd", 16, b"\xff" * 3), "video/mp4", {"too_long"}),
    "a track of 50 days": (mp4_with(b"mdhd", 16, b"\xff" * 3), "video/mp4", {"too_long"}),
    "4 billion samples": (mp4_with(b"stsz", 8, HUGE), "video/mp4", set()),
    "4 billion chunks": (mp4_with(b"stco", 4, HUGE), "video/mp4", set()),
    "a sample of 4 gigabytes": (mp4_with(b"stsz", 12, HUGE), "video/mp4", set()),
    "a box of 4 gigabytes": (mp4_with(b"moov", -8, HUGE), "video/mp4", set()),
    "a box of nothing": (mp4_with(b"mvhd", -8, b"\0\0\0\1"), "video/mp4", set()),
    "a box of nothing that says so at length": (
        made.mp4() + b"\0\0\0\1free" + bytes(8),
        "video/mp4",
        {"damaged_film"},
    ),
    "a byte behind it": (made.mp4() + b"\1", "video/mp4", {"damaged_film"}),
    "no unit of time": (mp4_with(b"mdhd", 12, bytes(4)), "video/mp4", set()),
    "a length that is no number": (webm_with_duration(math.nan), "video/webm", set()),
    "an endless length": (webm_with_duration(math.inf), "video/webm", {"too_long"}),
    "a length below nothing": (webm_with_duration(-1e12), "video/webm", set()),
    "a year's length": (webm_with_duration(3e7), "video/webm", {"too_long"}),
    "a film of another kind": (made.mp4(), "video/webm", {"unsupported_type"}),
}

SOUNDS: Mapping[str, tuple[bytes, str, set[str]]] = {
    "a page named as a sound": (PAGE, "audio/mpeg", {"unsupported_type"}),
    "a page behind a sound's first bytes": (b"ID3\x04" + PAGE * 20, "audio/mpeg", set()),
    "65,535 channels": (wav_claiming(65_535, 48_000), "audio/wav", set()),
    "no rate": (wav_claiming(1, 0), "audio/wav", set()),
    "4 billion samples a second": (wav_claiming(1, 2**32 - 1), "audio/wav", set()),
    "samples of 65,535 bits": (wav_claiming(1, 48_000, 65_535), "audio/wav", set()),
}
