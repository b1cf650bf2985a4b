"""Celery and PostgreSQL doing a task's durable steps: create, reserve under a row lock, submit to
the vendor, look, fetch the file, store it with fsync, charge.

It creates tasks as a request would, and waits until the worker that it starts has charged them all.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg

from bench.peer import arguments, say
from bench.peers.celery_tasks import VARIABLE, new_app
from kernel.clock import new_id
from kernel.processes import bound_command

WORKERS = 2
CREATORS = 4
ACCOUNTS = 24
WARM_UP = 20
WATCH_EVERY_S = 0.02
TABLES = """
    CREATE TABLE accounts (
        id integer PRIMARY KEY, granted bigint NOT NULL, held bigint NOT NULL, used bigint NOT NULL
    );
    INSERT INTO accounts SELECT nth, 1000000000, 0, 0 FROM generate_series(0, 23) AS nth;
    CREATE TABLE tasks (
        id uuid PRIMARY KEY, account integer NOT NULL, stage text NOT NULL, prompt text NOT NULL,
        vendor_job text, path text, created_at timestamptz NOT NULL DEFAULT now()
    )"""
WORKER = (
    *("celery", "-A", "bench.peers.celery_tasks", "worker", "--loglevel", "ERROR"),
    *("--concurrency", str(WORKERS), "--without-gossip", "--without-mingle"),
)


class Creators:
    """Requests, each of which is answered when its task is on record and its first step sent."""

    def __init__(self, dsn: str, app: Any) -> None:
        self._dsn = dsn
        self._app = app
        self._own = threading.local()

    def create(self, count: int) -> None:
        with ThreadPoolExecutor(CREATORS) as threads:
            list(threads.map(self._create, range(count)))

    def _create(self, nth: int) -> None:
        if not hasattr(self._own, "database"):
            self._own.database = psycopg.connect(self._dsn, autocommit=True)
        task, account = str(new_id()), nth % ACCOUNTS
        self._own.database.execute(
            "INSERT INTO tasks (id, account, stage, prompt) VALUES (%s, %s, 'pending', %s)",
            (task, account, "a quiet harbour"),
        )
        self._app.send_task("bench.peers.celery_tasks.reserve", args=(task, account))


def main() -> None:
    given = arguments()
    creators = Creators(given["dsn"], new_app(given))
    worker = subprocess.Popen(  # noqa: S603 - our own command
        bound_command([sys.executable, "-m", *WORKER], death_signal=signal.SIGTERM),
        env={**os.environ, VARIABLE: sys.argv[1]},
        stdout=subprocess.DEVNULL,
    )
    try:
        with psycopg.connect(given["dsn"], autocommit=True) as database:
            database.execute(TABLES)
            creators.create(WARM_UP)
            until_all_completed(database)  # the worker is up, and its connections are open
            began_s = time.perf_counter()
            creators.create(given["count"])
            until_all_completed(database)
            say({"saga_per_s": given["count"] / (time.perf_counter() - began_s)})
    finally:
        worker.terminate()
        worker.wait()


def until_all_completed(database: "psycopg.Connection[Any]") -> None:
    unfinished = "SELECT count(*) FROM tasks WHERE stage <> 'completed'"
    while (row := database.execute(unfinished).fetchone()) and row[0]:
        time.sleep(WATCH_EVERY_S)


if __name__ == "__main__":
    main()
