import pytest

from kernel.errors import NotFound
from services.gateway.api.matching import RouteTable
from services.gateway.api.refusals import MethodNotAllowed
from services.gateway.api.routes import GATEWAY, ROUTES, Auth, Route
from services.gateway.domain import USER_SCOPES


def route(method: str, path: str) -> Route:
    return Route(method, path, "keys", "A route")


TABLE = RouteTable(
    [
        route("GET", "/things"),
        route("POST", "/things"),
        route("GET", "/things/{id}"),
        route("GET", "/things/{id}/parts"),
        route("GET", "/things/special"),
        route("GET", "/files/{key:path}"),
        route("DELETE", "/files/{key}/lock"),
    ]
)


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/things", "/things"),
        ("/things/1", "/things/{id}"),
        ("/things/1/parts", "/things/{id}/parts"),
        ("/things/special", "/things/special"),
        ("/things/special/parts", "/things/{id}/parts"),
        ("/files/a", "/files/{key:path}"),
        ("/files/a/b/c", "/files/{key:path}"),
    ],
)
def test_finds_the_most_exact_template(path: str, template: str) -> None:
    assert TABLE.find("GET", path).path == template


@pytest.mark.parametrize("path", ["/", "/thing", "/things/1/2", "/files", "/THINGS", "/internal/x"])
def test_knows_nothing_else(path: str) -> None:
    with pytest.raises(NotFound) as refused:
        TABLE.find("GET", path)
    assert refused.value.code == "not_found"


def test_another_method_is_told_those_that_are_allowed() -> None:
    with pytest.raises(MethodNotAllowed) as refused:
        TABLE.find("PUT", "/things")
    assert refused.value.allow == "GET, POST"


def test_a_fixed_word_hides_the_template_for_every_method() -> None:
    with pytest.raises(MethodNotAllowed):
        RouteTable([route("GET", "/a/b"), route("DELETE", "/a/{id}")]).find("DELETE", "/a/b")


def test_refuses_a_table_with_one_route_twice() -> None:
    with pytest.raises(ValueError, match="twice"):
        RouteTable([route("GET", "/a/{id}"), route("GET", "/a/{name}")])


def test_no_internal_path_is_in_the_table() -> None:
    assert [found.path for found in ROUTES if found.path.startswith("/internal")] == []


def test_every_route_that_takes_a_key_asks_for_a_scope_that_users_have() -> None:
    scopes = {found.scope for found in ROUTES if found.auth is Auth.KEY_OR_JWT}
    assert scopes <= USER_SCOPES


def test_only_sign_in_signed_links_verdicts_and_own_pages_are_open() -> None:
    open_paths = {
        found.path for found in ROUTES if found.auth is Auth.NONE and found.service != GATEWAY
    }
    sign_in = {"/auth/register", "/auth/login", "/v1/auth/register", "/v1/auth/login"}
    sign_in |= {"/auth/refresh", "/auth/firebase"}
    by_mailed_link = {"/auth/verify-email", "/auth/password/forgot", "/auth/password/reset"}
    sign_in |= by_mailed_link
    by_token = {"/api/v2/generation/callbacks/{provider}/{token}"}
    assert open_paths == sign_in | by_token | {"/media/{key:path}", "/api/v2/storage/verify"}
