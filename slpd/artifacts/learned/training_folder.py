"""What the training of a variant keeps while it goes on (`training/`), unknown to Snakemake.

Snakemake deletes the outputs that it knows of before it runs their job again, and those of the finished members of a
failed group, too. What must outlive that is kept here, and a job whose result is here hands it out.

state.pt: learner and progress (see checkpoint.py); it stays when the training is over.
<n>/prototypes.npz, <n>/graph.npz: of iteration n, counted from 0; no graph where no term of the objective needs one.
<n>/teacher.safetensors, <n>/metrics.csv, <n>/embeddings.h5: of the encoder after n iterations, where a job ended, until
    prototypes have been made of them; those of the trained encoder stay.
<n>/sha256.json: of these three, name -> hash; written last.

Beside it lies `iterations/`, with the prototypes and the graph of every iteration under the same names, to look at
while training goes on. Some of them are outputs of `cluster_regions` and `link_slides`.
"""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from slpd.artifacts.atomic import atomic_path, link_or_copy, write_text
from slpd.artifacts.learned.cohort_prototypes import CohortPrototypes, read_prototypes, write_prototypes
from slpd.artifacts.learned.slide_graph_file import SlideGraphArrays, read_slide_graph, write_slide_graph
from slpd.artifacts.runs.run_manifest import sha256_of
from slpd.errors import UserError
from slpd.layout import iteration_name

NUMBERS = "[0-9][0-9][0-9]*"  # folders of iterations


@dataclass(frozen=True)
class TrainingFolder:
    """The folder of one variant."""

    path: Path

    @property
    def state(self) -> Path:
        """The checkpoint that training goes on from."""
        return self.path / "state.pt"

    def teacher(self, iteration: int) -> Path:
        """The region encoder after so many iterations."""
        return self.path / iteration_name(iteration) / "teacher.safetensors"

    def metrics(self, iteration: int) -> Path:
        """Metrics of every epoch of the iterations before."""
        return self.path / iteration_name(iteration) / "metrics.csv"

    def embeddings(self, iteration: int) -> Path:
        """The region embeddings of that encoder."""
        return self.path / iteration_name(iteration) / "embeddings.h5"

    def prototypes(self, iteration: int) -> Path:
        """The prototypes that an iteration trains towards."""
        return self.path / iteration_name(iteration) / "prototypes.npz"

    def graph(self, iteration: int) -> Path:
        """The slide graph that an iteration trains towards."""
        return self.path / iteration_name(iteration) / "graph.npz"

    def keep_targets(self, iteration: int, prototypes: CohortPrototypes, graph: SlideGraphArrays | None) -> None:
        """Keep what an iteration trains towards."""
        write_prototypes(self.prototypes(iteration), prototypes)
        if graph is None:
            self.graph(iteration).unlink(missing_ok=True)  # of another training
        else:
            write_slide_graph(self.graph(iteration), graph)

    def show_targets(self, iteration: int, iterations: Path) -> None:
        """Lay out what an iteration trains towards in the folder `iterations`, to be looked at."""
        for kept in (self.prototypes(iteration), self.graph(iteration)):
            shown = iterations / iteration_name(iteration) / kept.name
            if kept.exists():
                hand_out(kept, shown)
            else:
                shown.unlink(missing_ok=True)

    def read_targets(self, iteration: int, with_graph: bool) -> tuple[CohortPrototypes, SlideGraphArrays | None]:
        """What an iteration trains towards, as it was kept.

        Raises:
            UserError: it is gone or damaged.
        """
        try:
            prototypes = read_prototypes(self.prototypes(iteration))
            return prototypes, read_slide_graph(self.graph(iteration)) if with_graph else None
        except UserError as error:
            raise UserError(f"{error}. {self.remedy}") from error

    @property
    def remedy(self) -> str:
        """What to do where something kept is gone or damaged."""
        return f"Training has passed it: delete the folder {self.path}, and the variant is trained anew"

    def seal_encoder(self, iteration: int) -> None:
        """Note the hashes of the encoder's files, all of which are there."""
        write_text(self.seal(iteration), json.dumps(self.hashes(iteration)))

    def has_encoder(self, iteration: int) -> bool:
        """Whether the encoder after so many iterations is there as it was written."""
        try:
            return bool(json.loads(self.seal(iteration).read_text()) == self.hashes(iteration))
        except (OSError, ValueError):  # not there, or damaged itself
            return False

    def seal(self, iteration: int) -> Path:
        """The file of hashes."""
        return self.path / iteration_name(iteration) / "sha256.json"

    def encoder_files(self, iteration: int) -> list[Path]:
        """What is kept of the encoder after so many iterations."""
        return [self.teacher(iteration), self.metrics(iteration), self.embeddings(iteration)]

    def hashes(self, iteration: int) -> dict[str, str]:
        """Name -> SHA-256 of the encoder's files as they are."""
        return {file.name: sha256_of(file) for file in self.encoder_files(iteration)}

    def drop_encoder(self, iteration: int) -> None:
        """Training has gone on: the encoder after so many iterations is needed no more."""
        for file in (self.seal(iteration), *self.encoder_files(iteration)):
            file.unlink(missing_ok=True)

    def make_way(self, iterations: Path, spared: int | None) -> None:
        """Remove what another training left, here and in the folder `iterations`.

        Args:
            iterations: Where targets are laid out.
            spared: An iteration whose targets there are already those of the new training.
        """
        self.state.unlink(missing_ok=True)
        kept = iterations / ("" if spared is None else iteration_name(spared))
        for folder in (*self.path.glob(NUMBERS), *iterations.glob(NUMBERS)):
            if folder.is_dir() and folder != kept:  # beside them lie embeddings, outputs of `distill_slpd`
                shutil.rmtree(folder)
        self.drop_encoders()

    def drop_encoders(self) -> None:
        """Remove encoders that are kept; of a training whose state is gone, they are needed no more."""
        for folder in self.path.glob(NUMBERS):
            self.drop_encoder(int(folder.name))


def hand_out(kept: Path, path: Path) -> None:
    """Give a file that training kept a second place, as new as if just made.

    Raises:
        UserError: the kept file is gone.
    """
    if not kept.exists():
        raise UserError(
            f"{kept}: gone, though training has passed it; delete {kept.parents[1]}, and it is trained anew"
        )
    with atomic_path(path) as temporary:
        link_or_copy(kept, temporary)
        os.utime(temporary)
