"""Make the patch encoder of the demo: config/demo_patch_encoder.safetensors.

Its convolutions have random weights. Its last layer is linear and fitted to patches of drawn slides, without labels: to
the directions that adjacent patches share most, each scaled so that what they share has equal variance, and all so that
tokens have variance 1. The slides are of another seed than the demo's and those of `benchmarks.demo`.

The SHA-256 that is printed belongs into config/demo.yaml.
"""

import argparse
import hashlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from scipy.linalg import eigh

from benchmarks.demo import FOLDER, cohort_of, draw_slides, experiment_of
from slpd.models.patch_encoder import PatchEncoder, build_model
from slpd.settings.slides import PatchEncoderSettings

SEED, N_PATIENTS = 0, 12  # patients of each class
FITTED = FOLDER / "demo_patch_encoder.safetensors"


def fitted_layer(tokens: NDArray[np.float64], width: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weight (width, D) and bias (width,) of the linear layer.

    Args:
        tokens: (R, side, side, D) tokens of the patches of regions.
        width: Directions to keep.
    """
    mean = tokens.mean(axis=(0, 1, 2))
    centred = tokens - mean
    pairs = [(centred[:, :, :-1], centred[:, :, 1:]), (centred[:, :-1], centred[:, 1:])]
    first, second = [np.concatenate([of[i].reshape(-1, len(mean)) for of in pairs]) for i in (0, 1)]
    shared = (first.T @ second + second.T @ first) / (2 * len(first))
    total = np.cov(centred.reshape(-1, len(mean)), rowvar=False)
    correlation, directions = eigh(shared, total + 1e-6 * np.trace(total) / len(mean) * np.eye(len(mean)))
    kept = np.argsort(-correlation)[:width]
    if correlation[kept[-1]] <= 0:
        raise SystemExit(f"adjacent patches share {np.count_nonzero(correlation > 0)} directions, {width} wanted")
    weight = (directions[:, kept] / np.sqrt(correlation[kept])).T
    largest = weight[np.arange(width), np.abs(weight).argmax(axis=1)]
    weight *= np.sign(largest)[:, None]  # a direction and its opposite are one
    return weight, -weight @ mean


def fitted_weights(settings: PatchEncoderSettings) -> dict[str, torch.Tensor]:
    """State dict of the demo's patch encoder, from the slides of `N_PATIENTS` of each class."""
    width = settings.arguments["num_classes"]
    bare = settings.model_copy(
        update={"arguments": settings.arguments | {"num_classes": 0}, "checkpoint": None, "sha256": None}
    )
    drawn = cohort_of(SEED, {"patients_per_class": N_PATIENTS, "second_slides_per_class": 0})
    slides, _ = draw_slides(drawn, experiment_of(SEED, {}).regions.region_px, PatchEncoder(bare, None, 1024))
    tokens = np.concatenate([slide.tokens for slide in slides]).astype(np.float64)  # (R, P, D)
    side = round(tokens.shape[1] ** 0.5)
    weight, bias = fitted_layer(tokens.reshape(-1, side, side, tokens.shape[2]), width)
    spread = (tokens @ weight.T + bias).std()  # tokens of variance 1
    layer = {"fc.weight": weight / spread, "fc.bias": bias / spread}
    return build_model(bare).state_dict() | {name: torch.from_numpy(value).float() for name, value in layer.items()}


def main() -> None:
    """Write the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=FITTED, help="file of the weights")
    out: Path = parser.parse_args().out
    torch.set_num_threads(1)
    weights = fitted_weights(experiment_of(SEED, {}).patch_encoder)
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, out)
    print(f"{out}, sha256: {hashlib.sha256(out.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
