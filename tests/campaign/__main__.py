"""python -m tests.campaign [--minutes M] [--seed N] [--tasks 100] [--kills 10]

Kills everything at random moments under load, then proves that nothing was lost. Exits with 1 when
something was.
"""

import argparse
import sys

from kernel.clock import random_token
from tests.campaign.campaign import Plan, run
from tests.campaign.process import Broken


def main() -> int:
    plan = _plan()
    sys.stdout.write(f"seed {plan.seed}: {plan.tasks} tasks, {plan.kills} kills\n")
    try:
        report = run(plan, _say)
    except Broken as broken:
        _say(f"seed {plan.seed}: {broken}")
        return 1
    _say(f"\n{report}")
    return 0 if report.good else 1


def _say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def _plan() -> Plan:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument("--minutes", type=float, default=0.0, help="go on for at least so long")
    parser.add_argument("--seed", type=int, help="by default a new one")
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--kills", type=int, default=10)
    given = parser.parse_args()
    seed = int.from_bytes(random_token(4)) if given.seed is None else given.seed
    return Plan(seed, given.tasks, given.kills, given.minutes)


if __name__ == "__main__":
    sys.exit(main())
