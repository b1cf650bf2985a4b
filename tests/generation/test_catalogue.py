"""The model catalogue and price book: data that is checked before anything starts."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from kernel.errors import Invalid, NotFound
from services.generation.adapters.catalogue_file import DEFAULT_FILE, read_catalogue
from services.generation.domain.catalogue import Catalogue
from services.generation.domain.orders import order_of
from services.generation.domain.prices import WHOLE_PERCENT, Quality

Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return read_catalogue()


def test_offers_the_models_that_the_specification_names(catalogue: Catalogue) -> None:
    assert {
        *("nano-banana-pro", "flux-2", "flux-2-pro", "gemini-image"),
        *("wan-2.6", "leonardo-motion-2", "elevenlabs-tts", "heygen-avatar"),
    } == catalogue.models.keys()
    assert catalogue.version


def test_finds_a_model_by_its_alias(catalogue: Catalogue) -> None:
    assert catalogue.find("kie-ai/flux-2") is catalogue.find("flux-2")


def test_knows_no_other_model(catalogue: Catalogue) -> None:
    with pytest.raises(NotFound) as refusal:
        catalogue.find("flux-3")
    assert refusal.value.details == {"field": "model_id"}


@pytest.mark.parametrize(
    ("quality", "outputs", "units"),
    [
        (Quality.STANDARD, 1, 10_000),
        (Quality.HD, 1, 15_000),
        (Quality.UHD, 1, 20_000),
        (Quality.HD, 4, 60_000),
    ],
)
def test_prices_follow_the_book(
    catalogue: Catalogue, quality: Quality, outputs: int, units: int
) -> None:
    order = order_of(
        catalogue.find("nano-banana-pro"),
        {"quality": quality.value, "num_images": outputs},
        None,
        WHOLE_PERCENT,
    )
    assert order.price_units == units


def test_says_what_a_vendor_takes_of_one_key(catalogue: Catalogue) -> None:
    kie = catalogue.limits_of("kie")
    assert (kie.submits, kie.window_s, kie.at_once, kie.looks_per_s) == (20, 10, 100, 10)
    assert catalogue.limits_of("google").at_once
    assert catalogue.limits_of("nobody").at_once is None


@pytest.mark.parametrize(
    ("model", "provider", "options", "others"),
    [
        ("nano-banana-pro", "kie", {}, ["google"]),
        ("nano-banana-pro", "google", {}, []),
        ("elevenlabs-tts", "elevenlabs", {"format": "mp3"}, ["kie"]),
        ("elevenlabs-tts", "elevenlabs", {"format": "wav"}, []),
        ("flux-2", "kie", {}, []),
        ("flux-2", "nobody", {}, []),
        ("a model of once", "kie", {}, []),
    ],
)
def test_says_who_else_makes_a_model_with_its_options(
    catalogue: Catalogue, model: str, provider: str, options: dict[str, Any], others: list[str]
) -> None:
    found = catalogue.others_after(model, provider, options)
    assert [source.provider for source in found] == others


def test_no_price_is_a_refusal_never_zero(catalogue: Catalogue) -> None:
    with pytest.raises(Invalid) as refusal:
        order_of(catalogue.find("flux-2"), {"resolution": "2048x2048"}, None, WHOLE_PERCENT)
    assert refusal.value.code == "no_price"


def test_every_price_and_deadline_is_more_than_nothing(catalogue: Catalogue) -> None:
    for model in catalogue.models.values():
        order = order_of(model, model.examples[0]["options"], "Hello", WHOLE_PERCENT)
        assert order.price_units > 0, model.id
        assert model.deadline_s > 0, model.id


def _set(name: str, value: object) -> Change:
    return lambda book: book["models"][0].__setitem__(name, value)


WRONG: dict[str, Change] = {
    "no limits of providers": lambda book: book.pop("providers"),
    "a provider without limits": lambda book: book["providers"].pop("google"),
    "limits of nobody": lambda book: book["providers"].__setitem__("acme", {"at_once": 1}),
    "no place at all": lambda book: book["providers"]["kie"].__setitem__("at_once", 0),
    "submits without a window": lambda book: book["providers"]["kie"].pop("window_s"),
    "no version": lambda book: book.pop("version"),
    "no models": lambda book: book.__setitem__("models", []),
    "an unknown field": _set("colour", "red"),
    "an unknown provider": _set("providers", [{"provider": "acme", "name": "x"}]),
    "no provider": _set("providers", []),
    "no price": _set("price", {}),
    "an unknown quality": _set("price", {"best": "1.0"}),
    "a price of nothing": _set("price", {"standard": "0"}),
    "a negative price": _set("price", {"standard": "-1.0"}),
    "a price that is finer than the ledger": _set("price", {"standard": "1.00001"}),
    "no deadline": _set("deadline_s", 0),
    "an option that is no JSON Schema": _set("options", {"quality": {"type": "colour"}}),
    "an example that it refuses": _set("examples", [{"prompt": "x", "options": {"size": 1}}]),
    "a film priced by quality": _set("task_type", "video"),
    "a first provider that does not take all": _set(
        "providers", [{"provider": "kie", "name": "x", "only": {"quality": ["hd"]}}]
    ),
    "a film without a length": lambda book: book["models"][4]["options"].pop("duration_seconds"),
    "an alias that is used twice": _set("aliases", ["flux-2"]),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_refuses_a_book_with(wrong: str, tmp_path: Path) -> None:
    book = copy.deepcopy(yaml.safe_load(DEFAULT_FILE.read_text()))
    WRONG[wrong](book)
    path = tmp_path / "models.yaml"
    path.write_text(yaml.safe_dump(book))
    with pytest.raises(ValueError):  # noqa: PT011 - pydantic's is one; its words are pydantic's
        read_catalogue(path)


def test_reads_a_copy_of_the_book_that_was_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(DEFAULT_FILE.read_text())
    assert read_catalogue(path) == read_catalogue()


def test_refuses_a_file_that_is_not_even_a_mapping(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text("- just\n- a list\n")
    with pytest.raises(ValueError, match="_Book"):
        read_catalogue(path)
