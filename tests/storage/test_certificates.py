"""Who signs: by files that are checked at the start, else by a root of the master key's."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kernel.encryption import Encryption
from kernel.settings import WrongSettings
from services.storage.adapters.certificates import credentials_by
from services.storage.adapters.own_root import derived
from services.storage.adapters.signers import Credentials

NOW = datetime(2026, 11, 28, tzinfo=UTC)
SECRET, FORMER = b"s" * 32, b"f" * 32
DAY = timedelta(days=1)
USES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def made(
    folder: Path,
    *,
    key: Any = None,
    purpose: x509.ObjectIdentifier | None = ExtendedKeyUsageOID.EMAIL_PROTECTION,
    uses: tuple[str, ...] = ("digital_signature",),
    until: datetime = NOW + DAY,
    with_root: bool = True,
    is_authority: bool = False,
    names_issuer: bool = True,
    intermediate: bool = False,
) -> tuple[Path, Path]:
    """A chain and a key as their owner's authority would give them."""
    root_key = ec.generate_private_key(ec.SECP256R1())
    key = key or ec.generate_private_key(ec.SECP256R1())
    root_name, name = named("Root"), named("Signer")
    above = named("Its root, which is not told") if intermediate else root_name
    above_key = ec.generate_private_key(ec.SECP256R1()) if intermediate else root_key
    root = begun(root_name, above, root_key.public_key(), NOW + 10 * DAY, is_authority=True)
    leaf = begun(name, root_name, key.public_key(), until, is_authority=is_authority)
    leaf = leaf.add_extension(x509.KeyUsage(**{use: use in uses for use in USES}), critical=True)
    if purpose is not None:
        leaf = leaf.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    if names_issuer:
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key())
        leaf = leaf.add_extension(issuer, critical=False)
    chain = [(leaf, root_key), (root, above_key)] if with_root else [(leaf, root_key)]
    certificate_file, key_file = folder / "chain.pem", folder / "key.pem"
    certificate_file.write_bytes(
        b"".join(each.sign(by, hashes.SHA256()).public_bytes(Encoding.PEM) for each, by in chain)
    )
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate_file, key_file


def named(common: str) -> x509.Name:
    house = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example")
    return x509.Name([house, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def begun(
    subject: x509.Name, issuer: x509.Name, key: Any, until: datetime, *, is_authority: bool
) -> x509.CertificateBuilder:
    limits = x509.BasicConstraints(ca=is_authority, path_length=None)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - 30 * DAY)
        .not_valid_after(until)
        .add_extension(limits, critical=True)
    )


def by_files(certificate_file: Path | None, key_file: Path | None) -> Credentials:
    return credentials_by(SECRET, (), certificate_file, key_file, NOW)


def words(certificate_file: Path | None, key_file: Path | None) -> str:
    with pytest.raises(WrongSettings) as refused:
        by_files(certificate_file, key_file)
    return str(refused.value)


def test_the_same_secret_makes_the_same_certificates_in_each_process() -> None:
    assert derived(SECRET) == derived(SECRET)


def test_another_secret_has_nothing_in_common_with_it() -> None:
    one, other = derived(SECRET), derived(FORMER)

    assert one.signer.key != other.signer.key
    assert set(one.trusted.names).isdisjoint(other.trusted.names)


def test_the_leaf_is_issued_by_its_root_and_both_are_valid_for_long() -> None:
    chain = x509.load_pem_x509_certificates(derived(SECRET).signer.chain.encode())

    for lower, upper in pairwise([*chain, chain[-1]]):
        lower.verify_directly_issued_by(upper)
        assert lower.not_valid_before_utc < NOW < NOW + 7300 * DAY < lower.not_valid_after_utc


def test_what_a_former_secret_signed_stays_trusted() -> None:
    by_both = credentials_by(SECRET, (FORMER,), None, None, NOW)

    assert by_both.signer == derived(SECRET).signer
    for each in (SECRET, FORMER):
        assert derived(each).trusted.anchors in by_both.trusted.anchors
        assert set(derived(each).trusted.names) <= set(by_both.trusted.names)


def test_the_master_keys_secret_is_one() -> None:
    derived(Encryption(["m" * 32]).derived_secret("provenance"))


def test_a_short_secret_makes_none() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        derived(b"short")


def test_the_key_is_not_shown() -> None:
    assert "PRIVATE" not in repr(derived(SECRET))


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (ec.generate_private_key(ec.SECP256R1()), "es256"),
        (ec.generate_private_key(ec.SECP384R1()), "es384"),
        (ed25519.Ed25519PrivateKey.generate(), "ed25519"),
        (rsa.generate_private_key(65537, 2048), "ps256"),
    ],
)
def test_files_of_the_owners_sign_and_the_systems_own_root_stays_trusted(
    tmp_path: Path, key: Any, algorithm: str
) -> None:
    certificate_file, key_file = made(tmp_path, key=key)

    given = by_files(certificate_file, key_file)

    assert given.signer.algorithm == algorithm
    assert given.signer.chain == certificate_file.read_text()
    assert given.trusted.names[0] == ("Example", "Signer")
    assert derived(SECRET).trusted.anchors in given.trusted.anchors


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"until": NOW - DAY}, "expired"),
        ({"purpose": ExtendedKeyUsageOID.SERVER_AUTH}, "emailProtection"),
        ({"purpose": None}, "extended key usage"),
        ({"uses": ("key_encipherment",)}, "digitalSignature"),
        ({"is_authority": True}, "not an authority"),
        ({"with_root": False}, "its issuers"),
        ({"names_issuer": False}, "authority key identifier"),
    ],
)
def test_a_certificate_that_cannot_sign_refuses_to_start(
    tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    told = words(*made(tmp_path, **changes))

    assert "C2PA_CERTIFICATE_FILE: " in told
    assert why in told


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP521R1()),
        rsa.generate_private_key(65537, 1024),  # noqa: S505 - that it is weak is the point
        dsa.generate_private_key(2048),
    ],
)
def test_a_key_that_c2pa_does_not_know_refuses_to_start(tmp_path: Path, key: Any) -> None:
    assert "C2PA_PRIVATE_KEY_FILE: needs a key of" in words(*made(tmp_path, key=key))


def test_another_key_refuses_to_start(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    certificate_file, _ = made(tmp_path)
    _, key_file = made(tmp_path / "other")

    assert "C2PA_PRIVATE_KEY_FILE: this is not the key" in words(certificate_file, key_file)


def test_a_chain_in_another_order_refuses_to_start(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    certificate_file, key_file = made(tmp_path)
    other, _ = made(tmp_path / "other")
    leaf = certificate_file.read_text().partition("-----END CERTIFICATE-----\n")
    root = other.read_text().partition("-----END CERTIFICATE-----\n")[2]
    certificate_file.write_text(leaf[0] + leaf[1] + root)

    assert "issued by the next one" in words(certificate_file, key_file)


@pytest.mark.parametrize("content", [b"", b"no PEM", b"\xff" * 100, b"x" * 100_000])
def test_files_that_are_something_else_refuse_to_start(tmp_path: Path, content: bytes) -> None:
    certificate_file, key_file = made(tmp_path)
    bad = tmp_path / "bad.pem"
    bad.write_bytes(content)

    assert "C2PA_CERTIFICATE_FILE: " in words(bad, key_file)
    assert "C2PA_PRIVATE_KEY_FILE: " in words(certificate_file, bad)


def test_a_missing_file_and_half_a_pair_refuse_to_start(tmp_path: Path) -> None:
    certificate_file, key_file = made(tmp_path)

    assert "C2PA_CERTIFICATE_FILE: can't be read" in words(tmp_path / "none", key_file)
    assert "needed both" in words(certificate_file, None)
    assert "needed both" in words(None, key_file)


def test_no_word_of_a_refusal_is_the_keys(tmp_path: Path) -> None:
    certificate_file, key_file = made(tmp_path)
    key_file.write_text(key_file.read_text().replace("PRIVATE KEY", "SECRET KEY"))

    assert key_file.read_text().splitlines()[1] not in words(certificate_file, key_file)
