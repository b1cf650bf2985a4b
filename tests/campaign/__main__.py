"""python -m tests.campaign [--minutes M] [--seed N] [--mutant NAME | --mutants] [--json FILE]
python -m tests.campaign --together [--minutes M] [--seed N] [--tasks 100] [--kills 10]

Breaks everything at moments that a seed chooses, under load, then proves that nothing was lost:
the services as separate processes behind fault proxies, or with `--together` the one process that
`make up` starts. Exits with 1 when something was lost, or when a mutant was not caught.
"""

import argparse
import json
import sys
from pathlib import Path

from kernel.clock import random_token
from tests.campaign import campaign, storm
from tests.campaign.mutants import MUTANTS
from tests.campaign.process import Broken

MUTANT_MINUTES = 0.75
MUTANT_SETTLE_S = 30.0


def main() -> int:
    given = _arguments()
    seed = int.from_bytes(random_token(4)) if given.seed is None else given.seed
    if given.together:
        return _together(campaign.Plan(seed, given.tasks, given.kills, given.minutes or 0.0))
    if given.mutants:
        caught = {name: _is_caught(name, seed) for name in MUTANTS}
        _keep(given.json, {"seed": seed, "caught": caught})
        return 0 if all(caught.values()) else 1
    if given.mutant:
        return 0 if _is_caught(given.mutant, seed) else 1
    _say(f"seed {seed}: {given.minutes or 10.0} minutes")
    report = storm.run(storm.Plan(seed, given.minutes or 10.0, log=given.log), _say)
    _say(f"\n{report}")
    _keep(given.json, report.facts())
    return 0 if report.good else 1


def _together(plan: campaign.Plan) -> int:
    _say(f"seed {plan.seed}: {plan.tasks} tasks, {plan.kills} kills")
    try:
        report = campaign.run(plan, _say)
    except Broken as broken:
        _say(f"seed {plan.seed}: {broken}")
        return 1
    _say(f"\n{report}")
    return 0 if report.good else 1


def _is_caught(name: str, seed: int) -> bool:
    """Whether the checker names what the mutant breaks."""
    mutant = MUTANTS[name]
    plan = storm.Plan(
        seed,
        MUTANT_MINUTES,
        mutant=name,
        kinds=mutant.faults,
        settle_max_s=MUTANT_SETTLE_S,  # what is lost never comes to rest
    )
    report = storm.run(plan, lambda _: None)
    named = {violation.invariant for violation in report.violations}
    caught = mutant.breaks in named
    _say(f"{'caught' if caught else 'MISSED'}  {name}: invariants {sorted(named) or 'none'}")
    for kind, count in sorted(report.faults.items()):
        _say(f"  {count:4} {kind}")
    return caught


def _keep(path: Path | None, facts: object) -> None:
    if path is not None:
        path.write_text(f"{json.dumps(facts, indent=2)}\n")


def _say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument("--minutes", type=float, help="go on for at least so long")
    parser.add_argument("--seed", type=int, help="by default a new one")
    parser.add_argument("--json", type=Path, help="where to keep the report")
    parser.add_argument("--log", type=Path, help="where to keep what the services said")
    parser.add_argument("--mutant", choices=sorted(MUTANTS), help="with this bug planted")
    parser.add_argument("--mutants", action="store_true", help="with each bug planted in turn")
    parser.add_argument("--together", action="store_true", help="one process, killed again")
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--kills", type=int, default=10)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
