"""What a vendor would have charged a key: a promise when a job is accepted, a charge when it
succeeds, nothing when it fails.
"""

from dataclasses import dataclass, replace

from services.simulator.domain.jobs import Job, Outcome


@dataclass(frozen=True, slots=True)
class Bill:
    """All credits are in the vendor's own unit: kie.ai's and Leonardo's credits, cents at Google
    and HeyGen, characters at ElevenLabs. `listed_credits` is what the price list would have made
    of `charged_credits`: they differ where prices have drifted.
    """

    key: str
    vendor: str = "kie"
    accepted: int = 0
    succeeded: int = 0
    failed: int = 0
    promised_credits: int = 0
    charged_credits: int = 0
    listed_credits: int = 0

    @property
    def unfinished(self) -> int:
        return self.accepted - self.succeeded - self.failed


def accepted(bill: Bill, job: Job) -> Bill:
    return replace(
        bill,
        accepted=bill.accepted + 1,
        promised_credits=bill.promised_credits + job.charge_credits,
    )


def finished(bill: Bill, job: Job, outcome: Outcome) -> Bill:
    bill = replace(bill, promised_credits=bill.promised_credits - job.charge_credits)
    if outcome.fail_code:
        return replace(bill, failed=bill.failed + 1)
    return replace(
        bill,
        succeeded=bill.succeeded + 1,
        charged_credits=bill.charged_credits + job.charge_credits,
        listed_credits=bill.listed_credits + job.price_credits,
    )


def difference(whole: Bill, part: Bill) -> Bill:
    """What of `whole` is not in `part`: the share of jobs that are no longer kept."""
    return Bill(
        whole.key,
        whole.vendor,
        whole.accepted - part.accepted,
        whole.succeeded - part.succeeded,
        whole.failed - part.failed,
        whole.promised_credits - part.promised_credits,
        whole.charged_credits - part.charged_credits,
        whole.listed_credits - part.listed_credits,
    )


def remaining_credits(bill: Bill, granted_credits: int) -> int:
    return max(0, granted_credits - bill.charged_credits - bill.promised_credits)
