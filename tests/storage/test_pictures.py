import hashlib
import io
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageDraw, PngImagePlugin

from services.storage.adapters import pictures
from services.storage.adapters.marks import DIGITAL_SOURCE_TYPES, xmp_packet
from services.storage.adapters.media import MediaRefused
from services.storage.adapters.pictures import examine, fit_exactly, thumbnail

ORIENTATION, MAKER = 0x0112, 0x010F
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 128, 0), (0, 0, 255), (255, 255, 255)


def quarters(width: int, height: int) -> Image.Image:
    """Red, green above blue, white: shows which way is up."""
    image = Image.new("RGB", (width, height), RED)
    draw = ImageDraw.Draw(image)
    draw.rectangle((width // 2, 0, width, height), GREEN)
    draw.rectangle((0, height // 2, width // 2 - 1, height), BLUE)
    draw.rectangle((width // 2, height // 2, width, height), WHITE)
    return image


def encoded(kind: str, image: Image.Image | None = None, **options: object) -> bytes:
    buffer = io.BytesIO()
    (image or Image.effect_noise((64, 48), 60).convert("RGB")).save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_claiming(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(100_000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif[MAKER] = "canary camera"
    return exif


def close(pixel: object, colour: tuple[int, int, int]) -> bool:
    assert isinstance(pixel, tuple)
    return all(abs(int(a) - b) < 40 for a, b in zip(pixel, colour, strict=False))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "picture"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target"


@pytest.mark.parametrize(
    ("kind", "mime_type"),
    [
        ("PNG", "image/png"),
        ("JPEG", "image/jpeg"),
        ("WEBP", "image/webp"),
        ("GIF", "image/gif"),
    ],
)
def test_tells_the_facts_of_each_allowed_type(kind: str, mime_type: str, path: Path) -> None:
    content = encoded(kind)
    path.write_bytes(content)

    facts = examine(path)

    assert (facts.mime_type, facts.width, facts.height) == (mime_type, 64, 48)
    assert (facts.sha256, facts.size) == (hashlib.sha256(content).hexdigest(), len(content))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF"])
def test_an_animation_is_a_picture_of_its_kind(kind: str, path: Path) -> None:
    frames = [Image.new("RGB", (20, 10), colour) for colour in (RED, GREEN, BLUE)]
    path.write_bytes(encoded(kind, frames[0], save_all=True, append_images=frames[1:]))

    facts = examine(path)

    assert (facts.mime_type, facts.width) == (f"image/{kind.lower()}", 20)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_measured_and_remade_upright(
    orientation: int, path: Path, target: Path, tmp_path: Path
) -> None:
    upright = quarters(160, 80)
    back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(back[orientation]) if orientation in back else upright
    path.write_bytes(encoded("JPEG", stored, exif=turned(orientation), quality=95))

    facts = examine(path)
    fit_exactly(path, target, 40, 20)
    thumbnail(path, tmp_path / "thumbnail", 40)

    assert (facts.width, facts.height) == (160, 80)
    for made in (target, tmp_path / "thumbnail"):
        with Image.open(made) as image:
            assert image.size == (40, 20)
            for at, colour in (((5, 5), RED), ((35, 5), GREEN), ((5, 15), BLUE), ((35, 15), WHITE)):
                assert close(image.convert("RGB").getpixel(at), colour)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<!doctype html><script>alert(1)</script>",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%PDF-1.7\n",
        b"BM" + bytes(100),
        b"II*\x00" + bytes(100),
    ],
)
def test_refuses_what_is_no_allowed_picture_whatever_its_name(
    content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(content)

    with pytest.raises(MediaRefused) as refused:
        examine(path)

    assert refused.value.code == "unsupported_type"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_refuses_a_picture_cut_short_anywhere(kind: str, path: Path) -> None:
    content = encoded(kind)
    for length in range(32, len(content) - 8, max(1, len(content) // 40)):
        path.write_bytes(content[:length])
        with pytest.raises(MediaRefused) as refused:
            examine(path)
        assert refused.value.code == "damaged_picture"


@pytest.mark.parametrize("magic", [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a"])
def test_refuses_a_page_behind_the_first_bytes_of_a_picture(magic: bytes, path: Path) -> None:
    path.write_bytes(magic + b"<html><script>alert(1)</script>" * 20)

    with pytest.raises(MediaRefused):
        examine(path)


@pytest.mark.parametrize(
    "size", [(60_000, 60_000), (2**31 - 1, 1), (8_000, 5_001), (1, 40_000_001)]
)
def test_refuses_a_bomb_by_its_header(size: tuple[int, int], path: Path, target: Path) -> None:
    path.write_bytes(png_claiming(*size))

    for work in (
        lambda: examine(path),
        lambda: fit_exactly(path, target, 8, 8),
        lambda: thumbnail(path, target),
    ):
        with pytest.raises(MediaRefused) as refused:
            work()
        assert refused.value.code == "too_many_pixels"
    assert not target.exists()


def test_the_caller_may_allow_fewer_pixels(path: Path) -> None:
    path.write_bytes(encoded("PNG"))

    assert examine(path, max_pixels=64 * 48).width == 64
    with pytest.raises(MediaRefused) as refused:
        examine(path, max_pixels=64 * 48 - 1)

    assert refused.value.code == "too_many_pixels"


def animation(n_frames: int) -> bytes:
    """Frames that differ, or the encoder would merge them."""
    frames = [Image.new("P", (4, 4), n % 2) for n in range(n_frames)]
    for frame in frames:
        frame.putpalette([0, 0, 0, 255, 255, 255])
    return encoded("GIF", frames[0], save_all=True, append_images=frames[1:], duration=20)


def test_refuses_an_animation_of_too_many_frames(path: Path) -> None:
    path.write_bytes(animation(pictures.MAX_FRAMES))
    assert examine(path).mime_type == "image/gif"

    path.write_bytes(animation(pictures.MAX_FRAMES + 1))
    with pytest.raises(MediaRefused) as refused:
        examine(path)

    assert refused.value.code == "too_many_frames"


def test_refuses_an_animation_that_is_small_per_frame_and_large_in_all(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "MAX_ANIMATION_PIXELS", 4 * 4 * 10)
    path.write_bytes(animation(11))

    with pytest.raises(MediaRefused) as refused:
        examine(path)

    assert refused.value.code == "too_many_pixels"


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damage_anywhere_is_a_refusal_or_harmless_and_never_another_error(
    data: st.DataObject, tmp_path: Path
) -> None:
    content = bytearray(data.draw(st.sampled_from(SMALL)))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged"
    path.write_bytes(content)

    with suppress(MediaRefused):
        facts = examine(path)
        assert (facts.width or 0) * (facts.height or 0) <= pictures.MAX_PIXELS


SMALL = [
    encoded("PNG", quarters(16, 16), exif=turned(6)),
    encoded("JPEG", quarters(16, 16), exif=turned(6)),
    encoded("WEBP", quarters(16, 16), lossless=True),
    animation(3),
]


@pytest.mark.parametrize("size", [(512, 512), (300, 100), (100, 300), (1, 1), (1024, 700)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_makes_exactly_the_size_asked_for(
    kind: str, size: tuple[int, int], path: Path, target: Path
) -> None:
    path.write_bytes(encoded(kind, quarters(640, 480)))

    fit_exactly(path, target, *size)

    facts = examine(target)
    assert (facts.mime_type, facts.width, facts.height) == ("image/png", *size)


def test_crops_around_the_centre_and_does_not_squeeze(path: Path, target: Path) -> None:
    image = Image.new("RGB", (400, 100), RED)
    image.paste(GREEN, (150, 0, 250, 100))
    path.write_bytes(encoded("PNG", image))

    fit_exactly(path, target, 50, 50)

    with Image.open(target) as made:
        assert made.getpixel((25, 25)) == GREEN
        assert all(close(made.getpixel(at), GREEN) for at in ((0, 0), (49, 0), (0, 49), (49, 49)))


def test_a_picture_of_the_right_size_keeps_its_pixels(path: Path) -> None:
    image = Image.effect_noise((64, 48), 60).convert("RGB")
    path.write_bytes(encoded("PNG", image))

    fit_exactly(path, path, 64, 48)

    with Image.open(path) as made:
        assert made.tobytes() == image.tobytes()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "CMYK", "I;16"])
def test_takes_every_way_of_storing_pixels(
    mode: str, path: Path, target: Path, tmp_path: Path
) -> None:
    grey = Image.new("I;16", (64, 64), 128 << 8) if mode == "I;16" else None
    image = grey or Image.new("RGB", (64, 64), (128, 128, 128)).convert(mode)
    kind = {"CMYK": "JPEG", "PA": "WEBP"}.get(mode, "PNG")
    path.write_bytes(encoded(kind, image.convert("RGBA") if mode == "PA" else image))

    fit_exactly(path, target, 32, 32)
    thumbnail(path, tmp_path / "thumbnail", 16)

    with Image.open(target) as made, Image.open(tmp_path / "thumbnail") as small:
        assert (made.size, small.size, small.format) == ((32, 32), (16, 16), "WEBP")
        if mode != "1":
            assert close(made.convert("RGB").getpixel((16, 16)), (128, 128, 128))


def test_transparency_survives(path: Path, target: Path, tmp_path: Path) -> None:
    image = Image.new("P", (64, 64), 0)
    image.putpalette([255, 0, 0, 0, 255, 0])
    path.write_bytes(encoded("PNG", image, transparency=0))

    fit_exactly(path, target, 32, 32)
    thumbnail(path, tmp_path / "thumbnail")

    for made in (target, tmp_path / "thumbnail"):
        with Image.open(made) as result:
            assert result.convert("RGBA").getchannel("A").getextrema() == (0, 0)


SOURCE = DIGITAL_SOURCE_TYPES + "algorithmicMedia"


def marked(kind: str) -> bytes:
    """A picture with private metadata, and the digital source type in XMP."""
    xmp = xmp_packet("algorithmicMedia").replace("<rdf:Desc", "<!-- canary --><rdf:Desc")
    image = quarters(64, 64)
    if kind != "PNG":
        return encoded(kind, image, exif=turned(1), xmp=xmp.encode(), comment=b"canary")
    texts = PngImagePlugin.PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", xmp)
    texts.add_text("prompt", "canary", zip=True)
    texts.add_text("Comment", "canary")
    return encoded("PNG", image, exif=turned(1), pnginfo=texts)


@pytest.mark.parametrize("size", [(64, 64), (32, 32)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_of_all_metadata_only_the_digital_source_type_is_kept(
    kind: str, size: tuple[int, int], path: Path, target: Path, tmp_path: Path
) -> None:
    path.write_bytes(marked(kind))

    fit_exactly(path, target, *size)
    thumbnail(target, tmp_path / "thumbnail", size[0])

    for made in (target, tmp_path / "thumbnail"):
        with Image.open(made) as image:
            image.load()
            assert image.info["xmp"] == xmp_packet("algorithmicMedia").encode()
            assert not image.getexif()
            assert "canary" not in repr(image.info)
        assert b"canary" not in made.read_bytes()


def test_the_digital_source_type_may_stand_in_a_png_text(path: Path, target: Path) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("digitalSourceType", SOURCE)
    path.write_bytes(encoded("PNG", pnginfo=texts))

    fit_exactly(path, target, 32, 32)

    with Image.open(target) as image:
        image.load()
        assert image.info["digitalSourceType"] == SOURCE
        assert SOURCE in image.info["XML:com.adobe.xmp"]


def test_a_picture_that_claims_no_source_gets_none(path: Path, target: Path) -> None:
    path.write_bytes(encoded("PNG"))

    fit_exactly(path, target, 32, 32)

    with Image.open(target) as image:
        image.load()
        assert image.info == {}


def test_the_colour_profile_is_kept(path: Path, target: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path.write_bytes(encoded("JPEG", icc_profile=profile))

    fit_exactly(path, target, 32, 32)

    with Image.open(target) as image:
        assert image.info["icc_profile"] == profile


@pytest.mark.parametrize(
    ("size", "small"),
    [
        ((1024, 768), (512, 384)),
        ((768, 1024), (384, 512)),
        ((100, 50), (100, 50)),
        ((3000, 1), (512, 1)),
    ],
)
def test_a_thumbnail_keeps_the_proportions_and_never_enlarges(
    size: tuple[int, int], small: tuple[int, int], path: Path, target: Path
) -> None:
    path.write_bytes(encoded("PNG", quarters(*size)))

    thumbnail(path, target)

    facts = examine(target)
    assert (facts.mime_type, facts.width, facts.height) == ("image/webp", *small)


@pytest.mark.parametrize("size", [(0, 10), (10, -1), (16_384, 1), (8_000, 8_000)])
def test_no_picture_is_made_of_an_impossible_size(
    size: tuple[int, int], path: Path, target: Path
) -> None:
    path.write_bytes(encoded("PNG"))

    with pytest.raises(ValueError, match="no picture is"):
        fit_exactly(path, target, *size)


def test_a_missing_file_is_no_refusal(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        examine(path)
