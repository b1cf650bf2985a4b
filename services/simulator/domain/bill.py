"""What the vendor would have charged a key: a promise when a job is accepted, a charge when it
succeeds, nothing when it fails.
"""

from dataclasses import dataclass, replace

from services.simulator.domain.jobs import Job, Outcome


@dataclass(frozen=True, slots=True)
class Bill:
    key: str
    accepted: int = 0
    succeeded: int = 0
    failed: int = 0
    promised_credits: int = 0
    charged_credits: int = 0


def accepted(bill: Bill, job: Job) -> Bill:
    return replace(
        bill,
        accepted=bill.accepted + 1,
        promised_credits=bill.promised_credits + job.price_credits,
    )


def finished(bill: Bill, job: Job, outcome: Outcome) -> Bill:
    bill = replace(bill, promised_credits=bill.promised_credits - job.price_credits)
    if outcome.fail_code:
        return replace(bill, failed=bill.failed + 1)
    return replace(
        bill,
        succeeded=bill.succeeded + 1,
        charged_credits=bill.charged_credits + job.price_credits,
    )


def difference(whole: Bill, part: Bill) -> Bill:
    """What of `whole` is not in `part`: the share of jobs that are no longer kept."""
    return Bill(
        whole.key,
        whole.accepted - part.accepted,
        whole.succeeded - part.succeeded,
        whole.failed - part.failed,
        whole.promised_credits - part.promised_credits,
        whole.charged_credits - part.charged_credits,
    )


def remaining_credits(bill: Bill, granted_credits: int) -> int:
    return max(0, granted_credits - bill.charged_credits - bill.promised_credits)
