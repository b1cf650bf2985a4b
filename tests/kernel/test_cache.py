from datetime import UTC, datetime, timedelta

from kernel.cache import BoundedCache

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LIFETIME = timedelta(seconds=30)


def cache(size_max: int = 2) -> BoundedCache[str, int]:
    return BoundedCache(size_max, LIFETIME)


def test_remembers_until_the_lifetime_ends() -> None:
    kept = cache()
    kept.put("a", 1, NOW)
    assert kept.get("a", NOW + LIFETIME - timedelta(microseconds=1)) == 1
    assert kept.get("a", NOW + LIFETIME) is None


def test_a_clock_set_back_makes_nothing_live_longer() -> None:
    kept = cache()
    kept.put("a", 1, NOW)
    assert kept.get("a", NOW - timedelta(hours=1)) is None


def test_drops_the_least_recently_used_when_full() -> None:
    kept = cache(2)
    kept.put("a", 1, NOW)
    kept.put("b", 2, NOW)
    kept.get("a", NOW)
    kept.put("c", 3, NOW)
    assert (kept.get("a", NOW), kept.get("b", NOW), kept.get("c", NOW)) == (1, None, 3)
    assert len(kept) == 2


def test_forgets_what_it_is_told_to() -> None:
    kept = cache()
    kept.put("a", 1, NOW)
    kept.put("b", 2, NOW)
    kept.drop("a")
    kept.drop("never was")
    assert (kept.get("a", NOW), kept.get("b", NOW)) == (None, 2)


def test_forgets_everything() -> None:
    kept = cache()
    kept.put("a", 1, NOW)
    kept.clear()
    assert (kept.get("a", NOW), len(kept)) == (None, 0)
