import pytest

from kernel.rates import AMOUNT_MAX, Rate, RateClass, read_rates


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("100/minute", Rate(100, 60)),
        ("3/hour", Rate(3, 3_600)),
        ("5/5minutes", Rate(5, 300)),
        ("5/5 Minutes", Rate(5, 300)),
        (" 1/second ", Rate(1, 1)),
        ("7/day", Rate(7, 86_400)),
    ],
)
def test_a_rate_is_an_amount_and_a_period(text: str, rate: Rate) -> None:
    assert Rate.read(text) == rate


@pytest.mark.parametrize(
    "text",
    [
        "",
        "100",
        "/minute",
        "100/",
        "100/month",
        "100/min",
        "0/minute",
        "-1/minute",
        "1.5/minute",
        "1/0minutes",
        "1/2days",
        f"{AMOUNT_MAX + 1}/minute",
        "100/minute, 3/hour",
        "٣/minute",
        "1" * 5_000 + "/minute",
    ],
)
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="rate"):
        Rate.read(text)


def test_rates_of_classes_are_read_by_name() -> None:
    assert read_rates("api=7/minute, rotation = 1/hour") == {
        RateClass.API: Rate(7, 60),
        RateClass.ROTATION: Rate(1, 3_600),
    }


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("api=7", "api"),
        ("api", "api"),
        ("apis=7/minute", "apis"),
        ("=7/minute", "classes"),
        ("api=7/minute,", "classes"),
        ("api=7/minute,api=8/minute", "api is there twice"),
        ("api=7/minute;rotation=1/hour", "api"),
    ],
)
def test_a_class_that_is_wrong_is_named(text: str, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        read_rates(text)
