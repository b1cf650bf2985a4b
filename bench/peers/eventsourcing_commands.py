"""`eventsourcing`: get an aggregate, trigger one event, save; on its PostgreSQL recorder."""

import random
import threading
import time
from urllib.parse import urlsplit
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event

from bench.load import latency_ms
from bench.peer import arguments, say

THREADS = 8
"""With 1 as with 32 it does fewer."""
STREAMS_EACH = 100


class Total(Aggregate):
    @event("Started")
    def __init__(self) -> None:
        self.amount = 0

    @event("Added")
    def add(self, amount: int) -> None:
        self.amount += amount


def main() -> None:
    given = arguments()
    application: Application[UUID] = Application(_environment(given["dsn"]))
    streams = [[_new(application) for _ in range(STREAMS_EACH)] for _ in range(THREADS)]
    took_s: list[float] = []
    end_s = time.perf_counter() + given["for_s"]

    def command(nth: int) -> None:
        dice = random.Random(given["seed"] + nth)  # noqa: S311 - a fixed load
        while (start_s := time.perf_counter()) < end_s:
            total: Total = application.repository.get(dice.choice(streams[nth]))
            total.add(1)
            application.save(total)
            took_s.append(time.perf_counter() - start_s)

    threads = [threading.Thread(target=command, args=(nth,)) for nth in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    application.close()
    say({"per_s": len(took_s) / given["for_s"], **latency_ms(took_s)})


def _new(application: "Application[UUID]") -> UUID:
    total = Total()
    application.save(total)
    identity: UUID = total.id
    return identity


def _environment(dsn: str) -> dict[str, str]:
    server = urlsplit(dsn)
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_HOST": server.hostname or "",
        "POSTGRES_PORT": str(server.port),
        "POSTGRES_DBNAME": server.path.removeprefix("/"),
        "POSTGRES_USER": server.username or "",
        "POSTGRES_PASSWORD": server.password or "none",
        "POSTGRES_POOL_SIZE": str(THREADS),
        "POSTGRES_ENABLE_DB_FUNCTIONS": "y",
    }


if __name__ == "__main__":
    main()
