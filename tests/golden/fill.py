"""Deterministic parameter and input values for the golden checks.

Every array is made from its name and shape alone, with integer hashing in place of a random
generator, so that the same numbers appear on every machine and library version.
"""

import math

import numpy as np


def noise(name: str, shape: tuple[int, ...], scale: float) -> np.ndarray:
    """float32 array of `shape`, uniform in (-scale, scale) * sqrt(3), hence standard deviation `scale`.

    Element i (C order) is the splitmix64 hash of `i + 2**32 * seed(name)`, where
    seed(name) = sum of (k + 1) * ord(c) over the characters c of the name, k counted from 0.
    """
    seed = sum((k + 1) * ord(c) for k, c in enumerate(name))
    with np.errstate(over="ignore"):
        z = np.arange(math.prod(shape), dtype=np.uint64) + np.uint64(seed) * np.uint64(2**32)
        z = (z + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    unit = (z >> np.uint64(11)).astype(np.float64) / 2**53
    return ((2 * unit - 1) * math.sqrt(3) * scale).reshape(shape).astype(np.float32)


def parameter(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Value of the parameter `name` in the released checkpoints' naming (prefixes belong to the name).

    Weight-norm gains (`weight_g`) are 1; layer-norm weights are 1 + noise(0.1); positions and the CLS
    token are noise(0.5); biases are noise(0.1); every other weight is noise(1 / sqrt(fan_in)), where
    fan_in is the product of all axes but the first.
    """
    if name.endswith("weight_g"):
        return np.ones(shape, np.float32)
    if name.endswith(("norm.weight", "norm1.weight", "norm2.weight")):
        return np.float32(1) + noise(name, shape, 0.1)
    if name.endswith(("pos_embed", "cls_token")):
        return noise(name, shape, 0.5)
    if name.endswith("bias"):
        return noise(name, shape, 0.1)
    return noise(name, shape, 1 / math.sqrt(math.prod(shape[1:])))
