"""Whatever is tried, in whatever order: a code counts once, a proof does one thing once."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kernel.errors import Error, RateLimited
from services.keys.domain import (
    MFA,
    PROVING,
    BackupCodesRegenerated,
    ChallengeMfa,
    ConfirmTotp,
    MfaChallenged,
    MfaCommand,
    MfaEnrolled,
    MfaEvent,
    MfaFailed,
    MfaProofSpent,
    MfaVerified,
    RegenerateBackupCodes,
    SetUpTotp,
    SpendProof,
    VerifyMfa,
)

USER_ID = UUID(int=1)
KEYS = (UUID(int=2), UUID(int=3))
NEVER_MADE = UUID(int=4)
STEP = timedelta(seconds=30)
QUARTER = timedelta(minutes=15)
FIVE_MINUTES = timedelta(minutes=5)

# Few values, so that what is tried meets what was there before.
nth = st.integers(0, 7)
places = st.none() | st.integers(-1, 1)
operations = st.sampled_from(["rotate_key", "delete_key"])
keys = st.sampled_from(KEYS)


class MfaMachine(RuleBasedStateMachine):
    """The model knows what was ever made, and checks each event against all before it."""

    @initialize()
    def begin(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.ids = 100
        self.secrets: list[UUID] = []
        self.lists: list[UUID] = []
        self.challenges: dict[UUID, MfaChallenged] = {}
        self.verified: dict[UUID, MfaVerified] = {}
        self.spent: set[UUID] = set()
        self.used: set[tuple[str, UUID | None, int]] = set()
        self.row: list[datetime] = []
        self.failures: dict[UUID, int] = {}
        self.locked_until: datetime | None = None
        self.events: list[MfaEvent] = []
        self.set_up()
        self.confirm(0)

    def new_id(self) -> UUID:
        self.ids += 1
        return UUID(int=self.ids)

    @rule(steps=st.sampled_from([1, 1, 1, 3, 10, 31]))
    def wait(self, steps: int) -> None:
        self.now += steps * STEP

    @rule()
    def set_up(self) -> None:
        setup_id = self.new_id()
        if self.give(SetUpTotp(USER_ID, setup_id, None, self.now)):
            self.secrets.append(setup_id)

    @rule(chosen=nth)
    def replace(self, chosen: int) -> None:
        setup_id = self.new_id()
        if self.give(SetUpTotp(USER_ID, setup_id, self.proof(chosen), self.now)):
            self.secrets.append(setup_id)

    @rule(place=places)
    def confirm(self, place: int | None) -> None:
        setup_id = self.secrets[-1]
        step = None if place is None else self.step(place)
        self.give(ConfirmTotp(USER_ID, setup_id, step, self.new_id(), 3, self.now))

    @rule(operation=operations, key_id=keys)
    def challenge(self, operation: str, key_id: UUID) -> None:
        self.give(ChallengeMfa(USER_ID, self.new_id(), operation, key_id, self.now))

    @rule(operation=st.sampled_from(["replace_totp", "regenerate_backup_codes"]))
    def challenge_without_key(self, operation: str) -> None:
        self.give(ChallengeMfa(USER_ID, self.new_id(), operation, None, self.now))

    @rule(chosen=nth, place=places, secret=st.integers(1, 2))
    def verify_by_totp(self, chosen: int, place: int | None, secret: int) -> None:
        secret_id = self.secrets[-secret] if len(self.secrets) >= secret else None
        step = None if place is None else self.step(place)
        self.verify(chosen, "totp", secret_id, step)

    @rule(chosen=nth, place=st.none() | st.integers(0, 2), which=st.integers(1, 2))
    def verify_by_backup_code(self, chosen: int, place: int | None, which: int) -> None:
        codes_id = self.lists[-which] if len(self.lists) >= which else None
        self.verify(chosen, "backup_code", codes_id, place)

    @rule(chosen=nth, operation=operations, key_id=keys)
    def spend(self, chosen: int, operation: str, key_id: UUID) -> None:
        self.give(SpendProof(USER_ID, self.proof(chosen), operation, key_id, self.now))

    @rule(chosen=nth)
    def regenerate(self, chosen: int) -> None:
        command = RegenerateBackupCodes(USER_ID, self.new_id(), 3, self.proof(chosen), self.now)
        self.give(command)

    def verify(self, chosen: int, method: str, secret_id: UUID | None, place: int | None) -> None:
        challenge_id = nth_last(self.challenges, chosen)
        proof = f"{challenge_id.int:064x}"
        command = VerifyMfa(USER_ID, challenge_id, method, secret_id, place, proof, self.now)
        self.give(command)

    def step(self, place: int) -> int:
        return int(self.now.timestamp()) // 30 + place

    def proof(self, chosen: int) -> str:
        return f"{nth_last(self.verified, chosen).int:064x}"

    def give(self, command: MfaCommand) -> bool:
        """Whether it was taken."""
        locked = self.locked_until is not None and self.now < self.locked_until
        try:
            events = PROVING.decide(command, MFA.fold(self.events))
        except RateLimited:
            assert locked, "nobody is locked without reason"
            return False
        except Error:
            return False
        assert not (locked and isinstance(command, VerifyMfa | ConfirmTotp)), "locked means locked"
        for event in events:
            self.expect(command, event)
            self.events.append(event)
        return True

    def expect(self, command: MfaCommand, event: MfaEvent) -> None:
        """What the model allows, and what it notes."""
        match event:
            case MfaEnrolled():
                self.lists.append(event.codes_id)
                self.used.add(("totp", event.setup_id, event.step))
                self.row.clear()
                # Nothing that the factor before has opened or earned may be used any more.
                self.spent |= self.verified.keys()
                self.challenges.clear()
            case BackupCodesRegenerated():
                self.lists.append(event.codes_id)
            case MfaChallenged():
                self.challenges[event.challenge_id] = event
            case MfaVerified():
                assert isinstance(command, VerifyMfa)
                self.expect_verified(command, event)
            case MfaFailed():
                self.expect_failed(event)
            case MfaProofSpent():
                self.expect_spent(command, event)
            case _:
                pass

    def expect_verified(self, command: VerifyMfa, event: MfaVerified) -> None:
        asked = self.challenges[event.challenge_id]
        assert event.challenge_id not in self.verified, "one proof for each challenge"
        assert self.now < asked.expires_at
        assert (event.operation, event.key_id) == (asked.operation, asked.key_id)
        assert self.failures.get(event.challenge_id, 0) < 5, "five wrong codes end a challenge"
        if event.method == "totp":
            last = max(p for m, s, p in self.used if (m, s) == ("totp", command.secret_id))
            assert event.place > last, "a step counts once, and none before it"
        else:
            assert command.secret_id == self.lists[-1], "old lists are void"
            assert ("backup_code", command.secret_id, event.place) not in self.used
        self.used.add((event.method, command.secret_id, event.place))
        self.verified[event.challenge_id] = event
        self.row.clear()
        self.locked_until = None

    def expect_failed(self, event: MfaFailed) -> None:
        if event.challenge_id is not None:
            self.failures[event.challenge_id] = self.failures.get(event.challenge_id, 0) + 1
            assert event.failures == self.failures[event.challenge_id]
            assert event.challenge_locked == (event.failures == 5)
        self.row = [moment for moment in self.row if moment > self.now - QUARTER] + [self.now]
        assert (event.locked_until is not None) == (len(self.row) == 5), "five in a row lock"
        if event.locked_until is not None:
            self.row.clear()
        self.locked_until = event.locked_until

    def expect_spent(self, command: MfaCommand, event: MfaProofSpent) -> None:
        proof = self.verified[event.challenge_id]
        assert event.challenge_id not in self.spent, "a proof is spent once"
        assert self.now < proof.verified_at + FIVE_MINUTES
        if isinstance(command, SpendProof):
            assert (proof.operation, proof.key_id) == (command.operation, command.key_id)
        self.spent.add(event.challenge_id)

    @invariant()
    def the_state_is_bounded(self) -> None:
        state = MFA.fold(self.events)
        assert len(state.challenges) <= 5
        assert len(state.proofs) <= 5
        assert len(state.failed_at) <= 4
        assert len(state.codes_left) <= 3


def nth_last(made: Iterable[UUID], chosen: int) -> UUID:
    """One of the last few, or one that was never made."""
    ids = list(made)
    return ids[-1 - chosen] if chosen < len(ids) else NEVER_MADE


TestMfa = MfaMachine.TestCase
TestMfa.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
