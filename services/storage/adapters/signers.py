"""What signs, and whose signatures are trusted: as text, which can be handed to a child process."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID

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


def credentials_of(algorithm: str, chain: Sequence[x509.Certificate], key: Key) -> Credentials:
    """`chain`: the leaf first, whose key it is; the last one is trusted."""
    signer = Signer(algorithm, "".join(map(_pem, chain)), _private_pem(key))
    return Credentials(signer, Trusted(_pem(chain[-1]), (_named(chain[0]),)))


def all_of(trusted: Sequence[Trusted]) -> Trusted:
    return Trusted(
        "".join(each.anchors for each in trusted),
        tuple(name for each in trusted for name in each.names),
    )


def public_bytes(key: object) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined,no-any-return]


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


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def _private_pem(key: Key) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
