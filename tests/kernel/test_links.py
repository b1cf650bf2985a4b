from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.errors import Forbidden
from kernel.links import MediaLinks

SECRET = b"0123456789abcdef0123456789abcdef"
NOW = datetime(2026, 11, 3, 12, 0, tzinfo=UTC)
END = NOW + timedelta(hours=24)
KEY = "images/generated/u1/t1_2.png"
LINKS = MediaLinks(SECRET, "https://api.example.test/")


def parts(url: str) -> tuple[str, str, str]:
    split = urlsplit(url)
    query = parse_qs(split.query)
    return unquote(split.path).removeprefix("/media/"), query["expires"][0], query["signature"][0]


def test_a_link_is_absolute_and_names_its_key_and_its_end() -> None:
    url = LINKS.sign(KEY, expires_at=END)

    assert url.startswith(
        f"https://api.example.test/media/{KEY}?expires={int(END.timestamp())}&signature="
    )


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_opens_what_it_was_signed_for_up_to_its_last_second(method: str) -> None:
    key, expires, signature = parts(LINKS.sign(KEY, method=method, expires_at=END))

    LINKS.verify(method, key, expires, signature, END)


def test_refuses_a_link_after_its_end() -> None:
    key, expires, signature = parts(LINKS.sign(KEY, expires_at=END))

    with pytest.raises(Forbidden) as refused:
        LINKS.verify("GET", key, expires, signature, END + timedelta(microseconds=1))

    assert refused.value.code == "link_expired"


@pytest.mark.parametrize("other", ["HEAD", "PUT", "DELETE", "get"])
def test_refuses_another_method_than_the_signed_one(other: str) -> None:
    key, expires, signature = parts(LINKS.sign(KEY, expires_at=END))

    with pytest.raises(Forbidden, match="not valid"):
        LINKS.verify(other, key, expires, signature, NOW)


@pytest.mark.parametrize("other", ["images/generated/u1/t1_3.png", KEY + "\n", "", "\ud800"])
def test_refuses_another_key_than_the_signed_one(other: str) -> None:
    _, expires, signature = parts(LINKS.sign(KEY, expires_at=END))

    with pytest.raises(Forbidden) as refused:
        LINKS.verify("GET", other, expires, signature, NOW)

    assert refused.value.code == "invalid_signature"


@pytest.mark.parametrize("spelling", ["{}0", "+{}", "0{}", " {}", "{}.0", "", "soon", "-1", "१{}"])
def test_refuses_an_end_spelled_otherwise(spelling: str) -> None:
    key, expires, signature = parts(LINKS.sign(KEY, expires_at=END))

    with pytest.raises(Forbidden) as refused:
        LINKS.verify("GET", key, spelling.format(expires), signature, NOW)

    assert refused.value.code == "invalid_signature"


@given(st.text())
def test_refuses_any_made_up_signature(signature: str) -> None:
    with pytest.raises(Forbidden) as refused:
        LINKS.verify("GET", KEY, str(int(END.timestamp())), signature, NOW)

    assert refused.value.code == "invalid_signature"


def test_a_forger_never_learns_that_a_link_has_expired() -> None:
    with pytest.raises(Forbidden) as refused:
        LINKS.verify("GET", KEY, "1", "made-up", NOW)

    assert refused.value.code == "invalid_signature"


def test_a_link_of_another_secret_opens_nothing() -> None:
    key, expires, signature = parts(LINKS.sign(KEY, expires_at=END))

    with pytest.raises(Forbidden):
        MediaLinks(SECRET[::-1], "https://api.example.test").verify(
            "GET", key, expires, signature, NOW
        )


@pytest.mark.parametrize("character", ["?", "#", "%", " ", "é"])
def test_a_key_cannot_break_out_of_the_path(character: str) -> None:
    key, expires, signature = parts(LINKS.sign(f"a{character}b", expires_at=END))

    assert key == f"a{character}b"
    LINKS.verify("GET", key, expires, signature, NOW)


def test_a_short_secret_refuses_to_start() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        MediaLinks(b"short", "https://api.example.test")


@pytest.mark.parametrize("base", ["", "/media", "ftp://host", "https://", "https://host/?a=b"])
def test_a_base_that_is_no_web_address_refuses_to_start(base: str) -> None:
    with pytest.raises(ValueError, match="absolute"):
        MediaLinks(SECRET, base)


def test_signs_neither_a_foreign_method_nor_a_time_without_zone() -> None:
    with pytest.raises(ValueError, match="DELETE"):
        LINKS.sign(KEY, method="DELETE", expires_at=END)
    with pytest.raises(ValueError, match="timezone"):
        LINKS.sign(KEY, expires_at=END.replace(tzinfo=None))


def test_opens_what_was_signed_by_a_former_secret_and_signs_by_the_new_one() -> None:
    new = MediaLinks(b"f" * 32, "https://api.example.test", former=[SECRET])
    new.verify("GET", *parts(LINKS.sign(KEY, expires_at=END)), NOW)
    with pytest.raises(Forbidden):
        LINKS.verify("GET", *parts(new.sign(KEY, expires_at=END)), NOW)


def test_a_link_to_put_takes_the_size_and_type_that_it_was_signed_for() -> None:
    url = LINKS.sign_put(KEY, expires_at=END, size=12, content_type="image/png")
    key, expires, signature = parts(url)

    LINKS.verify_put(key, expires, signature, END, size="12", content_type="image/png")
    assert parse_qs(urlsplit(url).query)["type"] == ["image/png"]


@pytest.mark.parametrize(
    ("size", "content_type"), [("13", "image/png"), ("12", "image/gif"), ("", ""), ("012", "")]
)
def test_a_link_to_put_takes_no_other_size_or_type(size: str, content_type: str) -> None:
    url = LINKS.sign_put(KEY, expires_at=END, size=12, content_type="image/png")
    key, expires, signature = parts(url)

    with pytest.raises(Forbidden, match="not valid"):
        LINKS.verify_put(key, expires, signature, NOW, size=size, content_type=content_type)


def test_a_link_to_put_does_not_open_what_was_put() -> None:
    key, expires, signature = parts(
        LINKS.sign_put(KEY, expires_at=END, size=12, content_type="image/png")
    )

    with pytest.raises(Forbidden, match="not valid"):
        LINKS.verify("GET", key, expires, signature, NOW)
