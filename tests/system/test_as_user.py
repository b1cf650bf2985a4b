import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.system.product import Product, new_user, running

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
ORDINARY = "nobody"


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="smartspec-user-") as folder:
        yield Path(folder).resolve()


def makes_a_picture(product: Product) -> None:
    with running(product), new_user(product) as user:
        task = user.wait(user.generate("[[sim:canned]] mine", resolution="512x512")["id"])
        assert task["status"] == "completed"
        picture = user.client.get(task["output_url"], headers={"X-API-Key": ""})
        assert picture.content.startswith(b"\x89PNG")
        processes = psutil.Process(product.process.pid).children(recursive=True)
        assert processes, "the database and the renderers are children"
        names = set()
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):  # what looks at a file ends with it
                names.add(process.username())
        if product.user is not None:
            assert names == {product.user}
        assert product.interrupt()[0] == 0


@needs_root
def test_runs_as_an_ordinary_user(folder: Path) -> None:
    shutil.chown(folder, ORDINARY)
    home = folder / "home"
    makes_a_picture(Product(home, python=python_for(ORDINARY), user=ORDINARY))
    assert {path.owner() for path in home.iterdir()} == {ORDINARY}


@needs_root
def test_runs_as_root_in_a_folder_that_only_root_may_enter(folder: Path) -> None:
    home = folder / "home"
    folder.chmod(0o700)
    outside = (
        Path("/var/lib/smartspec") / hashlib.sha256(f"{home}/postgres".encode()).hexdigest()[:12]
    )
    try:
        makes_a_picture(Product(home))
        assert (home / "postgres/data").resolve() == outside / "data"
        assert folder.stat().st_mode & 0o777 == 0o700
    finally:
        shutil.rmtree(outside, ignore_errors=True)


def python_for(user: str) -> str:
    """An interpreter that this user may run (root's own may lie below /root)."""
    check = "import sys, structlog; sys.exit(sys.version_info < (3, 11))"
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    for python in (sys.executable, "/usr/bin/python3"):
        with contextlib.suppress(OSError):
            done = subprocess.run(
                [python, "-c", check],
                user=user,
                cwd="/",
                env=environment,
                capture_output=True,
                check=False,
            )
            if done.returncode == 0:
                return python
    pytest.skip(f"no Python >= 3.11 that {user} may run")
