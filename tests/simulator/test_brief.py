import pytest

from services.simulator.domain.brief import read_brief


@pytest.mark.parametrize(
    ("prompt", "scene", "time"),
    [
        ("A beautiful sunset over mountains", "mountain", "sunset"),
        ("Waves on a tropical beach at dawn", "sea", "dawn"),
        ("cyberpunk city in the rain", "city", "night"),
        ("a misty pine forest", "forest", "day"),
        ("endless dunes of the Sahara", "desert", "day"),
        ("a ringed planet and a nebula", "space", "day"),
        ("portrait of an old man", "portrait", "day"),
        ("a bottle of perfume", "product", "day"),
        ("zzz", "abstract", "day"),
        ("", "abstract", "day"),
    ],
)
def test_reads_scene_and_hour_from_the_words(prompt: str, scene: str, time: str) -> None:
    brief = read_brief(prompt)
    assert (brief.scene, brief.time) == (scene, time)


def test_reads_weather_style_and_colours() -> None:
    brief = read_brief("Watercolor of a stormy sea with a red sailboat")
    assert (brief.weather, brief.style) == ("storm", "watercolor")
    assert "boat" in brief.extras
    assert len(brief.colours) == 1


def test_takes_black_and_white_for_a_style() -> None:
    assert read_brief("black and white street").style == "mono"


def test_does_not_find_words_inside_other_words() -> None:
    assert read_brief("a search for a category").scene == "abstract"
