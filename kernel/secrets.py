"""The deployment's own secrets: given by settings, else made once and kept in its home, 0600.

Production gives them; there are no default secrets anywhere.
"""

import base64
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from kernel.clock import new_id, random_token
from kernel.settings import Settings, WrongSettings

FILE = "secrets.json"


@dataclass(frozen=True, slots=True)
class Secrets:
    """`master_keys`: the first encrypts, all decrypt. `admin_password` is the sandbox admin's."""

    master_keys: tuple[str, ...]
    jwt_secret: str
    admin_password: str


def secrets_of(settings: Settings) -> Secrets:
    """Raises `WrongSettings` in production when one is not given; nothing is kept there."""
    given = settings.encryption_master_key, settings.jwt_secret_key
    if settings.in_production and None in given:
        raise WrongSettings(
            "SmartSpec can't start: production needs ENCRYPTION_MASTER_KEY and JWT_SECRET_KEY"
        )
    made = _made() if settings.in_production else _kept(settings.home / FILE)
    master, jwt_secret = given
    return Secrets(
        tuple(key.strip() for key in master.get_secret_value().split(",") if key.strip())
        if master is not None
        else made.master_keys,
        jwt_secret.get_secret_value() if jwt_secret is not None else made.jwt_secret,
        made.admin_password,
    )


def _kept(path: Path) -> Secrets:
    """The file's secrets; made with it when it is missing. Of two processes one makes it."""
    if not path.exists():
        _write_once(path, _made())
    raw = json.loads(path.read_text())
    return Secrets(tuple(raw["master_keys"]), raw["jwt_secret"], raw["admin_password"])


def _made() -> Secrets:
    return Secrets((_token(32),), _token(32), _token(12))


def _write_once(path: Path, made: Secrets) -> None:
    """Complete or not at all; a file that has appeared meanwhile stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{new_id().hex}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(asdict(made), file)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        fresh.unlink()


def _token(n_bytes: int) -> str:
    return base64.urlsafe_b64encode(random_token(n_bytes)).decode().rstrip("=")
