"""A new master key for a running product, as docs/runbooks/encryption-keys.md says."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pyotp
import pytest

from kernel.clock import SystemClock
from tests.system.conftest import prepared
from tests.system.product import (
    V2,
    Product,
    holder_of,
    log_in,
    new_user,
    running,
    wait_until,
)

OLD = "an old master key that is long enough for anyone"
NEW = "a new master key that is long enough for anyone"
OWN_KEY = "kie-0123456789abcdef"
COMMAND_TIMEOUT_S = 90


@pytest.fixture
def product() -> Iterator[Product]:
    """In separate processes, where it is hardest: each has to be told of the keys."""
    with prepared("separate") as product:
        yield product


def under(product: Product, *master_keys: str) -> Product:
    product.settings = {**product.settings, "ENCRYPTION_MASTER_KEY": ",".join(master_keys)}
    return product


def reencrypted(product: Product) -> list[str]:
    """What the command says."""
    done = subprocess.run(
        [sys.executable, "-m", "services", "reencrypt"],
        cwd=product.home.parent,
        env=product.environment(),
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [line for line in done.stdout.splitlines() if line.endswith(" renewed")]


def mfa(me: httpx.Client, path: str, **body: Any) -> dict[str, Any]:
    return dict(me.post(f"/api/keys/mfa/{path}", json=body).raise_for_status().json())


def test_everything_is_read_by_the_new_key_alone_after_it_was_renewed(product: Product) -> None:
    with running(under(product, OLD)), new_user(product) as user:
        task = user.generate("[[sim:canned]] a harbour at dawn")["id"]
        user.wait(task)
        with product.client(Authorization=f"Bearer {user.token}") as me:
            me.put("/api/keys/providers/kie", json={"api_key": OWN_KEY}).raise_for_status()
            totp = pyotp.TOTP(mfa(me, "totp/setup")["secret"])
            code = totp.at(SystemClock().now())
            codes = mfa(me, "totp/verify-setup", code=code)["backup_codes"]
        product.interrupt()

        under(product, NEW, OLD).start()
        assert log_in(product, user.email)
        first = reencrypted(product)
        assert {line.partition(":")[0] for line in first if not line.endswith(": 0 renewed")} == {
            "generation.personal",
            "keys.personal",
            "keys.provider_keys",
            "keys.users",
        }
        assert log_in(product, user.email)
        wait_until(lambda: all(line.endswith(": 0 renewed") for line in reencrypted(product)))
        product.interrupt()

        under(product, NEW).start()
        token = log_in(product, user.email)
        with holder_of(product, user.email, token, user.key) as again:
            shown = again.client.get(f"{V2}/tasks/{task}").raise_for_status().json()["task"]
            assert shown["prompt"] == "[[sim:canned]] a harbour at dawn"
        with product.client(Authorization=f"Bearer {token}") as me:
            [listed] = me.get("/api/keys/providers").raise_for_status().json()["provider_keys"]
            assert listed["last_four"] == OWN_KEY[-4:]
            challenge = mfa(me, "challenge", operation="regenerate_backup_codes")
            proof = mfa(me, "verify", challenge_id=challenge["challenge_id"], backup_code=codes[0])
            assert proof["mfa_token"]
        assert OWN_KEY not in product.words()
