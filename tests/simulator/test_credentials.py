"""What is rendered carries a manifest that verifies, if the simulator was told to sign."""

import io
import json
from pathlib import Path
from typing import Any

import c2pa
import pytest

from services.simulator.adapters.authority import authority_in
from services.simulator.adapters.canned import canned_file
from services.simulator.adapters.credentials import MIMES, signed, trusting
from services.simulator.adapters.label import COMPOSITE, SOURCES
from services.simulator.adapters.pool import RenderProcess
from services.simulator.domain.commissions import Avatar, Commission, Film, Picture, Speech

EACH: list[Commission] = [
    Picture("a cat", 1, 64, 64, "png"),
    Speech("Hello.", "heart"),
    Speech("Hello.", "heart", kind="wav"),
    Film("a cat", 1, 64, 64, 0.5),
    Avatar("Hello.", "anna", "heart", 64, 64),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home") / "authority"


def verified(content: bytes, kind: str, folder: Path) -> dict[str, Any]:
    context = trusting(authority_in(folder))
    return dict(json.loads(c2pa.Reader(MIMES[kind], io.BytesIO(content), context=context).json()))


@pytest.mark.parametrize("commission", EACH)
def test_a_signed_file_says_what_made_it_and_is_trusted(
    folder: Path, commission: Commission
) -> None:
    source = SOURCES[commission.medium]
    content = signed(canned_file(commission), commission.kind, source, authority_in(folder))
    told = verified(content, commission.kind, folder)
    assert told["validation_state"] == "Trusted"
    assert source in json.dumps(told)


def test_a_changed_byte_is_noticed_and_the_index_stays_in_front(folder: Path) -> None:
    content = signed(canned_file(EACH[4]), "mp4", COMPOSITE, authority_in(folder))
    assert content.index(b"moov") < content.index(b"mdat")
    at = content.index(b"mdat") + 100
    changed = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
    assert verified(changed, "mp4", folder)["validation_state"] == "Invalid"


def test_the_authority_is_made_once_and_its_key_is_its_owners(folder: Path) -> None:
    assert authority_in(folder) == authority_in(folder)
    assert (folder / "key.pem").stat().st_mode & 0o077 == 0
    assert [path.name for path in folder.parent.iterdir()] == ["authority"]


async def test_a_render_process_signs_when_it_is_told_to(tmp_path: Path, folder: Path) -> None:
    process = RenderProcess(30.0, folder)
    await process.render(Picture("a cat", 1, 64, 64, "png"), tmp_path / "x.png")
    await process.stop()
    content = (tmp_path / "x.png").read_bytes()
    assert verified(content, "png", folder)["validation_state"] == "Trusted"
