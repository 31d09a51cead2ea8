"""Two kinds of failure: what a user can mend is a UserError; anything else keeps its traceback."""


class UserError(Exception):
    """A mistake in a config, sheet or file. Printed as one line; the command exits with status 2.

    The message names the slide, file or key, the value, what was expected and what to do.
    """


class EvaluationError(UserError):
    """An evaluation that the data do not allow. `evaluate` records the message, and tables show it for its figures."""


class SlideError(UserError):
    """A slide that cannot be used. Per-slide stages record the message as the slide's status and go on."""
