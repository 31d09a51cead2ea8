"""Batches: which regions, which views. Every batch is a function of (seed, epoch, step) alone.

So a resumed run sees what an undisturbed one would have seen, and no generator needs to be saved.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slpd.errors import UserError
from slpd.method.losses import Targets
from slpd.method.processes import n_processes, process_index
from slpd.method.views import Crops, cut_views, draw_crops
from slpd.models.region_encoder import drop_path_factors
from slpd.settings.training import Features, RegionEncoder, Training
from slpd.training.learner import Batch


@dataclass(frozen=True)
class PrototypeTargets:
    """The prototypes that regions are pulled to."""

    vectors: Tensor  # (S * M, D), on the device
    features: Features  # what they are means of
    intra: NDArray[np.int64] | None  # (1, R) rows of `vectors`, -1: none; None: no such term
    inter: NDArray[np.int64] | None  # (T, R)


class Batches:
    """The batches of a cohort under one recipe."""

    def __init__(
        self, tokens: Tensor, encoder: RegionEncoder, training: Training, prototypes: PrototypeTargets | None
    ) -> None:
        """Check that the recipe fits the cohort.

        Args:
            tokens: (R, grid, grid, token width) tokens of the cohort, on the training device.
            encoder: For depth and stochastic depth.
            training: Batch size, views, seed.
            prototypes: None: plain DINO.

        Raises:
            UserError: a batch does not fit the cohort or the processes, or a crop the grid.
        """
        self.tokens, self.encoder, self.training, self.prototypes = tokens, encoder, training, prototypes
        check_recipe(training, n_regions=len(tokens), grid=tokens.shape[1])

    @property
    def per_epoch(self) -> int:
        """Batches per epoch; the regions left over after the last whole batch wait for another epoch."""
        return len(self.tokens) // self.training.batch_size

    def regions_of(self, epoch: int, step: int) -> NDArray[np.int64]:
        """(batch size,) the regions of a batch: every epoch visits the cohort in a new order."""
        order = epoch_order(self.training.seed, epoch, len(self.tokens))
        return order[step * self.training.batch_size : (step + 1) * self.training.batch_size]

    def batch(self, epoch: int, step: int) -> Batch:
        """This process's share of a batch.

        Random numbers are drawn for the whole batch, of which each process takes its part, so the result does
        not depend on how many processes share it.
        """
        t, grid = self.training, self.tokens.shape[1]
        regions, generator = self.regions_of(epoch, step), np.random.default_rng([t.seed, epoch, 1 + step])
        global_crops = draw_crops(generator, 2, t.batch_size, t.global_crop, grid)
        local_crops = draw_crops(generator, t.n_local_views, t.batch_size, t.local_crop, grid)
        return self.cut(regions, global_crops, local_crops, generator)

    def cut(
        self, regions: NDArray[np.int64], global_crops: Crops, local_crops: Crops, generator: np.random.Generator
    ) -> Batch:
        """This process's share of a batch with given views; `generator` gives its stochastic depth."""
        share = len(regions) // n_processes()
        part = slice(process_index() * share, (process_index() + 1) * share)
        prototypes = self.prototypes
        return Batch(
            global_views=cut_views(self.tokens, regions[part], global_crops.of_regions(part)),
            local_views=cut_views(self.tokens, regions[part], local_crops.of_regions(part)),
            global_keep=self.draw_keep(generator, 2, len(regions), part),
            local_keep=self.draw_keep(generator, self.training.n_local_views, len(regions), part),
            n_regions=len(regions),
            intra=look_up(prototypes.vectors, prototypes.intra, regions, part) if prototypes else None,
            inter=look_up(prototypes.vectors, prototypes.inter, regions, part) if prototypes else None,
            features=prototypes.features if prototypes else "bottleneck",  # without prototypes nothing reads it
        )

    def draw_keep(self, generator: np.random.Generator, n_views: int, n_regions: int, part: slice) -> Tensor | None:
        """(depth, 2, V * B) stochastic-depth factors for some regions of a batch; None: nothing is dropped."""
        if not self.encoder.drop_path:
            return None
        uniform = generator.random((self.encoder.depth, 2, n_views, n_regions), dtype=np.float32)[..., part]
        uniform = uniform.reshape(self.encoder.depth, 2, -1)
        return drop_path_factors(torch.from_numpy(uniform).to(self.tokens.device), self.encoder.drop_path)


@lru_cache(maxsize=1)
def epoch_order(seed: int, epoch: int, n_regions: int) -> NDArray[np.int64]:
    """(R,) the order in which an epoch visits the regions; kept until the next epoch asks for its own."""
    return np.random.default_rng([seed, epoch, 0]).permutation(n_regions)


def check_recipe(training: Training, n_regions: int, grid: int) -> None:
    """Refuse a recipe that does not fit the cohort or the processes."""
    if training.batch_size > n_regions:
        raise UserError(
            f"training.batch_size is {training.batch_size}, but the cohort has {n_regions} regions;"
            " make it at most that, or add slides"
        )
    if training.batch_size % n_processes():
        raise UserError(
            f"training.batch_size is {training.batch_size}: it must be a multiple of the {n_processes()} processes"
        )
    for key in ("global_crop", "local_crop"):
        if getattr(training, key) > grid:
            raise UserError(
                f"training.{key} is {getattr(training, key)}, but a region has {grid} x {grid} patches;"
                " make it at most that"
            )


def look_up(vectors: Tensor, rows: NDArray[np.int64] | None, regions: NDArray[np.int64], part: slice) -> Targets | None:
    """The prototypes of some regions of a batch, as targets whose logits are still to be made of their vectors."""
    if rows is None:
        return None
    counts = (rows[:, regions] >= 0).sum(axis=1).astype(np.float32)  # of the whole batch
    chosen = torch.from_numpy(rows[:, regions[part]]).to(vectors.device)  # (T, B)
    return Targets(vectors[chosen.clamp(min=0)], chosen >= 0, torch.from_numpy(counts).to(vectors.device))
