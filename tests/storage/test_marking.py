"""An output that is kept says in three ways that it was generated, and stays what it was."""

import io
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from services.simulator.adapters.label import labelled_mp3, labelled_mp4, labelled_wav
from services.storage.adapters import provenance
from services.storage.adapters.claims import Made, Told
from services.storage.adapters.jobs import JOBS, Job
from services.storage.adapters.labelling import Labeller
from services.storage.adapters.marking import Marked, Watermark, labelled, mark_and_sign
from services.storage.adapters.marks import xmp_packet
from services.storage.adapters.media import MediaFacts, MediaRefused, digest_of, type_of
from services.storage.adapters.own_root import derived
from services.storage.adapters.pictures import examine
from services.storage.adapters.sandbox import Studio
from services.storage.adapters.verdicts import verdict

MADE = Made("some-model", "task-0", datetime(2026, 11, 28, tzinfo=UTC), "trainedAlgorithmicMedia")
SECRET = b"w" * 32
MARK = 0xC0FFEE
OURS, VENDOR = derived(b"s" * 32), derived(b"v" * 32)


def pixels(mode: str = "RGB", size: tuple[int, int] = (256, 192)) -> Image.Image:
    coarse = np.random.default_rng(1).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert(mode)


def written(folder: Path, image: Image.Image, kind: str, **options: Any) -> Path:
    path = folder / "output"
    image.save(path, kind, **options)
    return path


def marked(path: Path, **changes: Any) -> Marked:
    facts = changes.pop("facts", None) or examine(path)
    return mark_and_sign(
        path,
        path.with_name("target"),
        facts,
        MADE,
        signer=OURS.signer,
        watermark=Watermark(MARK, SECRET),
        **changes,
    )


def told(path: Path) -> Told:
    return verdict(path, OURS.trusted, [SECRET])


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("JPEG", {"quality": 80}),
        ("JPEG", {"quality": 80, "progressive": True, "subsampling": 0}),
        ("WEBP", {"quality": 80}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_a_picture_says_so_in_three_ways_and_stays_its_type_and_size(
    tmp_path: Path, kind: str, options: dict[str, Any]
) -> None:
    path = written(tmp_path, pixels(), kind, **options)

    done = marked(path)

    target = tmp_path / "target"
    said = told(target)
    assert (said.claimed.state, said.claimed.ours, said.claimed.model_id) == (
        "trusted",
        True,
        "some-model",
    )
    assert (said.mark, said.label) == (MARK, "trainedAlgorithmicMedia")
    assert (done.watermarked, done.signed) == (True, True)
    assert done.facts == examine(target)
    assert (done.facts.mime_type, done.facts.width, done.facts.height) == (
        Image.MIME[kind],
        256,
        192,
    )
    assert done.facts.size < 1.5 * path.stat().st_size + 8_000
    assert sorted(each.name for each in tmp_path.iterdir()) == ["output", "target"]


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "I;16"])
def test_pictures_of_any_mode_are_marked(tmp_path: Path, mode: str) -> None:
    image = pixels("L").convert("I;16") if mode == "I;16" else pixels().convert(mode)
    path = written(tmp_path, image, "PNG")

    marked(path)

    assert told(tmp_path / "target").mark == MARK


def test_a_photograph_of_inks_becomes_one_of_light(tmp_path: Path) -> None:
    path = written(tmp_path, pixels("CMYK"), "JPEG", icc_profile=b"of inks")

    marked(path)

    with Image.open(tmp_path / "target") as image:
        assert image.mode == "RGB"
        assert "icc_profile" not in image.info
    assert told(tmp_path / "target").mark == MARK


def test_a_colour_profile_stays(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = written(tmp_path, pixels(), "PNG", icc_profile=profile)

    marked(path)

    with Image.open(tmp_path / "target") as image:
        assert image.info["icc_profile"] == profile


def test_a_picture_that_lies_on_its_side_is_kept_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = written(tmp_path, pixels(), "JPEG", exif=exif)

    done = marked(path)

    assert (done.facts.width, done.facts.height) == (192, 256)
    with Image.open(tmp_path / "target") as image:
        assert image.size == (192, 256)
        assert not image.getexif()
    assert told(tmp_path / "target").mark == MARK


def test_what_a_vendor_says_of_how_it_was_made_is_kept(tmp_path: Path) -> None:
    said = PngInfo()
    said.add_itxt("XML:com.adobe.xmp", xmp_packet("algorithmicMedia"))
    path = written(tmp_path, pixels(), "PNG", pnginfo=said)

    assert marked(path).source_type == "algorithmicMedia"
    assert told(tmp_path / "target").claimed.source_type == "algorithmicMedia"
    assert told(tmp_path / "target").label == "algorithmicMedia"


def test_that_it_is_a_photograph_is_not_believed(tmp_path: Path) -> None:
    path = written(tmp_path, pixels(), "WEBP", xmp=xmp_packet("digitalCapture").encode())

    assert marked(path).source_type == "trainedAlgorithmicMedia"
    assert b"digitalCapture" not in (tmp_path / "target").read_bytes()


def test_a_vendors_manifest_stays_though_the_picture_is_another(tmp_path: Path) -> None:
    unsigned = written(tmp_path, pixels(), "JPEG")
    theirs = tmp_path / "theirs"
    provenance.sign(unsigned, theirs, "image/jpeg", MADE, VENDOR.signer)
    unsigned.unlink()
    fitted = written(tmp_path, pixels(size=(128, 128)), "PNG")

    marked(fitted, original=theirs)

    target = tmp_path / "target"
    assert told(target).claimed.ours
    assert VENDOR.trusted.names[0][1].encode() in target.read_bytes()


def test_a_picture_too_small_for_a_mark_is_labelled_and_signed(tmp_path: Path) -> None:
    path = written(tmp_path, pixels(size=(64, 64)), "PNG")

    done = marked(path)

    assert (done.watermarked, done.signed) == (False, True)
    said = told(tmp_path / "target")
    assert (said.mark, said.label, said.claimed.ours) == (None, "trainedAlgorithmicMedia", True)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_an_animation_is_signed_as_it_is(tmp_path: Path, kind: str) -> None:
    others = [pixels().rotate(90), pixels().rotate(180)]
    path = written(tmp_path, pixels(), kind, save_all=True, append_images=others, duration=100)

    done = marked(path)

    assert (done.watermarked, done.signed) == (False, True)
    with Image.open(tmp_path / "target") as image:
        assert getattr(image, "n_frames", 1) == 3


def test_a_gif_stays_as_it_came(tmp_path: Path) -> None:
    path = written(tmp_path, pixels(), "GIF")

    done = marked(path)

    assert (done.watermarked, done.signed) == (False, False)
    assert (tmp_path / "target").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("name", "label", "mime_type"),
    [
        ("avatar", labelled_mp4, "video/mp4"),
        ("mp3", labelled_mp3, "audio/mpeg"),
        ("wav", labelled_wav, "audio/wav"),
    ],
)
def test_films_and_sounds_are_signed_and_their_label_believed(
    tmp_path: Path, recordings: Mapping[str, bytes], name: str, label: Any, mime_type: str
) -> None:
    path = tmp_path / "output"
    path.write_bytes(label(recordings[name], "compositeSynthetic"))
    assert type_of(path) == mime_type
    facts = MediaFacts(mime_type, None, None, digest_of(path), path.stat().st_size, 1.0)

    done = marked(path, facts=facts)

    said = told(tmp_path / "target")
    assert (done.source_type, done.facts.duration_seconds) == ("compositeSynthetic", 1.0)
    assert (said.claimed.ours, said.claimed.source_type) == (True, "compositeSynthetic")
    assert (said.mark, said.mime_type) == (None, mime_type)
    assert done.facts.sha256 == digest_of(tmp_path / "target")


def test_a_label_is_found_near_both_ends_only(tmp_path: Path) -> None:
    path, label = tmp_path / "file", xmp_packet("algorithmicMedia").encode()
    for content, found in (
        (label, "algorithmicMedia"),
        (b"x" * 200_000 + label, "algorithmicMedia"),
        (b"x" * 100_000 + label + b"x" * 100_000, None),
        (b"", None),
    ):
        path.write_bytes(content)
        assert labelled(path) == found


def test_a_damaged_picture_leaves_nothing(tmp_path: Path) -> None:
    path = written(tmp_path, pixels(), "PNG")
    facts = examine(path)
    path.write_bytes(path.read_bytes()[:500])

    with pytest.raises(MediaRefused):
        marked(path, facts=facts)

    assert [each.name for each in tmp_path.iterdir()] == ["output"]


def test_copies_are_known_by_their_mark_alone(tmp_path: Path) -> None:
    path = written(tmp_path, pixels(size=(512, 512)), "PNG")
    marked(path)
    with Image.open(tmp_path / "target") as image:
        small = image.resize((256, 256), Image.Resampling.LANCZOS)
    copy = io.BytesIO()
    small.save(copy, "JPEG", quality=50)
    (tmp_path / "copy").write_bytes(copy.getvalue())

    said = told(tmp_path / "copy")

    assert (said.mark, said.label, said.claimed.state) == (MARK, None, "none")


@pytest.mark.parametrize(
    "content", [b"", b"<html>", b"%PDF-1.7", b"PK\3\4", b"RIFF\0\0\0\0AVI LIST", b"\x1aE\xdf\xa3"]
)
def test_nothing_is_said_of_other_types(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)

    with pytest.raises(MediaRefused) as refused:
        told(path)

    assert refused.value.code == "unsupported_type"


def test_what_is_told_survives_the_way_from_the_child(tmp_path: Path) -> None:
    marked(written(tmp_path, pixels(), "PNG"))

    said = told(tmp_path / "target")

    assert Told.of_json(said.as_json()) == said


async def test_what_signs_and_reads_starts_no_thread_where_children_are_forked(
    tmp_path: Path,
) -> None:
    """A lock that it held would be held in the child for ever."""
    path = written(tmp_path, pixels(), "PNG")
    studio = Studio(jobs={**JOBS, "tell": Job("tests.storage.dying_jobs:tell", "damaged")})
    labeller = Labeller(studio, OURS.signer, SECRET)
    verify = {"trusted": asdict(OURS.trusted), "secrets": [SECRET.hex()]}

    label = await labeller.label(path, tmp_path / "target", examine(path), MADE, original=path)
    said = await studio.do("verify", {"path": str(tmp_path / "target"), **verify})
    told = await studio.do("tell", {})
    await studio.aclose()

    assert said["mark"] == label.mark
    assert (told["threads"], told["parents_threads"]) == (1, 1)
