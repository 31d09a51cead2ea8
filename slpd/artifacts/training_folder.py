"""What the training of a variant keeps while it goes on (`training/`), unknown to Snakemake.

Snakemake deletes the outputs that it knows of before it runs their job again, and those of the finished members of a
failed group, too. What must outlive that is kept here, and a job whose result is here hands it out.

state.pt: learner and progress (see checkpoint.py); it stays when the training is over.
<n>/prototypes.npz, <n>/graph.npz: of iteration n, counted from 0; no graph where no term of the objective needs one.
<n>/teacher.safetensors, <n>/metrics.csv, <n>/embeddings.h5: of the encoder after n iterations, where a job ended, until
    prototypes have been made of them; those of the trained encoder stay.

Beside it lies `iterations/`, with the prototypes and the graph of every iteration under the same names, to look at
while training goes on. Some of them are outputs of `cluster_regions` and `link_slides`.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from slpd.artifacts.atomic import hand_out
from slpd.artifacts.prototypes import CohortPrototypes, read_prototypes, write_prototypes
from slpd.artifacts.slide_graph import SlideGraphArrays, read_slide_graph, write_slide_graph

NUMBERS = "[0-9][0-9][0-9]*"  # folders of iterations


def numbered(iteration: int) -> str:
    """The folder of an iteration."""
    return f"{iteration:03d}"


@dataclass(frozen=True)
class TrainingFolder:
    """The folder of one variant."""

    path: Path
    iterations: Path  # to look at

    @property
    def state(self) -> Path:
        """The checkpoint that training goes on from."""
        return self.path / "state.pt"

    def teacher(self, iteration: int) -> Path:
        """The region encoder after so many iterations."""
        return self.path / numbered(iteration) / "teacher.safetensors"

    def metrics(self, iteration: int) -> Path:
        """Metrics of every epoch of the iterations before."""
        return self.path / numbered(iteration) / "metrics.csv"

    def embeddings(self, iteration: int) -> Path:
        """Its region embeddings; written last, so that the others are there where they are."""
        return self.path / numbered(iteration) / "embeddings.h5"

    def prototypes(self, iteration: int) -> Path:
        """The prototypes that an iteration trains towards."""
        return self.path / numbered(iteration) / "prototypes.npz"

    def graph(self, iteration: int) -> Path:
        """The slide graph that an iteration trains towards."""
        return self.path / numbered(iteration) / "graph.npz"

    def keep_targets(self, iteration: int, prototypes: CohortPrototypes, graph: SlideGraphArrays | None) -> None:
        """Keep what an iteration trains towards."""
        write_prototypes(self.prototypes(iteration), prototypes)
        if graph is not None:
            write_slide_graph(self.graph(iteration), graph)

    def show_targets(self, iteration: int) -> None:
        """Lay out what an iteration trains towards, to be looked at."""
        for kept in (self.prototypes(iteration), self.graph(iteration)):
            if kept.exists():
                hand_out(kept, self.iterations / numbered(iteration) / kept.name)

    def read_targets(self, iteration: int) -> tuple[CohortPrototypes, SlideGraphArrays | None]:
        """What an iteration trains towards, as it was kept."""
        graph = self.graph(iteration)
        return read_prototypes(self.prototypes(iteration)), read_slide_graph(graph) if graph.exists() else None

    def drop_encoder(self, iteration: int) -> None:
        """Training has gone on: the encoder after so many iterations is needed no more."""
        for file in (self.embeddings(iteration), self.metrics(iteration), self.teacher(iteration)):
            file.unlink(missing_ok=True)

    def make_way(self, spared: int | None) -> None:
        """Remove what another training left; `spared` is an iteration whose targets are already those of the new one.

        Without a state there is none: a twin of this job may have begun, after a head process that was killed.
        """
        if self.state.exists():
            self.state.unlink()
            kept = self.iterations / ("" if spared is None else numbered(spared))
            for folder in (*self.path.glob(NUMBERS), *self.iterations.glob(NUMBERS)):
                if folder.is_dir() and folder != kept:  # beside them lie embeddings, outputs of `distill_slpd`
                    shutil.rmtree(folder)
        for folder in self.path.glob(NUMBERS):
            self.drop_encoder(int(folder.name))
