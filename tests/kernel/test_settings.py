from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import Field, SecretStr

from kernel.objects.bucket import Bucket
from kernel.objects.choice import bucket_of
from kernel.settings import Settings, WrongSettings, read_settings, refuse_unknown

MASTER = "the master key itself of enough characters"


class OfAService(Settings):
    first_look_s: float = Field(0.5, gt=0, validation_alias="SMARTSPEC_FIRST_LOOK_S")
    api_key: SecretStr | None = Field(None, validation_alias="VENDOR_API_KEY", max_length=8)


NAMES = [
    "API_MODE",
    "APP_MODE",
    "CLOUDFLARE_R2_ACCESS_KEY_ID",
    "CLOUDFLARE_R2_BUCKET_NAME",
    "CLOUDFLARE_R2_ENDPOINT",
    "CLOUDFLARE_R2_SECRET_ACCESS_KEY",
    "DATABASE_URL",
    "ENCRYPTION_KEY",
    "ENCRYPTION_MASTER_KEY",
    "GCS_BUCKET_NAME",
    "LOG_LEVEL",
    "PORT",
    "PUBLIC_BASE_URL",
    "R2_ACCESS_KEY",
    "R2_ACCESS_KEY_ID",
    "R2_ACCOUNT_ID",
    "R2_BUCKET",
    "R2_BUCKET_NAME",
    "R2_SECRET_ACCESS_KEY",
    "R2_SECRET_KEY",
    "SMARTSPEC_FIRST_LOOK_S",
    "SMARTSPEC_HOME",
    "SMARTSPEC_S3_REGION",
    "SUPABASE_DB_URL",
    "VENDOR_API_KEY",
]


@pytest.fixture(autouse=True)
def empty(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def test_an_unknown_name_of_ours_refuses_to_start_and_is_named() -> None:
    environment = {"SMARTSPEC_FRIST_LOOK_S": "a secret value", "OTHER": "1"}
    with pytest.raises(WrongSettings, match="SMARTSPEC_FRIST_LOOK_S") as refused:
        refuse_unknown([OfAService], environment)
    assert "a secret value" not in str(refused.value)
    assert "OTHER" not in str(refused.value)


def test_an_unknown_name_in_the_env_file_is_found_too() -> None:
    Path(".env").write_text("SMARTSPEC_TYPO=1\n")
    with pytest.raises(WrongSettings, match="SMARTSPEC_TYPO"):
        refuse_unknown([OfAService], {})


def test_an_unknown_name_in_small_letters_is_found_too() -> None:
    with pytest.raises(WrongSettings, match="smartspec_typo"):
        refuse_unknown([OfAService], {"smartspec_typo": "1", "smartspec_home": "x"})


def test_known_names_of_every_kind_are_accepted() -> None:
    refuse_unknown([Settings, OfAService], {"SMARTSPEC_HOME": "x", "SMARTSPEC_FIRST_LOOK_S": "1"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "eighty"),
        ("PORT", "65536"),
        ("LOG_LEVEL", "chatty"),
        ("API_MODE", "live"),
        ("SMARTSPEC_FIRST_LOOK_S", "-1"),
        ("VENDOR_API_KEY", "a-secret-that-is-too-long"),
    ],
)
def test_a_malformed_value_is_named_but_never_said(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(WrongSettings, match=name) as refused:
        read_settings(OfAService)
    assert value not in str(refused.value)
    assert refused.value.__cause__ is None


def test_every_malformed_value_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "eighty")
    monkeypatch.setenv("LOG_LEVEL", "chatty")
    with pytest.raises(WrongSettings, match=r"(?s)PORT.*LOG_LEVEL"):
        read_settings(OfAService)


@pytest.mark.parametrize(
    ("name", "field"), [("DATABASE_URL", "database_url"), ("SUPABASE_DB_URL", "database_url")]
)
def test_each_alias_is_read(monkeypatch: pytest.MonkeyPatch, name: str, field: str) -> None:
    monkeypatch.setenv(name, "postgresql://somewhere/db")
    assert getattr(read_settings(Settings), field) == "postgresql://somewhere/db"


@pytest.mark.parametrize("name", ["ENCRYPTION_MASTER_KEY", "ENCRYPTION_KEY"])
def test_each_alias_of_a_secret_is_read_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, MASTER)
    settings = read_settings(Settings)
    assert settings.encryption_master_key is not None
    assert settings.encryption_master_key.get_secret_value() == MASTER
    assert MASTER not in repr(settings)


@pytest.mark.parametrize("name", ["API_MODE", "APP_MODE"])
def test_production_is_asked_for_by_either_name(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert not read_settings(Settings).in_production
    monkeypatch.setenv(name, "production")
    assert read_settings(Settings).in_production


def test_an_empty_value_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "")
    monkeypatch.setenv("PORT", "")
    settings = read_settings(Settings)
    assert (settings.database_url, settings.port) == (None, 8000)


def test_the_environment_wins_over_the_env_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("PORT=81\nLOG_LEVEL=debug\n")
    monkeypatch.setenv("PORT", "82")
    settings = read_settings(Settings)
    assert (settings.port, settings.log_level) == (82, "debug")


def test_the_public_address_ends_without_a_slash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBLIC_BASE_URL", "https://example.com/")
    assert read_settings(Settings).public_base_url == "https://example.com"


@pytest.mark.parametrize("name", ["ENCRYPTION_MASTER_KEY", "JWT_SECRET_KEY"])
def test_a_secret_that_could_be_guessed_refuses_to_start_and_is_not_echoed(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "only-short")
    with pytest.raises(WrongSettings) as refused:
        read_settings(Settings)
    assert name in str(refused.value)
    assert "only-short" not in str(refused.value)


BUCKET: Mapping[str, str] = {
    "CLOUDFLARE_R2_ACCESS_KEY_ID": "key",
    "CLOUDFLARE_R2_SECRET_ACCESS_KEY": "a secret value",
    "CLOUDFLARE_R2_BUCKET_NAME": "pictures",
    "CLOUDFLARE_R2_ENDPOINT": "http://minio:9000/",
}
SHORT: Mapping[str, str] = {
    "R2_ACCESS_KEY": "key",
    "R2_SECRET_KEY": "a secret value",
    "R2_BUCKET": "pictures",
    "R2_ACCOUNT_ID": "acc1",
}
LONGER: Mapping[str, str] = {
    "R2_ACCESS_KEY_ID": "key",
    "R2_SECRET_ACCESS_KEY": "a secret value",
    "R2_BUCKET_NAME": "pictures",
    "R2_ACCOUNT_ID": "acc1",
}
GOOGLES: Mapping[str, str] = {
    "CLOUDFLARE_R2_ACCESS_KEY_ID": "key",
    "CLOUDFLARE_R2_SECRET_ACCESS_KEY": "a secret value",
    "GCS_BUCKET_NAME": "pictures",
}


@pytest.mark.parametrize(
    ("given", "endpoint"),
    [
        (BUCKET, "http://minio:9000"),
        (SHORT, "https://acc1.r2.cloudflarestorage.com"),
        (LONGER, "https://acc1.r2.cloudflarestorage.com"),
        (GOOGLES, "https://storage.googleapis.com"),
        ({**SHORT, **BUCKET}, "http://minio:9000"),
    ],
)
def test_a_bucket_is_known_by_each_of_its_names(
    monkeypatch: pytest.MonkeyPatch, given: Mapping[str, str], endpoint: str
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)

    settings = read_settings(Settings)

    assert bucket_of(settings) == Bucket(endpoint, "pictures", "auto", "key", "a secret value")
    assert "a secret value" not in repr(settings)


def test_there_is_no_bucket_where_none_is_set() -> None:
    assert bucket_of(read_settings(Settings)) is None


@pytest.mark.parametrize("missing", sorted(BUCKET))
def test_half_a_bucket_refuses_to_start_and_what_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    for name, value in BUCKET.items():
        if name != missing:
            monkeypatch.setenv(name, value)

    with pytest.raises(WrongSettings, match=missing) as refused:
        read_settings(Settings)

    assert "a secret value" not in str(refused.value)
    assert all(name not in str(refused.value) for name in BUCKET if name != missing)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CLOUDFLARE_R2_BUCKET_NAME", "Not_A_Bucket!"),
        ("CLOUDFLARE_R2_ENDPOINT", "minio:9000"),
        ("CLOUDFLARE_R2_ENDPOINT", "http://minio:9000/pictures"),
        ("CLOUDFLARE_R2_ENDPOINT", "http://key:secret@minio:9000"),
        ("SMARTSPEC_S3_REGION", "eu north"),
    ],
)
def test_a_malformed_part_of_a_bucket_refuses_to_start(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    for known, good in BUCKET.items():
        monkeypatch.setenv(known, good)
    monkeypatch.setenv(name, value)

    with pytest.raises(WrongSettings, match=name):
        read_settings(Settings)


def test_two_buckets_at_once_refuse_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**BUCKET, "GCS_BUCKET_NAME": "other"}.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(WrongSettings, match="GCS_BUCKET_NAME"):
        read_settings(Settings)
