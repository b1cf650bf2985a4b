"""The rules of a key's versions, given / when / then, and under any sequence of commands."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kernel.codec import EventCodec
from kernel.errors import Error, Forbidden, NotFound, Rejected, Unauthenticated
from kernel.testing import Spec
from services.keys.domain import (
    API_KEY,
    KEYS,
    ApiKey,
    CreateKey,
    Creator,
    DeleteKey,
    KeyCommand,
    KeyCreated,
    KeyDeleted,
    KeyEvent,
    KeyRevoked,
    KeyRotated,
    RevokeKey,
    RotateKey,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
USER_ID, STRANGER_ID, ACCOUNT_ID, KEY_ID, OWN_KEY_ID = (UUID(int=n) for n in range(1, 6))

CREATE = CreateKey(
    key_id=KEY_ID,
    user_id=USER_ID,
    account_id=ACCOUNT_ID,
    key_sha256="01" * 32,
    prefix="sk_live_0001",
    name="ci",
    scopes=("keys:write",),
    expires_at=NOW + 10 * DAY,
    monthly_credit_limit_units=None,
    created_by=None,
    at=NOW,
    allowed_ips=("192.0.2.0/24",),
    rate_limits={"api": "9/minute"},
)
CREATED = KeyCreated(
    key_id=KEY_ID,
    user_id=USER_ID,
    account_id=ACCOUNT_ID,
    key_sha256="01" * 32,
    prefix="sk_live_0001",
    name="ci",
    scopes=("keys:write",),
    expires_at=NOW + 10 * DAY,
    monthly_credit_limit_units=None,
    created_by_key_id=None,
    created_at=NOW,
    allowed_ips=("192.0.2.0/24",),
    rate_limits={"api": "9/minute"},
)
ROTATE = RotateKey(KEY_ID, USER_ID, 1, "02" * 32, "sk_live_0002", DAY, NOW)
ROTATED = KeyRotated(KEY_ID, USER_ID, 2, "02" * 32, "sk_live_0002", NOW + DAY, NOW)
REVOKED = KeyRevoked(KEY_ID, USER_ID, NOW)
DELETE = DeleteKey(KEY_ID, USER_ID, NOW)
DELETED = KeyDeleted(KEY_ID, USER_ID, NOW)


def test_a_new_key_keeps_its_addresses_and_rates() -> None:
    Spec(KEYS).when(CREATE).then(CREATED)


def test_a_rotation_makes_the_next_version_and_leaves_the_one_before_its_grace() -> None:
    Spec(KEYS).given(CREATED).when(ROTATE).then(ROTATED)


def test_without_grace_the_secret_before_ends_at_once() -> None:
    command = replace(ROTATE, grace=timedelta())
    Spec(KEYS).given(CREATED).when(command).then(replace(ROTATED, previous_valid_until=NOW))


def test_grace_never_outlives_the_expiry() -> None:
    last_hour = NOW + 10 * DAY - HOUR
    command = replace(ROTATE, at=last_hour)
    (rotated,) = KEYS.decide(command, API_KEY.fold([CREATED]))
    assert isinstance(rotated, KeyRotated)
    assert rotated.previous_valid_until == NOW + 10 * DAY


def test_an_endless_key_gives_the_grace_that_is_asked_for() -> None:
    endless = replace(CREATED, expires_at=None)
    Spec(KEYS).given(endless).when(ROTATE).then(ROTATED)


def test_a_rotation_during_grace_counts_on() -> None:
    again = replace(ROTATE, version=2, at=NOW + HOUR)
    (rotated,) = KEYS.decide(again, API_KEY.fold([CREATED, ROTATED]))
    assert isinstance(rotated, KeyRotated)
    assert (rotated.version, rotated.previous_valid_until) == (3, NOW + HOUR + DAY)


@pytest.mark.parametrize("version", [1, 3])
def test_of_two_who_saw_the_same_version_one_rotates(version: int) -> None:
    command = replace(ROTATE, version=version)
    Spec(KEYS).given(CREATED, ROTATED).when(command).refused(Rejected, "key_rotated_meanwhile")


def test_an_expired_key_can_not_rotate() -> None:
    command = replace(ROTATE, at=NOW + 10 * DAY)
    Spec(KEYS).given(CREATED).when(command).refused(Rejected, "key_expired")


def test_a_revoked_key_can_not_rotate() -> None:
    Spec(KEYS).given(CREATED, REVOKED).when(ROTATE).refused(Rejected, "key_revoked")


@pytest.mark.parametrize("history", [(), (CREATED, DELETED), (CREATED, REVOKED, DELETED)])
@pytest.mark.parametrize("command", [ROTATE, RevokeKey(KEY_ID, USER_ID, NOW), DELETE])
def test_nothing_can_be_done_to_a_key_that_is_not_there(
    command: KeyCommand, history: tuple[KeyEvent, ...]
) -> None:
    Spec(KEYS).given(*history).when(command).refused(NotFound, "key_not_found")


@pytest.mark.parametrize("command", [ROTATE, RevokeKey(KEY_ID, USER_ID, NOW), DELETE])
def test_another_users_key_is_not_there(command: RotateKey | RevokeKey | DeleteKey) -> None:
    foreign = replace(command, user_id=STRANGER_ID)
    Spec(KEYS).given(CREATED).when(foreign).refused(NotFound, "key_not_found")


@pytest.mark.parametrize("history", [(CREATED,), (CREATED, ROTATED), (CREATED, REVOKED)])
def test_a_key_can_be_deleted_dead_or_alive(history: tuple[KeyEvent, ...]) -> None:
    Spec(KEYS).given(*history).when(DELETE).then(DELETED)


def test_a_deleted_key_is_not_created_again() -> None:
    Spec(KEYS).given(CREATED, DELETED).when(CREATE).refused(Rejected, "key_exists")


def test_a_deleted_key_creates_none() -> None:
    deleted = Creator(OWN_KEY_ID, API_KEY.fold([CREATED, DELETED]))
    Spec(KEYS).when(replace(CREATE, created_by=deleted)).refused(Unauthenticated, "invalid_api_key")


def test_a_rotated_key_has_the_bounds_that_it_had() -> None:
    before, after = API_KEY.fold([CREATED]), API_KEY.fold([CREATED, ROTATED])
    assert replace(after, version=1, previous_valid_until=None) == before
    stronger = replace(CREATE, key_id=OWN_KEY_ID, scopes=("keys:write", "storage:delete"))
    command = replace(stronger, created_by=Creator(KEY_ID, after))
    Spec(KEYS).when(command).refused(Forbidden, "exceeds_own_key")


def test_a_key_from_before_versions_reads_as_its_first() -> None:
    codec = EventCodec([API_KEY])
    new = {"allowed_ips", "rate_limits"}
    data = {name: value for name, value in codec.encode(CREATED).items() if name not in new}
    event = codec.decode("KeyCreated", 1, data)
    assert event == replace(CREATED, allowed_ips=(), rate_limits={})
    assert API_KEY.fold([event]).version == 1


class Lives(RuleBasedStateMachine):
    """One key under any commands, beside a book of its secrets kept by another rule."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.history: list[KeyEvent] = []
        self.ends: dict[int, datetime | None] = {}
        self.made = 0

    @property
    def state(self) -> ApiKey:
        return API_KEY.fold(self.history)

    def ask(self, command: KeyCommand) -> list[KeyEvent]:
        try:
            events = list(KEYS.decide(command, self.state))
        except Error:
            return []
        self.history += events
        for event in events:
            self.enter(event)
        return events

    def enter(self, event: KeyEvent) -> None:
        if isinstance(event, KeyCreated):
            self.ends[1] = None
        if isinstance(event, KeyRotated):
            for version, end in self.ends.items():
                last = self.now if end is not None else event.previous_valid_until
                self.ends[version] = min(end or last, last)
            self.ends[event.version] = None

    def live(self) -> list[int]:
        if not self.state.alive(self.now):
            return []
        return [version for version, end in self.ends.items() if end is None or end > self.now]

    @rule(life=st.none() | st.integers(1, 72))
    def create(self, life: int | None) -> None:
        expires_at = None if life is None else self.now + life * HOUR
        events = self.ask(replace(CREATE, at=self.now, expires_at=expires_at))
        assert len(events) == (0 if len(self.history) > len(events) else 1)

    @rule(grace=st.integers(0, 168), behind=st.integers(0, 2))
    def rotate(self, grace: int, behind: int) -> None:
        before = self.state
        self.made += 1
        command = RotateKey(
            KEY_ID,
            USER_ID,
            before.version - behind,
            f"{self.made:064x}",
            "",
            grace * HOUR,
            self.now,
        )
        events = self.ask(command)
        assert bool(events) == (behind == 0 and before.alive(self.now))

    @rule()
    def rotate_twice_at_once(self) -> None:
        seen = self.state.version
        command = RotateKey(KEY_ID, USER_ID, seen, "f" * 64, "", DAY, self.now)
        assert sum(bool(self.ask(command)) for _ in range(2)) <= 1

    @rule(user_id=st.sampled_from([USER_ID, STRANGER_ID]))
    def revoke(self, user_id: UUID) -> None:
        self.ask(RevokeKey(KEY_ID, user_id, self.now))

    @precondition(lambda self: len(self.history) > 3)
    @rule(user_id=st.sampled_from([USER_ID, STRANGER_ID]))
    def delete(self, user_id: UUID) -> None:
        self.ask(DeleteKey(KEY_ID, user_id, self.now))

    @rule(hours=st.integers(1, 48))
    def wait(self, hours: int) -> None:
        self.now += hours * HOUR

    @invariant()
    def versions_are_in_order(self) -> None:
        versions = [event.version for event in self.history if isinstance(event, KeyRotated)]
        assert versions == list(range(2, len(versions) + 2))
        assert self.state.version == (len(versions) + 1 if self.history else 0)

    @invariant()
    def one_version_at_most_is_current_and_two_are_good(self) -> None:
        current = [version for version, end in self.ends.items() if end is None]
        assert current == ([self.state.version] if self.history else [])
        assert len(self.live()) <= 2
        assert set(self.live()) <= {self.state.version, self.state.version - 1}

    @invariant()
    def grace_ends_with_the_key(self) -> None:
        ends = [end for end in self.ends.values() if end is not None]
        expires_at = self.state.expires_at
        assert expires_at is None or all(end <= expires_at for end in ends)

    @invariant()
    def dead_is_final(self) -> None:
        dead = False
        for event in self.history:
            assert not (dead and isinstance(event, KeyCreated | KeyRotated | KeyRevoked))
            dead = dead or isinstance(event, KeyRevoked | KeyDeleted)
        if dead:
            assert self.live() == []

    @invariant()
    def deleted_is_last_and_nobody_elses_doing(self) -> None:
        assert all(not isinstance(event, KeyDeleted) for event in self.history[:-1])
        assert {event.user_id for event in self.history} <= {USER_ID}


TestLives = Lives.TestCase
