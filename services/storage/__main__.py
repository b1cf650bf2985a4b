"""python -m services.storage: this service as a process of its own.

python -m services.storage                   migrate, and serve until a signal
python -m services.storage sweep [--delete]  find objects without row, rows without object, drift
python -m services.storage erasures          list erasures, open and proven
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from kernel.standalone import run, run_once
from services.storage.app import SCHEMA, compose, erasures_told, sweep


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0 when all is as it should be, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m services.storage", description="SmartSpec storage"
    )
    verbs = parser.add_subparsers(dest="verb")
    sweeps = verbs.add_parser("sweep", help="find orphans in both directions, and drift of quotas")
    sweeps.add_argument("--delete", action="store_true", help="delete objects that no row names")
    verbs.add_parser("erasures", help="list erasures, open and proven")
    arguments = parser.parse_args(argv)
    if arguments.verb == "sweep":
        return run_once(partial(sweep, delete=arguments.delete))
    if arguments.verb == "erasures":
        return run_once(erasures_told)
    return run(SCHEMA, compose, Path(__file__).parent / "migrations")


if __name__ == "__main__":
    sys.exit(main())
