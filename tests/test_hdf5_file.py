"""A damaged HDF5 file is named, with the stage that makes it anew, in one line."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from slpd.artifacts.evaluation.region_weights import SlideWeights, read_region_weights, write_region_weights
from slpd.artifacts.learned.bags import read_bags, read_corners, write_bags
from slpd.artifacts.learned.embeddings import CohortEmbeddings, read_embeddings, write_embeddings
from slpd.errors import UserError

VECTORS = np.ones((300, 16), np.float32)


def bags(path: Path) -> None:
    write_bags(path, {"s": VECTORS}, {"s": np.zeros((300, 2), np.int64)})


def embeddings(path: Path) -> None:
    write_embeddings(path, CohortEmbeddings(VECTORS, VECTORS, np.array([0, 300]), ["s"]))


def weights(path: Path) -> None:
    write_region_weights(path, [SlideWeights(0, "s", VECTORS[:, 0])])


@pytest.mark.parametrize(
    ("write", "read", "stage"),
    [
        (bags, read_bags, "embed_bags"),
        (bags, read_corners, "embed_bags"),
        (embeddings, read_embeddings, "distill_slpd"),
        (weights, read_region_weights, "evaluate"),
    ],
)
def test_a_damaged_file_is_named_with_the_stage_that_makes_it(
    tmp_path: Path, write: Callable[[Path], None], read: Callable[[Path], object], stage: str
) -> None:
    path = tmp_path / "file.h5"
    write(path)
    read(path)
    whole = path.read_bytes()
    for content in (whole[:1500], whole[:-200], b"words", b""):
        path.write_bytes(content)
        refuse(path, read, stage)
    with h5py.File(path, "w") as other:
        other.create_dataset("something", data=[1])
    refuse(path, read, stage)
    path.unlink()
    refuse(path, read, stage)


def refuse(path: Path, read: Callable[[Path], object], stage: str) -> None:
    with pytest.raises(UserError) as refusal:
        read(path)
    message = str(refusal.value)
    assert message.startswith(f"{path}: cannot be read (")
    assert stage in message.rpartition("delete it and start again: ")[2]
    assert "\n" not in message
