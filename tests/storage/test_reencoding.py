"""Uploaded pictures are written anew: what is seen stays, everything else goes."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageSequence
from PIL.JpegImagePlugin import JpegImageFile, get_sampling

from services.storage.adapters.marks import xmp_packet
from services.storage.adapters.media import MediaRefused, digest_of
from services.storage.adapters.reencoding import take_in
from tests.storage.test_pictures import (
    BLUE,
    GREEN,
    RED,
    close,
    encoded,
    marked,
    quarters,
    turned,
)

TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "GIF": "image/gif"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "upload"


def taken(path: Path, kind: str) -> Path:
    """Where the clean one lies."""
    clean = path.with_name("clean")
    looked = take_in(path, clean, path.with_name("small"), TYPES[kind])
    assert looked.facts.sha256 == digest_of(clean)
    assert looked.facts.size == clean.stat().st_size
    assert looked.facts.mime_type == TYPES[kind]
    with Image.open(clean) as image:
        assert (looked.facts.width, looked.facts.height) == image.size
    with Image.open(path.with_name("small")) as small:
        assert small.format == "WEBP"
    return clean


@pytest.mark.parametrize("kind", TYPES)
def test_what_stands_behind_a_picture_is_gone(kind: str, path: Path) -> None:
    path.write_bytes(encoded(kind) + b"<script>canary()</script>PK\x03\x04canary")

    clean = taken(path, kind)

    assert b"canary" not in clean.read_bytes()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_of_all_metadata_only_the_digital_source_type_is_kept(kind: str, path: Path) -> None:
    path.write_bytes(marked(kind))

    clean = taken(path, kind)

    assert b"canary" not in clean.read_bytes()
    with Image.open(clean) as image:
        image.load()
        assert image.info["xmp"] == xmp_packet("algorithmicMedia").encode()
        assert not image.getexif()


def test_a_gif_keeps_neither_comment_nor_extension(path: Path) -> None:
    path.write_bytes(encoded("GIF", quarters(32, 32), comment=b"canary"))
    assert b"canary" in path.read_bytes()
    assert b"canary" not in taken(path, "GIF").read_bytes()

    path.write_bytes(animated("GIF", comment=b"canary"))
    assert b"canary" in path.read_bytes()
    assert b"canary" not in taken(path, "GIF").read_bytes()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_the_colour_profile_is_kept(kind: str, path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path.write_bytes(encoded(kind, icc_profile=profile))

    with Image.open(taken(path, kind)) as image:
        assert image.info["icc_profile"] == profile


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_photograph_is_kept_upright(kind: str, path: Path) -> None:
    upright = quarters(160, 80)
    stored = upright.transpose(Image.Transpose.ROTATE_90)
    path.write_bytes(encoded(kind, stored, exif=turned(6)))

    with Image.open(taken(path, kind)) as image:
        assert image.size == (160, 80)
        assert close(image.convert("RGB").getpixel((5, 5)), RED)
        assert close(image.convert("RGB").getpixel((5, 75)), BLUE)


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_a_jpeg_is_written_with_its_own_tables(subsampling: int, path: Path) -> None:
    path.write_bytes(encoded("JPEG", quality=61, subsampling=subsampling, progressive=True))

    with Image.open(path) as before, Image.open(taken(path, "JPEG")) as after:
        assert isinstance(before, JpegImageFile)
        assert isinstance(after, JpegImageFile)
        assert after.quantization == before.quantization
        assert get_sampling(after) == get_sampling(before) == subsampling
        assert after.info["progressive"]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_a_png_keeps_its_pixels_bit_for_bit(mode: str, path: Path) -> None:
    image = Image.new("I;16", (64, 64), 1_234) if mode == "I;16" else quarters(64, 64).convert(mode)
    path.write_bytes(encoded("PNG", image))

    with Image.open(path) as before, Image.open(taken(path, "PNG")) as after:
        assert (after.mode, after.tobytes()) == (before.mode, before.tobytes())


def test_a_lossless_webp_stays_so(path: Path) -> None:
    path.write_bytes(encoded("WEBP", lossless=True))

    with Image.open(path) as before, Image.open(taken(path, "WEBP")) as after:
        assert after.tobytes() == before.tobytes()


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_transparency_survives(kind: str, path: Path) -> None:
    image = Image.new("P", (64, 64), 0)
    image.putpalette([255, 0, 0, 0, 255, 0])
    path.write_bytes(encoded(kind, image, transparency=0))

    with Image.open(taken(path, kind)) as result:
        assert result.convert("RGBA").getchannel("A").getextrema() == (0, 0)


def test_a_jpeg_in_the_colours_of_print_keeps_them(path: Path) -> None:
    path.write_bytes(encoded("JPEG", quarters(64, 64).convert("CMYK")))

    with Image.open(taken(path, "JPEG")) as image:
        assert image.mode == "CMYK"
        assert close(image.convert("RGB").getpixel((5, 5)), RED)


def animated(kind: str, **options: object) -> bytes:
    first, *others = [Image.new("RGB", (20, 10), colour) for colour in (RED, GREEN, BLUE)]
    times = {"duration": [100, 200, 300], "loop": 3}
    return encoded(kind, first, save_all=True, append_images=others, **times, **options)


def shown(path: Path) -> list[tuple[object, float]]:
    with Image.open(path) as image:
        return [
            (frame.convert("RGB").getpixel((5, 5)), frame.info.get("duration", 0))
            for frame in ImageSequence.Iterator(image)
        ]


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF"])
def test_an_animation_stays_one(kind: str, path: Path) -> None:
    path.write_bytes(animated(kind) + b"canary")

    clean = taken(path, kind)

    frames = shown(clean)
    assert [duration for _, duration in frames] == [100, 200, 300]
    for (pixel, _), colour in zip(frames, (RED, GREEN, BLUE), strict=True):
        assert close(pixel, colour)
    assert b"canary" not in clean.read_bytes()
    with Image.open(clean) as image:
        assert image.info["loop"] == 3


def test_a_turned_animation_is_kept_upright(path: Path) -> None:
    frames = [quarters(10, 20), quarters(10, 20).transpose(Image.Transpose.FLIP_TOP_BOTTOM)]
    path.write_bytes(
        encoded(
            "WEBP",
            frames[0],
            save_all=True,
            append_images=frames[1:],
            lossless=True,
            exif=turned(6),
            duration=50,
        )
    )

    with Image.open(taken(path, "WEBP")) as image:
        assert image.size == (20, 10)
        assert getattr(image, "n_frames", 1) == 2


@pytest.mark.parametrize("kind", TYPES)
def test_a_picture_of_another_type_than_was_said_is_refused(kind: str, path: Path) -> None:
    path.write_bytes(encoded(kind))
    other = "image/jpeg" if kind == "PNG" else "image/png"

    with pytest.raises(MediaRefused) as refused:
        take_in(path, path.with_name("clean"), path.with_name("small"), other)

    assert refused.value.code == "unsupported_type"
    assert not path.with_name("clean").exists()


@pytest.mark.parametrize("kind", TYPES)
def test_a_picture_that_is_cut_short_is_refused(kind: str, path: Path) -> None:
    content = encoded(kind)
    path.write_bytes(content[: len(content) // 2])

    with pytest.raises(MediaRefused) as refused:
        take_in(path, path.with_name("clean"), path.with_name("small"), TYPES[kind])

    assert refused.value.code == "damaged_picture"


SMALL = {
    kind: [encoded(kind, quarters(16, 16)), animated(kind) if kind != "JPEG" else marked(kind)]
    for kind in TYPES
}


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damage_anywhere_is_a_refusal_or_leaves_a_whole_picture(
    data: st.DataObject, tmp_path: Path
) -> None:
    kind = data.draw(st.sampled_from(sorted(TYPES)))
    content = bytearray(data.draw(st.sampled_from(SMALL[kind])))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged"
    path.write_bytes(content)

    try:
        content_again = taken(path, kind).read_bytes()
    except MediaRefused:
        return
    path.write_bytes(content_again)
    taken(path, kind)
