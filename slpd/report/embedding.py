"""Data inside pages: JSON that no markup can leave, and scripts of one call, because pages from a file cannot fetch."""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from markupsafe import Markup

UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}


def to_json(value: Any) -> Markup:  # noqa: ANN401  # any JSON value
    r"""JSON for `<script type="application/json">`: `<`, `>` and `&` as \uXXXX, everything outside ASCII too.

    Arrays become lists. What JSON has no number for (NaN, infinity) becomes null.
    """
    text = json.dumps(as_python(value), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character, escape in UNSAFE.items():
        text = text.replace(character, escape)
    return Markup(text)  # escaped above


def as_python(value: Any) -> Any:  # noqa: ANN401  # any JSON value
    """Arrays and numbers of numpy as Python's; None for numbers that are none."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): as_python(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [as_python(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def data_script(name: str, value: Any) -> str:  # noqa: ANN401  # any JSON value
    """A script that hands `value` to the page that loads it, by `loadData` of report.js."""
    return f"slpdData({to_json(name)},{to_json(value)});\n"
