"""`python -m services.simulator`: the vendors alone, on SIMULATOR_HOST and SIMULATOR_PORT."""

import uvicorn

from kernel.clock import SystemClock
from kernel.settings import read_settings
from services.simulator.app import create_app
from services.simulator.settings import SimulatorSettings


def main() -> None:
    settings = read_settings(SimulatorSettings)
    app = create_app(settings, SystemClock())
    uvicorn.run(app, host=settings.host, port=settings.port, access_log=False)


if __name__ == "__main__":
    main()
