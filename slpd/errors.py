"""Failures: what a user can repair is a UserError; anything else keeps its traceback."""

from collections.abc import Sequence


class UserError(Exception):
    """A mistake in a config, sheet or file. Printed as one line; the command exits with status 2.

    The message names the slide, file or key, the value, what was expected and what to do.
    """


class EvaluationError(UserError):
    """An evaluation that the data do not allow. `evaluate` records the message, and tables show it in its cells."""


class SlideError(UserError):
    """A slide that cannot be used. Per-slide stages record the message as the slide's status and continue."""


def first_of(names: Sequence[str], most: int) -> str:
    """Names for a message, up to a limit, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
