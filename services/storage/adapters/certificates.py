"""Who signs what storage keeps, and whose signatures are its own: by the owner's certificate, else
by a root of the system's own. Reads no clock, signs no file.
"""

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from kernel.settings import WrongSettings
from services.storage.adapters.own_root import derived
from services.storage.adapters.signers import (
    Credentials,
    Key,
    all_of,
    credentials_of,
    public_bytes,
)

FILE_BYTES_MAX: Final = 64 * 1024
CHAIN_MAX: Final = 8
_PURPOSES: Final = frozenset(
    {
        ExtendedKeyUsageOID.EMAIL_PROTECTION,
        x509.ObjectIdentifier("1.3.6.1.5.5.7.3.36"),  # document signing, RFC 9336
        x509.ObjectIdentifier("1.3.6.1.4.1.62558.2.1"),  # C2PA claim signing
    }
)
"""Of which C2PA asks for one."""


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
        return Credentials(own[0].signer, all_of([each.trusted for each in own]))
    if certificate_file is None or key_file is None:
        raise _wrong("C2PA_CERTIFICATE_FILE and C2PA_PRIVATE_KEY_FILE", "needed both, or neither")
    given = _given(certificate_file, key_file, now)
    return Credentials(given.signer, all_of([given.trusted, *(each.trusted for each in own)]))


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
    if public_bytes(key.public_key()) != public_bytes(leaf.public_key()):
        raise _wrong("C2PA_PRIVATE_KEY_FILE", "this is not the key of the first certificate")
    return credentials_of(_algorithm("C2PA_PRIVATE_KEY_FILE", key), chain, key)


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
