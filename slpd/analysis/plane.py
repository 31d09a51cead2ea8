"""Vectors in a plane, for people to look at: t-SNE (van der Maaten & Hinton 2008), begun from the principal plane."""

import numpy as np
from numpy.typing import NDArray
from sklearn.manifold import TSNE

FEWEST = 5  # points: of fewer the principal plane shows all there is to see
START_SPREAD = 1e-4  # standard deviation of the first coordinate at the start; Kobak & Berens 2019
NEIGHBOURS_PER_PERPLEXITY = 3  # scikit-learn, and van der Maaten before it, look at so many


def neighbourhood_plane(points: NDArray[np.float64], perplexity: float, seed: int) -> NDArray[np.float64]:
    """Points in a plane that keeps near what is near.

    Args:
        points: (n, D).
        perplexity: Neighbours that a point keeps, about; fewer where there are not three times as many others.
        seed: Of what is drawn at random, of which there is little: the start is no draw.

    Returns:
        (n, 2). Of fewer than five points the principal plane.
    """
    start = principal_plane(points)
    spread = float(start[:, 0].std())
    if len(points) < FEWEST or spread == 0:
        return start
    layout = TSNE(
        perplexity=min(perplexity, (len(points) - 1) / NEIGHBOURS_PER_PERPLEXITY),
        init=(start / spread * START_SPREAD).astype(np.float32),
        random_state=seed,
    )
    return np.asarray(layout.fit_transform(points.astype(np.float32)), np.float64)


def principal_plane(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, D) points along the two directions in which they vary most, (n, 2); the largest loading is positive."""
    centred = points - points.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    plane = np.zeros((len(points), 2))
    for axis, direction in enumerate(directions[:2]):
        plane[:, axis] = centred @ direction * np.sign(direction[np.abs(direction).argmax()])
    return plane
