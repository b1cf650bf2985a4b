import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from tests.system.conftest import EVERY_MODE
from tests.system.product import ROOT, Product

WALK = re.compile(r"^## Walk-through\n+```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
needs_curl = pytest.mark.skipif(
    shutil.which("curl") is None or shutil.which("bash") is None,
    reason="the walk-through is told in bash and curl",
)


def readme_lines() -> str:
    found = WALK.search((ROOT / "README.md").read_text())
    assert found is not None, 'README.md needs a ```sh block right under "## Walk-through"'
    return found[1]


def walk(product: Product, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", readme_lines()],
        cwd=folder,
        env={**product.environment(), "BASE": product.url, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


@EVERY_MODE
@needs_curl
def test_the_readmes_walk_through_makes_a_picture_for_exactly_its_price(
    product: Product, tmp_path: Path
) -> None:
    walked = walk(product, tmp_path)
    assert walked.returncode == 0, walked.stdout + walked.stderr
    with Image.open(tmp_path / "picture.png") as picture:
        picture.load()
        assert (picture.format, picture.size) == ("PNG", (1024, 576))
    last_line = walked.stdout.strip().rpartition("\n")[2]
    balance = json.loads(last_line[last_line.rindex("{") :])
    assert balance == {
        "total_credits": 100.0,
        "used_credits": 1.5,
        "reserved_credits": 0.0,
        "available_credits": 98.5,
    }
