"""Where each phenotype lies in a procedural slide: how they are mixed and which are neighbours."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from slpd.synthetic.noise import Field, smooth_noise
from slpd.synthetic.phenotypes import NAMES

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Mix:
    """What a patient's tissue consists of, as shares, 0-1."""

    epithelium: float  # of the tissue: glands, solid tumour, necrosis
    glands: float  # of the epithelium
    necrosis: float  # of the solid tumour
    fat: float  # of the tissue outside the epithelium
    lymphoid: float  # of the tissue
    infiltration: float  # of the lymphoid tissue: lies along the epithelium; the rest keeps away from it


def draw_mix(glands: float, infiltration: float, spread: float, rng: np.random.Generator) -> Mix:
    """The mix of a patient. Only the means given here depend on the class; the rest varies alike in all classes.

    Args:
        glands: Mean of the class.
        infiltration: Mean of the class.
        spread: Standard deviation of both between patients.
        rng: Source of the patient's own values.
    """
    return Mix(
        epithelium=rng.uniform(0.38, 0.52),
        glands=float(np.clip(rng.normal(glands, spread), 0.05, 0.95)),
        necrosis=rng.uniform(0.08, 0.22),
        fat=rng.uniform(0.1, 0.3),
        lymphoid=rng.uniform(0.12, 0.2),
        infiltration=float(np.clip(rng.normal(infiltration, spread), 0, 1)),
    )


def arrange(tissue: Mask, mix: Mix, cell_um: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """(H, W) number of the phenotype (its place in `NAMES`) of every cell; glass is numbered too, to be masked.

    Args:
        tissue: (H, W) cells that are tissue.
        mix: The patient's mix.
        cell_um: Side of a cell.
        rng: Source of the arrangement.
    """

    def noise(correlation_um: float) -> Field:
        return smooth_noise(tissue.shape, correlation_um / cell_um, rng)

    n_tissue = np.count_nonzero(tissue)
    epithelium = highest(noise(45), tissue, mix.epithelium * n_tissue)
    glands = highest(noise(60), epithelium, mix.glands * np.count_nonzero(epithelium))
    solid = epithelium & ~glands
    depth_um = cell_um * distance_transform_edt(solid)
    necrosis = highest(depth_um + 8 * noise(20), solid, mix.necrosis * np.count_nonzero(solid))
    away_um = cell_um * distance_transform_edt(~epithelium)
    outside = tissue & ~epithelium
    along = highest(6 * noise(15) - away_um, outside, mix.lymphoid * mix.infiltration * n_tissue)
    apart_score = 10 * noise(18) + np.minimum(away_um, 30)
    apart = highest(apart_score, outside & ~along, mix.lymphoid * (1 - mix.infiltration) * n_tissue)
    fat = highest(noise(60) + away_um / 40, outside & ~along & ~apart, mix.fat * np.count_nonzero(outside))
    phenotype = np.full(tissue.shape, NAMES.index("stroma"), np.uint8)
    for name, mask in {"tumour": solid, "gland": glands, "necrosis": necrosis, "fat": fat}.items():
        phenotype[mask] = NAMES.index(name)
    phenotype[along | apart] = NAMES.index("lymphoid")
    return phenotype


def highest(score: Field, within: Mask, count: float) -> Mask:
    """The `count` cells of `within` that score highest (all of them if there are fewer)."""
    chosen = np.zeros_like(within)
    candidates = np.flatnonzero(within)
    order = np.argsort(-score[within], kind="stable")
    chosen.flat[candidates[order[: round(count)]]] = True
    return chosen
