"""A root of the system's own, for who has no certificate: derived from its master key.

Each process, and each restart, makes the same one, and nothing of it is kept anywhere. Only who is
told to trusts it.
"""

import hashlib
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from services.storage.adapters.signers import Credentials, credentials_of, public_bytes

SECRET_BYTES_MIN: Final = 32
_FROM: Final = datetime(2026, 1, 1, tzinfo=UTC)
_UNTIL: Final = datetime(2056, 1, 1, tzinfo=UTC)
"""Fixed, so that the certificates are the same whenever they are made."""
_HOUSE: Final = "SmartSpec"
# The order of P-256 (SEC 2, 2.4.2): keys are between 1 and one less.
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_KEY_BYTES: Final = 48
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
    return credentials_of("es256", [leaf, root], key)


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
    return hashlib.sha256(public_bytes(key.public_key())).hexdigest()[:16]


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    serial = hashlib.sha256(public_bytes(key)).digest()[:16]
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


def _usage(*uses: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{use: use in uses for use in _USES})
