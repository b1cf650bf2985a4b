from ipaddress import ip_network
from pathlib import Path

import pytest

from kernel.rates import Rate, RateClass
from kernel.settings import WrongSettings, read_settings
from services.gateway.settings import GatewaySettings


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # no stray `.env` is read there
    for name in ("RATE_LIMITS", "TRUSTED_PROXIES", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)


def test_nothing_is_asked_for() -> None:
    settings = read_settings(GatewaySettings)
    assert (settings.rate_limits, settings.trusted_proxies) == ({}, ())
    assert settings.redis_url is None


def test_reads_rates_proxies_and_a_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATE_LIMITS", "api=7/minute, mfa=5/5minutes")
    monkeypatch.setenv("TRUSTED_PROXIES", "10.0.0.0/8, 203.0.113.9,2001:db8::/32")
    monkeypatch.setenv("REDIS_URL", "rediss://:secret@redis:6379/1")
    settings = read_settings(GatewaySettings)
    assert settings.rate_limits == {RateClass.API: Rate(7, 60), RateClass.MFA: Rate(5, 300)}
    assert settings.trusted_proxies == tuple(
        ip_network(text) for text in ("10.0.0.0/8", "203.0.113.9/32", "2001:db8::/32")
    )
    assert settings.redis_url == "rediss://:secret@redis:6379/1"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RATE_LIMITS", "api=100"),
        ("RATE_LIMITS", "api=0/minute"),
        ("RATE_LIMITS", "everything=100/minute"),
        ("RATE_LIMITS", "api=100/minute,api=100/minute"),
        ("RATE_LIMITS", '{"api": "100/minute"}'),
        ("TRUSTED_PROXIES", "proxy.example.com"),
        ("TRUSTED_PROXIES", "10.0.0.1/8"),
        ("TRUSTED_PROXIES", "10.0.0.0/33"),
        ("TRUSTED_PROXIES", "10.0.0.1,"),
        ("TRUSTED_PROXIES", "*"),
        ("REDIS_URL", "127.0.0.1:6379"),
        ("REDIS_URL", "http://redis"),
    ],
)
def test_what_is_malformed_refuses_to_start_and_names_itself(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(WrongSettings, match=name):
        read_settings(GatewaySettings)
