"""python -m tests.campaign.program NAME: a service as it is, with crash points, or a planted bug.

Told by its environment where points are armed (`CAMPAIGN_FOLDER`), and which mutant it is
(`CAMPAIGN_MUTANT`). While a file `absent-<NAME>` is in the folder it does not begin.
"""

import os
import runpy
import sys
import time
from pathlib import Path
from typing import Final

LOOK_EVERY_S: Final = 0.2


def main() -> None:
    name = sys.argv[1]
    folder = Path(os.environ["CAMPAIGN_FOLDER"])
    while (folder / f"absent-{name}").exists():
        time.sleep(LOOK_EVERY_S)

    from tests.campaign import crash_points, mutants

    crash_points.install(crash_points.Armed(folder))
    mutant = os.environ.get("CAMPAIGN_MUTANT")
    if mutant:
        mutants.plant(mutant)
    sys.argv[1:] = []
    runpy.run_module(f"services.{name}", run_name="__main__")


if __name__ == "__main__":
    main()
