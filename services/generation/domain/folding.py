"""One spelling for what looks alike: how a text is folded before rules read it. Knows no rule.

Sources: https://www.unicode.org/reports/tr15/ (NFKD, NFC), https://www.unicode.org/reports/tr39/
(confusables; of its table those letters that fonts show as Latin ones). Every function is linear
in its text and takes any `str`, half surrogate pairs included.
"""

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

CHARACTERS_CACHED_MAX: Final = 8_192

_VOICING: Final = "\u3099\u309a"  # marks that make another kana of a kana
_INVISIBLE: Final = frozenset({"Mn", "Me", "Cf", "Cs"})
_BLANK: Final = frozenset({"Cc", "Zs", "Zl", "Zp"})
_FILLERS: Final = "\u115f\u1160\u3164\uffa0\u2800"  # letters and a symbol that show nothing
_REGIONAL: Final = 0x1F1E6
_SQUARED: Final = (0x1F130, 0x1F150, 0x1F170)  # letters in squares and discs, light and dark

_LATIN_FROM: Final = (
    "\u0131\u0142\u00f8\u0111\u0127\u0167\u0180\u0268\u0289\u0251\u0261\u0269\u026a\u1d00\u0299"
    "\u1d04\u1d05\u1d07\ua730\u0262\u029c\u1d0a\u1d0b\u029f\u1d0d\u0274\u1d0f\u1d18\u0280\ua731"
    "\u1d1b\u1d1c\u1d20\u1d21\u028f\u1d22\u01dd\u0250\u0254\u025b\u1d09\u0265\u026f\u0279\u0287"
    "\u028c\u028d\u028e"
)
_LATIN_TO: Final = "lodhtbiuagiiabcdefghjklmnoprstuvwyzeaceihmrtvwy"
_OTHERS_FROM: Final = (
    "\u0430\u0432\u0435\u0433\u04bb\u0456\u0458\u043a\u043c\u043d\u043e\u0440\u0441\u0442\u0443"
    "\u0445\u0455\u0501\u051b\u051d\u043f\u0475\u04cf\u04af"  # Cyrillic
    "\u03b1\u03b2\u03b5\u03b7\u03b9\u03ba\u03bd\u03bf\u03c1\u03c4\u03c5\u03c7\u03b3\u03c9"  # Greek
    "\u0585\u057d\u0578\u0570\u0581\u0575"  # Armenian
    "\u20ac\u00a3\u00a5"  # currencies
)
_OTHERS_TO: Final = "abe" + "rhijkmhopcty" + "xsdqwnvly" + "abenikvoptuxyw" + "ounhgj" + "ely"
_LEET_FROM: Final = "01345789@$!|+\u20ac\u00a3\u00a5"
_LEET_TO: Final = "oieastbgasiitely"

LEET_SIGNS: Final = frozenset("@$!|+\u20ac\u00a3\u00a5")
"""Signs that are no letters, and stand for some."""

_LATIN: Final = {"\u0131": "i", **dict(zip(_LATIN_FROM[1:], _LATIN_TO, strict=True))}
_LIGATURES: Final = {"\u00e6": "ae", "\u0153": "oe"}
_OTHERS: Final = str.maketrans(_OTHERS_FROM, _OTHERS_TO)
_ALIKE: Final = str.maketrans(_LEET_FROM + "l", _LEET_TO.replace("l", "i") + "i")
_RUN: Final = re.compile(r"(.)\1*", re.DOTALL)
_STRAY_VOICING: Final = re.compile(f"[{_VOICING}]")
_CAPITAL_I_WITHIN: Final = re.compile(r"(?<=[a-z])I(?=[a-z])")


class _Folds(dict[int, str]):
    """What a character becomes, by its code; as `str.translate` asks."""

    def __missing__(self, code: int) -> str:
        folded = "".join(_folded(part) for part in _decomposed(code))
        if len(self) < CHARACTERS_CACHED_MAX:
            self[code] = folded
        return folded


def _decomposed(code: int) -> str:
    for first in (_REGIONAL, *_SQUARED):
        if first <= code < first + 26:
            return chr(ord("a") + code - first)
    return unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", chr(code)).casefold())


def _folded(char: str) -> str:
    if char in _VOICING:
        return char
    if char in _FILLERS:
        return ""
    category = unicodedata.category(char)
    if category in _INVISIBLE:
        return ""
    if category in _BLANK:
        return " " if char.isspace() else ""
    return _LATIN.get(char) or _LIGATURES.get(char) or char


_FOLDS: Final = _Folds()


def fold(text: str) -> str:
    """Without case, width, style, accents and what can't be seen. Folding twice changes nothing."""
    folded = text.translate(_FOLDS)
    if folded.isascii():
        return folded
    composed = unicodedata.normalize("NFC", folded)
    return unicodedata.normalize("NFC", _STRAY_VOICING.sub("", composed))


def marked(text: str) -> str:
    """With a capital I inside a small word, which shows as an l, as the sign 1."""
    return _CAPITAL_I_WITHIN.sub("1", text)


def as_latin(word: str) -> str | None:
    """The Latin word that a folded one of other letters shows as; None when it shows as none."""
    latin = word.translate(_OTHERS)
    return latin if latin.isascii() else None


def skeleton(word: str) -> str:
    """With digits and signs as the letters they stand for; i and l, which 1 stands for, alike."""
    return word.translate(_ALIKE)


def runs(word: str) -> Iterator[tuple[str, int]]:
    """Each letter with how often it follows itself."""
    return ((run[1], run.end() - run.start()) for run in _RUN.finditer(word))
