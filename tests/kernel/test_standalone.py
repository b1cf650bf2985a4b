"""A service alone says what it can't do without."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WHOLE = {
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
    "RABBITMQ_URL": "amqp://127.0.0.1:1/",
    "PUBLIC_BASE_URL": "http://smartspec.test",
    "PORT": "0",
}


def words_of(service: str, folder: Path, settings: dict[str, str]) -> tuple[int, str]:
    ended = subprocess.run(
        [sys.executable, "-m", f"services.{service}"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ended.returncode, ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("service", "missing"),
    [
        ("credits", "DATABASE_URL"),
        ("credits", "RABBITMQ_URL"),
        ("generation", "PUBLIC_BASE_URL"),
        ("gateway", "RABBITMQ_URL"),
        ("gateway", "KEYS_URL"),
    ],
)
def test_refuses_to_start_without_it(service: str, missing: str, tmp_path: Path) -> None:
    settings = {name: value for name, value in WHOLE.items() if name != missing}
    status, words = words_of(service, tmp_path, settings)
    assert status == 1
    assert missing in words
    assert "Traceback" not in words


def test_production_refuses_played_vendors(tmp_path: Path) -> None:
    status, words = words_of(
        "storage",
        tmp_path,
        {**WHOLE, "API_MODE": "production", "SIMULATOR_URL": "http://127.0.0.1:1"},
    )
    assert status == 1
    assert "SIMULATOR_URL" in words
