"""python -m bench.table: bench/results into the table of bench/README.md, so that no figure there
is typed by hand."""

import json
import sys
from pathlib import Path
from typing import Final

from bench.repetitions import RESULTS, Row

README: Final = Path(__file__).parent / "README.md"
BENCHES: Final = (
    *("append", "relay", "consume", "handled", "ledger", "ledger_size", "saga", "waiting"),
    *("in_flight", "storage", "key_check"),
)
BEGIN: Final = "<!-- python -m bench.table writes what follows -->\n"
END: Final = "<!-- until here -->\n"


def main() -> int:
    before, rest = README.read_text().split(BEGIN)
    after = rest.split(END)[1]
    README.write_text(f"{before}{BEGIN}{_table()}{END}{after}")
    return 0


def _table() -> str:
    lines = ["| what | ratio | here | goal |", "|---|---|---|---|"]
    for name in BENCHES:
        result = RESULTS / f"{name}.json"
        if result.exists():
            rows = [Row(**row) for row in json.loads(result.read_text())["table"]]
            lines += [f"| {row.what} | {row.ratio} | {row.here} | {row.goal} |" for row in rows]
    return "".join(f"{line}\n" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
