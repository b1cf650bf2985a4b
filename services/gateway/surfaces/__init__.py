"""The forms in which the edge speaks, one module for each; which path speaks which."""

from typing import Final

from services.gateway.surfaces.fault import Fault, Surface, renamed
from services.gateway.surfaces.klikyai import KLIKYAI
from services.gateway.surfaces.nanobanana import NANOBANANA
from services.gateway.surfaces.native import NATIVE

_BY_FIRST_SEGMENT: Final = {
    "auth": KLIKYAI,
    "ai": KLIKYAI,
    "wallet": KLIKYAI,
    "posts": KLIKYAI,
    "health": KLIKYAI,
    "v1": NANOBANANA,
}
SURFACES: Final = (NATIVE, KLIKYAI, NANOBANANA)


def surface_of(path: str) -> Surface:
    """The surface that owns `path`; the native one has all that no other has."""
    return _BY_FIRST_SEGMENT.get(path[1:].partition("/")[0], NATIVE)


__all__ = ["NATIVE", "SURFACES", "Fault", "Surface", "renamed", "surface_of"]
