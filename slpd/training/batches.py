"""Batches: which regions, which views. Every batch is a function of (seed, epoch, step) alone.

So a resumed run sees what an undisturbed one would have seen, and no generator needs to be saved.

A batch has as many *slots* as regions. Each slot has a share of the cohort, dealt out once at random, and
every epoch goes through it in a new order. A process trains the regions of some slots, so it needs no others, and
which regions meet in a batch does not depend on how many processes share it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from slpd.errors import UserError
from slpd.method.losses import Targets
from slpd.method.processes import n_processes, process_index
from slpd.method.transfer import send
from slpd.method.views import Crops, cut_masks, cut_views, draw_crops
from slpd.models.region_encoder import drop_path_factors
from slpd.settings.training import Features, RegionEncoder, Term, Training
from slpd.training.learner import ViewBatch, Views
from slpd.training.token_store import TokenStore


@dataclass(frozen=True)
class PrototypeTargets:
    """The prototypes, or what is made of them, that each term pulls the regions of a cohort to."""

    vectors: Mapping[Term, Tensor]  # (N, D), on the device
    rows: Mapping[Term, NDArray[np.int64]]  # (T, R) which of a term's vectors are a region's targets; -1: none
    features: Features  # what prototypes are means of

    def of_regions(self, regions: NDArray[np.int64], part: slice) -> dict[Term, Targets]:
        """Targets of some regions of a batch, whose vectors are still as they were clustered."""
        return {term: look_up(self.vectors[term], rows, regions, part) for term, rows in self.rows.items()}


class Batches:
    """The batches of a cohort under one recipe."""

    def __init__(
        self,
        tokens: TokenStore,
        n_regions: int,
        encoder: RegionEncoder,
        training: Training,
        grid: int,
        present: NDArray[np.bool_] | None = None,
    ) -> None:
        """Take a recipe that fits the cohort (`check_recipe`).

        Args:
            tokens: Tokens of (at least) the regions of this process.
            n_regions: R, of the whole cohort.
            encoder: For depth and stochastic depth.
            training: Batch size, views, seed.
            grid: Patches along a region's side.
            present: (R, grid, grid) False where a patch of the cohort's regions is absent; None: none is.
        """
        self.present = present
        self.tokens, self.n_regions, self.encoder, self.training, self.grid = tokens, n_regions, encoder, training, grid
        self.prototypes: PrototypeTargets | None = None  # plain DINO

    @property
    def per_epoch(self) -> int:
        """Batches per epoch; regions left over after the last whole batch are skipped in this epoch."""
        return self.n_regions // self.training.batch_size

    def regions_of(self, epoch: int, step: int) -> NDArray[np.int64]:
        """(batch size,) the regions of a batch: every epoch visits the cohort in a new order."""
        regions: NDArray[np.int64] = self.order(epoch)[step]
        return regions

    def order(self, epoch: int) -> NDArray[np.int64]:
        """(steps, batch size) the regions of every batch of an epoch."""
        return epoch_order(self.training.seed, epoch, self.n_regions, self.training.batch_size)

    def batches_from(self, epoch: int, step: int) -> Iterator[ViewBatch]:
        """This process's share of the batches of an epoch from a step on; tokens of the next are fetched ahead."""
        order = self.order(epoch)
        part = process_part(self.training.batch_size)
        for at, tokens in enumerate(self.tokens.fetch(regions[part] for regions in order[step:])):
            yield self.batch(epoch, step + at, *tokens)

    def batch(self, epoch: int, step: int, tokens: Tensor, places: NDArray[np.int64]) -> ViewBatch:
        """This process's share of a batch.

        Random numbers are drawn for the whole batch, of which each process takes its part, so the result does
        not depend on how many processes share it.

        Args:
            epoch: Counted from 0 over all stages.
            step: Counted from 0 in the epoch.
            tokens: (n, grid, grid, token width), on the device, with this process's regions of the batch.
            places: Which of the n these are.
        """
        t, generator = self.training, np.random.default_rng([self.training.seed, epoch, 1 + step])
        regions = self.regions_of(epoch, step)
        present = None if self.present is None else self.present[regions]
        global_crops = draw_crops(generator, 2, t.batch_size, t.global_crop, self.grid, present)
        local_crops = draw_crops(generator, t.n_local_views, t.batch_size, t.local_crop, self.grid, present)
        return self.cut(tokens, places, regions, global_crops, local_crops, generator)

    def cut(
        self,
        tokens: Tensor,
        places: NDArray[np.int64],
        regions: NDArray[np.int64],
        global_crops: Crops,
        local_crops: Crops,
        generator: np.random.Generator,
    ) -> ViewBatch:
        """This process's share of a batch of given regions and views; `generator` gives its stochastic depth."""
        prototypes = self.prototypes
        global_views, local_views = (
            self.views(tokens, places, regions, crops, generator) for crops in (global_crops, local_crops)
        )
        return ViewBatch(
            global_views=global_views,
            local_views=local_views,
            n_regions=len(regions),
            prototypes=prototypes.of_regions(regions, process_part(len(regions))) if prototypes else {},
            features=prototypes.features if prototypes else "bottleneck",  # without prototypes it is not read
        )

    def views(
        self,
        tokens: Tensor,
        places: NDArray[np.int64],
        regions: NDArray[np.int64],
        crops: Crops,
        generator: np.random.Generator,
    ) -> Views:
        """This process's share of the views of a batch, given as crops of all its regions."""
        part = process_part(len(regions))
        of_part = crops.of_regions(part)
        present = None if self.present is None else cut_masks(self.present[regions[part]], of_part, tokens.device)
        keep = self.draw_keep(generator, len(crops.top), len(regions), part)
        return Views(cut_views(tokens, places, of_part), keep, present)

    def draw_keep(self, generator: np.random.Generator, n_views: int, n_regions: int, part: slice) -> Tensor | None:
        """(depth, 2, V, B) stochastic-depth factors for some regions of a batch; None: nothing is dropped."""
        if not self.encoder.drop_path:
            return None
        uniform = generator.random((self.encoder.depth, 2, n_views, n_regions), dtype=np.float32)[..., part]
        return drop_path_factors(send(uniform, self.tokens.device), self.encoder.drop_path)


@lru_cache(maxsize=1)
def epoch_order(seed: int, epoch: int, n_regions: int, batch_size: int) -> NDArray[np.int64]:
    """(steps, batch size) the regions of an epoch: slot s of every batch, column s, takes from its own share."""
    shares = slot_shares(seed, n_regions, batch_size)
    order = np.random.default_rng([seed, epoch, 0]).random(shares.shape)
    order[shares < 0] = np.inf  # a share that is one region shorter
    steps = np.argsort(order, axis=0, kind="stable")[: n_regions // batch_size]
    return np.take_along_axis(shares, steps, axis=0)


@lru_cache(maxsize=1)
def slot_shares(seed: int, n_regions: int, batch_size: int) -> NDArray[np.int64]:
    """(most regions of a slot, batch size) the cohort dealt out to the slots of a batch; -1: no region."""
    dealt = np.full(-(-n_regions // batch_size) * batch_size, -1, np.int64)
    dealt[:n_regions] = np.random.default_rng([seed]).permutation(n_regions)
    return dealt.reshape(-1, batch_size)


def own_regions(training: Training, n_regions: int) -> NDArray[np.int64]:
    """The regions that this process trains, in order: those of its slots."""
    shares = slot_shares(training.seed, n_regions, training.batch_size)[:, process_part(training.batch_size)]
    return np.sort(shares[shares >= 0])


def process_part(batch_size: int) -> slice:
    """This process's slots of a batch."""
    share = batch_size // n_processes()
    return slice(process_index() * share, (process_index() + 1) * share)


def check_recipe(training: Training, n_regions: int, grid: int) -> None:
    """Refuse a recipe that does not fit the cohort or the processes, before memory is taken for either.

    Raises:
        UserError: a batch does not fit the cohort or the processes, or a crop the grid.
    """
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


def look_up(vectors: Tensor, rows: NDArray[np.int64], regions: NDArray[np.int64], part: slice) -> Targets:
    """The targets of some regions of a batch among (N, D) vectors and the (T, R) rows of all regions."""
    counts = (rows[:, regions] >= 0).sum(axis=1).astype(np.float32)  # of the whole batch
    chosen = send(rows[:, regions[part]], vectors.device)  # (T, B)
    return Targets(vectors[chosen.clamp(min=0)], chosen >= 0, send(counts, vectors.device))
