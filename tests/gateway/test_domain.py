import pytest

from services.gateway.domain import ADMIN_SCOPE, USER_SCOPES, role_of_key, scopes_of


def test_only_an_admin_has_the_admin_scope() -> None:
    assert [role for role in ("user", "moderator", "admin") if ADMIN_SCOPE in scopes_of(role)] == [
        "admin"
    ]


def test_an_admin_may_do_what_a_user_may() -> None:
    assert scopes_of("admin") > USER_SCOPES


def test_an_unknown_role_may_do_nothing() -> None:
    assert scopes_of("root") == frozenset()


@pytest.mark.parametrize("role", ["admin", "moderator"])
def test_a_narrow_key_does_not_act_in_its_owners_raised_role(role: str) -> None:
    assert role_of_key(role, frozenset({"generation:read"})) == "user"


def test_a_key_with_the_admin_scope_acts_as_its_owner() -> None:
    assert role_of_key("admin", frozenset({ADMIN_SCOPE})) == "admin"
