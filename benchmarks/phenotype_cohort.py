"""A cohort of patch tokens whose class is carried by which phenotypes co-occur in a slide, not by any one region.

Token of patch p in region r of slide s, where the region shows phenotype k and the patch is of kind c:

    x[p] = kind[c] + variation[s, k] + stain[s] + shift[r] + noise[p]

A phenotype is how a region is composed of patch kinds: one of six kinds in half of it, two others in a quarter each,
laid out by a smooth random field. Phenotypes 0 to 3 carry the class, 4 and 5 are common to both. A slide shows a pair
of the four and one of the two: class a {0, 1} or {3, 2}, class b {2, 0} or {1, 3}. Each of the four is in half of the
slides of either class: one of them tells nothing about the class, the pair of them everything.

The first of a pair is the more frequent one (`TILT`). Without that, every function of single regions has equal class
means, and attention-based MIL, whose decision is the sign of a sum over regions, has nothing to learn from
(docs/mechanism.md). With it, the best guess from one region's true phenotype has an AUC of
0.5 + TILT * (1 - COMMON_SHARE**2) = 0.64.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score

from slpd.artifacts.patch_tokens.token_file import TokenSource, write_tokens
from slpd.artifacts.slides.manifest import ManifestRow, write_manifest
from slpd.artifacts.slides.slide_record import SlideRecord

PAIRS = {"a": ((0, 1), (3, 2)), "b": ((2, 0), (1, 3))}  # class -> pairs of phenotypes; the first is the more frequent
COMMON = (4, 5)
N_PHENOTYPES = 6
TYPES = [(label, pair, common) for label, pairs in PAIRS.items() for pair, common in product(pairs, COMMON)]
Bags = Mapping[str, NDArray[np.float32]]  # slide -> (n, D) region vectors

GRID = 7  # patches along a side: crops of 5 have nine places
TOKEN_WIDTH = 24
REGIONS = (20, 28)  # per slide, least and most
COMMON_SHARE = 0.25  # of a slide's regions, expected
TILT = 0.15  # the phenotypes of a pair have shares 0.5 + TILT and 0.5 - TILT of the other regions
PATCH_KINDS = 6
KIND_SHARES = (0.5, 0.25, 0.25)  # of a region, for the three kinds that a phenotype shows
KIND_STEPS = (0, 1, 3)  # phenotype k shows the kinds k, k + 1 and k + 3 (mod 6): no two phenotypes show the same three
TEXTURE = 1.0  # patches; width of the field that lays out the kinds: a crop of 3 mostly holds two kinds


@dataclass(frozen=True)
class Nuisances:
    """Standard deviations per token dimension of what is not the phenotype; the patch kinds have size 1.

    Chosen on seeds 100 and 101, by the AUC of plain DINO alone: away from chance and from ceiling.
    """

    # How a slide varies a phenotype: slides with the same phenotypes differ in it, so that an average over similar
    # slides loses it, which is what the inter-slide prototypes are for.
    variation: float = 0.5
    stain: float = 0.35  # of all regions of a slide
    # Of all patches of a region: crops of a region agree about it, so that it makes telling regions apart easy; an
    # average over regions loses it, which is what the intra-slide prototypes are for.
    shift: float = 0.75
    noise: float = 1.0  # of every patch: no patch is quite like another of its kind


@dataclass(frozen=True)
class Slide:
    """A slide of the cohort."""

    name: str
    label: str
    phenotypes: tuple[int, int, int]  # which it shows: the pair, the more frequent one first, and a common one
    regions: NDArray[np.int64]  # (n,) the phenotype of each region
    tokens: NDArray[np.float16]  # (n, GRID * GRID, TOKEN_WIDTH)
    patient: str = ""  # empty: one of its own


def draw_cohort(seed: int, n_slides: int, nuisances: Nuisances) -> list[Slide]:
    """A cohort in which each of the eight types of slide is as frequent; all of it follows from the seed."""
    rng = np.random.default_rng(seed)
    directions, _ = np.linalg.qr(rng.normal(size=(TOKEN_WIDTH, PATCH_KINDS)))
    kinds = np.sqrt(TOKEN_WIDTH) * directions.T  # equally far apart, of size 1 per dimension
    types = rng.permutation(np.arange(n_slides) % len(TYPES))
    return [draw_slide(rng, f"slide_{number:03}", TYPES[type_], kinds, nuisances) for number, type_ in enumerate(types)]


def draw_slide(
    rng: np.random.Generator,
    name: str,
    type_: tuple[str, tuple[int, int], int],
    kinds: NDArray[np.float64],
    nuisances: Nuisances,
) -> Slide:
    """One slide of a type (label, pair, common phenotype)."""
    label, pair, common = type_
    phenotypes = (*pair, common)
    shares = [(1 - COMMON_SHARE) * (0.5 + TILT), (1 - COMMON_SHARE) * (0.5 - TILT), COMMON_SHARE]
    n = int(rng.integers(REGIONS[0], REGIONS[1] + 1))
    regions = rng.choice(phenotypes, size=n, p=shares)
    of_slide = rng.normal(scale=nuisances.stain, size=TOKEN_WIDTH)
    of_phenotype = rng.normal(scale=nuisances.variation, size=(N_PHENOTYPES, TOKEN_WIDTH))
    of_region = rng.normal(scale=nuisances.shift, size=(n, TOKEN_WIDTH))
    noise = rng.normal(scale=nuisances.noise, size=(n, GRID**2, TOKEN_WIDTH))
    patches = np.stack([kinds[draw_layout(rng, k)] for k in regions])  # (n, GRID * GRID, TOKEN_WIDTH)
    tokens = patches + (of_phenotype[regions] + of_slide + of_region)[:, None] + noise
    return Slide(name, label, phenotypes, regions, tokens.astype(np.float16))


def draw_layout(rng: np.random.Generator, phenotype: int) -> NDArray[np.int64]:
    """(GRID * GRID,) the kind of each patch: a smooth field, cut where the shares of the phenotype's kinds are."""
    field = gaussian_filter(rng.normal(size=(GRID, GRID)), TEXTURE).ravel()
    rank = field.argsort().argsort() / len(field)  # 0 to 1
    place = np.searchsorted(np.cumsum(KIND_SHARES)[:-1], rank, side="right")  # 0, 1 or 2
    return np.asarray((phenotype + np.array(KIND_STEPS)[place]) % PATCH_KINDS)


def write_cohort(folder: Path, slides: list[Slide]) -> tuple[Path, Path]:
    """Write token files, manifest and sheet; the paths of the last two."""
    manifest, sheet, rows, lines = folder / "slides.csv", folder / "sheet.csv", [], ["slide,path,patient,mpp,label"]
    for slide in slides:
        tokens = folder / "tokens" / f"{slide.name}.h5"
        tokens.parent.mkdir(parents=True, exist_ok=True)
        source = TokenSource(slide.name, slide.name, "drawn", "none", "none", 256, 256 * GRID, 256 * GRID, *[0.5] * 4)
        write_tokens(tokens, slide.tokens, coords_of(slide), source)
        rows.append(ManifestRow(SlideRecord(slide=slide.name, path=f"{slide.name}.svs"), tokens))
        lines.append(f"{slide.name},{slide.name}.svs,{slide.patient or slide.name},0.5,{slide.label}")
    write_manifest(manifest, rows)
    sheet.write_text("\n".join(lines) + "\n")
    return manifest, sheet


def coords_of(slide: Slide) -> NDArray[np.int64]:
    """(n, 2) corners of a slide's regions: a row of them, level-0 pixels."""
    return np.outer(np.arange(len(slide.regions)), [256 * GRID, 0])


def phenotype_bags(slides: list[Slide]) -> Bags:
    """Region vectors that hold the phenotype and nothing else: no encoder can do better."""
    return {slide.name: np.eye(N_PHENOTYPES, dtype=np.float32)[slide.regions] for slide in slides}


def token_bags(slides: list[Slide]) -> Bags:
    """Region vectors without an encoder: the mean token of each region."""
    return {slide.name: slide.tokens.astype(np.float32).mean(axis=1) for slide in slides}


def single_region_auc(slides: list[Slide]) -> float:
    """AUC of the class of a region's slide, from the share of class b among all regions of its phenotype."""
    regions = np.concatenate([slide.regions for slide in slides])
    classes = np.repeat([slide.label == "b" for slide in slides], [len(slide.regions) for slide in slides])
    share = np.bincount(regions, classes) / np.bincount(regions)
    return float(roc_auc_score(classes, share[regions]))
