"""Colours of prototypes and categories: few enough to tell apart with every kind of colour vision; the rest is one grey."""

from slpd.artifacts.colours import Colour

# Okabe & Ito (2008); black is left to text, yellow is too pale on white. Shapes and numbers say the same without colour.
SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F5F3A")
OTHER = "#8C8C8C"


def series_colour(number: int) -> str:
    """The colour of a prototype or category by its number, from 0; those past the palette share one grey."""
    return SERIES[number] if number < len(SERIES) else OTHER


def rgb(colour: str) -> Colour:
    """`#rrggbb` as numbers from 0 to 255."""
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue
