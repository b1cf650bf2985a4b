"""python -m services.generation: this service as a process of its own."""

import sys
from pathlib import Path

from kernel.standalone import run
from services.generation.app import SCHEMA, compose

if __name__ == "__main__":
    sys.exit(run(SCHEMA, compose, Path(__file__).parent / "migrations"))
