"""A sandbox: vendors without a key are played on this machine, and there is an admin."""

import sys
from pathlib import Path
from socket import socket

from kernel.runtime import bind
from kernel.secrets import Secrets
from kernel.settings import Settings, WrongSettings
from services.keys.app import ADMIN_EMAIL


def is_on(settings: Settings) -> bool:
    """On under this command unless it is said otherwise; never in production."""
    if settings.in_production and settings.sandbox:
        raise WrongSettings("SmartSpec can't start: production refuses SMARTSPEC_SANDBOX")
    return not settings.in_production if settings.sandbox is None else settings.sandbox


def vendors_socket(home: Path) -> socket:
    """A free loopback port for the simulator, the same at each start where it can be: what it made
    before is fetched from the address that it told then."""
    kept = home / "simulator" / "port"
    try:
        return bind("127.0.0.1", int(kept.read_text()))
    except (OSError, ValueError, OverflowError):
        vendors = bind("127.0.0.1", 0)
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(str(vendors.getsockname()[1]))
    return vendors


def welcome(address: str, sandbox: Secrets | None) -> None:
    """Say where it is ready, and how to sign in."""
    lines = ["", f"SmartSpec is ready at {address}  (routes: {address}/docs)"]
    if sandbox is not None:
        lines += [
            "Sandbox: a simulator makes the media, marked as such. Nothing is asked of a vendor.",
            f"Sign in as the admin: {ADMIN_EMAIL}  password: {sandbox.admin_password}",
            "",
            f"  curl -s {address}/auth/login -H 'Content-Type: application/json' \\",
            f"""    -d '{{"email": "{ADMIN_EMAIL}", "password": "{sandbox.admin_password}"}}'""",
        ]
    sys.stdout.write("\n".join([*lines, "", ""]))
    sys.stdout.flush()
