"""python -m services.credits: this service as a process of its own.

python -m services.credits                       migrate, and serve until a signal
python -m services.credits ledger verify [--all] prove every entry, hold, head, row and seal
python -m services.credits ledger role NAME      print SQL that lets NAME add to the ledger alone
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from kernel.standalone import run, run_once
from services.credits.adapters.service_role import service_role
from services.credits.app import SCHEMA, compose, ledger_verdict


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0 when it did what was asked, 1 when it could not or a rule is broken."""
    parser = argparse.ArgumentParser(
        prog="python -m services.credits", description="SmartSpec credits"
    )
    nouns = parser.add_subparsers(dest="noun")
    verbs = nouns.add_parser("ledger", help="the ledger").add_subparsers(dest="verb", required=True)
    verify = verbs.add_parser("verify", help="prove every entry, hold, head, row and seal")
    verify.add_argument("--all", action="store_true", help="tell of more than the first fault")
    role = verbs.add_parser("role", help="print SQL that lets a role add to the ledger alone")
    role.add_argument("name")
    arguments = parser.parse_args(argv)
    if arguments.noun is None:
        return run(SCHEMA, compose, Path(__file__).parent / "migrations")
    if arguments.verb == "role":
        try:
            sys.stdout.write(f"{service_role(arguments.name)}\n")
        except ValueError as error:
            parser.error(str(error))
        return 0
    return run_once(partial(ledger_verdict, tell_all=arguments.all))


if __name__ == "__main__":
    sys.exit(main())
