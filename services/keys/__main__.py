"""python -m services.keys: this service as a process of its own.

python -m services.keys               migrate, and serve until a signal
python -m services.keys audit verify  prove that no audit log was touched
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from kernel.standalone import run, run_once
from services.keys.app import SCHEMA, audit_verdict, compose


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0 when it did what was asked, 1 when it could not or a log was touched."""
    parser = argparse.ArgumentParser(prog="python -m services.keys", description="SmartSpec keys")
    verbs = parser.add_subparsers(dest="verb")
    audit = verbs.add_parser("audit", help="the audit log").add_subparsers(required=True)
    audit.add_parser("verify", help="prove every entry, its row, and every seal")
    if parser.parse_args(argv).verb is None:
        return run(SCHEMA, compose, Path(__file__).parent / "migrations")
    return run_once(audit_verdict)


if __name__ == "__main__":
    sys.exit(main())
