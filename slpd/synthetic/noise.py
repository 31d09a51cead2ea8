"""Smooth random fields and their change of size: what outlines, tissue compartments and textures are made of."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

Field = NDArray[np.float32]


def smooth_noise(shape: tuple[int, int], sigma_px: float, rng: np.random.Generator) -> Field:
    """(H, W) Gaussian noise of mean 0 and variance 1 that is correlated over about `sigma_px` pixels."""
    noise = gaussian_filter(rng.standard_normal(shape, dtype=np.float32), sigma_px, mode="wrap")
    normalised: Field = (noise - noise.mean()) / noise.std()
    return normalised


def resize(field: Field, shape: tuple[int, int]) -> Field:
    """`field` at another size (H, W), bicubic."""
    image = Image.fromarray(field.astype(np.float32, copy=False))
    return np.asarray(image.resize(shape[::-1], Image.Resampling.BICUBIC))
