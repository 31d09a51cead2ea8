"""A procedural slide: H&E-like tissue drawn from an outline, a tissue map and the table of phenotypes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from slpd.settings.synthetic import Kind
from slpd.synthetic.ellipses import NO_ELLIPSES, Ellipses, stamp
from slpd.synthetic.grain import Grain, draw_grain
from slpd.synthetic.noise import Field, resize, smooth_noise
from slpd.synthetic.nuclei import any_angles, fibre_angles, ring_around, scatter, shaped, value_at
from slpd.synthetic.outline import tissue_outline
from slpd.synthetic.phenotypes import Holes, Nuclei, Phenotype
from slpd.synthetic.stain import Stain, colour
from slpd.synthetic.tissue_map import arrange

DRAWN_MPP = 0.5  # µm/px that slides are drawn at; finer ones are enlarged
CELL_PX = 8  # side of a cell of the tissue map, drawn pixels
FIBRE_UM = 5.0  # distance between fibres
WALL_UM = 7.0  # from the edge of a gland's lumen to the nuclei around it
NO_KIND = 255  # glass, in a map of kinds
NUCLEUS_JITTER, HOLE_JITTER = 0.3, 0.12  # share of the spacing by which places vary


@dataclass(frozen=True)
class DrawnTissue:
    """What a slide shows."""

    fraction: float  # of the picture that is tissue, 0-1
    kinds: Mapping[Kind, Phenotype]  # what every kind looks like in this patient, in the order of `NAMES`
    shares: Mapping[Kind, float]  # kind -> share of the tissue
    territory_um: float  # over which the territories of a kind are correlated
    parcel_um: float  # side of the squares that hold one kind each, a multiple of a cell of the tissue map
    uneven: float  # standard deviation of the logarithm of both stains over a slide, as thickness and staining vary
    uneven_um: float  # over which they are correlated
    grain: Grain


@dataclass(frozen=True)
class Canvas:
    """What a slide is drawn from; all fields are (H, W) at `DRAWN_MPP`."""

    tissue: Field  # 1 in tissue, 0 on glass, soft edge
    phenotype: NDArray[np.uint8]  # number of the phenotype
    parcel: NDArray[np.intp]  # number of the parcel
    phase: Field  # fibres run along its contours, radians


def draw_slide(
    size_px: tuple[int, int], tissue: DrawnTissue, stain: Stain, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """(H, W, 3) RGB picture of a slide at `DRAWN_MPP`, and (H, W) number of the kind drawn at every pixel of tissue.

    Args:
        size_px: Height and width.
        tissue: What it shows.
        stain: Stain of the slide.
        rng: Source of all else.
    """
    canvas = lay_out(size_px, tissue, rng)
    haematoxylin, eosin = ground(canvas, tissue.kinds, rng)
    nuclei, holes = draw_structures(canvas, tissue.kinds, rng)
    open_tissue = canvas.tissue * (1 - holes)
    chromatin = 1 + 0.15 * smooth_noise(size_px, 1, rng)
    haematoxylin = np.maximum(haematoxylin * open_tissue, nuclei * chromatin * canvas.tissue)
    uncovered = open_tissue * (1 - np.float32(0.6) * nuclei.clip(0, 1))
    grain = draw_grain(tissue.grain, canvas.phenotype, canvas.parcel, rng)
    amounts = [grain * amount * uneven(size_px, tissue, rng) for amount in (haematoxylin, eosin * uncovered)]
    return colour(amounts[0], amounts[1], stain, rng), np.where(canvas.tissue > 0.5, canvas.phenotype, NO_KIND)


def uneven(size_px: tuple[int, int], tissue: DrawnTissue, rng: np.random.Generator) -> Field:
    """(H, W) factors of a stain."""
    cells = (size_px[0] // CELL_PX, size_px[1] // CELL_PX)
    field = smooth_noise(cells, tissue.uneven_um / (CELL_PX * DRAWN_MPP), rng)
    factors: Field = np.exp(tissue.uneven * resize(field, size_px))
    return factors


def lay_out(size_px: tuple[int, int], tissue: DrawnTissue, rng: np.random.Generator) -> Canvas:
    """Outline, tissue map and fibres of a slide, made in cells and enlarged to pixels."""
    cells = (-(-size_px[0] // CELL_PX), -(-size_px[1] // CELL_PX))
    outline = tissue_outline(cells, tissue.fraction, rng)
    cell_um = CELL_PX * DRAWN_MPP
    parcel_cells = round(tissue.parcel_um / cell_um)
    phenotype = arrange(outline, tissue.shares, tissue.territory_um / cell_um, parcel_cells, rng)
    soft = resize(gaussian_filter(outline.astype(np.float32), 1), size_px)
    rows, columns = warped_places(size_px, rng)
    parcel = rows // parcel_cells * -(-cells[1] // parcel_cells) + columns // parcel_cells
    return Canvas(np.clip(4 * soft - 1.5, 0, 1), phenotype[rows, columns], parcel, fibre_phase(size_px, rng))


def warped_places(size_px: tuple[int, int], rng: np.random.Generator) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Row and column of the tissue-map cell of every pixel, displaced by noise so that borders are not square."""
    places = []
    for axis, length in enumerate(size_px):
        shift = resize(smooth_noise((size_px[0] // 4, size_px[1] // 4), 3, rng), size_px)
        line = np.arange(length).reshape(-1, 1) if axis == 0 else np.arange(length)
        places.append(np.clip(((line + 0.6 * CELL_PX * shift) // CELL_PX).astype(int), 0, (length - 1) // CELL_PX))
    return places[0], places[1]


def fibre_phase(size_px: tuple[int, int], rng: np.random.Generator) -> Field:
    """(H, W) phase of the fibres: straight waves of one direction, bent by smooth noise."""
    direction = rng.uniform(0, math.pi)
    wave = 2 * math.pi * DRAWN_MPP / FIBRE_UM  # radians per pixel
    x_wave, y_wave = wave * math.cos(direction), wave * math.sin(direction)
    y, x = np.arange(size_px[0], dtype=np.float32)[:, None], np.arange(size_px[1], dtype=np.float32)
    bend = resize(smooth_noise((size_px[0] // CELL_PX, size_px[1] // CELL_PX), 10, rng), size_px)
    return x_wave * x + y_wave * y + 25 * bend


def ground(canvas: Canvas, kinds: Mapping[Kind, Phenotype], rng: np.random.Generator) -> tuple[Field, Field]:
    """(H, W) haematoxylin and eosin of the tissue before nuclei and holes."""
    table = np.array([(p.eosin, p.haze, p.fibre) for p in kinds.values()], np.float32)
    eosin, haze, fibre = np.moveaxis(table[canvas.phenotype], -1, 0)  # (H, W) each
    quarter = (canvas.tissue.shape[0] // 4, canvas.tissue.shape[1] // 4)
    mottle = resize(smooth_noise(quarter, 1.5, rng), canvas.tissue.shape)
    waves = np.sin(canvas.phase + 1.5 * mottle) * np.clip(1 + 0.6 * mottle, 0, 2)
    return haze * (1 + 0.3 * mottle), eosin * (1 + 0.12 * mottle + fibre * waves)


def draw_structures(canvas: Canvas, kinds: Mapping[Kind, Phenotype], rng: np.random.Generator) -> tuple[Field, Field]:
    """(H, W) haematoxylin of nuclei, and (H, W) holes: 1 inside, 0 outside. All holes come before any nucleus."""
    nuclei, holes = np.zeros_like(canvas.tissue), np.zeros_like(canvas.tissue)
    places = [(canvas.phenotype == number) & (canvas.tissue > 0.5) for number in range(len(kinds))]
    phenotypes = list(zip(kinds.values(), places, strict=True))
    own_holes = [draw_holes(phenotype.holes, here, rng) for phenotype, here in phenotypes]
    for ellipses in own_holes:
        stamp(holes, ellipses, paleness=0)
    for (phenotype, here), ellipses in zip(phenotypes, own_holes, strict=True):
        found = draw_nuclei(phenotype.nuclei, here, ellipses, canvas.phase, rng)
        stamp(nuclei, found.take(value_at(holes, found.centres) < 0.5), paleness=0.4)
    return nuclei, holes


def draw_holes(holes: Holes | None, here: NDArray[np.bool_], rng: np.random.Generator) -> Ellipses:
    """The holes of a phenotype, all whole, where `here` (H, W) is true; none if it has none."""
    if holes is None:
        return NO_ELLIPSES
    centres = scatter(here, holes.spacing_um / DRAWN_MPP, HOLE_JITTER, rng)
    found = shaped(centres, any_angles(len(centres), rng), holes.radius_um / DRAWN_MPP, 0.12, 1.2, rng)
    turns = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    whole = np.all([value_at(here, found.rim(turn)) for turn in turns], axis=0)
    return replace(found, strengths=np.ones_like(found.strengths)).take(whole)


def draw_nuclei(
    nuclei: Nuclei, here: NDArray[np.bool_], holes: Ellipses, phase: Field, rng: np.random.Generator
) -> Ellipses:
    """The nuclei of a phenotype that lies where `here` (H, W) is true.

    Args:
        nuclei: What they look like.
        here: (H, W) where the phenotype lies.
        holes: The phenotype's holes.
        phase: (H, W) phase of the fibres.
        rng: Source of all else.
    """
    spacing_px = nuclei.spacing_um / DRAWN_MPP
    if nuclei.arrangement == "rings":
        centres, angles = ring_around(holes, WALL_UM / DRAWN_MPP, spacing_px, rng)
    else:
        centres = scatter(here, spacing_px, NUCLEUS_JITTER, rng)
        angles = fibre_angles(centres, phase) if nuclei.arrangement == "fibres" else any_angles(len(centres), rng)
    found = shaped(centres, angles, nuclei.radius_um / DRAWN_MPP, nuclei.spread, nuclei.elongation, rng)
    kept = value_at(here, centres) & (rng.random(len(centres)) < nuclei.occupancy)
    return replace(found, strengths=nuclei.darkness * found.strengths).take(kept)
