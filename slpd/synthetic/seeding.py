"""A random generator for every named thing, independent of the order in which things are made."""

import hashlib

import numpy as np


def named_rng(seed: int, *names: str) -> np.random.Generator:
    """The generator of what `names` name under `seed`; the same at any time, in any process."""
    digest = hashlib.sha256("/".join(names).encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "little")])
