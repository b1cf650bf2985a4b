import pytest

from kernel.base_urls import origin_of
from services.gateway.adapters.replicas import AWAY_FOR_S, Replica, Replicas

A, B, C = (Replica("http", f"{name}:1") for name in "abc")


def three() -> Replicas:
    return Replicas(["http://a:1", "http://b:1/", "http://c:1"])


def test_each_request_begins_with_the_next_one() -> None:
    replicas = three()
    assert [replicas.in_turn(0.0)[0] for _ in range(4)] == [A, B, C, A]


def test_every_other_one_is_tried_before_one_that_is_away() -> None:
    replicas = three()
    replicas.away(A, 0.0)
    assert replicas.in_turn(0.0) == [B, C, A]
    assert replicas.in_turn(0.0) == [B, C, A]


def test_one_that_was_away_has_its_turn_again_after_a_while() -> None:
    replicas = three()
    replicas.away(A, 0.0)
    assert replicas.in_turn(AWAY_FOR_S) == [A, B, C]


def test_one_that_is_back_has_its_turn_at_once() -> None:
    replicas = three()
    replicas.away(A, 0.0)
    replicas.back(A)
    assert replicas.in_turn(0.0) == [A, B, C]


def test_an_address_is_an_origin_and_no_more() -> None:
    assert origin_of("https://keys.internal:8443/") == "https://keys.internal:8443"
    assert origin_of("http://[::1]:80") == "http://[::1]:80"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "keys:1",
        "ftp://keys",
        "http://",
        "http://keys/path",
        "http://keys?x",
        "http://keys#x",
        "http://user:password@keys",
        "http://keys:0",
        "http://keys:65536",
        "http://keys:1 ",
        "http://k eys",
        "http://ke\\ys",
    ],
)
def test_what_is_no_origin_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="must be http"):
        origin_of(url)


def test_a_service_without_an_address_is_refused() -> None:
    with pytest.raises(ValueError, match="needs an address"):
        Replicas([])


def test_a_replica_is_asked_for_the_very_bytes() -> None:
    url = A.url("/media/caf%C3%A9%2e", "x=%2e+#&y")
    assert url.raw_path_qs == "/media/caf%C3%A9%2e?x=%2e+#&y"
