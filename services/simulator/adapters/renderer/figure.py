"""Portraits of people, animals and robots, drawn as clean illustration."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from services.simulator.adapters.renderer.cosmos import backdrop
from services.simulator.adapters.renderer.ground import Size, ink
from services.simulator.adapters.renderer.noise import Array, chance, smooth
from services.simulator.adapters.renderer.sky import Colour, light_for, toned
from services.simulator.domain.brief import Brief

Point = tuple[float, float]
SKINS: tuple[Colour, ...] = (
    (0.94, 0.76, 0.63),
    (0.82, 0.60, 0.45),
    (0.58, 0.38, 0.26),
    (0.36, 0.22, 0.15),
)
HAIRS: tuple[Colour, ...] = (
    (0.10, 0.07, 0.06),
    (0.30, 0.17, 0.09),
    (0.62, 0.42, 0.20),
    (0.55, 0.20, 0.10),
)
CLOTHES: tuple[Colour, ...] = (
    (0.16, 0.30, 0.52),
    (0.56, 0.18, 0.22),
    (0.15, 0.42, 0.36),
    (0.85, 0.62, 0.22),
)
WHITE: Colour = (0.97, 0.97, 0.96)
INK: Colour = (0.06, 0.05, 0.06)
TEETH_SHOW = 0.35
"""A mouth opened further than that shows teeth and tongue."""
FRINGE: tuple[Point, ...] = (
    (-0.41, 0.02),
    (-0.43, -0.34),
    (-0.24, -0.58),
    (0.04, -0.64),
    (0.30, -0.55),
    (0.44, -0.30),
    (0.40, 0.02),
    (0.33, -0.24),
    (0.10, -0.36),
    (-0.20, -0.28),
    (-0.34, -0.20),
)


class Easel:
    """Shapes in units of half the picture's short side, origin at its middle, drawn doubled."""

    def __init__(self, picture: Array) -> None:
        height, width = picture.shape[:2]
        self.size = (height, width)
        image = Image.fromarray((np.clip(picture, 0, 1) * 255).astype(np.uint8))
        self.image = image.resize((width * 2, height * 2), Image.Resampling.BILINEAR)
        self.unit = float(min(height, width))
        self.pen = ImageDraw.Draw(self.image)

    def copied(self) -> "Easel":
        """Another with the same picture, to draw on from here."""
        other = object.__new__(Easel)
        other.size, other.unit = self.size, self.unit
        other.image = self.image.copy()
        other.pen = ImageDraw.Draw(other.image)
        return other

    def place(self, point: Point) -> Point:
        return (
            self.size[1] + point[0] * self.unit,
            self.size[0] + point[1] * self.unit,
        )

    def oval(self, centre: Point, radii: Point, colour: Colour) -> None:
        x, y = self.place(centre)
        rx, ry = radii[0] * self.unit, radii[1] * self.unit
        self.pen.ellipse((x - rx, y - ry, x + rx, y + ry), fill=ink(colour))

    def shape(self, points: list[Point], colour: Colour) -> None:
        self.pen.polygon([self.place(point) for point in points], fill=ink(colour))

    def line(self, points: list[Point], width: float, colour: Colour) -> None:
        places = [self.place(point) for point in points]
        self.pen.line(places, fill=ink(colour), width=max(1, int(width * self.unit)), joint="curve")

    def box(self, corner: Point, opposite: Point, radius: float, colour: Colour) -> None:
        ends = (*self.place(corner), *self.place(opposite))
        self.pen.rounded_rectangle(ends, radius * self.unit, fill=ink(colour))

    def painted(self) -> Array:
        """The picture with a soft light from the upper left over it."""
        height, width = self.size
        flat = np.asarray(self.image.reduce(2), np.float32) / 255
        y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
        x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
        lamp = 1.07 - 0.20 * smooth(-0.4, 0.7, x * 0.75 + y * 0.5)
        return flat * lamp[..., None]


def portrait(rng: np.random.Generator, brief: Brief, size: Size) -> Array:
    light = light_for(brief)
    wall = toned(light.middle, light.haze, 0.4)
    low = toned(wall, (0.10, 0.11, 0.16), 0.62)
    easel = Easel(backdrop(rng, size, low, toned(wall, light.horizon, 0.5)))
    colour = brief.colours[0] if brief.colours else None
    match brief.subject:
        case "cat":
            coats: tuple[Colour, ...] = (
                (0.85, 0.52, 0.22),
                (0.42, 0.42, 0.46),
                (0.20, 0.19, 0.21),
                (0.90, 0.86, 0.80),
            )
            _cat(easel, colour or pick(rng, coats), muzzle=None)
        case "fox":
            _cat(easel, colour or (0.86, 0.40, 0.12), muzzle=WHITE)
        case "dog":
            _dog(
                easel,
                colour or pick(rng, ((0.72, 0.50, 0.28), (0.36, 0.24, 0.16), (0.86, 0.76, 0.60))),
            )
        case "robot":
            _robot(
                easel,
                colour or pick(rng, ((0.70, 0.75, 0.80), (0.25, 0.55, 0.62), (0.80, 0.45, 0.25))),
            )
        case _:
            person = looks(rng, colour, long_hair="long_hair" in brief.extras)
            bust(easel, person)
            face(easel, person, Expression())
    return easel.painted()


def pick(rng: np.random.Generator, choices: tuple[Colour, ...]) -> Colour:
    return choices[int(rng.integers(0, len(choices)))]


def _eye(easel: Easel, centre: Point, radius: float, iris: Colour, slit: float = 1.0) -> None:
    x, y = centre
    easel.oval(centre, (radius * 1.12, radius * 1.08), INK)
    easel.oval(centre, (radius, radius * 0.96), iris)
    easel.oval(centre, (radius * 0.52 * slit, radius * 0.72), (0.02, 0.02, 0.03))
    easel.oval((x - radius * 0.32, y - radius * 0.36), (radius * 0.22, radius * 0.22), WHITE)


def _cat(easel: Easel, coat: Colour, muzzle: Colour | None) -> None:
    dark, pale = toned(coat, INK, 0.42), toned(coat, WHITE, 0.62)
    inner: Colour = (0.88, 0.60, 0.58)
    easel.oval((0, 1.02), (0.60, 0.66), toned(coat, INK, 0.16))
    easel.oval((0, 0.98), (0.30, 0.46), pale)
    for side in (-1, 1):
        easel.shape([(side * 0.56, 0.02), (side * 0.55, -0.72), (side * 0.10, -0.36)], coat)
        easel.shape([(side * 0.48, -0.10), (side * 0.49, -0.57), (side * 0.20, -0.32)], inner)
    easel.oval((0, 0.02), (0.60, 0.50), coat)
    if muzzle is None:
        for x in (-0.12, 0.0, 0.12):
            easel.line([(x, -0.46), (x * 0.8, -0.27)], 0.045, dark)
        for side in (-1, 1):
            easel.line([(side * 0.58, 0.06), (side * 0.44, 0.08)], 0.04, dark)
            easel.line([(side * 0.57, 0.18), (side * 0.44, 0.17)], 0.04, dark)
    else:
        for side in (-1, 1):
            easel.shape([(side * 0.58, 0.02), (0, 0.52), (side * 0.05, 0.18)], muzzle)
            easel.oval((side * 0.26, 0.22), (0.25, 0.18), muzzle)
    for side in (-1, 1):
        _eye(easel, (side * 0.24, -0.04), 0.125, (0.55, 0.72, 0.25), 0.5)
        easel.oval((side * 0.10, 0.25), (0.13, 0.10), pale)
    easel.shape([(-0.055, 0.15), (0.055, 0.15), (0, 0.215)], inner if muzzle is None else INK)
    for side in (-1, 1):
        easel.line([(0, 0.21), (side * 0.04, 0.275), (side * 0.11, 0.28)], 0.014, dark)
        for lift in (-0.07, 0.0, 0.07):
            easel.line([(side * 0.18, 0.24), (side * 0.66, 0.22 + lift * 1.6)], 0.008, WHITE)


def _dog(easel: Easel, coat: Colour) -> None:
    dark, pale = toned(coat, INK, 0.45), toned(coat, WHITE, 0.62)
    easel.oval((0, 1.05), (0.60, 0.66), toned(coat, INK, 0.14))
    easel.oval((0, 1.02), (0.30, 0.46), pale)
    easel.box((-0.36, 0.48), (0.36, 0.59), 0.05, (0.72, 0.15, 0.17))
    easel.oval((0, 0.64), (0.075, 0.075), (0.90, 0.74, 0.30))
    easel.oval((0, -0.02), (0.50, 0.53), coat)
    for side in (-1, 1):
        easel.oval((side * 0.50, 0.0), (0.17, 0.42), dark)
    easel.shape([(-0.05, -0.52), (0.05, -0.52), (0.14, 0.10), (-0.14, 0.10)], pale)
    easel.oval((0, 0.24), (0.29, 0.23), pale)
    for side in (-1, 1):
        _eye(easel, (side * 0.21, -0.08), 0.085, (0.30, 0.17, 0.08))
        easel.line([(side * 0.14, -0.25), (side * 0.27, -0.24)], 0.03, dark)
    easel.oval((0, 0.38), (0.085, 0.12), (0.90, 0.45, 0.48))
    easel.oval((0, 0.13), (0.11, 0.075), INK)
    easel.oval((-0.03, 0.105), (0.03, 0.016), (0.45, 0.43, 0.43))
    for side in (-1, 1):
        easel.line([(0, 0.20), (side * 0.05, 0.30), (side * 0.16, 0.30)], 0.017, INK)


def _robot(easel: Easel, body: Colour) -> None:
    dark, pale = toned(body, INK, 0.55), toned(body, WHITE, 0.45)
    glow: Colour = (0.35, 0.95, 1.0)
    easel.box((-0.62, 0.52), (0.62, 1.6), 0.20, toned(body, INK, 0.18))
    easel.box((-0.26, 0.68), (0.26, 0.98), 0.06, dark)
    for i, lamp in enumerate(((1.0, 0.35, 0.3), (1.0, 0.8, 0.3), glow)):
        easel.oval((-0.15 + 0.15 * i, 0.83), (0.045, 0.045), lamp)
    easel.box((-0.14, 0.36), (0.14, 0.58), 0.03, dark)
    easel.line([(0, -0.55), (0, -0.78)], 0.03, dark)
    easel.oval((0, -0.80), (0.06, 0.06), (1.0, 0.4, 0.32))
    for side in (-1, 1):
        easel.box(
            (min(side * 0.54, side * 0.66), -0.16),
            (max(side * 0.54, side * 0.66), 0.16),
            0.04,
            dark,
        )
    easel.box((-0.56, -0.56), (0.56, 0.42), 0.17, body)
    easel.box((-0.56, -0.56), (0.56, -0.30), 0.15, pale)
    easel.box((-0.45, -0.34), (0.45, 0.12), 0.13, (0.05, 0.07, 0.10))
    for side in (-1, 1):
        easel.oval((side * 0.21, -0.11), (0.115, 0.115), toned(glow, INK, 0.55))
        easel.oval((side * 0.21, -0.11), (0.08, 0.08), glow)
        easel.oval((side * 0.21 - 0.025, -0.14), (0.025, 0.025), WHITE)
    for i in range(5):
        easel.box((-0.20 + 0.085 * i, 0.21), (-0.14 + 0.085 * i, 0.31), 0.01, dark)


@dataclass(frozen=True, slots=True)
class Looks:
    """What stays of a person from one moment to the next."""

    skin: Colour
    hair: Colour
    cloth: Colour
    long_hair: bool

    @property
    def shadow(self) -> Colour:
        return toned(self.skin, (0.35, 0.12, 0.10), 0.28)

    @property
    def blush(self) -> Colour:
        return toned(self.skin, (0.85, 0.25, 0.22), 0.25)


@dataclass(frozen=True, slots=True)
class Expression:
    """What changes: `opened` (the mouth) is 0..1; `smile`, `lift` and `frown` (brows) -1..1."""

    opened: float = 0.0
    blinking: bool = False
    smile: float = 0.0
    lift: float = 0.0
    frown: float = 0.0


def looks(rng: np.random.Generator, colour: Colour | None, *, long_hair: bool) -> Looks:
    """Someone, in clothes of `colour` if it is given."""
    skin, hair = pick(rng, SKINS), pick(rng, HAIRS)
    cloth = colour or pick(rng, CLOTHES)
    return Looks(skin, hair, cloth, long_hair or chance(rng, 0.2))


def bust(easel: Easel, person: Looks) -> None:
    """Shoulders, head and hair, with nothing in the face but the nose."""
    skin, hair, cloth = person.skin, person.hair, person.cloth
    if person.long_hair:
        easel.oval((0, -0.16), (0.50, 0.56), hair)
        easel.box((-0.50, -0.14), (0.50, 0.62), 0.22, hair)
    easel.oval((0, 1.12), (0.80, 0.62), cloth)
    easel.shape([(-0.20, 0.52), (0.20, 0.52), (0, 0.80)], skin)
    easel.box((-0.145, 0.20), (0.145, 0.62), 0.10, person.shadow)
    for side in (-1, 1):
        easel.shape(
            [(side * 0.24, 0.49), (side * 0.03, 0.82), (side * 0.30, 0.72)],
            toned(cloth, WHITE, 0.22),
        )
        easel.oval((side * 0.375, -0.04), (0.065, 0.10), person.shadow)
    easel.oval((0, -0.08), (0.37, 0.44), skin)
    easel.oval((0, 0.10), (0.30, 0.29), skin)
    for side in (-1, 1):
        easel.oval((side * 0.22, 0.10), (0.075, 0.05), person.blush)
    easel.line([(0.005, -0.05), (0.035, 0.08), (-0.02, 0.095)], 0.016, person.shadow)
    easel.shape(list(FRINGE), hair)
    easel.line([(-0.25, -0.46), (-0.02, -0.54), (0.22, -0.48)], 0.03, toned(hair, WHITE, 0.22))


def face(easel: Easel, person: Looks, now: Expression) -> None:
    """Eyes, brows and mouth, over a `bust`."""
    for side in (-1, 1):
        _human_eye(easel, side * 0.155, person, blinking=now.blinking)
        inner = -0.17 + 0.03 * now.frown - 0.03 * now.lift
        outer = -0.165 - 0.02 * now.frown - 0.03 * now.lift
        middle = (inner + outer) / 2 - 0.0225
        brow: list[Point] = [
            (side * 0.235, outer),
            (side * 0.155, middle),
            (side * 0.075, inner),
        ]
        easel.line(brow, 0.030, toned(person.hair, INK, 0.2))
    _mouth(easel, person, now)


def _human_eye(easel: Easel, x: float, person: Looks, *, blinking: bool) -> None:
    if blinking:
        easel.oval((x, -0.06), (0.074, 0.048), toned(person.skin, person.shadow, 0.4))
        easel.line([(x - 0.072, -0.055), (x, -0.030), (x + 0.072, -0.055)], 0.017, INK)
        return
    easel.oval((x, -0.06), (0.072, 0.046), WHITE)
    easel.oval((x, -0.06), (0.040, 0.043), toned(person.hair, (0.20, 0.35, 0.40), 0.5))
    easel.oval((x, -0.06), (0.020, 0.022), INK)
    easel.oval((x - 0.014, -0.075), (0.010, 0.010), WHITE)
    easel.line([(x - 0.075, -0.075), (x, -0.108), (x + 0.075, -0.075)], 0.017, INK)


def _mouth(easel: Easel, person: Looks, now: Expression) -> None:
    lips = toned(person.blush, (0.62, 0.12, 0.14), 0.55)
    corner = 0.028 * now.smile
    if now.opened <= 0:
        easel.oval((0, 0.19), (0.105, 0.030), lips)
        seam: list[Point] = [(-0.11, 0.185 - corner), (0, 0.192), (0.11, 0.182 - corner)]
        easel.line(seam, 0.012, toned(person.shadow, INK, 0.35))
        return
    wide = 0.105 + 0.015 * now.smile - 0.020 * now.opened
    tall = 0.030 + 0.062 * now.opened
    middle = 0.185 + 0.035 * now.opened
    easel.oval((0, middle), (wide, tall), lips)
    easel.oval((0, middle), (wide * 0.80, tall - 0.022), (0.16, 0.03, 0.04))
    if now.opened > TEETH_SHOW:
        top = middle - tall + 0.026
        easel.box((-wide * 0.42, top), (wide * 0.42, top + 0.020), 0.008, WHITE)
        easel.oval((0, middle + tall * 0.42), (wide * 0.45, tall * 0.22), (0.72, 0.25, 0.27))
