"""The grain of tissue: fine waves of many lengths and directions; kind, patient, slide and place have their own.

Every wave has a strength: tissue can differ in many ways that leave its colour, its nuclei and its holes alone.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from slpd.synthetic.noise import Field
from slpd.synthetic.seeding import named_rng

LENGTHS_PX = (4.5, 6.5, 9.5, 14.0)  # of a wave, in drawn pixels of 0.5 µm
N_DIRECTIONS = 6
N_WAVES = len(LENGTHS_PX) * N_DIRECTIONS
OCTAVES, RADIANS = 0.22, 0.24  # standard deviations of a wave's length and direction: neighbours hardly overlap
STRONGEST = 0.2  # standard deviation of the logarithm of the stains that a wave gives at most: tissue stays tissue
TILE_PX = 512  # side of the pictures of waves, which repeat


@dataclass(frozen=True)
class Grain:
    """The grain of one slide."""

    strength: float  # standard deviation of the logarithm of both stains that a wave gives, where nothing changes it
    kinds: NDArray[np.float64]  # (K, N_WAVES) logarithm of what the kinds change it by, in this slide
    parcels: float  # standard deviation of the logarithm of what a parcel changes it by


def grain_of_kinds(n_kinds: int, spread: float) -> NDArray[np.float64]:
    """(K, N_WAVES) logarithm of what kinds change the strengths by, the same in all cohorts, as their nuclei are."""
    return named_rng(0, "grain").normal(0, spread, (n_kinds, N_WAVES))


def draw_grain(grain: Grain, kind: NDArray[np.uint8], parcel: NDArray[np.intp], rng: np.random.Generator) -> Field:
    """(H, W) factors of both stains.

    Args:
        grain: That of the slide.
        kind: (H, W) number of the kind.
        parcel: (H, W) number of the parcel, from 0.
        rng: Source of the parcels' own grain, and of where the waves begin.
    """
    n_parcels = int(parcel.max()) + 1
    of_parcels = rng.normal(0, grain.parcels, (n_parcels, N_WAVES))
    strengths = np.minimum(grain.strength * np.exp(grain.kinds[:, None] + of_parcels), STRONGEST)  # (K, P, N_WAVES)
    place = kind.astype(np.intp) * n_parcels + parcel  # of a kind and a parcel, in one index for all waves
    rows, columns = [
        (np.arange(length) + start) % TILE_PX
        for length, start in zip(kind.shape, rng.integers(TILE_PX, size=2), strict=True)
    ]
    logarithm = np.zeros(kind.shape, np.float32)
    for wave, of_wave in zip(waves(), strengths.reshape(-1, N_WAVES).T.astype(np.float32), strict=True):
        logarithm += of_wave[place] * wave[rows][:, columns]
    return np.asarray(np.exp(logarithm))


@cache
def waves() -> NDArray[np.float32]:
    """(N_WAVES, TILE_PX, TILE_PX) noise of mean 0 and variance 1, of one length and direction each."""
    y, x = np.fft.fftfreq(TILE_PX)[:, None], np.fft.rfftfreq(TILE_PX)
    frequency, direction = np.hypot(y, x), np.arctan2(y, x)  # cycles per pixel; radians
    frequency[0, 0] = 1e-9  # the mean, which no wave has
    rng, found = named_rng(0, "waves"), []
    for length in LENGTHS_PX:
        for turn in np.arange(N_DIRECTIONS) * np.pi / N_DIRECTIONS:
            away = np.angle(np.exp(2j * (direction - turn))) / 2  # from the wave's direction; its opposite is the same
            passed = np.exp(-np.square(np.log2(frequency * length) / OCTAVES) / 2 - np.square(away / RADIANS) / 2)
            noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((TILE_PX, TILE_PX))) * passed)
            found.append((noise / noise.std()).astype(np.float32))
    return np.stack(found)
