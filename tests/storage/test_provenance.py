"""What is signed says what made it, to whoever is told to trust its root; a changed byte shows."""

import io
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import c2pa
import numpy as np
import pytest
from PIL import Image

from services.storage.adapters import provenance
from services.storage.adapters.certificates import credentials_by
from services.storage.adapters.claims import Claimed, Made
from services.storage.adapters.own_root import derived
from services.storage.adapters.provenance import NotSigned, read, sign
from services.storage.adapters.signers import Trusted
from tests.storage.test_certificates import made as files_made

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
MADE = Made("sandbox/renderer", "0190-task", NOW, "algorithmicMedia")
OURS = derived(b"s" * 32)
VENDOR = derived(b"v" * 32)
TYPES = sorted(provenance.TYPES)
File = Callable[[str], Path]


def picture(kind: str) -> bytes:
    pixels = np.random.default_rng(7).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


@pytest.fixture
def file(tmp_path: Path, recordings: Mapping[str, bytes]) -> File:
    """A file of that type, unsigned."""
    contents = {
        "image/png": lambda: picture("PNG"),
        "image/jpeg": lambda: picture("JPEG"),
        "image/webp": lambda: picture("WEBP"),
        "video/mp4": lambda: recordings["avatar"],
        "audio/mpeg": lambda: recordings["mp3"],
        "audio/wav": lambda: recordings["wav"],
    }

    def made(mime_type: str) -> Path:
        path = tmp_path / "unsigned"
        path.write_bytes(contents[mime_type]())
        return path

    return made


def store_of(path: Path, mime_type: str) -> dict[str, Any]:
    with path.open("rb") as opened:
        return dict(json.loads(c2pa.Reader(mime_type, opened).json()))


@pytest.mark.parametrize("mime_type", TYPES)
def test_a_signed_file_says_what_made_it_and_when(
    tmp_path: Path, file: File, mime_type: str
) -> None:
    sign(file(mime_type), tmp_path / "signed", mime_type, MADE, OURS.signer)

    claimed = read(tmp_path / "signed", mime_type, OURS.trusted)

    assert (claimed.state, claimed.ours, claimed.changed, claimed.reasons) == (
        "trusted",
        True,
        False,
        (),
    )
    assert (claimed.model_id, claimed.made_at) == ("sandbox/renderer", NOW)
    assert (claimed.source_type, claimed.generator) == ("algorithmicMedia", "SmartSpec")


@pytest.mark.parametrize("mime_type", TYPES)
def test_a_changed_byte_is_noticed(tmp_path: Path, file: File, mime_type: str) -> None:
    signed = tmp_path / "signed"
    sign(file(mime_type), signed, mime_type, MADE, OURS.signer)
    content = bytearray(signed.read_bytes())
    content[-40] ^= 1
    signed.write_bytes(content)

    claimed = read(signed, mime_type, OURS.trusted)

    assert (claimed.state, claimed.ours, claimed.changed) == ("invalid", False, True)


@pytest.mark.parametrize("mime_type", TYPES)
def test_a_vendors_manifest_is_kept_as_that_of_what_it_was_made_from(
    tmp_path: Path, file: File, mime_type: str
) -> None:
    theirs = Made("vendor/model", "x", NOW, "trainedAlgorithmicMedia")
    sign(file(mime_type), tmp_path / "theirs", mime_type, theirs, VENDOR.signer)

    sign(tmp_path / "theirs", tmp_path / "signed", mime_type, MADE, OURS.signer)

    store = store_of(tmp_path / "signed", mime_type)
    active = store["manifests"][store["active_manifest"]]
    kept = store["manifests"][active["ingredients"][0]["active_manifest"]]
    assert active["ingredients"][0]["relationship"] == "parentOf"
    assert kept["signature_info"]["common_name"] == VENDOR.trusted.names[0][1]
    assert read(tmp_path / "signed", mime_type, OURS.trusted).ours


def test_it_is_kept_where_the_picture_was_made_anew(tmp_path: Path, file: File) -> None:
    sign(file("image/jpeg"), tmp_path / "theirs", "image/jpeg", MADE, VENDOR.signer)

    sign(
        file("image/png"),
        tmp_path / "signed",
        "image/png",
        MADE,
        OURS.signer,
        parent=tmp_path / "theirs",
    )

    assert len(store_of(tmp_path / "signed", "image/png")["manifests"]) == 2
    assert read(tmp_path / "signed", "image/png", OURS.trusted).state == "trusted"


def test_a_vendors_manifest_that_is_damaged_hinders_nothing(tmp_path: Path, file: File) -> None:
    theirs = tmp_path / "theirs"
    sign(file("image/png"), theirs, "image/png", MADE, VENDOR.signer)
    theirs.write_bytes(theirs.read_bytes().replace(b"c2pa.signature", b"c2pa.signatur_"))

    sign(theirs, tmp_path / "signed", "image/png", MADE, OURS.signer)

    assert read(tmp_path / "signed", "image/png", OURS.trusted).ours


def test_the_manifest_is_small_and_names_no_user(tmp_path: Path, file: File) -> None:
    unsigned = file("image/png")

    sign(unsigned, tmp_path / "signed", "image/png", MADE, OURS.signer)

    assert (tmp_path / "signed").stat().st_size - unsigned.stat().st_size < 8_000
    store = store_of(tmp_path / "signed", "image/png")
    told = store["manifests"][store["active_manifest"]]["assertions"]
    assert told[1]["data"].keys() == {"model", "made_at", "ref", "digitalSourceType"}


def test_an_index_in_front_stays_in_front(tmp_path: Path, file: File) -> None:
    sign(file("video/mp4"), tmp_path / "signed", "video/mp4", MADE, OURS.signer)

    content = (tmp_path / "signed").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_another_system_finds_it_valid_and_not_its_own(tmp_path: Path, file: File) -> None:
    sign(file("image/png"), tmp_path / "signed", "image/png", MADE, OURS.signer)

    claimed = read(tmp_path / "signed", "image/png", VENDOR.trusted)

    assert (claimed.state, claimed.ours) == ("valid", False)
    assert claimed.reasons == ("signingCredential.untrusted",)


def test_another_name_under_a_trusted_root_is_trusted_and_not_ours(
    tmp_path: Path, file: File
) -> None:
    sign(file("image/png"), tmp_path / "signed", "image/png", MADE, OURS.signer)

    shared_root = Trusted(OURS.trusted.anchors, (("Example", "Signer"),))

    claimed = read(tmp_path / "signed", "image/png", shared_root)
    assert (claimed.state, claimed.ours) == ("trusted", False)


@pytest.mark.parametrize("intermediate", [False, True])
def test_a_certificate_of_the_owners_signs_with_its_root_or_without(
    tmp_path: Path, file: File, *, intermediate: bool
) -> None:
    files = files_made(tmp_path, intermediate=intermediate)
    given = credentials_by(b"s" * 32, (), *files, NOW)

    sign(file("image/png"), tmp_path / "signed", "image/png", MADE, given.signer)

    claimed = read(tmp_path / "signed", "image/png", given.trusted)
    assert (claimed.signer, claimed.ours) == ("Example", True)


@pytest.mark.parametrize("mime_type", TYPES)
def test_an_unsigned_file_claims_nothing(file: File, mime_type: str) -> None:
    assert read(file(mime_type), mime_type, OURS.trusted) == Claimed()


@pytest.mark.parametrize("mime_type", [*TYPES, "image/gif", "text/html"])
def test_what_is_none_of_its_type_is_read_without_a_fault(tmp_path: Path, mime_type: str) -> None:
    path = tmp_path / "odd"
    for content in (b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xeb\x00\x10JP", b"RIFF\xff\xff"):
        path.write_bytes(content)
        assert read(path, mime_type, OURS.trusted).state in {"none", "invalid"}


@pytest.mark.parametrize("mime_type", ["image/gif", "image/png"])
def test_what_cannot_be_signed_leaves_nothing(tmp_path: Path, mime_type: str) -> None:
    odd = tmp_path / "odd"
    odd.write_bytes(b"GIF89a")

    with pytest.raises(NotSigned):
        sign(odd, tmp_path / "signed", mime_type, MADE, OURS.signer)

    assert not (tmp_path / "signed").exists()


def test_what_a_stranger_claims_is_bounded_and_of_the_right_kind() -> None:
    label = "urn:x"
    manifest = {
        "claim_generator_info": ["no object"],
        "claim_generator": "g" * 10_000,
        "signature_info": [],
        "assertions": [
            {"label": provenance.LABEL, "data": {"model": 7, "made_at": "never"}},
            {"label": "c2pa.actions.v2", "data": {"actions": [None, {"digitalSourceType": "x"}]}},
        ],
    }
    failures = [{"code": f"{number}"} for number in range(100)]
    store = {
        "active_manifest": label,
        "manifests": {label: manifest},
        "validation_results": {"activeManifest": {"failure": [*failures, None]}},
    }

    claimed = provenance._claimed(store, OURS.trusted)

    assert (claimed.state, claimed.model_id, claimed.made_at) == ("invalid", None, None)
    assert claimed.source_type is None
    assert claimed.generator == "g" * provenance.TEXT_CHARS_MAX
    assert len(claimed.reasons) == provenance.REASONS_MAX
