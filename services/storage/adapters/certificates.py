"""Who signs what storage keeps, and whose signatures are its own; reads no clock, signs no file.

Without a certificate of its owner's a system signs by a root of its own, derived from its master
key: each process, and each restart, makes the same one, and nothing of it is kept anywhere. Only
who is told to trusts it. Everything here is text, so that it can be handed to a child process.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kernel.settings import WrongSettings

FILE_BYTES_MAX: Final = 64 * 1024
CHAIN_MAX: Final = 8
SECRET_BYTES_MIN: Final = 32
_FROM: Final = datetime(2026, 1, 1, tzinfo=UTC)
_UNTIL: Final = datetime(2056, 1, 1, tzinfo=UTC)
"""Fixed, so that the certificates are the same whenever they are made."""
_HOUSE: Final = "SmartSpec"
# The order of P-256 (SEC 2, 2.4.2): keys are between 1 and one less.
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_KEY_BYTES: Final = 48
_PURPOSES: Final = frozenset(
    {
        ExtendedKeyUsageOID.EMAIL_PROTECTION,
        x509.ObjectIdentifier("1.3.6.1.5.5.7.3.36"),  # document signing, RFC 9336
        x509.ObjectIdentifier("1.3.6.1.4.1.62558.2.1"),  # C2PA claim signing
    }
)
"""Of which C2PA asks for one."""
_USES: Final = (
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

Key: TypeAlias = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True, slots=True)
class Signer:
    """PEM: the chain, leaf first, and its key; `algorithm` by C2PA's names."""

    algorithm: str
    chain: str
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Trusted:
    """`anchors`: PEM of roots. `names`: (organization, common name) of the signers that are this
    system's: under a public root there are others'."""

    anchors: str
    names: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Credentials:
    signer: Signer
    trusted: Trusted


def credentials_by(
    secret: bytes,
    former: Sequence[bytes],
    certificate_file: Path | None,
    key_file: Path | None,
    now: datetime,
) -> Credentials:
    """The signer by the files, else by the secret; what any secret signed stays trusted.

    Raises:
        WrongSettings: a file can't be read, isn't valid at `now`, or doesn't fit the other.
    """
    own = [derived(each) for each in (secret, *former)]
    if certificate_file is None and key_file is None:
        return Credentials(own[0].signer, _all_of([each.trusted for each in own]))
    if certificate_file is None or key_file is None:
        raise _wrong("C2PA_CERTIFICATE_FILE and C2PA_PRIVATE_KEY_FILE", "needed both, or neither")
    given = _given(certificate_file, key_file, now)
    return Credentials(given.signer, _all_of([given.trusted, *(each.trusted for each in own)]))


def derived(secret: bytes) -> Credentials:
    """A root and a leaf that are the same for the same secret, of 32 bytes at least."""
    if len(secret) < SECRET_BYTES_MIN:
        raise ValueError(f"the secret needs at least {SECRET_BYTES_MIN} bytes")
    root_key, key = _key_of(secret, b"root"), _key_of(secret, b"leaf")
    mark = _fingerprint(root_key)
    root_name, name = _name(f"root {mark}"), _name(f"outputs {mark}")
    root = (
        _begun(root_name, root_name, root_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
        .sign(root_key, hashes.SHA256(), ecdsa_deterministic=True)
    )
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key())
    purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
    leaf = (
        _begun(name, root_name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage("digital_signature"), critical=True)
        .add_extension(purpose, critical=False)
        .add_extension(issuer, critical=False)
        .sign(root_key, hashes.SHA256(), ecdsa_deterministic=True)
    )
    signer = Signer("es256", _pem(leaf) + _pem(root), _private_pem(key))
    return Credentials(signer, Trusted(_pem(root), (_named(leaf),)))


def _given(certificate_file: Path, key_file: Path, now: datetime) -> Credentials:
    variable = "C2PA_CERTIFICATE_FILE"
    chain = _chain_in(variable, certificate_file)
    leaf = chain[0]
    _check_leaf(variable, leaf, now)
    for lower, upper in pairwise(chain):
        try:
            lower.verify_directly_issued_by(upper)
        except Exception:  # noqa: BLE001 - names, algorithms and signatures fail in several ways
            raise _wrong(variable, "each certificate must be issued by the next one") from None
    key = _key_in("C2PA_PRIVATE_KEY_FILE", key_file)
    if _public_bytes(key.public_key()) != _public_bytes(leaf.public_key()):
        raise _wrong("C2PA_PRIVATE_KEY_FILE", "this is not the key of the first certificate")
    signer = Signer(
        _algorithm("C2PA_PRIVATE_KEY_FILE", key), "".join(map(_pem, chain)), _private_pem(key)
    )
    return Credentials(signer, Trusted(_pem(chain[-1]), (_named(leaf),)))


def _chain_in(variable: str, path: Path) -> Sequence[x509.Certificate]:
    try:
        chain = x509.load_pem_x509_certificates(_read(variable, path))
    except ValueError:
        raise _wrong(variable, "not PEM certificates") from None
    if not 1 < len(chain) <= CHAIN_MAX:
        raise _wrong(variable, f"needs the leaf, then its issuers: 2 to {CHAIN_MAX} certificates")
    return chain


def _check_leaf(variable: str, leaf: x509.Certificate, now: datetime) -> None:
    if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
        raise _wrong(variable, "the first certificate has expired, or is not valid yet")
    try:
        limits = leaf.extensions.get_extension_for_class(x509.BasicConstraints).value
        is_authority = limits.ca
    except x509.ExtensionNotFound:
        is_authority = False
    if is_authority:
        raise _wrong(variable, "the first certificate must be the leaf, not an authority")
    try:
        uses = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
        purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    except x509.ExtensionNotFound:
        raise _wrong(
            variable, "the leaf needs key usage, extended key usage and authority key identifier"
        ) from None
    if not uses.digital_signature or uses.key_cert_sign:
        raise _wrong(variable, "the leaf's key usage must be digitalSignature")
    if _PURPOSES.isdisjoint(purposes):
        raise _wrong(
            variable,
            "the leaf's extended key usage must be emailProtection, documentSigning or C2PA's own",
        )


def _key_in(variable: str, path: Path) -> Key:
    try:
        key = load_pem_private_key(_read(variable, path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _wrong(variable, "not a PEM private key without a password") from None
    if not isinstance(
        key, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
    ):
        raise _wrong(variable, "needs a key of P-256, P-384, Ed25519 or RSA")
    return key


def _algorithm(variable: str, key: Key) -> str:
    match key:
        case ec.EllipticCurvePrivateKey(curve=ec.SECP256R1()):
            return "es256"
        case ec.EllipticCurvePrivateKey(curve=ec.SECP384R1()):
            return "es384"
        case ed25519.Ed25519PrivateKey():
            return "ed25519"
        case rsa.RSAPrivateKey() if key.key_size >= 2048:  # noqa: PLR2004 - C2PA's least
            return "ps256"
        case _:
            raise _wrong(variable, "needs a key of P-256, P-384, Ed25519 or RSA of 2048 bits")


def _read(variable: str, path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise _wrong(variable, f"can't be read ({type(error).__name__})") from None
    if len(content) > FILE_BYTES_MAX:
        raise _wrong(variable, "too long")
    return content


def _wrong(variable: str, why: str) -> WrongSettings:
    return WrongSettings(f"SmartSpec can't start:\n  {variable}: {why}")


def _key_of(secret: bytes, purpose: bytes) -> ec.EllipticCurvePrivateKey:
    """By FIPS 186-5, A.2.1: 128 bits more than the order has, so that none is likelier."""
    hkdf = HKDF(
        algorithm=hashes.SHA256(),
        length=_KEY_BYTES,
        salt=None,
        info=b"smartspec provenance 1 " + purpose,
    )
    return ec.derive_private_key(
        int.from_bytes(hkdf.derive(secret)) % (_ORDER - 1) + 1, ec.SECP256R1()
    )


def _fingerprint(key: ec.EllipticCurvePrivateKey) -> str:
    return hashlib.sha256(_public_bytes(key.public_key())).hexdigest()[:16]


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    serial = hashlib.sha256(_public_bytes(key)).digest()[:16]
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(int.from_bytes(serial) | 1)
        .not_valid_before(_FROM)
        .not_valid_after(_UNTIL)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _name(common: str) -> x509.Name:
    house = x509.NameAttribute(NameOID.ORGANIZATION_NAME, _HOUSE)
    return x509.Name([house, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _named(certificate: x509.Certificate) -> tuple[str, str]:
    """Empty for what it doesn't say, as C2PA's readers tell it."""
    subject = certificate.subject
    organization, common = (
        subject.get_attributes_for_oid(oid)
        for oid in (NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME)
    )
    return (
        str(organization[0].value) if organization else "",
        str(common[0].value) if common else "",
    )


def _usage(*uses: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{use: use in uses for use in _USES})


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def _private_pem(key: Key) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _public_bytes(key: object) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined,no-any-return]


def _all_of(trusted: Sequence[Trusted]) -> Trusted:
    return Trusted(
        "".join(each.anchors for each in trusted),
        tuple(name for each in trusted for name in each.names),
    )
