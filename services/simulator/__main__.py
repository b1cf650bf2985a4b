"""python -m services.simulator: the vendors, played by a process of its own."""

import sys

from kernel.bus import MemoryBus
from kernel.clock import SystemClock
from kernel.runtime import Endpoint, Runtime, bind
from kernel.settings import read_settings
from kernel.standalone import run_app
from services.simulator.app import create_app
from services.simulator.settings import SimulatorSettings


def main() -> int:
    settings = read_settings(SimulatorSettings)

    def runtime() -> Runtime:
        app = create_app(settings, SystemClock())
        return Runtime(
            [], MemoryBus(), [Endpoint("simulator", app, bind(settings.host, settings.port))]
        )

    return run_app(runtime)


if __name__ == "__main__":
    sys.exit(main())
