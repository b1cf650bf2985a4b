"""API keys are told from other text offline."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.http.api_key_format import api_key_from, key_sha256, well_formed

SECRETS = st.binary(min_size=32, max_size=32)
BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
KEY = api_key_from(bytes(range(32)))


@given(SECRETS)
def test_every_key_made_is_well_formed_and_of_one_length(secret: bytes) -> None:
    key = api_key_from(secret)
    assert well_formed(key)
    assert len(key) == 8 + 43 + 6


@given(SECRETS, SECRETS)
def test_two_secrets_never_make_one_key(one: bytes, other: bytes) -> None:
    assert (api_key_from(one) == api_key_from(other)) == (one == other)


@given(SECRETS, st.integers(8, 56), st.sampled_from(BASE62))
def test_one_mistyped_character_is_noticed(secret: bytes, place: int, typed: str) -> None:
    key = api_key_from(secret)
    mistyped = key[:place] + typed + key[place + 1 :]
    assert well_formed(mistyped) == (mistyped == key)


def test_knows_the_checksum_of_a_key_written_down_once() -> None:
    assert KEY == "sk_live_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf2L6EQX"


def test_accepts_the_other_surfaces_form() -> None:
    assert well_formed("nb_live_" + "0123456789abcdef" * 2)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sk_live_",
        KEY[:-1],
        KEY + "0",
        KEY + "\n",
        " " + KEY,
        "pk" + KEY[2:],
        KEY[:8] + "é" + KEY[9:],
        "nb_live_" + "0123456789ABCDEF" * 2,
        "nb_live_" + "a" * 31,
        "nb_live_" + "a" * 32 + "\n",
    ],
)
def test_refuses_what_no_key_looks_like(text: str) -> None:
    assert not well_formed(text)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_makes_no_key_of_another_number_of_bytes(length: int) -> None:
    with pytest.raises(ValueError, match="32 random bytes"):
        api_key_from(bytes(length))


def test_hashes_all_characters_of_a_key() -> None:
    assert key_sha256("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
