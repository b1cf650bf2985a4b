"""One-time codes as RFC 6238 has them, and backup codes as people type them."""

import base64
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree as ET

import pytest

from services.keys.adapters.backup_codes import hashed, new_backup_codes, place_of
from services.keys.adapters.totp import new_totp_secret, otpauth_uri, qr_svg, step_of

RFC_SECRET = base64.b32encode(b"12345678901234567890").decode()
SVG = "{http://www.w3.org/2000/svg}"


# RFC 6238, appendix B, SHA-1, the last six of its eight digits.
@pytest.mark.parametrize(
    ("unix_s", "code"),
    [
        (59, "287082"),
        (1111111109, "081804"),
        (1111111111, "050471"),
        (1234567890, "005924"),
        (2000000000, "279037"),
        (20000000000, "353130"),
    ],
)
def test_knows_the_codes_of_the_standard(unix_s: int, code: str) -> None:
    at = datetime.fromtimestamp(unix_s, UTC)
    assert step_of(RFC_SECRET, code, at) == unix_s // 30


@pytest.mark.parametrize(
    ("after_s", "step"),
    [(-31, None), (-30, 1000), (-1, 1000), (0, 1000), (30, 1000), (59, 1000), (60, None)],
)
def test_a_code_may_be_one_step_early_or_late(after_s: int, step: int | None) -> None:
    of_step_1000 = "450130"
    at = datetime.fromtimestamp(1000 * 30 + after_s, UTC)
    assert step_of(RFC_SECRET, of_step_1000, at) == step


def test_a_secret_has_160_bits_and_is_never_the_same() -> None:
    secrets = {new_totp_secret() for _ in range(50)}
    assert len(secrets) == 50
    assert {len(base64.b32decode(secret)) for secret in secrets} == {20}


def test_the_address_names_issuer_account_and_secret() -> None:
    uri = urlsplit(otpauth_uri(RFC_SECRET, "ada+1@example.com"))
    assert (uri.scheme, uri.netloc) == ("otpauth", "totp")
    assert uri.path == "/SmartSpec:ada%2B1%40example.com"
    assert parse_qs(uri.query) == {"secret": [RFC_SECRET], "issuer": ["SmartSpec"]}


def test_the_picture_is_paths_alone() -> None:
    picture = ET.fromstring(qr_svg(otpauth_uri(RFC_SECRET, "ada@example.com")))  # noqa: S314 - our own
    assert picture.tag == f"{SVG}svg"
    assert {element.tag for element in picture.iter()} == {f"{SVG}svg", f"{SVG}path"}
    names = {name for element in picture.iter() for name in element.attrib}
    assert names <= {"width", "height", "class", "transform", "stroke", "d"}


def test_ten_backup_codes_of_sixty_bits() -> None:
    codes = new_backup_codes()
    assert len(set(codes)) == 10
    characters = {character for _ in range(50) for code in new_backup_codes() for character in code}
    assert characters == set("0123456789abcdefghjkmnpqrstvwxyz-")
    assert {len(code.replace("-", "")) for code in codes} == {12}


def test_finds_a_backup_code_however_it_is_typed() -> None:
    codes = ("8f3k-2mzq-x01a", "0000-0000-0001")
    kept = hashed(codes)
    typed = ["8f3k-2mzq-x01a", "8F3K2MZQX01A", " 8f3k 2mzq xOla ", "0000-0000-0001"]
    assert [place_of(code, kept) for code in typed] == [0, 0, 0, 1]


@pytest.mark.parametrize("code", ["", "-", "8f3k-2mzq-x01", "8f3k-2mzq-x01aa", "ß", "\u0661" * 12])
def test_finds_no_other(code: str) -> None:
    assert place_of(code, hashed(("8f3k-2mzq-x01a",))) is None


def test_one_code_is_kept_differently_in_each_list() -> None:
    codes = ("8f3k-2mzq-x01a",)
    assert hashed(codes) != hashed(codes)
    assert "8f3k" not in hashed(codes)
