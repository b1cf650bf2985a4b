"""The rules of people and their sessions, given / when / then."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from kernel.errors import Error, NotFound, Rejected, Unauthenticated
from kernel.testing import Spec
from services.keys.domain import (
    USER,
    USERS,
    DisableUser,
    EndSession,
    EraseUser,
    PasswordReset,
    Register,
    ResetPassword,
    SessionRevoked,
    SessionStarted,
    StartSession,
    User,
    UserCommand,
    UserDisabled,
    UserErased,
    UserEvent,
    UserRegistered,
    UserVerified,
    VerifyEmail,
)
from services.keys.domain.users import LIVE_SESSIONS_MAX

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(days=30)
WHO, ACCOUNT, ADMIN, FIRST, SECOND = (UUID(int=n) for n in range(1, 6))
REGISTERED = UserRegistered(WHO, ACCOUNT, "user", "free", NOW)
VERIFIED = UserVerified(WHO, NOW)
DISABLED = UserDisabled(WHO, ACCOUNT, ADMIN, NOW)
ERASED = UserErased(WHO, ACCOUNT, NOW)
SIGNED_IN = SessionStarted(WHO, FIRST, LATER, NOW)
SIGNED_OUT = SessionRevoked(WHO, FIRST, NOW)
AGAIN = SessionStarted(WHO, SECOND, LATER, NOW)
AGAIN_OUT = SessionRevoked(WHO, SECOND, NOW)
GIVEN = Spec(USERS)


def test_verifies_an_address_once() -> None:
    GIVEN.given(REGISTERED).when(VerifyEmail(WHO, NOW)).then(VERIFIED)
    GIVEN.given(REGISTERED, VERIFIED).when(VerifyEmail(WHO, NOW)).then_nothing()


def test_signs_in_and_out() -> None:
    GIVEN.given(REGISTERED).when(StartSession(WHO, FIRST, LATER, NOW)).then(SIGNED_IN)
    GIVEN.given(REGISTERED, SIGNED_IN).when(EndSession(WHO, FIRST, NOW)).then(SIGNED_OUT)


def test_signing_out_twice_or_of_no_session_changes_nothing() -> None:
    signed_out = GIVEN.given(REGISTERED, SIGNED_IN, SIGNED_OUT)
    signed_out.when(EndSession(WHO, FIRST, NOW)).then_nothing()
    GIVEN.given(REGISTERED, SIGNED_IN).when(EndSession(WHO, SECOND, NOW)).then_nothing()


def test_a_new_password_ends_every_session_and_shows_whose_the_address_is() -> None:
    signed_in_twice = GIVEN.given(REGISTERED, SIGNED_IN, AGAIN)
    signed_in_twice.when(ResetPassword(WHO, NOW)).then(
        PasswordReset(WHO, NOW), VERIFIED, SIGNED_OUT, AGAIN_OUT
    )


def test_disabling_ends_every_session() -> None:
    signed_in = GIVEN.given(REGISTERED, SIGNED_IN, AGAIN)
    signed_in.when(DisableUser(WHO, ADMIN, NOW)).then(SIGNED_OUT, AGAIN_OUT, DISABLED)


def test_disabling_twice_changes_nothing() -> None:
    GIVEN.given(REGISTERED, DISABLED).when(DisableUser(WHO, ADMIN, NOW)).then_nothing()


def test_nobody_disables_themself() -> None:
    GIVEN.given(REGISTERED).when(DisableUser(WHO, WHO, NOW)).refused(Rejected, "own_account")


def test_a_disabled_user_signs_in_no_more() -> None:
    command = StartSession(WHO, SECOND, LATER, NOW)
    GIVEN.given(REGISTERED, DISABLED).when(command).refused(Unauthenticated, "invalid_credentials")


def test_erasing_ends_every_session_and_everything_after() -> None:
    GIVEN.given(REGISTERED, SIGNED_IN).when(EraseUser(WHO, NOW)).then(SIGNED_OUT, ERASED)
    for command in (
        VerifyEmail(WHO, NOW),
        ResetPassword(WHO, NOW),
        DisableUser(WHO, ADMIN, NOW),
        EraseUser(WHO, NOW),
    ):
        GIVEN.given(REGISTERED, ERASED).when(command).refused(NotFound, "user_not_found")


def test_knows_nobody_who_has_not_registered() -> None:
    GIVEN.when(DisableUser(WHO, ADMIN, NOW)).refused(NotFound, "user_not_found")
    GIVEN.when(StartSession(WHO, FIRST, LATER, NOW)).refused(Unauthenticated, "invalid_credentials")


def session(n: int) -> UUID:
    return UUID(int=100 + n)


def test_one_sign_in_too_many_ends_the_oldest() -> None:
    full = [
        SessionStarted(WHO, session(n), LATER, NOW + timedelta(seconds=n))
        for n in range(LIVE_SESSIONS_MAX)
    ]
    next_one = StartSession(WHO, SECOND, LATER, NOW)
    GIVEN.given(REGISTERED, *full).when(next_one).then(SessionRevoked(WHO, session(0), NOW), AGAIN)


def test_sessions_that_are_over_count_no_more() -> None:
    over = [
        SessionStarted(WHO, session(n), NOW, NOW - timedelta(days=1))
        for n in range(LIVE_SESSIONS_MAX)
    ]
    GIVEN.given(REGISTERED, *over).when(StartSession(WHO, SECOND, LATER, NOW)).then(AGAIN)


MOMENTS = st.integers(0, 40).map(lambda days: NOW + timedelta(days=days))
SESSIONS = st.integers(0, 30).map(session)
COMMANDS: st.SearchStrategy[UserCommand] = st.one_of(
    st.builds(Register, st.just(WHO), st.just(ACCOUNT), st.just("user"), st.just("free"), MOMENTS),
    st.builds(VerifyEmail, st.just(WHO), MOMENTS),
    st.builds(ResetPassword, st.just(WHO), MOMENTS),
    st.builds(StartSession, st.just(WHO), SESSIONS, MOMENTS, MOMENTS),
    st.builds(StartSession, st.just(WHO), SESSIONS, st.just(LATER), st.just(NOW)),
    st.builds(EndSession, st.just(WHO), SESSIONS, MOMENTS),
    st.builds(DisableUser, st.just(WHO), st.sampled_from([ADMIN, WHO]), MOMENTS),
    st.builds(EraseUser, st.just(WHO), MOMENTS),
)
OFTEN_REGISTERED = st.lists(COMMANDS, max_size=60).map(
    lambda commands: [Register(WHO, ACCOUNT, "user", "free", NOW), *commands]
)


@given(OFTEN_REGISTERED | st.lists(COMMANDS, max_size=20))
def test_any_sequence_of_commands_keeps_what_must_be_true(commands: list[UserCommand]) -> None:
    history: list[UserEvent] = []
    state = User()
    for command in commands:
        try:
            events = USERS.decide(command, state)
        except Error:
            continue
        assert state.erased_at is None or not events, "erased is final"
        history.extend(events)
        before, state = state, USER.fold(history)
        assert before.disabled_at in {None, state.disabled_at}, "disabled stays so"
        assert before.verified_at in {None, state.verified_at}, "verified once"
        assert state.is_active or not state.sessions, "who is shut out is signed in nowhere"
        assert len(state.sessions) <= LIVE_SESSIONS_MAX
        assert len({one.session_id for one in state.sessions}) == len(state.sessions)
        if isinstance(command, ResetPassword):
            assert not state.sessions
    for kind in (UserRegistered, UserVerified, UserDisabled, UserErased):
        assert sum(isinstance(event, kind) for event in history) <= 1, kind.__name__
