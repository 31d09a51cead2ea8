"""The method computes the same numbers as the released SLPD code: see golden/README.md for what they are."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from small_training import FLOAT32
from torch import Tensor
from whole_loss import whole_loss

from slpd.artifacts.learned.training_metrics import STEP_METRICS
from slpd.method.losses import DistillationLoss, Targets
from slpd.method.prototypes import unit
from slpd.method.schedules import make_schedules
from slpd.method.slide_graph import best_matching, link_slides
from slpd.method.views import Crops, cut_views
from slpd.models.network import Network, build_region_encoder
from slpd.models.projection_head import ProjectionHead
from slpd.settings.load import load_experiment
from slpd.settings.training import INTER, INTRA, SELF, TERMS, SlideGraph
from slpd.training.batches import Batches, PrototypeTargets
from slpd.training.learner import Learner
from slpd.training.token_store import ResidentTokens

pytestmark = pytest.mark.torch

GOLDEN = Path(__file__).parent / "golden"
sys.path.insert(0, str(GOLDEN))
from fill import noise, parameter  # noqa: E402

ENCODERS = np.load(GOLDEN / "encoders.npz")
PARAMETERS = json.loads((GOLDEN / "parameters.json").read_text())
RELEASED = json.loads((GOLDEN / "released.json").read_text())

# The settings are the shipped config's under the released preset, but for what the golden values state of themselves.
CONFIG = yaml.safe_load((Path(__file__).parents[1] / "config/config.yaml").read_text())
EXPERIMENT = load_experiment(CONFIG | {"preset": "released"})
ENCODER = EXPERIMENT.region_encoder.model_copy(update={"drop_path": 0.0, "outputs": 512})
TRAINING = EXPERIMENT.training.model_copy(
    update={
        "epochs": 3,
        "dino_epochs": 1,
        "batch_size": 6,
        "learning_rate": 5e-4 * 256 / 6,  # the golden base rate is not scaled by batch
        "learning_rate_warmup_epochs": 1,
    }
)
OBJECTIVE = EXPERIMENT.objective


def golden_state(kind: str, prefix: str = "") -> dict[str, Tensor]:
    """The golden weights of `vit4k` or `head`; the last layer's gains are the constant 1 and no parameter here."""
    released = {prefix + name: parameter(prefix + name, shape) for name, shape in PARAMETERS[kind].items()}
    assert all((values == 1).all() for name, values in released.items() if name.endswith("weight_g"))
    return {name: torch.from_numpy(values) for name, values in released.items() if not name.endswith("weight_g")}


def record(entry: str, deviation: float, tolerance: float) -> None:
    """Hold a deviation to its tolerance; `pytest -rP` shows how far off it is."""
    print(f"golden {entry}: {deviation:.1e} (tolerance {tolerance:.0e})")
    assert deviation <= tolerance


def largest(ours: object, golden: object) -> float:
    return float(np.abs(np.asarray(ours) - np.asarray(golden)).max())


@pytest.mark.parametrize(
    ("key", "name", "shape"),
    [
        ("vit4k_on_14", "input/region14", (3, 384, 14, 14)),
        ("vit4k_on_16", "input/region16", (3, 384, 16, 16)),
        ("vit4k_on_6", "input/region6", (3, 384, 6, 6)),
        ("vit4k_on_12x15", "input/region12x15", (2, 384, 12, 15)),
    ],
)
def test_region_encoder(key: str, name: str, shape: tuple[int, ...]) -> None:
    encoder = build_region_encoder(ENCODER, token_width=384)
    encoder.load_state_dict(golden_state("vit4k"))
    tokens = torch.from_numpy(noise(name, shape, 1.0)).permute(0, 2, 3, 1)
    with torch.no_grad():
        record(key, largest(encoder(tokens), ENCODERS[key]), 1e-5)


def test_projection_head() -> None:
    head = ProjectionHead(192, 2048, 256, 512)
    head.load_state_dict(golden_state("head"))
    vectors = torch.from_numpy(noise("input/head", (5, 192), 1.0))
    with torch.no_grad():
        record("head_bottleneck", largest(head.bottleneck(vectors), ENCODERS["head_bottleneck"]), 1e-5)
        record("head_logits", largest(head(vectors), ENCODERS["head_logits"]), 1e-5)


def test_losses_and_centres() -> None:
    loss = DistillationLoss(512, TRAINING, OBJECTIVE)
    student = torch.from_numpy(noise("loss/student", (40, 512), 1.0)).view(10, 4, 512)

    def targets(name: str, n_targets: int) -> Targets:
        logits = torch.from_numpy(noise(f"loss/{name}", (4 * n_targets, 512), 0.5)).view(n_targets, 4, 512)
        return Targets(logits, torch.ones((n_targets, 4), dtype=torch.bool), torch.full((n_targets,), 4.0))

    golden = RELEASED["losses"]
    for values in golden["values"]:
        given = {SELF: targets("teacher", 2), INTRA: targets("intra", 1), INTER: targets("inter", 1)}
        found, *_ = whole_loss(loss, student, given)  # through last layers that change nothing
        record("losses.values", largest([found[term.name] for term in TERMS], values), 1e-4)
    record("losses.self_center", largest(loss.self_centre.value[:8], golden["self_center"]), 1e-4)
    record("losses.prototype_center", largest(loss.prototype_centre.value[:8], golden["prototype_center"]), 1e-4)


def test_slide_graph() -> None:
    drawn = noise("graph/prototypes", (9, 4, 256), 1) + np.float32(0.6) * noise("graph/offset", (9, 1, 256), 1)
    prototypes, golden = unit(drawn), RELEASED["graph"]
    similarity = [[best_matching((a @ b.T).astype(np.float64))[0] for b in prototypes] for a in prototypes]
    record("graph.similarity", largest(np.array(similarity), golden["similarity"]), 1e-5)
    for correspondence in ("matching", "nearest"):
        settings = SlideGraph(n_neighbours=2, correspondence=correspondence)
        neighbours, nearest, links = link_slides(prototypes, np.ones(9, bool), settings)
        assert neighbours.tolist() == golden["neighbours"]
        expected = np.take_along_axis(np.array(golden["similarity"]), neighbours, axis=1)
        record("graph.similarity of neighbours", largest(nearest, expected), 1e-5)
        assert links.tolist() == golden[correspondence]


def crop(size: int, k: int) -> Crops:
    """The golden crop number `k`, the same for the six regions of a batch."""
    shape = (1, 6)
    top, left = (5 * k + 1) % (17 - size), (3 * k + 2) % (17 - size)
    return Crops(np.full(shape, top), np.full(shape, left), np.full(shape, k % 2 == 1), size)


def stack(crops: list[Crops]) -> Crops:
    top, left, mirrored = (np.concatenate([c[i] for c in crops]) for i in range(3))
    return Crops(top, left, mirrored, crops[0].size)


def test_trajectory() -> None:
    golden = RELEASED["trajectory"]
    grids = noise("train/regions", (18, 384, 16, 16), 1) + noise("train/offsets", (18, 384, 1, 1), 1)
    tokens = torch.from_numpy(grids).permute(0, 2, 3, 1).contiguous()
    intra, inter = (unit(noise(f"train/{name}", (18, 256), 1)) for name in ("intra", "inter"))
    region = np.arange(18)
    left_out = region % 5 == 4
    rows = np.where(left_out, -1, region)[None]
    prototypes = PrototypeTargets(
        {INTRA: torch.from_numpy(intra), INTER: torch.from_numpy(inter)},
        {INTRA: rows, INTER: rows},
        EXPERIMENT.prototypes.features,
    )
    learner = Learner(ENCODER, TRAINING, OBJECTIVE, 384, FLOAT32, regions_at_once=4)  # of 6: in two parts
    start = golden_state("vit4k", "backbone.") | golden_state("head", "head.")
    learner.student.load_state_dict(start)
    learner.teacher.load_state_dict(start)
    schedules = make_schedules(TRAINING, steps_per_epoch=3)
    generator = np.random.default_rng(0)
    for step in golden["steps"]:
        it = step["iteration"]
        batches = Batches(ResidentTokens(tokens, region), 18, ENCODER, TRAINING, grid=16)
        batches.prototypes = prototypes if it >= 3 else None
        regions = np.arange(6) + 6 * (it % 3)
        batch = batches.cut(
            tokens,
            regions,
            regions,
            stack([crop(14, it), crop(14, it + 7)]),
            stack([crop(6, it + 11 * j + 1) for j in range(8)]),
            generator,
        )
        rates = schedules.at(it)
        record("trajectory.rates", largest(rates, [step["lr"], step["weight_decay"], step["momentum"]]), 1e-12)
        values = learner.step(batch, rates, freeze_last_layer=it < 3)
        found = dict(zip(STEP_METRICS, values, strict=True))
        losses = [found[term.name] for term in TERMS]
        record("trajectory.losses", largest(losses, [step["self"], step["intra"], step["inter"]]), 1e-4)
    check_norms("teacher_norms", learner.teacher, golden["teacher_norms"], 1e-6)
    check_norms("student_norms", learner.student, golden["student_norms"], 2e-5)
    view = cut_views(tokens, np.arange(6), crop(14, 0))[0]
    with torch.no_grad():
        vector = learner.teacher.embed(view)[0, ENCODER.width :]
    record("trajectory.teacher_bottleneck", largest(vector, golden["teacher_bottleneck_region0"]), 1e-5)


def check_norms(entry: str, network: Network, golden: dict[str, float], tolerance: float) -> None:
    """Every tensor's norm, relative; the released gains are the constant 1 and no parameter here."""
    state = network.state_dict()
    assert golden.keys() - state.keys() == {"head.last_layer.weight_g"}
    assert golden["head.last_layer.weight_g"] == pytest.approx(512**0.5)
    relative = [abs(float(state[name].double().norm()) / golden[name] - 1) for name in state]
    record(f"trajectory.{entry}", max(relative), tolerance)
