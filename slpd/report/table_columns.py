"""Columns of tables on pages."""

from collections.abc import Sequence

Column = dict[str, str]  # `title` and `kind`: text or number


def columns(texts: Sequence[str], numbers: Sequence[str] = ()) -> list[Column]:
    """Columns of text, then those of numbers, by their titles."""
    kinds = [*(("text", title) for title in texts), *(("number", title) for title in numbers)]
    return [{"title": title, "kind": kind} for kind, title in kinds]
