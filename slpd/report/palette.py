"""Colours of prototypes and categories: few enough to be told apart with every kind of colour vision, the rest grey."""

from slpd.artifacts.slides.colours import Colour
from slpd.plots.style import COLOURS

OTHER = COLOURS[-1]
SERIES_COLOURS = (*COLOURS[:-1], "#7F5F3A")  # as in assets/colours.js; brown, since grey stands for all others


def series_colour(number: int) -> str:
    """The colour of a prototype or category by its number, from 0; those past the palette share one grey."""
    return SERIES_COLOURS[number] if 0 <= number < len(SERIES_COLOURS) else OTHER


def rgb(colour: str) -> Colour:
    """`#rrggbb` as numbers from 0 to 255."""
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue
