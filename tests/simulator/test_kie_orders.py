from typing import Any

import pytest

from services.simulator.domain.commissions import Picture
from services.simulator.domain.kie import MODELS, SCALES, SIZES_1K, read_order, size_of
from services.simulator.domain.orders import Refused


def order(model: str = "nano-banana-pro", **given: Any) -> dict[str, Any]:
    return {"model": model, "input": {"prompt": "a cat", **given}}


def flux(**given: Any) -> dict[str, Any]:
    return order("flux-2/pro-text-to-image", aspect_ratio="1:1", resolution="1K", **given)


def seed_of(body: object) -> int:
    picture = read_order(body).commission
    assert isinstance(picture, Picture)
    return picture.seed


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"model": "nano-banana-pro"},
        {"model": "none-such", "input": {"prompt": "a cat"}},
        {"model": ["nano-banana-pro"], "input": {"prompt": "a cat"}},
        order(prompt=""),
        order(prompt="x" * 10_001),
        order(prompt=7),
        order(aspect_ratio="5:1"),
        order(resolution="8K"),
        order(resolution=["1K"]),
        order(output_format="gif"),
        order(image_input=["https://u.test/"] * 9),
        order(image_input="u"),
        order(seed=-1),
        order(seed=True),
        order("flux-2/pro-text-to-image"),
        flux(prompt="ab"),
        flux(prompt="x" * 5001),
        {**order(), "callBackUrl": 5},
    ],
)
def test_refuses_an_order_the_vendor_would_refuse(body: object) -> None:
    with pytest.raises(Refused) as refused:
        read_order(body)
    assert refused.value.code == 422


def test_flux_knows_no_4k() -> None:
    with pytest.raises(Refused):
        read_order(order("flux-2/pro-text-to-image", aspect_ratio="1:1", resolution="4K"))


@pytest.mark.parametrize("model", sorted(MODELS))
def test_accepts_an_order_for_every_model(model: str) -> None:
    accepted = read_order(order(model, aspect_ratio="16:9", resolution="2K"))
    picture = accepted.commission
    assert isinstance(picture, Picture)
    assert (picture.width, picture.height) == (2752, 1536)
    assert accepted.price_credits > 0


def test_a_larger_class_is_an_exact_multiple() -> None:
    for ratio, (width, height) in SIZES_1K.items():
        for name, scale in SCALES.items():
            assert size_of(ratio, name) == (width * scale, height * scale)


def test_the_words_decide_the_seed_and_scenarios_do_not() -> None:
    plain = seed_of(order(prompt="a cat"))
    assert seed_of(order(prompt="a cat [[sim:latency seconds=1]]")) == plain
    assert seed_of(order(prompt="a dog")) != plain


def test_honours_a_given_seed() -> None:
    assert seed_of(order(seed=42)) == 42
