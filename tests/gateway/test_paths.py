"""Incident: LiteLLM CVE-2026-49468, where the path that was checked was not the one routed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.errors import Malformed
from services.gateway.api.paths import LENGTH_MAX, encoded, normal_form


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"/api/keys", "/api/keys"),
        (b"/api/keys/", "/api/keys"),
        (b"/", "/"),
        (b"/v2/generation/tasks", "/api/v2/generation/tasks"),
        (b"/v2/generation/tasks/", "/api/v2/generation/tasks"),
        (b"/v2", "/v2"),
        (b"/%61pi/keys", "/api/keys"),
        (b"/media/caf%C3%A9%20au%20lait.png", "/media/café au lait.png"),
        (b"/media/a..b/.hidden", "/media/a..b/.hidden"),
        (b"/media/100%25", "/media/100%"),
        (b"/media/%252e%252e/x", "/media/%2e%2e/x"),
    ],
)
def test_there_is_one_way_to_write_a_path(raw: bytes, path: str) -> None:
    assert normal_form(raw) == path


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"*",
        b"http://evil/api/keys",
        b"/media/../internal/keys/resolve",
        b"/media/..",
        b"/media/%2e%2e/internal",
        b"/media/.%2E/internal",
        b"/media/./x",
        b"//evil/api/keys",
        b"/api//keys",
        b"/api/keys//",
        b"/api/keys;x=1",
        b"/api/keys%3Bx=1",
        b"/api\\keys",
        b"/api%5ckeys",
        b"/media/a%2fb",
        b"/media/a%2Fb",
        b"/media/a%00.png",
        b"/media/a%0d%0aSet-Cookie:x",
        b"/media/a%7f",
        b"/media/\x00",
        b"/media/%zz",
        b"/media/%2",
        b"/media/%ff",
        b"/media/\xff",
        b"/media/<script>",
        b"/" + b"a" * LENGTH_MAX,
    ],
)
def test_refuses_a_path_that_two_readers_could_read_differently(raw: bytes) -> None:
    with pytest.raises(Malformed) as refused:
        normal_form(raw)
    assert refused.value.code == "invalid_path"


@given(st.binary(max_size=40))
def test_what_is_sent_on_reads_as_what_was_authorised(tail: bytes) -> None:
    try:
        path = normal_form(b"/" + tail)
    except Malformed:
        return
    assert normal_form(encoded(path)) == path


@given(st.text(alphabet="/.%2efFcC5;\\a", max_size=16))
def test_no_accepted_path_climbs_or_hides_a_separator(tail: str) -> None:
    try:
        path = normal_form(f"/{tail}".encode())
    except Malformed:
        return
    assert not {"..", "."} & set(path.split("/"))
    assert "//" not in path
    assert ";" not in path
    assert "\\" not in path
