from uuid import UUID

import pytest

from kernel.clock import new_id
from kernel.rates import RateClass
from services.gateway.domain import (
    ADMIN_SCOPE,
    RATES,
    USER_SCOPES,
    counted_for,
    role_of_key,
    scopes_of,
)


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


KEY, USER = new_id(), new_id()
BY_ADDRESS = ("address:192.0.2.1",)


@pytest.mark.parametrize(
    ("rate_class", "key", "user", "counted"),
    [
        (RateClass.API, KEY, USER, (RateClass.API, (f"key:{KEY.hex}",))),
        (RateClass.API, None, USER, (RateClass.API, (f"user:{USER.hex}",))),
        (RateClass.API, None, None, (RateClass.ANONYMOUS, BY_ADDRESS)),
        (RateClass.DOWNLOAD, None, None, (RateClass.DOWNLOAD, BY_ADDRESS)),
        (RateClass.AUTH, None, None, (RateClass.AUTH, BY_ADDRESS)),
        (RateClass.AUTH, None, USER, (RateClass.AUTH, BY_ADDRESS)),
        (RateClass.AUTH, KEY, USER, (RateClass.AUTH, BY_ADDRESS)),
        (RateClass.PAGE, KEY, USER, (RateClass.PAGE, BY_ADDRESS)),
        (RateClass.MFA, None, USER, (RateClass.MFA, (f"user:{USER.hex}",))),
        (RateClass.SPECGEN, KEY, USER, (RateClass.SPECGEN, (*BY_ADDRESS, f"user:{USER.hex}"))),
    ],
)
def test_a_request_is_counted_for_the_key_else_the_user_else_the_address(
    rate_class: RateClass,
    key: UUID | None,
    user: UUID | None,
    counted: tuple[RateClass, tuple[str, ...]],
) -> None:
    assert counted_for(rate_class, key, user, "192.0.2.1") == counted


def test_every_class_has_a_rate_of_its_own() -> None:
    assert RATES.keys() == set(RateClass)
