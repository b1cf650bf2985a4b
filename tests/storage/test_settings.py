import pytest

from kernel.settings import WrongSettings, read_settings
from services.storage.settings import StorageSettings


def test_pictures_are_scored_with_the_bands_of_the_models_makers() -> None:
    settings = read_settings(StorageSettings)
    assert settings.nsfw_check
    assert (settings.nsfw_review_from, settings.nsfw_block_from) == (0.2, 0.8)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SMARTSPEC_NSFW_CHECK", "perhaps"),
        ("SMARTSPEC_NSFW_BLOCK_FROM", "1.1"),
        ("SMARTSPEC_NSFW_REVIEW_FROM", "-0.1"),
        ("SMARTSPEC_NSFW_REVIEW_FROM", "0.9"),
    ],
)
def test_bands_that_are_none_refuse_to_start_and_name_themselves(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(WrongSettings, match=name):
        read_settings(StorageSettings)
