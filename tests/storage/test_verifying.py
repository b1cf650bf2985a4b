"""What a file proves: its bytes the most, then our signature, then a mark that was given."""

from dataclasses import replace
from datetime import UTC, datetime

from services.storage.adapters.claims import Claimed, Told
from services.storage.adapters.given_marks import Origin, mark_of
from services.storage.adapters.verifying import judged

DAY = datetime(2026, 11, 28, tzinfo=UTC)
OTHER_DAY = datetime(2026, 11, 29, tzinfo=UTC)
KEPT = Origin("kept-model", "algorithmicMedia", DAY)
MARKED = Origin("marked-model", "trainedAlgorithmicMedia", DAY)
UNSIGNED = Told("image/png", Claimed())
OURS = Claimed(
    "trusted",
    ours=True,
    signer="SmartSpec",
    source_type="algorithmicMedia",
    model_id="signed-model",
    made_at=OTHER_DAY,
)
THEIRS = Claimed("valid", ("signingCredential.untrusted",), source_type="digitalCapture")
CHANGED = Claimed(
    "invalid", ("assertion.dataHash.mismatch",), changed=True, source_type="algorithmicMedia"
)


def test_nothing_is_said_of_a_file_that_says_nothing() -> None:
    judgement = judged(UNSIGNED, None, None)

    assert (judgement.made_here, judgement.intact, judgement.model_id) == (False, None, None)
    assert (judgement.source_type, judgement.exact, judgement.marked) == (None, False, False)


def test_the_bytes_of_an_output_are_that_output() -> None:
    judgement = judged(replace(UNSIGNED, mark=1), KEPT, MARKED)

    assert (judgement.made_here, judgement.intact, judgement.exact) == (True, True, True)
    assert (judgement.model_id, judgement.made_at) == ("kept-model", DAY)


def test_our_signature_names_the_model_and_the_day() -> None:
    judgement = judged(replace(UNSIGNED, claimed=OURS, mark=1), None, MARKED)

    assert (judgement.made_here, judgement.intact, judgement.exact) == (True, True, False)
    assert (judgement.model_id, judgement.made_at) == ("signed-model", OTHER_DAY)
    assert judgement.source_type == "algorithmicMedia"


def test_a_mark_alone_says_that_it_was_made_here_and_changed() -> None:
    judgement = judged(replace(UNSIGNED, mark=1), None, MARKED)

    assert (judgement.made_here, judgement.intact) == (True, False)
    assert (judgement.model_id, judgement.marked, judgement.known) == ("marked-model", True, True)


def test_a_mark_that_nobody_gave_proves_nothing() -> None:
    judgement = judged(replace(UNSIGNED, mark=1), None, None)

    assert (judgement.made_here, judgement.marked, judgement.known) == (False, True, False)


def test_a_manifest_that_was_moved_to_another_file_proves_nothing() -> None:
    judgement = judged(replace(UNSIGNED, claimed=CHANGED), None, None)

    assert (judgement.made_here, judgement.intact) == (False, False)
    assert (judgement.model_id, judgement.source_type) == (None, None)


def test_a_stranger_who_signed_is_believed_that_it_is_intact_and_nothing_else() -> None:
    judgement = judged(replace(UNSIGNED, claimed=THEIRS), None, None)

    assert (judgement.made_here, judgement.intact) == (False, True)
    assert judgement.source_type == "digitalCapture"


def test_an_output_that_a_stranger_signed_again_is_still_ours_and_not_intact() -> None:
    judgement = judged(replace(UNSIGNED, claimed=THEIRS, mark=1), None, MARKED)

    assert (judgement.made_here, judgement.intact) == (True, False)
    assert judgement.source_type == "trainedAlgorithmicMedia"


def test_a_label_is_told_where_nothing_better_is_known() -> None:
    assert judged(replace(UNSIGNED, label="algorithmicMedia"), None, None).source_type == (
        "algorithmicMedia"
    )


def test_an_output_has_the_same_number_each_time_and_another_for_each_secret() -> None:
    assert mark_of(b"s", "task-0") == mark_of(b"s", "task-0")
    numbers = {mark_of(secret, ref) for secret in (b"s", b"t") for ref in ("task-0", "task-1")}
    assert len(numbers) == 4
    assert all(0 < number < 1 << 48 for number in numbers)
