"""A document is what it says and nothing else besides."""

import struct
from pathlib import Path

import pytest

from services.storage.adapters.documents import check
from services.storage.adapters.media import MediaRefused
from tests.storage.documents import PDF, glb, png, zipped


def checked(folder: Path, content: bytes, claimed: str = "") -> str:
    """Its type, or the code of its refusal."""
    path = folder / "document"
    path.write_bytes(content)
    try:
        return str(check({"path": str(path), "claimed": claimed})["mime_type"])
    except MediaRefused as refused:
        return refused.code


@pytest.mark.parametrize(
    ("content", "mime_type"),
    [
        (b"plain words\n", "text/plain"),
        ("Grüße, 世界".encode(), "text/plain"),
        (b"\xef\xbb\xbfwith a mark", "text/plain"),
        (b"[section]\nkey=value\n", "text/plain"),
        (b'{"a": [1, 2, {"b": null}]}', "application/json"),
        (b'\xef\xbb\xbf ["x", "]]]]"]', "application/json"),
        (PDF, "application/pdf"),
        (glb(), "model/gltf-binary"),
    ],
)
def test_the_type_is_found_by_the_content(tmp_path: Path, content: bytes, mime_type: str) -> None:
    assert checked(tmp_path, content) == mime_type


@pytest.mark.parametrize(
    "content",
    [
        b"<!DOCTYPE html><script>alert(1)</script>",
        b"  <html></html>",
        b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script/></svg>',
        b"\xef\xbb\xbf<svg/>",
        b"words first <script>alert(1)</script>",
        b"\xff\xfe\x00binary",
        b"text with \0 in it",
        b'{"a": "\0"}',
        b"\xc3\x28 no UTF-8",
        b"a" * 9_000 + b"\0",
        zipped(),
        b"MZ\x90\x00",
        "UTF-16 text".encode("utf-16"),
    ],
)
def test_what_is_none_of_them_is_not_taken(tmp_path: Path, content: bytes) -> None:
    assert checked(tmp_path, content) == "unsupported_type"


@pytest.mark.parametrize(
    "content",
    [
        PDF[:-8],
        b"%PDF-x\n%%EOF",
        PDF.replace(b"1 0 obj", b"<html><script>1</script>"),
        PDF + zipped() + b"%%EOF",
        glb()[:-1],
        glb() + b"tail",
        glb()[:16] + b"BIN\0" + glb()[20:],
        glb([1, 2]),
        struct.pack("<4sII", b"glTF", 2, 12),
        struct.pack("<4sII", b"glTF", 1, 12),
        b"glTF",
        struct.pack("<4sIII4s", b"glTF", 2, 20, 4_000_000_000, b"JSON"),
    ],
)
def test_what_is_cut_short_or_something_else_too_is_damaged(tmp_path: Path, content: bytes) -> None:
    assert checked(tmp_path, content) == "damaged_document"


def test_json_is_not_parsed_deeper_than_it_may_be(tmp_path: Path) -> None:
    assert checked(tmp_path, b"[" * 64 + b"]" * 64) == "application/json"
    assert checked(tmp_path, b"[" * 65 + b"]" * 65) == "too_complex"
    assert checked(tmp_path, b"[" * 5_000_000) == "too_complex"


@pytest.mark.parametrize("content", [b"{broken", b'{"a": NaN}', b"words"])
def test_what_is_called_json_must_be_json(tmp_path: Path, content: bytes) -> None:
    assert checked(tmp_path, content, "application/json") == "damaged_document"
    assert checked(tmp_path, content) == "text/plain"


def test_a_picture_is_no_document(tmp_path: Path) -> None:
    assert checked(tmp_path, png()) == "unsupported_type"
