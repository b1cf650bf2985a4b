"""The rules of second factors, given / when / then."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from kernel.errors import Forbidden, Invalid, NotFound, RateLimited, Rejected
from kernel.testing import Spec
from services.keys.domain import (
    MFA,
    PROVING,
    BackupCodesRegenerated,
    ChallengeMfa,
    ConfirmTotp,
    DisableMfa,
    MfaChallenged,
    MfaDisabled,
    MfaEnrolled,
    MfaEvent,
    MfaFailed,
    MfaProofSpent,
    MfaVerified,
    RegenerateBackupCodes,
    SetUpTotp,
    SpendProof,
    TotpSetUp,
    VerifyMfa,
    attempts_left,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
USER_ID, SECRET, CODES, CHALLENGE, KEY_ID, OTHER = (UUID(int=n) for n in range(1, 7))
PROOF = "ab" * 32

SET_UP = SetUpTotp(USER_ID, SECRET, None, NOW)
WAITS = TotpSetUp(USER_ID, SECRET, NOW + 15 * MINUTE, NOW)
CONFIRM = ConfirmTotp(USER_ID, SECRET, 100, CODES, 3, NOW)
ENROLLED = MfaEnrolled(USER_ID, SECRET, 100, CODES, 3, NOW)
ASK = ChallengeMfa(USER_ID, CHALLENGE, "rotate_key", KEY_ID, NOW)
ASKED = MfaChallenged(USER_ID, CHALLENGE, "rotate_key", KEY_ID, NOW + 5 * MINUTE, NOW)
BY_TOTP = VerifyMfa(USER_ID, CHALLENGE, "totp", SECRET, 101, PROOF, NOW)
BY_BACKUP_CODE = replace(BY_TOTP, method="backup_code", secret_id=CODES, place=2)
VERIFIED = MfaVerified(
    user_id=USER_ID,
    challenge_id=CHALLENGE,
    operation="rotate_key",
    key_id=KEY_ID,
    method="totp",
    place=101,
    proof_sha256=PROOF,
    expires_at=NOW + 5 * MINUTE,
    verified_at=NOW,
)
FAILED = MfaFailed(
    USER_ID, CHALLENGE, "totp", 1, challenge_locked=False, locked_until=None, failed_at=NOW
)
SPEND = SpendProof(USER_ID, PROOF, "rotate_key", KEY_ID, NOW)
SPENT = MfaProofSpent(USER_ID, CHALLENGE, NOW)


def failed(times: int, began: datetime = NOW) -> list[MfaEvent]:
    """That many wrong codes for a challenge each, a second apart; the fifth locks."""
    return [
        replace(
            FAILED,
            challenge_id=UUID(int=50 + nth),
            failed_at=began + nth * SECOND,
            locked_until=began + nth * SECOND + 15 * MINUTE if nth == 4 else None,
        )
        for nth in range(times)
    ]


def proved_for(operation: str) -> list[MfaEvent]:
    asked = replace(ASKED, operation=operation, key_id=None)
    return [ENROLLED, asked, replace(VERIFIED, operation=operation, key_id=None)]


def test_sets_up_a_secret_that_waits_for_its_first_code() -> None:
    Spec(PROVING).when(SET_UP).then(WAITS)


def test_a_new_setup_takes_the_place_of_one_that_waits() -> None:
    again = replace(WAITS, setup_id=OTHER)
    Spec(PROVING).given(WAITS).when(replace(SET_UP, setup_id=OTHER)).then(again)


def test_the_first_code_makes_the_secret_the_second_factor() -> None:
    Spec(PROVING).given(WAITS).when(CONFIRM).then(ENROLLED)


def test_a_wrong_first_code_is_remembered() -> None:
    wrong = replace(FAILED, challenge_id=None)
    Spec(PROVING).given(WAITS).when(replace(CONFIRM, step=None)).then(wrong)


def test_a_code_of_a_secret_that_was_replaced_meanwhile_is_wrong() -> None:
    wrong = replace(FAILED, challenge_id=None)
    Spec(PROVING).given(WAITS).when(replace(CONFIRM, setup_id=OTHER)).then(wrong)


@pytest.mark.parametrize("history", [[], [WAITS, ENROLLED]], ids=["none", "confirmed"])
def test_confirms_nothing_that_was_not_set_up(history: list[MfaEvent]) -> None:
    Spec(PROVING).given(*history).when(CONFIRM).refused(Invalid, "mfa_not_set_up")


def test_a_setup_ends_after_a_quarter_of_an_hour() -> None:
    late = replace(CONFIRM, at=NOW + 15 * MINUTE)
    Spec(PROVING).given(WAITS).when(late).refused(Invalid, "mfa_not_set_up")
    just = replace(CONFIRM, at=NOW + 15 * MINUTE - SECOND)
    Spec(PROVING).given(WAITS).when(just).then(replace(ENROLLED, enrolled_at=just.at))


def test_refuses_a_second_setup_without_the_present_factor() -> None:
    Spec(PROVING).given(ENROLLED).when(SET_UP).refused(Rejected, "mfa_already_enrolled")
    again = replace(SET_UP, proof_sha256=PROOF)
    for_a_key = (ENROLLED, ASKED, VERIFIED)
    Spec(PROVING).given(*for_a_key).when(again).refused(Rejected, "mfa_already_enrolled")


def test_who_shows_the_present_factor_may_replace_it() -> None:
    again = replace(SET_UP, setup_id=OTHER, proof_sha256=PROOF)
    waits = replace(WAITS, setup_id=OTHER)
    Spec(PROVING).given(*proved_for("replace_totp")).when(again).then(SPENT, waits)


def test_challenges_and_proofs_of_a_factor_end_with_it() -> None:
    history = (ENROLLED, ASKED, VERIFIED, replace(ASKED, challenge_id=OTHER), ENROLLED)
    Spec(PROVING).given(*history).when(SPEND).refused(Forbidden, "mfa_required")
    old = replace(BY_TOTP, challenge_id=OTHER)
    Spec(PROVING).given(*history).when(old).refused(NotFound, "challenge_not_found")


def test_challenges_who_has_a_second_factor() -> None:
    Spec(PROVING).given(ENROLLED).when(ASK).then(ASKED)
    Spec(PROVING).given(WAITS).when(ASK).refused(Rejected, "mfa_not_enrolled")


def test_a_right_code_earns_a_proof() -> None:
    Spec(PROVING).given(ENROLLED, ASKED).when(BY_TOTP).then(VERIFIED)


def test_a_backup_code_earns_one_too() -> None:
    verified = replace(VERIFIED, method="backup_code", place=2)
    Spec(PROVING).given(ENROLLED, ASKED).when(BY_BACKUP_CODE).then(verified)


@pytest.mark.parametrize("step", [99, 100])
def test_a_time_step_that_was_used_or_passed_is_wrong(step: int) -> None:
    Spec(PROVING).given(ENROLLED, ASKED).when(replace(BY_TOTP, place=step)).then(FAILED)


def test_a_backup_code_is_good_once() -> None:
    used = replace(VERIFIED, method="backup_code", place=2)
    again = replace(BY_BACKUP_CODE, challenge_id=OTHER)
    wrong = replace(FAILED, challenge_id=OTHER, method="backup_code")
    asked_again = replace(ASKED, challenge_id=OTHER)
    Spec(PROVING).given(ENROLLED, ASKED, used, asked_again).when(again).then(wrong)


@pytest.mark.parametrize("command", [BY_TOTP, BY_BACKUP_CODE], ids=["totp", "backup_code"])
def test_a_code_of_a_secret_or_list_that_was_replaced_is_wrong(command: VerifyMfa) -> None:
    old = replace(command, secret_id=OTHER)
    Spec(PROVING).given(ENROLLED, ASKED).when(old).then(replace(FAILED, method=command.method))


def test_a_challenge_is_verified_once() -> None:
    again = replace(BY_TOTP, place=102)
    history = (ENROLLED, ASKED, VERIFIED)
    Spec(PROVING).given(*history).when(again).refused(NotFound, "challenge_not_found")


def test_a_challenge_ends_after_five_minutes() -> None:
    late = replace(BY_TOTP, at=NOW + 5 * MINUTE)
    Spec(PROVING).given(ENROLLED, ASKED).when(late).refused(NotFound, "challenge_not_found")


def test_the_fifth_wrong_code_ends_the_challenge() -> None:
    # A right code for another challenge in between: the user is not locked.
    other = replace(ASKED, challenge_id=OTHER)
    four = [replace(FAILED, failures=nth) for nth in (1, 2, 3, 4)]
    history: tuple[MfaEvent, ...] = (
        ENROLLED,
        ASKED,
        other,
        *four,
        replace(VERIFIED, challenge_id=OTHER),
    )
    fifth = replace(FAILED, failures=5, challenge_locked=True)
    Spec(PROVING).given(*history).when(replace(BY_TOTP, place=None)).then(fifth)
    right = replace(BY_TOTP, place=102)
    Spec(PROVING).given(*history, fifth).when(right).refused(NotFound, "challenge_not_found")


def test_the_fifth_wrong_code_in_a_row_locks_the_user_for_a_quarter_of_an_hour() -> None:
    at = NOW + MINUTE
    locks = replace(FAILED, locked_until=at + 15 * MINUTE, failed_at=at)
    Spec(PROVING).given(ENROLLED, ASKED, *failed(4)).when(replace(BY_TOTP, place=None, at=at)).then(
        locks
    )


def test_while_locked_no_right_code_is_taken_and_a_new_challenge_changes_nothing() -> None:
    history = [ENROLLED, *failed(5), replace(ASKED, expires_at=NOW + 60 * MINUTE)]
    until = NOW + 4 * SECOND + 15 * MINUTE
    for at in (NOW + 5 * SECOND, until - SECOND):
        Spec(PROVING).given(*history).when(replace(BY_TOTP, at=at)).refused(
            RateLimited, "mfa_locked"
        )
    Spec(PROVING).given(*history).when(replace(BY_TOTP, at=until)).then(
        replace(VERIFIED, verified_at=until, expires_at=until + 5 * MINUTE)
    )


def test_a_setup_is_locked_by_the_same_count() -> None:
    history = [WAITS, *failed(5)]
    Spec(PROVING).given(*history).when(replace(CONFIRM, at=NOW + MINUTE)).refused(
        RateLimited, "mfa_locked"
    )


def test_says_when_the_lock_ends() -> None:
    state = MFA.fold([ENROLLED, *failed(5), ASKED])
    with pytest.raises(RateLimited) as refused:
        PROVING.decide(replace(BY_TOTP, at=NOW + 5 * SECOND), state)
    assert refused.value.retry_after_s == 15 * 60 - 1
    assert refused.value.details == {"locked_until": "2026-01-01T00:15:04Z"}


def test_wrong_codes_of_a_quarter_of_an_hour_ago_do_not_count() -> None:
    at = NOW + 15 * MINUTE + 3 * SECOND
    asked = replace(ASKED, expires_at=at + MINUTE)
    command = replace(BY_TOTP, place=None, at=at)
    Spec(PROVING).given(ENROLLED, asked, *failed(4)).when(command).then(
        replace(FAILED, failed_at=at)
    )


def test_a_right_code_ends_the_row_of_wrong_ones() -> None:
    other = replace(ASKED, challenge_id=OTHER)
    history = [ENROLLED, ASKED, other, *failed(4), replace(VERIFIED, challenge_id=OTHER)]
    assert attempts_left(MFA.fold(history), NOW) == 5
    Spec(PROVING).given(*history).when(replace(BY_TOTP, place=None)).then(FAILED)


def test_counts_down_to_the_lock() -> None:
    at = NOW + 10 * SECOND
    left = [attempts_left(MFA.fold([ENROLLED, *failed(times)]), at) for times in range(6)]
    assert left == [5, 4, 3, 2, 1, 0]


def test_a_proof_is_spent_once() -> None:
    history = (ENROLLED, ASKED, VERIFIED)
    Spec(PROVING).given(*history).when(SPEND).then(SPENT)
    Spec(PROVING).given(*history, SPENT).when(SPEND).refused(Forbidden, "mfa_required")


@pytest.mark.parametrize(
    "command",
    [
        replace(SPEND, proof_sha256=None),
        replace(SPEND, proof_sha256="cd" * 32),
        replace(SPEND, operation="delete_key"),
        replace(SPEND, key_id=OTHER),
        replace(SPEND, key_id=None),
        replace(SPEND, at=NOW + 5 * MINUTE),
    ],
    ids=["none", "unknown", "operation", "other key", "no key", "late"],
)
def test_a_proof_is_for_one_operation_on_one_key_for_five_minutes(command: SpendProof) -> None:
    history = (ENROLLED, ASKED, VERIFIED)
    Spec(PROVING).given(*history).when(command).refused(Forbidden, "mfa_required")


def test_new_backup_codes_take_a_proof_and_the_place_of_the_old() -> None:
    command = RegenerateBackupCodes(USER_ID, OTHER, 3, PROOF, NOW)
    fresh = BackupCodesRegenerated(USER_ID, OTHER, 3, NOW)
    history = proved_for("regenerate_backup_codes")
    Spec(PROVING).given(*history).when(command).then(SPENT, fresh)
    after = [*history, SPENT, fresh, ASKED]
    Spec(PROVING).given(*after).when(BY_BACKUP_CODE).then(replace(FAILED, method="backup_code"))
    renewed = replace(BY_BACKUP_CODE, secret_id=OTHER)
    verified = replace(VERIFIED, method="backup_code", place=2)
    Spec(PROVING).given(*after).when(renewed).then(verified)


@pytest.mark.parametrize("history", [[], [ENROLLED], [ENROLLED, ASKED, VERIFIED]])
def test_new_backup_codes_take_nothing_but_their_own_proof(history: list[MfaEvent]) -> None:
    command = RegenerateBackupCodes(USER_ID, OTHER, 3, PROOF, NOW)
    Spec(PROVING).given(*history).when(command).refused(Forbidden, "mfa_required")


@pytest.mark.parametrize(
    "history", [[WAITS], [ENROLLED], [ENROLLED, ASKED, VERIFIED], [ENROLLED, *failed(5)]]
)
def test_a_second_factor_that_is_disabled_leaves_nothing(history: list[MfaEvent]) -> None:
    disabled = MfaDisabled(USER_ID, NOW)
    Spec(PROVING).given(*history).when(DisableMfa(USER_ID, NOW)).then(disabled)
    assert MFA.fold([*history, disabled]) == MFA.initial_state()


def test_where_there_is_no_second_factor_there_is_nothing_to_disable() -> None:
    Spec(PROVING).when(DisableMfa(USER_ID, NOW)).then_nothing()
