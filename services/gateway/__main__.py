"""python -m services.gateway: this service as a process of its own."""

import sys

from kernel.standalone import run_edge
from services.gateway.api.routes import GATEWAY
from services.gateway.app import compose

if __name__ == "__main__":
    sys.exit(run_edge(GATEWAY, compose))
