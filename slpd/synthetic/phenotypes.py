"""The tissue phenotypes of the procedural cohort: amounts of stain, nuclei and holes, as numbers."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from slpd.settings.synthetic import Kind


@dataclass(frozen=True)
class Nuclei:
    """The nuclei of a phenotype."""

    arrangement: Literal["scattered", "fibres", "rings"]  # anywhere; the same, pointing along fibres; around holes
    spacing_um: float  # between places where a nucleus may lie
    occupancy: float  # share of these places that hold one, 0-1
    radius_um: float  # mean radius
    spread: float  # standard deviation of the radius, as a share of it
    elongation: float  # long axis / short axis
    darkness: float  # haematoxylin at the rim


@dataclass(frozen=True)
class Holes:
    """White holes in the tissue: lumens of glands, vacuoles of fat."""

    spacing_um: float
    radius_um: float


@dataclass(frozen=True)
class Phenotype:
    """One kind of tissue. Amounts of stain as in `stain.colour`."""

    eosin: float  # mean amount
    haze: float  # haematoxylin outside nuclei
    fibre: float  # share of the eosin that varies across fibres, 0-1
    nuclei: Nuclei
    holes: Holes | None = None


PHENOTYPES: dict[Kind, Phenotype] = {
    "stroma": Phenotype(0.34, 0.03, 0.3, Nuclei("fibres", 14, 0.7, 2.6, 0.2, 3.2, 0.75)),
    "lymphoid": Phenotype(0.20, 0.12, 0.0, Nuclei("scattered", 7.5, 0.95, 3.0, 0.1, 1.1, 1.05)),
    "gland": Phenotype(0.34, 0.14, 0.1, Nuclei("rings", 5.5, 1.0, 3.2, 0.15, 1.7, 0.85), Holes(43, 9)),
    "tumour": Phenotype(0.30, 0.12, 0.1, Nuclei("scattered", 12.5, 0.95, 4.4, 0.3, 1.35, 0.75)),
    "necrosis": Phenotype(0.42, 0.02, 0.1, Nuclei("scattered", 11, 0.5, 1.3, 0.5, 1.3, 0.7)),
    "fat": Phenotype(0.25, 0.0, 0.2, Nuclei("fibres", 20, 0.4, 2.2, 0.2, 3.0, 0.8), Holes(44, 20)),
}
NAMES = tuple(PHENOTYPES)  # the order gives each phenotype its number in a tissue map


def varied(spread: float, rng: np.random.Generator) -> dict[Kind, Phenotype]:
    """The phenotypes in one patient: amounts and sizes are multiplied by lognormal factors of a `spread`."""
    return {name: varied_phenotype(phenotype, spread, rng) for name, phenotype in PHENOTYPES.items()}


def varied_phenotype(phenotype: Phenotype, spread: float, rng: np.random.Generator) -> Phenotype:
    """One of them."""
    eosin, haze, spacing, radius, darkness = np.exp(spread * rng.standard_normal(5)).tolist()
    nuclei = replace(
        phenotype.nuclei,
        spacing_um=phenotype.nuclei.spacing_um * spacing,
        radius_um=phenotype.nuclei.radius_um * radius,
        darkness=phenotype.nuclei.darkness * darkness,
    )
    return replace(phenotype, eosin=phenotype.eosin * eosin, haze=phenotype.haze * haze, nuclei=nuclei)
