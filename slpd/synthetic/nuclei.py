"""Where nuclei and holes lie: scattered over a tissue, along its fibres, or in rings around holes."""

from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from slpd.synthetic.ellipses import Ellipses
from slpd.synthetic.noise import Field

Value = TypeVar("Value", bound=np.generic)


def scatter(here: NDArray[np.bool_], spacing_px: float, jitter: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """(N, 2) x, y of a hexagonal grid, displaced by up to `jitter` spacings, where it lies in `here` (H, W)."""
    height, width = here.shape
    rows = np.arange(0, height, spacing_px * 0.87)
    grid = np.stack(np.meshgrid(np.arange(0, width, spacing_px), rows), axis=-1)  # (rows, columns, 2)
    grid[1::2, :, 0] += spacing_px / 2
    centres = (grid + rng.uniform(-jitter, jitter, grid.shape) * spacing_px).reshape(-1, 2).astype(np.float32)
    return centres[value_at(here, centres)]


def value_at(field: NDArray[Value], centres: NDArray[np.float32]) -> NDArray[Value]:
    """(N,) values of `field` (H, W) at N places x, y; places outside take the nearest value."""
    columns, rows = np.floor(centres).astype(int).T
    values: NDArray[Value] = field[np.clip(rows, 0, field.shape[0] - 1), np.clip(columns, 0, field.shape[1] - 1)]
    return values


def shaped(
    centres: NDArray[np.float32],
    angles: NDArray[np.float32],
    radius_px: float,
    spread: float,
    elongation: float,
    rng: np.random.Generator,
) -> Ellipses:
    """Ellipses of varied size and shape at N places.

    Args:
        centres: (N, 2) x, y.
        angles: (N,) of the long axis, radians.
        radius_px: Mean radius of the circle of the same area.
        spread: Standard deviation of the radius, as a share of it.
        elongation: Mean of long axis / short axis.
        rng: Source of the variation.
    """
    n = len(centres)
    radii = radius_px * np.clip(rng.normal(1, spread, n), 0.4, 2.2)
    ratio = np.sqrt(np.maximum(rng.normal(elongation, 0.15 * elongation, n), 1))
    semi_axes = np.stack([radii * ratio, radii / ratio], axis=1)
    strengths = np.clip(rng.normal(1, 0.12, n), 0.6, 1.4)
    return Ellipses(centres, semi_axes.astype(np.float32), angles, strengths.astype(np.float32))


def any_angles(n: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """(N,) angles without a direction, radians."""
    return rng.uniform(0, np.pi, n).astype(np.float32)


def fibre_angles(centres: NDArray[np.float32], phase: Field) -> NDArray[np.float32]:
    """(N,) angles of the fibres at N places: along the contours of their phase (H, W), radians."""
    x_step, y_step = np.array([[4, 0], [0, 4]], np.float32)
    x_slope = value_at(phase, centres + x_step) - value_at(phase, centres - x_step)
    y_slope = value_at(phase, centres + y_step) - value_at(phase, centres - y_step)
    angles: NDArray[np.float32] = np.arctan2(x_slope, -y_slope)
    return angles


def ring_around(
    holes: Ellipses, wall_px: float, gap_px: float, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(N, 2) places and (N,) angles of nuclei around holes that point away from them."""
    counts = np.round(2 * np.pi * (holes.semi_axes.mean(axis=1) + wall_px) / gap_px).astype(int)  # (n_holes,)
    first = np.repeat(np.cumsum(counts) - counts, counts)  # (N,)
    around = holes.take(np.repeat(np.arange(len(counts)), counts))  # the hole of every nucleus
    turns = 2 * np.pi * (np.arange(len(first)) - first) / np.repeat(counts, counts) + rng.normal(0, 0.08, len(first))
    axes = (around.semi_axes + wall_px) * rng.normal(1, 0.07, (len(first), 1))
    places = replace(around, semi_axes=axes.astype(np.float32)).rim(turns.astype(np.float32))
    return places, (turns + around.angles).astype(np.float32)
