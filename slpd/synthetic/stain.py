"""Haematoxylin and eosin as optical densities, and the colour they give under a scanner."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from slpd.synthetic.noise import Field, resize, smooth_noise

# Optical density per unit of stain in red, green and blue. Haematoxylin: Ruifrok & Johnston (2001), table 1.
# Eosin: Macenko et al. (2009); the eosin of Ruifrok & Johnston absorbs no blue and looks magenta on a screen.
HAEMATOXYLIN = (0.650, 0.704, 0.286)
EOSIN = (0.216, 0.801, 0.558)
STRIP_PX = 512  # rows coloured at a time: bounds memory


@dataclass(frozen=True)
class Stain:
    """How one slide was stained and scanned."""

    vectors: NDArray[np.float32]  # (2, 3) optical density of haematoxylin and eosin in R, G, B, times their strength
    glass: NDArray[np.float32]  # (3,) R, G, B of bare glass, 0-255


def draw_stain(spread: float, rng: np.random.Generator) -> Stain:
    """The stain of a slide; a `spread` of 0.25 looks like different laboratories, 0.1 like days in one."""
    vectors = np.array([HAEMATOXYLIN, EOSIN]) + 0.1 * rng.normal(0, spread, (2, 3))
    strengths = rng.uniform(1 - spread, 1 + spread, (2, 1))
    glass = rng.uniform(240, 246) + rng.normal(0, 0.8, 3)
    return Stain((vectors * strengths).astype(np.float32), glass.astype(np.float32))


def scanned(stain: Stain, spread: float, rng: np.random.Generator) -> Stain:
    """A stain as one scanner sees it: its optical densities are multiplied by lognormal factors that `rng` gives."""
    response = np.exp(rng.normal(0, spread, (2, 3)))
    return replace(stain, vectors=(stain.vectors * response).astype(np.float32))


def colour(haematoxylin: Field, eosin: Field, stain: Stain, rng: np.random.Generator) -> NDArray[np.uint8]:
    """(H, W, 3) RGB of stain amounts by Lambert-Beer: I = I0 · 10^-(H h + E e).

    Args:
        haematoxylin: (H, W) amount, 0 on bare glass, about 1 in a dark nucleus.
        eosin: (H, W) amount.
        stain: The slide's stain.
        rng: Source of uneven light (1 %) and of sensor noise.
    """
    light = 1 + 0.004 * resize(smooth_noise((16, 16), 4, rng), haematoxylin.shape)
    rgb = np.empty((*haematoxylin.shape, 3), np.uint8)
    for top in range(0, len(rgb), STRIP_PX):
        rows = slice(top, top + STRIP_PX)
        stains = np.stack([haematoxylin[rows], eosin[rows]], axis=-1)  # (h, W, 2)
        transmitted = np.exp(-np.log(np.float32(10)) * (stains @ stain.vectors))  # (h, W, 3)
        noise = rng.standard_normal(transmitted.shape[:2], dtype=np.float32)
        rgb[rows] = np.clip(light[rows, :, None] * transmitted * stain.glass + 1.5 * noise[..., None], 0, 255)
    return rgb
