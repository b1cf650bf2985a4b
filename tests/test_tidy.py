"""Rules of the house that no linter knows, and proof that the linters see a planted fault."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ("contracts", "kernel", "services")
MAKE_TARGETS_MAX = 10
BINARY = {".mp3", ".mp4", ".png", ".pyc", ".wav"}
UNFINISHED = re.compile(r"\b(T[O]DO|FIX[M]E|XX[X])\b")
SETTING = re.compile(r"(?:validation_alias=|AliasChoices\()\"([A-Z0-9_]+)\"")
REGISTRY = re.compile(r"pyp[i]\.org|pythonhosted[.]|registry\.npmj[s]")


def _tracked() -> list[Path]:
    """Files of the repository, as git or, in an export without it, the folders tell."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    names = listed.stdout.splitlines()
    found = [ROOT / name for name in names] or [
        path for folder in (*SOURCE, "tests", "docs") for path in (ROOT / folder).rglob("*.*")
    ]
    return [path for path in found if path.is_file() and path.suffix not in BINARY]


def test_nothing_is_left_for_later_in_a_comment() -> None:
    unfinished = [path.name for path in _tracked() if UNFINISHED.search(path.read_text())]
    assert unfinished == [], "finish it, or name it in the issue"


def test_no_committed_file_names_a_registry() -> None:
    naming = [path.name for path in _tracked() if REGISTRY.search(path.read_text())]
    assert naming == [], "locks hold hashes; where packages come from is each machine's business"


def test_the_makefile_has_few_targets_and_describes_each() -> None:
    text = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert phony is not None
    targets = phony.group(1).split()
    assert len(targets) <= MAKE_TARGETS_MAX
    for target in targets:
        assert re.search(rf"^{target}:.* ## \S", text, re.MULTILINE), f"describe {target}"


def test_the_example_of_an_environment_names_every_setting() -> None:
    example = (ROOT / ".env.example").read_text()
    read = {
        name
        for path in (ROOT / "kernel/settings.py", *ROOT.glob("services/*/settings.py"))
        for name in SETTING.findall(path.read_text())
    }
    assert len(read) > 30
    assert sorted(name for name in read if not re.search(rf"\b{name}\b", example)) == []


@pytest.mark.parametrize(
    ("file", "line", "rule"),
    [
        (
            "services/credits/api/balances.py",
            "import services.keys.app",
            "no service imports another",
        ),
        ("services/credits/domain/ledger.py", "import asyncio", "a domain decides"),
        ("services/credits/domain/ledger.py", "import services.credits.api", "inside a service"),
        ("kernel/bus.py", "import services.credits.app", "services build on the kernel"),
        ("contracts/envelope.py", "import httpx", "contracts need pydantic only"),
        ("services/credits/extra.py", "", "inside a service"),
    ],
)
def test_the_import_rules_see_a_planted_fault(
    tmp_path: Path, file: str, line: str, rule: str
) -> None:
    for folder in SOURCE:
        shutil.copytree(
            ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / file).open("a") as planted:
        planted.write(f"\n{line}\n")
    linted = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    broken = [text for text in linted.stdout.splitlines() if text.endswith("BROKEN")]
    assert any(text.startswith(rule) for text in broken), linted.stdout
