"""Ellipses stamped into a picture: nuclei, lumens and fat vacuoles are all drawn as these."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from slpd.synthetic.noise import Field

CHUNK = 2_000_000  # pixels evaluated at a time: bounds memory


@dataclass(frozen=True)
class Ellipses:
    """N ellipses in pixels."""

    centres: NDArray[np.float32]  # (N, 2) x, y
    semi_axes: NDArray[np.float32]  # (N, 2) long, short
    angles: NDArray[np.float32]  # (N,) of the long axis against x, radians
    strengths: NDArray[np.float32]  # (N,) value at the rim

    def rim(self, turns: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, 2) x, y of the point of every rim that is `turns` (N,) or () radians from the long axis."""
        along, across = self.semi_axes[:, 0] * np.cos(turns), self.semi_axes[:, 1] * np.sin(turns)
        cos, sin = np.cos(self.angles), np.sin(self.angles)
        return self.centres + np.stack([along * cos - across * sin, along * sin + across * cos], axis=1)

    def take(self, chosen: NDArray[np.bool_] | NDArray[np.intp] | slice) -> Self:
        """Some of the ellipses."""
        return type(self)(self.centres[chosen], self.semi_axes[chosen], self.angles[chosen], self.strengths[chosen])


NO_ELLIPSES = Ellipses(*(np.zeros(shape, np.float32) for shape in ((0, 2), (0, 2), (0,), (0,))))


def stamp(canvas: Field, ellipses: Ellipses, paleness: float) -> None:
    """Raise `canvas` (H, W) to the ellipses where they are stronger than what is there.

    Args:
        canvas: Changed in place; must be contiguous.
        ellipses: What to draw. Edges are antialiased over a pixel; parts outside the canvas are cut off.
        paleness: Share by which the centre is weaker than the rim, 0-1.
    """
    reach = np.ceil(ellipses.semi_axes[:, 0] + 1).astype(int)
    reach = 2 ** np.ceil(np.log2(np.maximum(reach, 2))).astype(int)  # few sizes of window, so few passes
    for half_px in np.unique(reach):
        chosen = np.flatnonzero(reach == half_px)
        step = max(1, CHUNK // (2 * half_px + 1) ** 2)
        for start in range(0, len(chosen), step):
            stamp_windows(canvas, ellipses.take(chosen[start : start + step]), int(half_px), paleness)


def stamp_windows(canvas: Field, ellipses: Ellipses, half_px: int, paleness: float) -> None:
    """`stamp` for ellipses that all fit into windows of 2 · half_px + 1 pixels, k a side."""
    offsets = np.arange(-half_px, half_px + 1)
    corners = np.floor(ellipses.centres).astype(int)  # (n, 2)
    x = (corners[:, 0, None] + offsets)[:, None, :]  # (n, 1, k)
    y = (corners[:, 1, None] + offsets)[:, :, None]  # (n, k, 1)
    dx, dy = (x - ellipses.centres[:, 0, None, None]), (y - ellipses.centres[:, 1, None, None])
    cos, sin = np.cos(ellipses.angles)[:, None, None], np.sin(ellipses.angles)[:, None, None]
    long, short = ellipses.semi_axes[:, 0, None, None], ellipses.semi_axes[:, 1, None, None]
    rho = np.hypot((dx * cos + dy * sin) / long, (dy * cos - dx * sin) / short).astype(np.float32)  # (n, k, k)
    cover = np.clip((1 - rho) * short + 0.5, 0, 1)  # distance to the rim, near enough
    value = ellipses.strengths[:, None, None] * cover * (1 - paleness * np.clip(1 - rho**2, 0, 1))
    inside = (value > 0) & (x >= 0) & (x < canvas.shape[1]) & (y >= 0) & (y < canvas.shape[0])
    np.maximum.at(canvas.reshape(-1), (y * canvas.shape[1] + x)[inside], value[inside].astype(np.float32))
