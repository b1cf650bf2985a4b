"""Keys of access tokens, as a PEM file holds them and as others may see them."""

import json
from collections.abc import Callable

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from kernel.http.token_keys import KEYS_MAX, TokenKeys

Private = ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

RFC_8037_A_2 = """-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
-----END PUBLIC KEY-----
"""
RFC_8037_A_3_THUMBPRINT = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def private_pem(key: Private, encryption: KeySerializationEncryption | None = None) -> str:
    encryption = encryption or NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()


def public_pem(key: Private) -> str:
    public = key.public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65_537, 2_048)


def test_reads_ed25519_and_rsa_keys_in_their_order(rsa_key: rsa.RSAPrivateKey) -> None:
    ed25519_key = ed25519.Ed25519PrivateKey.generate()
    keys = TokenKeys.of_pem(private_pem(ed25519_key) + public_pem(rsa_key))
    assert [key.algorithm for key in keys.keys] == ["EdDSA", "RS256"]
    assert keys.signing.signs is not None
    assert keys.keys[1].signs is None


def test_names_a_key_by_its_thumbprint() -> None:
    (key,) = TokenKeys.of_pem(RFC_8037_A_2).keys
    assert key.key_id == RFC_8037_A_3_THUMBPRINT


def test_shows_the_public_half_alone(rsa_key: rsa.RSAPrivateKey) -> None:
    keys = TokenKeys.of_pem(private_pem(rsa_key) + RFC_8037_A_2)
    shown = keys.jwks["keys"]
    assert [set(jwk) for jwk in shown] == [
        {"kty", "n", "e", "use", "alg", "kid"},
        {"kty", "crv", "x", "use", "alg", "kid"},
    ]
    assert len(jwt.PyJWKSet.from_json(json.dumps(keys.jwks)).keys) == 2


def test_shows_nothing_of_a_shared_secret() -> None:
    assert TokenKeys.shared("a secret of tests, and of nothing else", "HS256").jwks == {"keys": []}


def test_knows_its_keys_by_name_and_no_other() -> None:
    keys = TokenKeys.of_pem(RFC_8037_A_2)
    assert keys.named(RFC_8037_A_3_THUMBPRINT) is keys.signing
    assert keys.named(None) is None
    assert keys.named(["a list"]) is None


@pytest.mark.parametrize(
    "made",
    [
        lambda: "",
        lambda: "no key",
        lambda: RFC_8037_A_2.replace("MCow", "AAAA"),
        lambda: RFC_8037_A_2 * (KEYS_MAX + 1),
        lambda: private_pem(ec.generate_private_key(ec.SECP256R1())),
        lambda: private_pem(rsa.generate_private_key(65_537, 1_024)),  # noqa: S505 - refused for that
        lambda: private_pem(
            ed25519.Ed25519PrivateKey.generate(), BestAvailableEncryption(b"password")
        ),
    ],
)
def test_takes_no_other_key_and_quotes_nothing_of_it(made: Callable[[], str]) -> None:
    text = made()
    with pytest.raises(ValueError, match="holds") as refusal:
        TokenKeys.of_pem(text)
    lines = [line for line in text.splitlines() if line and not line.startswith("-----")]
    assert [line for line in lines if line in str(refusal.value) and line != "no key"] == []
