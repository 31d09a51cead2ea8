"""Weights load from the files that HIPT, SLPD and DINO release; other files are refused and run no code."""

import argparse
import hashlib
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from slpd.artifacts.outside.encoder_weights import read_encoder_weights
from slpd.errors import UserError
from slpd.models.weights import load_exactly

pytestmark = pytest.mark.torch

TENSORS = {"norm.bias": torch.arange(3.0), "blocks.0.mlp.fc1.bias": torch.ones(2)}


def stored(path: Path, content: object, **options: bool) -> tuple[Path, str]:
    """A file written by torch.save, and its hash."""
    torch.save(content, path, **options)
    return path, sha256(path)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def released() -> dict[str, Any]:
    """A checkpoint as DINO's training loop leaves it: its schedules put numpy's numbers into the optimiser."""
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.zeros(1, 2)).sum().backward()
    optimizer.step()
    optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["weight_decay"] = np.linspace(0.1, 1, 2)
    teacher = {f"module.backbone.{name}": tensor for name, tensor in TENSORS.items()}
    return {
        "student": teacher,
        "teacher": teacher | {"module.head.mlp.0.weight": torch.zeros(1)},
        "optimizer": optimizer.state_dict(),
        "epoch": np.int64(3),
        "args": argparse.Namespace(lr=0.1, arch="vit_small"),
        "dino_loss": {"center": torch.zeros(1, 3)},
        "fp16_scaler": torch.amp.GradScaler("cpu").state_dict(),
    }


def with_names_of_numpy_1(path: Path) -> Path:
    """The file as numpy 1 would have named its numbers."""
    old = path.with_stem("numpy_1")
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as source, zipfile.ZipFile(old, "w", zipfile.ZIP_STORED) as target:
            for entry in source.infolist():
                target.writestr(entry, renamed(source.read(entry), entry.filename.endswith("data.pkl")))
    else:
        old.write_bytes(renamed(path.read_bytes()))
    return old


def renamed(content: bytes, pickled: bool = True) -> bytes:
    if not pickled:
        return content
    assert b"cnumpy._core.multiarray\nscalar\n" in content
    return content.replace(b"cnumpy._core.multiarray\nscalar\n", b"cnumpy.core.multiarray\nscalar\n")


def assert_same(read: dict[str, torch.Tensor]) -> None:
    assert read.keys() - {"head.mlp.0.weight"} == TENSORS.keys()
    assert all(torch.equal(read[name], TENSORS[name]) for name in TENSORS)


@pytest.mark.parametrize("zipped", [True, False])
def test_checkpoints_with_numbers_of_numpy_load(tmp_path: Path, zipped: bool) -> None:
    path, digest = stored(tmp_path / "checkpoint.pth", released(), _use_new_zipfile_serialization=zipped)
    assert_same(read_encoder_weights(path, digest, "w"))
    old = with_names_of_numpy_1(path)
    assert_same(read_encoder_weights(old, sha256(old), "w"))


def test_state_dicts_and_safetensors_hold_the_same(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "w.safetensors")
    assert_same(read_encoder_weights(*stored(tmp_path / "plain.pth", TENSORS), "w"))
    assert_same(read_encoder_weights(tmp_path / "w.safetensors", sha256(tmp_path / "w.safetensors"), "w"))
    assert_same(read_encoder_weights(tmp_path / "w.safetensors", None, "w"))


class Harmful:
    """Would create a file if it were unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        """How pickle rebuilds it."""
        return (Path.touch, (Path("harm"),))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("key", ["teacher", "optimizer", "args"])
def test_code_in_a_checkpoint_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, zipped: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    path, digest = stored(tmp_path / "w.pth", released() | {key: Harmful()}, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match="cannot be read as weights"):
        read_encoder_weights(path, digest, "w")
    assert not (tmp_path / "harm").exists()


def test_arrays_of_numpy_are_no_weights(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read as weights"):
        read_encoder_weights(*stored(tmp_path / "array.pth", {"a": np.zeros(3)}), "w")
    with pytest.raises(UserError, match="no state dict"):
        read_encoder_weights(*stored(tmp_path / "scalar.pth", {"a": np.float64(3)}), "w")


def test_files_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"some.key .*absent.pth: No such file"):
        read_encoder_weights(tmp_path / "absent.pth", "0" * 64, "some.key")
    path, digest = stored(tmp_path / "w.pth", {"a": torch.zeros(1)})
    with pytest.raises(UserError, match=f"some.key .*{digest}, expected {'0' * 64}"):
        read_encoder_weights(path, "0" * 64, "some.key")
    with pytest.raises(UserError, match="no state dict"):
        read_encoder_weights(*stored(tmp_path / "list.pth", [1, 2]), "w")
    for name in ("text.pth", "text.safetensors"):
        (tmp_path / name).write_text("no weights at all")
        with pytest.raises(UserError, match="cannot be read as weights"):
            read_encoder_weights(tmp_path / name, sha256(tmp_path / name), "w")
    shutil.copy(path, tmp_path / "torn.pth")
    with open(tmp_path / "torn.pth", "r+b") as file:
        file.truncate(100)
    with pytest.raises(UserError, match="cannot be read as weights"):
        read_encoder_weights(tmp_path / "torn.pth", None, "w")


def test_the_content_of_a_file_decides_not_its_suffix(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "safe.pth")
    assert_same(read_encoder_weights(tmp_path / "safe.pth", None, "w"))
    torch.save(TENSORS, tmp_path / "pickled.safetensors")
    assert_same(read_encoder_weights(tmp_path / "pickled.safetensors", None, "w"))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_is_cut_or_has_wrong_bytes_is_refused_in_words(tmp_path: Path, zipped: bool) -> None:
    path, _ = stored(tmp_path / "w.pth", released(), _use_new_zipfile_serialization=zipped)
    whole, generator = path.read_bytes(), np.random.default_rng(0)
    cuts = [whole[:length] for length in (0, 1, 8, 9, *generator.integers(10, len(whole) - 1, 40).tolist())]
    flipped = []
    for place in generator.integers(0, len(whole), 200).tolist():
        flipped.append(whole[:place] + bytes([whole[place] ^ int(generator.integers(1, 256))]) + whole[place + 1 :])
    for content in [*cuts, *flipped]:
        path.write_bytes(content)
        try:
            read_encoder_weights(path, None, "w")
        except UserError as error:
            assert "\n" not in str(error)
            assert re.search(r"cannot be read as weights \(\w.+\)|no state dict", str(error)), str(error)
        else:
            assert content not in cuts, "a cut file was read"


def test_one_tensor_under_two_names_is_refused(tmp_path: Path) -> None:
    both = {"norm.bias": torch.zeros(3), "module.backbone.norm.bias": torch.ones(3)}
    with pytest.raises(UserError, match=r"holds norm\.bias twice"):
        read_encoder_weights(*stored(tmp_path / "w.pth", both), "w")


def test_a_state_dict_has_names(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no state dict"):
        read_encoder_weights(*stored(tmp_path / "w.pth", {0: torch.zeros(1)}), "w")


@pytest.mark.parametrize(
    ("weight", "fault"),
    [
        (torch.full((3, 2), torch.nan), "weight has values that are not finite"),
        (torch.ones(3, 2, dtype=torch.int64), "weight holds torch.int64, expected torch.float32"),
        (torch.ones(3, 2, dtype=torch.complex64), "weight holds torch.complex64, expected torch.float32"),
        (torch.ones(3, 2).to_sparse(), "weight is sparse"),
        (torch.ones(3, 2, device="meta"), "weight is sparse, quantised or without values"),
    ],
)
def test_tensors_that_are_no_numbers_for_a_model_are_listed(weight: torch.Tensor, fault: str) -> None:
    with pytest.raises(UserError, match=fault):
        load_exactly(torch.nn.Linear(2, 3), {"weight": weight, "bias": torch.zeros(3)}, "w does not fit")


def test_weights_of_other_precision_are_taken() -> None:
    model = torch.nn.Linear(2, 3)
    load_exactly(model, {"weight": torch.ones(3, 2).half(), "bias": torch.zeros(3).double()}, "w does not fit")
    assert model.weight.dtype == torch.float32


def test_weights_fit_exactly_or_every_misfit_is_listed() -> None:
    model = torch.nn.Linear(2, 3)
    load_exactly(model, {"weight": torch.ones(3, 2), "bias": torch.arange(3.0)}, "it does not fit")
    assert model(torch.ones(1, 2)).tolist() == [[2, 3, 4]]
    with pytest.raises(UserError) as error:
        load_exactly(
            model, {"weight": torch.ones(2, 2), "extra": torch.ones(1), "more": torch.ones(1)}, "w does not fit"
        )
    assert str(error.value) == (
        "w does not fit: bias is missing; extra is surplus; more is surplus; weight has shape (2, 2), expected (3, 2)"
    )
    assert model(torch.ones(1, 2)).tolist() == [[2, 3, 4]], "a misfit changes nothing"
