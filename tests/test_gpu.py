"""What only a GPU can show: that every way of training and encoding runs there, and agrees with the CPU.

On a machine without one all of this is skipped; `tests/test_null_cuda.py` and `tests/test_null_cuda_stages.py` see
there that the same paths run.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import toy
from conftest import write_test_slide
from small_training import (
    ENCODER,
    JOBS,
    N_REGIONS,
    OBJECTIVE,
    TOKEN_WIDTH,
    TRAINING,
    pretrain_arguments,
    stage,
    stop_at_every_step,
    train_variant,
    write_cohort,
)
from test_attend_patches import write_teacher
from test_fused_blocks import small_form
from test_learner import batch_at, batches_on, make_batches, make_learner, well_scaled
from test_token_store import BATCHES, all_tokens
from timm.layers import LayerScale

from slpd.artifacts.learned.bags import read_bags
from slpd.artifacts.learned.embeddings import read_embeddings
from slpd.artifacts.learned.patch_attention import open_patch_attention
from slpd.artifacts.learned.training_metrics import read_metrics
from slpd.artifacts.patch_tokens.cohort_tokens import open_cohort_tokens
from slpd.artifacts.patch_tokens.token_file import read_source, read_tokens
from slpd.geometry.read_plan import plan_read
from slpd.method.schedules import StepRates
from slpd.models.fused_blocks import FusedBlocks, add_norm
from slpd.models.patch_encoder import PatchEncoder, build_model, split_patches
from slpd.models.pooling import pooled
from slpd.models.region_encoder import Attention
from slpd.models.short_attention import attend
from slpd.settings.jobs import TokenPlace
from slpd.settings.slides import PatchEncoderSettings
from slpd.synthetic.slide_file import write_slide
from slpd.training.attention import BACKENDS, choose_attention
from slpd.training.batches import Batches
from slpd.training.learner import Learner
from slpd.training.precision import Precision
from slpd.training.token_store import open_token_store
from slpd.wsi import Slide
from slpd.wsi.nvjpeg_reader import NvjpegReader
from slpd.wsi.tolerance import MOST_LEVELS

pytestmark = [
    pytest.mark.torch,
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"),
]

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")
RATES = StepRates(0.01, 0.1, 0.9)
NARROW = ENCODER.model_copy(update={"width": 64})  # heads of 32


def learner_on(device: torch.device, dtype: torch.dtype, at_once: int = TRAINING.batch_size) -> Learner:
    """In float16 with the scale that the first steps, whose gradients overflow, would come to."""
    precision = Precision(device, dtype)
    precision.load_state_dict(precision.state_dict() | {"scale": 64.0} if precision.scaled else {})
    return well_scaled(make_learner(regions_at_once=at_once, precision=precision))


def gradient_of(learner: Learner, batches: Batches) -> torch.Tensor:
    """All gradients of the first batch."""
    learner.gradients.begin()
    learner.find_gradients(batch_at(batches, 0, 0))
    learner.precision.scaler.unscale_(learner.optimiser)
    return learner.gradients.rows.flatten().cpu()


def distance(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.fixture(scope="module")
def expected() -> torch.Tensor:
    """Gradients on the CPU in float32."""
    return gradient_of(learner_on(CPU, torch.float32), make_batches())


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.float16, 0.02), (torch.bfloat16, 0.1)], ids=str
)
@pytest.mark.parametrize("at_once", [TRAINING.batch_size, 3])
def test_gradients_are_near_those_of_the_cpu(
    expected: torch.Tensor, dtype: torch.dtype, tolerance: float, at_once: int
) -> None:
    """In every precision, with the whole batch at once and in three parts."""
    assert distance(gradient_of(learner_on(CUDA, dtype, at_once), batches_on(CUDA)), expected) < tolerance


def test_compiled_networks_and_loss_give_the_same_gradients(
    expected: torch.Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    learner = learner_on(CUDA, torch.bfloat16)
    with caplog.at_level(logging.INFO):
        learner.compile()
    assert caplog.text.count("is compiled") == 3, caplog.text  # student, teacher, loss
    assert distance(gradient_of(learner, batches_on(CUDA)), expected) < 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_recorded_steps_are_those_that_are_not(dtype: torch.dtype, caplog: pytest.LogCaptureFixture) -> None:
    """From the fourth on a step is replayed, with its own views and targets."""
    weights = []
    for records in (False, True):
        learner, batches = learner_on(CUDA, dtype), batches_on(CUDA)
        learner.shares.records = learner.teacher_vectors.records = records
        with caplog.at_level(logging.INFO):
            values = [learner.step(batch_at(batches, epoch, 0), RATES, False) for epoch in range(8)]
        weights.append([p.detach().cpu().clone() for p in learner.student.parameters()])
        losses = torch.stack(values).cpu()[:, 0]
        assert losses.unique().numel() == len(losses)
    assert caplog.text.count("is recorded as a CUDA graph") == 2, caplog.text  # teacher, student
    start = [p.detach() for p in make_learner().student.parameters()]
    moved = sum((a - b).square().sum() for a, b in zip(weights[0], start, strict=True))
    apart = sum((a - b).square().sum() for a, b in zip(*weights, strict=True))
    assert apart < 1e-3 * moved


@pytest.mark.parametrize("records", [False, True])
def test_the_last_layers_gradient_can_be_read_while_others_are_computed(
    records: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several processes begin to sum it then. A stream that waits for it alone reads what it has at the end."""
    monkeypatch.setattr("slpd.training.gradients.n_processes", lambda: 2)
    learner, batches = learner_on(CUDA, torch.float32), batches_on(CUDA)
    learner.shares.records = learner.teacher_vectors.records = records
    gradients = learner.gradients
    assert gradients.beside is not None
    for epoch in range(6):  # the fourth is recorded
        gradients.begin()
        learner.find_gradients(batch_at(batches, epoch, 0))
        with torch.cuda.stream(gradients.beside):
            gradients.beside.wait_event(gradients.ready)
            early = gradients.last_layer.clone()
        torch.cuda.current_stream().wait_stream(gradients.beside)
        assert torch.equal(early, gradients.last_layer)
        assert early.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_a_step_never_makes_the_host_wait(dtype: torch.dtype) -> None:
    learner, batches = learner_on(CUDA, dtype), batches_on(CUDA)
    for epoch in range(5):  # allocations, what is made once, and recordings
        learner.step(batch_at(batches, epoch, 0), RATES, False)
    batch = batch_at(batches, 0, 1)
    torch.cuda.set_sync_debug_mode("error")
    try:
        values = learner.step(batch, RATES, False)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert values.isfinite().all()


@pytest.mark.parametrize("place", ["device", "host", "disk"])
def test_tokens_come_to_the_device_in_order(tmp_path: Path, place: TokenPlace) -> None:
    """From page-locked memory on a stream of their own, while the device is busy with the batch before."""
    cohort = open_cohort_tokens(write_cohort(tmp_path))
    store = open_token_store(cohort, np.arange(sum(N_REGIONS.values())), CUDA, place, reserve=0)
    busy, seen = torch.randn(2048, 2048, device=CUDA), []
    for tokens, places in store.fetch(BATCHES):
        assert tokens.device == CUDA
        for _ in range(20):
            busy = busy @ busy / 2048
        seen.append(tokens[torch.from_numpy(places).to(CUDA)].clone())
        del tokens  # its memory may be taken for the next batch
    for batch, regions in zip(seen, BATCHES, strict=True):
        assert np.array_equal(batch.cpu().numpy(), all_tokens(tmp_path)[regions])


def test_training_resumes_on_a_device(tmp_path: Path) -> None:
    """Stopped in every step and started again: near an undisturbed run. Equal bytes are for CPUs."""
    manifest = write_cohort(tmp_path)
    stage("pretrain_dino", *pretrain_arguments(manifest, tmp_path / "whole"))
    arguments, n_stops = pretrain_arguments(manifest, tmp_path / "torn"), 0
    while not (tmp_path / "torn.pt").exists() and n_stops < 20:
        with pytest.MonkeyPatch.context() as patched:
            stop_at_every_step(patched)
            try:
                stage("pretrain_dino", *arguments)
            except SystemExit:
                n_stops += 1
    assert n_stops > 1
    whole, torn = (read_embeddings(tmp_path / f"{name}.h5").bottleneck[:] for name in ("whole", "torn"))
    assert np.abs(whole - torn).max() < 0.1
    losses = [[epoch.loss for epoch in read_metrics(tmp_path / f"{name}.csv")] for name in ("whole", "torn")]
    np.testing.assert_allclose(*losses, rtol=0.02)


def test_every_training_stage_runs_on_a_device(tmp_path: Path) -> None:
    """From tokens to an encoder of each variant, with regions in parts and tokens on disk."""
    manifest = write_cohort(tmp_path)
    jobs = JOBS.model_copy(update={"regions_at_once": 3, "tokens": "disk"})
    stage("pretrain_dino", *pretrain_arguments(manifest, tmp_path / "warm", jobs=jobs))
    train_variant(manifest, tmp_path / "slpd", tmp_path / "warm", jobs=jobs)
    embeddings = read_embeddings(tmp_path / "slpd.h5")
    assert embeddings.bottleneck.shape == (sum(N_REGIONS.values()), ENCODER.bottleneck)
    assert np.isfinite(embeddings.bottleneck).all()


def test_region_vectors_and_attention_come_from_a_device(tmp_path: Path) -> None:
    """By the stages `embed_bags` and `attend_patches`, of an encoder as drawn."""
    manifest, teacher = write_cohort(tmp_path), write_teacher(tmp_path / "drawn.safetensors")
    given = ("--manifest", str(manifest), "--teacher", str(teacher))
    stage("embed_bags", *given, "--out", str(tmp_path / "bags.h5"))
    stage("attend_patches", *given, "--out", str(tmp_path / "attention.h5"))
    bags = read_bags(tmp_path / "bags.h5")
    assert {slide: bag.shape for slide, bag in bags.items()} == {s: (n, ENCODER.width) for s, n in N_REGIONS.items()}
    assert all(np.isfinite(bag).all() for bag in bags.values())
    with open_patch_attention(tmp_path / "attention.h5") as found:
        to_all = np.asarray(found.attention[:], np.float32).sum(axis=2)  # (R, heads); the rest is to the CLS token
    assert ((to_all > 0.5) & (to_all < 1)).all()


@pytest.fixture(scope="module")
def toy_records(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The toy, run to the end on this machine: every stage, those that can on its GPU."""
    folder = tmp_path_factory.mktemp("gpu") / "toy"
    folder.mkdir()
    toy.make_toy(folder, write_test_slide)
    run = toy.snakemake(folder, "--workflow-profile", str(toy.ROOT / "workflow/profiles/default"))
    assert run.returncode == 0, run.stdout + run.stderr
    yield folder


@pytest.mark.workflow
def test_every_stage_of_the_toy_runs_beside_a_gpu(toy_records: Path) -> None:
    assert (toy_records / "results/toy/tables/toy.md").exists()
    for path in (toy_records / "results/toy/cohorts/toy/tokens").glob("*.h5"):
        assert read_source(path).reader in ("nvjpeg", "cucim_gpu", "cucim")
        assert np.isfinite(read_tokens(path)).all()


@pytest.mark.parametrize("mpp", [0.5, 1.0])
def test_regions_decoded_on_the_device_are_near_openslides(tmp_path: Path, mpp: float) -> None:
    """As many as the reader holds at a time and more, while the device is busy."""
    write_slide(tmp_path / "s.tiff", np.tile(toy.tissue_picture(0), (2, 2, 1)), 0.5, 80)
    with Slide("s", tmp_path / "s.tiff", 0.5, "openslide") as slide:
        plan = plan_read(slide.mpp, slide.downsamples, mpp, 512)
        reader = NvjpegReader(slide, plan, CUDA)
        reader.probe()
        corners = [(100 * n, 37 * n) for n in range(10)]
        busy, regions = torch.randn(2048, 2048, device=CUDA), []
        for region in reader.read_regions(corners, plan):
            assert isinstance(region, torch.Tensor)  # not read by another reader
            for _ in range(20):
                busy = busy @ busy / 2048
            regions.append(region.clone())
            del region
        for corner, region in zip(corners, regions, strict=True):
            off = np.abs(region.cpu().numpy().astype(int) - slide.read_region(*corner, plan))
            assert off.max() <= MOST_LEVELS + 1  # and rounding


@pytest.mark.parametrize("n_tokens", [37, 197])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_short_attention_is_that_of_torch_in_float32(n_tokens: int, dtype: torch.dtype) -> None:
    for n_out in (1, n_tokens):
        made = random_attention(n_out, n_tokens, dtype)
        gradient = torch.randn((8, n_out, 96), device=CUDA)
        out, expected = attend(*made, 3), plain_attention(*(t.float() for t in made))
        assert distance(out.float(), expected) < 0.01
        leaves = [t for t in made if t.requires_grad]
        found = torch.autograd.grad(out, leaves, gradient.to(dtype))
        for a, b in zip(found, torch.autograd.grad(expected, leaves, gradient), strict=True):
            assert distance(a.float(), b.float()) < 0.02


def random_attention(n_out: int, n_tokens: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Queries, keys and values of 8 views, 3 heads of 32: packed if all tokens are asked for."""
    shapes = [(8, n_tokens, 288)] if n_out == n_tokens else [(8, n_out, 96), (8, n_tokens, 192)]
    made = [torch.randn(shape, device=CUDA).to(dtype).requires_grad_() for shape in shapes]
    return made[0], made[-1]


def plain_attention(tokens_q: torch.Tensor, tokens_kv: torch.Tensor) -> torch.Tensor:
    if tokens_q.shape == tokens_kv.shape:
        q, k, v = tokens_q.view(8, -1, 3, 3, 32).permute(2, 0, 3, 1, 4)
    else:
        q = tokens_q.view(8, -1, 3, 32).transpose(1, 2)
        k, v = tokens_kv.view(8, -1, 2, 3, 32).permute(2, 0, 3, 1, 4)
    p = (q @ k.transpose(2, 3) / 32**0.5).softmax(dim=-1)
    return (p @ v).transpose(1, 2).flatten(2)


def test_attention_is_chosen_by_measurement_and_by_name() -> None:
    precision, backends = Precision.of(CUDA), torch.backends.cuda
    enabled = (backends.flash_sdp_enabled, backends.cudnn_sdp_enabled)
    before = [state() for state in enabled]
    try:
        assert choose_attention("auto", [(8, 5), (8, 3)], ENCODER, precision) in BACKENDS  # heads of 6: not ours
        assert choose_attention("short", [(8, 5), (8, 3)], NARROW, precision) == "short"
        assert Attention.kernels is attend
        assert choose_attention("flash", [(8, 5)], ENCODER, precision) == "flash"
        assert Attention.kernels is None
        assert [state() for state in enabled] == [True, False]
    finally:
        backends.enable_flash_sdp(before[0])
        backends.enable_cudnn_sdp(before[1])
        backends.enable_mem_efficient_sdp(True)


def test_short_attention_trains_compiled_and_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a network, in two parts, the second smaller; first with a frozen last layer."""
    weights = []
    for kernels, faster in ((None, False), (attend, True)):
        monkeypatch.setattr(Attention, "kernels", kernels)
        learner, batches = narrow_learner(Precision(CUDA, torch.bfloat16)), batches_on(CUDA)
        learner.shares.records = learner.teacher_vectors.records = faster
        if faster:
            learner.compile()
        for epoch in range(10):
            learner.step(batch_at(batches, epoch, 0), RATES, freeze_last_layer=epoch < 6)
        weights.append([p.detach().cpu().clone() for p in learner.student.parameters()])
    start = narrow_learner(Precision(CPU, torch.float32)).student.parameters()
    moved = sum((a - b.detach()).square().sum() for a, b in zip(weights[0], start, strict=True))
    apart = sum((a - b).square().sum() for a, b in zip(*weights, strict=True))
    assert apart < 0.05 * moved


def narrow_learner(precision: Precision) -> Learner:
    """With heads that our kernels of attention take; five of eight regions at once."""
    return well_scaled(Learner(NARROW, TRAINING, OBJECTIVE, TOKEN_WIDTH, precision, 5))


@pytest.mark.parametrize("width", [384, 1000, 1536, 2560])
def test_sums_and_norms_in_one_kernel_are_those_of_torch(width: int) -> None:
    """With and without a scale, in a number of rows that is no multiple of what a program takes."""
    norm = torch.nn.LayerNorm(width, eps=1e-6, device=CUDA)
    for scale in (torch.nn.Identity(), LayerScale(width, 0.3, device=CUDA)):
        x, branch = torch.randn(5, 257, width, device=CUDA), torch.randn(5, 257, width, device=CUDA).half()
        with torch.inference_mode():
            total, normed = add_norm(x, branch, scale, norm)
            assert torch.equal(total, x + scale(branch))
            assert distance(normed.float(), norm(total)) < 3e-4  # rounding to float16 is 2e-4


@pytest.mark.parametrize("name", ["hipt_vit256", "uni2_h", "h_optimus_0", "virchow2"])
def test_tokens_of_blocks_with_fused_norms_are_near_those_of_the_cpu(name: str) -> None:
    """Without and with small scales, with gated layers; sums in float16 would be off by 1e-2 where scales are small."""
    settings = PatchEncoderSettings(**small_form(name))
    encoder = PatchEncoder(settings, None, 5)
    assert isinstance(encoder.model.blocks, FusedBlocks)
    pixels = np.random.default_rng(0).integers(0, 256, (3 * 112, 3 * 112, 3), dtype=np.uint8)
    scaled = (split_patches(torch.from_numpy(pixels), 112).float() - encoder.mean.cpu()) / encoder.std.cpu()
    with torch.inference_mode():
        expected = pooled(build_model(settings), scaled, settings.pooling)
    fused = torch.from_numpy(encoder.encode(pixels, 0.5).tokens).float()
    encoder.model.blocks = torch.nn.Sequential(*encoder.model.blocks)
    timms = torch.from_numpy(encoder.encode(pixels, 0.5).tokens).float()
    assert distance(fused, expected) < 3e-3
    assert distance(fused, expected) < 1.5 * distance(timms, expected)
