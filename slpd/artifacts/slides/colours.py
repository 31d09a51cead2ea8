"""Colours of what overlays and GeoJSON files show.

Okabe-Ito, and grey: told apart by colour-blind readers, absent from haematoxylin and eosin.
"""

Colour = tuple[int, int, int]  # RGB, 0-255

TISSUE: Colour = (0, 158, 115)
PEN: Colour = (0, 0, 0)
PADDING: Colour = (213, 94, 0)
REGION: dict[str, Colour] = {  # by the reason for excluding it; empty: kept
    "": (0, 114, 178),
    "little tissue": (120, 120, 120),
    "pen": PEN,
    "padding": PADDING,
}
