"""A certificate authority of this machine alone: only who is told to trusts what it signs."""

import os
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kernel.clock import SystemClock

VALID: Final = timedelta(days=3650)
BEFORE: Final = timedelta(days=1)
"""Clocks differ: it is valid since yesterday."""
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


@dataclass(frozen=True, slots=True)
class Authority:
    """All PEM: the root to be told to verifiers, the signer's chain up to it, the signer's key."""

    root: bytes
    chain: bytes
    key: bytes


def authority_in(folder: Path) -> Authority:
    """The one kept in `folder`, made there by whoever comes first."""
    if not folder.exists():
        _make(folder)
    names = ("root.pem", "chain.pem", "key.pem")
    return Authority(*((folder / name).read_bytes() for name in names))


def _make(folder: Path) -> None:
    made = _new()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, ignore_cleanup_errors=True) as name:
        whole = Path(name) / "authority"  # of two processes, the first one's is renamed to it
        whole.mkdir(mode=0o700)
        (whole / "root.pem").write_bytes(made.root)
        (whole / "chain.pem").write_bytes(made.chain)
        with os.fdopen(os.open(whole / "key.pem", os.O_WRONLY | os.O_CREAT, 0o600), "wb") as key:
            key.write(made.key)
        try:
            whole.rename(folder)
        except OSError:
            if not folder.exists():
                raise


def _new() -> Authority:
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root_name, name = _name("local test root"), _name("sandbox renderer")
    root = (
        _begun(root_name, root_name, root_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key())
    purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
    leaf = (
        _begun(name, root_name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage("digital_signature"), critical=True)
        .add_extension(purpose, critical=False)  # C2PA asks for one of a few purposes
        .add_extension(issuer, critical=False)
        .sign(root_key, hashes.SHA256())
    )
    root_pem = root.public_bytes(Encoding.PEM)
    key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Authority(root_pem, leaf.public_bytes(Encoding.PEM) + root_pem, key_pem)


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = SystemClock().now()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BEFORE)
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _name(common: str) -> x509.Name:
    house = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "SmartSpec sandbox")
    return x509.Name([house, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _usage(*uses: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{use: use in uses for use in _USES})
