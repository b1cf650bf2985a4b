"""What a prompt asks to see, read from its words; knows nothing of pixels."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

Words = Mapping[str, str]
"""A choice and the words that call for it (singular; a final `s` or `es` is forgiven)."""

SUBJECTS: Final[Words] = {
    "cat": "cat kitten kitty feline",
    "dog": "dog puppy hound corgi husky retriever",
    "fox": "fox",
    "robot": "robot android cyborg mech droid",
    "person": "portrait woman man girl boy person face lady guy king queen selfie headshot hero "
    "astronaut wizard samurai knight warrior princess child model character",
    "mug": "mug cup coffee tea latte espresso cappuccino",
    "vase": "vase pot pottery ceramic urn",
    "bottle": "bottle perfume product cosmetic lotion wine beer whisky shampoo skincare can jar "
    "packaging mockup fragrance drink juice",
}
FIGURES: Final = frozenset({"cat", "dog", "fox", "robot", "person"})

SCENES: Final[Words] = {
    "space": "space galaxy nebula planet cosmos cosmic universe asteroid saturn jupiter orbit "
    "starship spaceship interstellar mars",
    "desert": "desert dune sahara sand oasis pyramid camel cactus",
    "mountain": "mountain peak alp valley cliff hill summit fjord canyon lake volcano everest "
    "landscape meadow countryside field",
    "sea": "sea ocean beach wave coast shore sail boat ship island water bay harbor harbour surf "
    "lighthouse whale sailboat yacht tropical river lagoon",
    "city": "city skyline street building tower skyscraper cyberpunk tokyo york london metropolis "
    "downtown urban town paris architecture futuristic village",
    "forest": "forest wood tree jungle pine woodland grove rainforest cabin deer autumn path "
    "bamboo garden park",
    "abstract": "abstract pattern fluid marble swirl geometric wallpaper texture gradient fractal "
    "psychedelic mandala logo background",
}

TIMES: Final[Words] = {
    "sunset": "sunset dusk evening twilight golden",
    "dawn": "sunrise dawn morning daybreak",
    "night": "night midnight moon moonlit moonlight starry nocturnal dark star aurora neon "
    "cyberpunk",
    "day": "day noon midday sunny afternoon bright",
}

WEATHERS: Final[Words] = {
    "storm": "storm stormy thunder lightning thunderstorm tempest dramatic",
    "rain": "rain rainy raining drizzle wet monsoon",
    "snow": "snow snowy snowing winter blizzard snowfall frozen christmas",
    "fog": "fog foggy mist misty haze hazy smoke",
    "cloudy": "cloud cloudy overcast",
}

STYLES: Final[Words] = {
    "watercolor": "watercolor watercolour aquarelle",
    "oil": "oil painting impressionist impressionism monet painterly brush gogh",
    "sketch": "sketch pencil drawing charcoal lineart",
    "pixel": "pixel 8bit 16bit retro-game pixelart",
    "mono": "monochrome noir grayscale greyscale bw",
    "vintage": "vintage sepia retro nostalgic polaroid",
    "anime": "anime cartoon ghibli comic manga illustration cel",
    "neon": "neon cyberpunk synthwave vaporwave",
}

COLOURS: Final[Mapping[str, tuple[float, float, float]]] = {
    "red": (0.80, 0.12, 0.12),
    "orange": (0.93, 0.46, 0.10),
    "yellow": (0.95, 0.78, 0.16),
    "golden": (0.86, 0.65, 0.24),
    "gold": (0.86, 0.65, 0.24),
    "green": (0.16, 0.56, 0.28),
    "teal": (0.08, 0.52, 0.54),
    "turquoise": (0.16, 0.70, 0.70),
    "blue": (0.13, 0.34, 0.78),
    "purple": (0.45, 0.20, 0.68),
    "violet": (0.45, 0.20, 0.68),
    "pink": (0.93, 0.45, 0.62),
    "brown": (0.42, 0.26, 0.15),
    "black": (0.07, 0.07, 0.08),
    "white": (0.93, 0.93, 0.91),
    "grey": (0.48, 0.50, 0.53),
    "gray": (0.48, 0.50, 0.53),
    "silver": (0.70, 0.72, 0.75),
}

EXTRAS: Final[Words] = {
    "aurora": "aurora borealis",
    "boat": "boat sail sailboat ship yacht",
    "beach": "beach sand shore tropical",
    "lake": "lake reflection mirror river fjord",
    "autumn": "autumn fall october",
    "pyramid": "pyramid egypt",
    "moon": "moon moonlit moonlight",
    "snowcap": "snow snowy alp everest winter peak summit",
    "long_hair": "woman girl lady queen princess",
}


@dataclass(frozen=True, slots=True)
class Brief:
    """The picture that was asked for; every field has an answer for every prompt."""

    scene: str
    subject: str = ""
    time: str = "day"
    weather: str = "clear"
    style: str = ""
    extras: frozenset[str] = frozenset()
    colours: tuple[tuple[float, float, float], ...] = ()


def _spoken(prompt: str) -> list[str]:
    return re.findall(r"[a-z0-9]+(?:-[a-z]+)?", prompt.lower())


def _hits(spoken: set[str], words: str) -> int:
    return sum(
        1
        for word in words.split()
        if word in spoken or f"{word}s" in spoken or f"{word}es" in spoken
    )


def _best(spoken: set[str], choices: Words, default: str) -> str:
    """The choice most words call for; the earlier one of equals."""
    scored = {name: _hits(spoken, words) for name, words in choices.items()}
    best = max(scored, key=lambda name: scored[name])
    return best if scored[best] else default


def read_brief(prompt: str) -> Brief:
    """Read a picture from a prompt in English words; other words leave the defaults."""
    in_order = _spoken(prompt)
    spoken = {part for word in in_order for part in (word, *word.split("-"))}
    subject = _best(spoken, SUBJECTS, "")
    scene = _best(spoken, SCENES, "")
    if subject in FIGURES and (not scene or _hits(spoken, SUBJECTS[subject]) > 0):
        scene = "portrait"
    elif subject and not scene:
        scene = "product"
    style = _best(spoken, STYLES, "")
    if {"black", "white"} <= spoken:
        style = "mono"
    return Brief(
        scene=scene or "abstract",
        subject=subject,
        time=_best(spoken, TIMES, "day"),
        weather=_best(spoken, WEATHERS, "clear"),
        style=style,
        extras=frozenset(name for name, words in EXTRAS.items() if _hits(spoken, words)),
        colours=tuple(COLOURS[word] for word in in_order if word in COLOURS)[:4],
    )
