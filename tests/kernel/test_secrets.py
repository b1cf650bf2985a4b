import json
import threading
from pathlib import Path

import pytest

from kernel.encryption import Encryption
from kernel.secrets import FILE, Secrets, secrets_of
from kernel.settings import Settings, WrongSettings, read_settings

MASTER = "a master key that was given and is long"
OLDER = "an older master key of enough characters"
JWT_SECRET = "a given secret that signs access tokens"


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SMARTSPEC_HOME", str(tmp_path / "home"))
    for name in ("ENCRYPTION_MASTER_KEY", "ENCRYPTION_KEY", "JWT_SECRET_KEY", "API_MODE"):
        monkeypatch.delenv(name, raising=False)


def secrets() -> Secrets:
    return secrets_of(read_settings(Settings))


def test_secrets_that_nobody_gave_are_made_once(tmp_path: Path) -> None:
    made = secrets()
    assert secrets() == made
    (master,) = made.master_keys
    assert len({master, made.jwt_secret, made.admin_password}) == 3
    assert min(len(master), len(made.jwt_secret)) >= 43
    assert len(made.admin_password) == 16
    Encryption(made.master_keys)


def test_their_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    secrets()
    assert (tmp_path / "home" / FILE).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "home").iterdir()] == [FILE]


def test_two_deployments_share_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = secrets()
    monkeypatch.setenv("SMARTSPEC_HOME", str(tmp_path / "other"))
    second = secrets()
    assert first.master_keys != second.master_keys
    assert first.jwt_secret != second.jwt_secret
    assert first.admin_password != second.admin_password


def test_starts_at_the_same_time_agree_on_one_set() -> None:
    seen: list[Secrets] = []
    together = threading.Barrier(8)

    def start() -> None:
        together.wait()
        seen.append(secrets())

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8
    assert len(set(seen)) == 1


def test_given_secrets_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENCRYPTION_MASTER_KEY", f"{MASTER}, {OLDER}")
    monkeypatch.setenv("JWT_SECRET_KEY", JWT_SECRET)
    given = secrets()
    assert given.master_keys == (MASTER, OLDER)
    assert given.jwt_secret == JWT_SECRET


@pytest.mark.parametrize("name", ["ENCRYPTION_MASTER_KEY", "JWT_SECRET_KEY"])
@pytest.mark.parametrize("value", [None, ""])
def test_production_refuses_to_start_without_its_secrets(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str | None
) -> None:
    monkeypatch.setenv("API_MODE", "production")
    monkeypatch.setenv("ENCRYPTION_MASTER_KEY", MASTER)
    monkeypatch.setenv("JWT_SECRET_KEY", JWT_SECRET)
    if value is None:
        monkeypatch.delenv(name)
    else:
        monkeypatch.setenv(name, value)
    with pytest.raises(WrongSettings, match=name):
        secrets()


def test_production_keeps_nothing_in_its_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("API_MODE", "production")
    monkeypatch.setenv("ENCRYPTION_MASTER_KEY", MASTER)
    monkeypatch.setenv("JWT_SECRET_KEY", JWT_SECRET)
    assert secrets().admin_password != secrets().admin_password
    assert not (tmp_path / "home").exists()


def test_a_kept_file_is_read_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "home" / FILE
    path.parent.mkdir()
    kept = {"master_keys": [MASTER, "b"], "jwt_secret": "c", "admin_password": "d"}
    path.write_text(json.dumps(kept))
    assert secrets() == Secrets((MASTER, "b"), "c", "d")
    assert json.loads(path.read_text()) == kept
