"""Numbers as people read them."""

import math
from collections.abc import Iterable

THIN_SPACE = "\u202f"
NONE = "–"


def count(number: float | None) -> str:
    """A whole number with its thousands apart."""
    return NONE if number is None else f"{number:,}".replace(",", THIN_SPACE)


def decimal(number: float | None, places: int = 3) -> str:
    """A number with so many places behind the point."""
    return NONE if number is None or math.isnan(number) else f"{number:.{places}f}"


def significant(number: float | None, digits: int = 3) -> str:
    """A number with so many digits that count."""
    return NONE if number is None or math.isnan(number) else f"{number:.{digits}g}"


def duration(hours: float) -> str:
    """Hours as `12.3 h`, `4 min 5 s` or `6 s`."""
    if hours >= 1:
        return f"{hours:.1f} h"
    minutes, seconds = divmod(round(hours * 3600), 60)
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"


def either(words: Iterable[str]) -> str:
    """`a`, `a or b`."""
    return " or ".join(words)


def plural(number: int, word: str) -> str:
    """`1 slide`, `2 slides`."""
    return f"{count(number)} {word}{'' if number == 1 else 's'}"
