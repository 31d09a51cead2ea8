"""Bags of patch tokens: every patch that there is, where it lies, and heads that read some bags at a time."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from small_cases import abmil, class_task, max_mil, preset, simlp, survival_cohort, survival_task

from slpd.artifacts.checksums import damaged_slides, stated_checksums
from slpd.artifacts.evaluation.folds import Fold, LabelledSlide
from slpd.artifacts.learned.bags import Bag, StoredBag, read_bags, write_patch_bags
from slpd.artifacts.patch_tokens.token_file import Quality, TokenSource, write_tokens
from slpd.artifacts.slides.manifest import ManifestRow, write_manifest
from slpd.artifacts.slides.slide_record import SlideRecord
from slpd.evaluation import head_network
from slpd.evaluation.cases import EvaluationData, evaluation_data
from slpd.evaluation.knn import predict_knn
from slpd.evaluation.logistic import predict_logistic
from slpd.evaluation.mean_vectors import mean_vectors
from slpd.evaluation.stored_features import StoredFeatures
from slpd.evaluation.train_heads import train_folds
from slpd.settings.heads import KnnHead, LogisticHead, TrainedHead
from slpd.stages import bag_patches

GRID, WIDTH, REGION_LV0 = 3, 5, 10
CORNERS = np.array([[100, 200], [110, 200], [0, 40]])


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As in a worker."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


def run_stage(
    folder: Path,
    present: NDArray[np.bool_] | None = None,
    min_sharpness: float = 0,
    region_lv0: int | None = REGION_LV0,
) -> NDArray[np.float16]:
    """Write tokens of two slides alike and make bags of them; the tokens (3, GRID * GRID, WIDTH)."""
    tokens = np.random.default_rng(0).normal(size=(3, GRID**2, WIDTH)).astype(np.float16)
    rows = []
    for slide in ("b", "a"):
        quality = Quality(np.array([0, 1, 2], np.float32))
        source = TokenSource(slide, f"f{slide}", region_lv0=region_lv0)
        write_tokens(folder / f"{slide}.h5", tokens, CORNERS, source, quality, present)
        record = SlideRecord(slide=slide, path=slide, n_regions=3, min_sharpness=min_sharpness)
        rows.append(ManifestRow(record, folder / f"{slide}.h5"))
    write_manifest(folder / "slides.csv", rows)
    parser = argparse.ArgumentParser()
    bag_patches.add_arguments(parser)
    bag_patches.run(parser.parse_args(["--manifest", str(folder / "slides.csv"), "--out", str(folder / "bags.h5")]))
    return tokens


def test_bags_hold_every_patch_as_it_is_in_its_place(tmp_path: Path) -> None:
    tokens = run_stage(tmp_path)
    bags = read_bags(tmp_path / "bags.h5")
    assert list(bags) == ["a", "b"]
    for bag in bags.values():
        assert bag.shape == (27, WIDTH)
        np.testing.assert_array_equal(np.asarray(bag), tokens.reshape(-1, WIDTH).astype(np.float32))
    with h5py.File(tmp_path / "bags.h5") as file:
        assert file["features"].dtype == np.float16
        corners = file["coords"][:27].tolist()
    # 10 px in three: patches begin at 0, 3 and 7; rows go down, columns across
    assert corners[:4] == [[100, 200], [103, 200], [107, 200], [100, 203]]
    assert corners[9 + 8] == [117, 207]
    assert stated_checksums(tmp_path / "bags.h5")
    assert damaged_slides(tmp_path / "bags.h5") == []


def test_absent_patches_and_blurred_regions_are_no_instances(tmp_path: Path) -> None:
    present = np.ones((3, GRID**2), bool)
    present[1, [0, 4]] = present[0] = False
    tokens = run_stage(tmp_path, present, min_sharpness=0.5)  # which the first region does not reach
    kept = [tokens[1, patch] for patch in range(9) if patch not in (0, 4)] + list(tokens[2])
    np.testing.assert_array_equal(np.asarray(read_bags(tmp_path / "bags.h5")["b"]), np.array(kept, np.float32))
    with h5py.File(tmp_path / "bags.h5") as file:
        assert file["coords"][:2].tolist() == [[113, 200], [117, 200]]


def test_places_that_nobody_knows_stay_unknown(tmp_path: Path) -> None:
    run_stage(tmp_path, region_lv0=None)
    with h5py.File(tmp_path / "bags.h5") as file:
        assert (file["coords"][:] == -1).all()


def written(folder: Path, bags: dict[str, NDArray[np.float32]]) -> dict[str, Bag]:
    """The same bags as patch tokens in a file."""
    names, width = sorted(bags), next(iter(bags.values())).shape[1]
    counts = {name: len(bags[name]) for name in names}
    rows = ((bags[name].astype(np.float16), np.zeros((len(bags[name]), 2), np.int64)) for name in names)
    write_patch_bags(folder / "patches.h5", counts, width, rows)
    return read_bags(folder / "patches.h5")


def slides_and_bags(n: int) -> tuple[list[LabelledSlide], dict[str, NDArray[np.float32]]]:
    """Slides of two classes, two of a patient, in bags of 1 to 9 instances that float16 can express."""
    rng = np.random.default_rng(3)
    slides = [LabelledSlide(f"s{i}", f"p{i // 2}", f"c{i // 2 % 2}") for i in range(n)]
    bags = {
        slide.slide: (rng.normal(size=(rng.integers(1, 10), WIDTH)) + 2 * (slide.label == "c1"))
        .astype(np.float16)
        .astype(np.float32)
        for slide in slides
    }
    return slides, bags


def both(folder: Path, level: str = "slide") -> list[EvaluationData]:
    """The same task, with bags in memory and in a file."""
    slides, bags = slides_and_bags(40)
    folds = [Fold(slides[:20], slides[20:28], slides[28:]), Fold(slides[12:], slides[8:12], slides[:8])]
    task = class_task().model_copy(update={"level": level})
    return [evaluation_data(some, folds, task) for some in (bags, written(folder, bags))]


@pytest.mark.torch
@pytest.mark.parametrize("level", ["slide", "patient"])
@pytest.mark.parametrize("head", [abmil(), max_mil(), simlp()], ids=lambda head: head.kind)
def test_heads_say_the_same_of_bags_in_memory_and_in_a_file(tmp_path: Path, head: TrainedHead, level: str) -> None:
    recipe = preset(epochs=3, patience=1)
    memory, stored = (
        [fold.output for fold in train_folds(head, recipe, data, [0, 1])] for data in both(tmp_path, level)
    )
    for one, other in zip(memory, stored, strict=True):
        assert (one.outputs == other.outputs).all()
        assert all((a == b).all() for a, b in zip(one.weights, other.weights, strict=True))


def test_heads_on_the_mean_take_that_of_all_patches_of_a_slide(tmp_path: Path) -> None:
    memory, stored = both(tmp_path)
    slides, bags = slides_and_bags(40)
    expected = [bags[slide.slide].astype(np.float64).mean(axis=0) for slide in slides[28:]]
    np.testing.assert_allclose(mean_vectors(stored.features, stored.folds[0].test), expected, rtol=1e-12)
    knn = KnnHead(kind="knn", name="knn", k=3)
    logistic = LogisticHead(kind="logistic", name="logistic", inverse_penalty=[0.1, 1], balanced=True)
    for one, other in zip(predict_knn(knn, memory), predict_knn(knn, stored), strict=True):
        assert (one.outputs == other.outputs).all()
    for one, other in zip(predict_logistic(logistic, memory), predict_logistic(logistic, stored), strict=True):
        assert (one.outputs == other.outputs).all()


@pytest.mark.torch
@pytest.mark.parametrize("most", [1, 12])
def test_no_more_is_read_at_a_time_than_passes_through_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """The bags of a part of a step, or one bag if that is larger, whatever the cohort."""
    monkeypatch.setattr(head_network, "MOST_REGIONS", most)
    _, stored = both(tmp_path)
    held: list[int] = []
    read = StoredFeatures.__getitem__

    def counted(self: StoredFeatures, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        held.append(len(rows))
        return read(self, rows)

    monkeypatch.setattr(StoredFeatures, "__getitem__", counted)
    train_folds(abmil(), preset(epochs=2, patience=2, batch_size=8), stored, [0, 1])
    largest = max(len(rows) for fold in stored.folds for rows in fold.train.rows)
    assert 0 < max(held) <= max(most, largest)


def test_survival_reads_patches_too(tmp_path: Path) -> None:
    slides, bags = survival_cohort(60, 0)
    data = evaluation_data(written(tmp_path, bags), [Fold(slides[:40], [], slides[40:])], survival_task())
    (found,) = predict_knn(KnnHead(kind="knn", name="knn", k=5), data)
    assert found.outputs.shape == (20, 3)


def test_a_stored_bag_is_an_array_to_numpy(tmp_path: Path) -> None:
    _, bags = slides_and_bags(4)
    stored = written(tmp_path, bags)
    assert all(isinstance(bag, StoredBag) for bag in stored.values())
    for slide, bag in bags.items():
        assert len(stored[slide]) == len(bag)
        np.testing.assert_array_equal(np.asarray(stored[slide], np.float64), bag.astype(np.float64))
        np.testing.assert_array_equal(stored[slide][np.array([len(bag) - 1, 0])], bag[[-1, 0]])
