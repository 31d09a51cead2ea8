"""Every file of config/encoders is the encoder on its card: its size, its tokens' width, its published tensors."""

import hashlib
import json
import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import toy
import yaml
from safetensors.torch import save_file
from snakemake.utils import update_config
from torch import Tensor
from torch.nn import functional as F

from slpd.__main__ import run as run_stage
from slpd.errors import UserError
from slpd.models.patch_encoder import PatchEncoder, build_model, load_weights, refuse_other_weights, token_width
from slpd.settings.load import load_experiment
from slpd.settings.slides import PatchEncoderSettings as Settings

pytestmark = pytest.mark.torch

FOLDER = Path(__file__).parents[1] / "config/encoders"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))

# Millions of parameters and width of a token, as cards and papers give them.
PUBLISHED = {
    "hipt_vit256": (21.7, 384),
    "uni": (303.4, 1024),
    "uni2_h": (681.4, 1536),
    "virchow2": (631.2, 2560),
    "h_optimus_0": (1134.8, 1536),
    "h_optimus_1": (1134.8, 1536),
    "prov_gigapath": (1134.95, 1536),
    "phikon_v2": (303.4, 1024),
    "kaiko": (304.4, 1024),
    "conch": (87.6, 512),  # of 395.2 with the text tower and the captioner's pool
}

Shapes = dict[str, tuple[int, ...]]


def vit(
    width: int,
    depth: int,
    patch: int,
    positions: int,
    hidden: int,
    gated: bool = False,
    scaled: bool = True,
    n_reg: int = 0,
) -> Shapes:
    """The tensors of a ViT under timm's names: written from the papers' tables, without timm."""
    shapes: Shapes = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, positions, width),
        "patch_embed.proj.weight": (width, 3, patch, patch),
        "patch_embed.proj.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
    } | ({"reg_token": (1, n_reg, width)} if n_reg else {})
    for number in range(depth):
        block: Shapes = {
            "attn.qkv.weight": (3 * width, width),
            "attn.qkv.bias": (3 * width,),
            "attn.proj.weight": (width, width),
            "attn.proj.bias": (width,),
            "mlp.fc1.weight": (hidden, width),
            "mlp.fc1.bias": (hidden,),
            "mlp.fc2.weight": (width, hidden // (1 + gated)),
            "mlp.fc2.bias": (width,),
        }
        block |= {f"norm{k}.{part}": (width,) for k in (1, 2) for part in ("weight", "bias")}
        block |= {f"ls{k}.gamma": (width,) for k in (1, 2)} if scaled else {}
        shapes |= {f"blocks.{number}.{name}": shape for name, shape in block.items()}
    return shapes


def dinov2_of_transformers(width: int, depth: int, patch: int, positions: int) -> Shapes:
    """The tensors of a Dinov2Model of the package transformers."""
    shapes: Shapes = {
        "embeddings.cls_token": (1, 1, width),
        "embeddings.mask_token": (1, width),
        "embeddings.position_embeddings": (1, positions, width),
        "embeddings.patch_embeddings.projection.weight": (width, 3, patch, patch),
        "embeddings.patch_embeddings.projection.bias": (width,),
        "layernorm.weight": (width,),
        "layernorm.bias": (width,),
    }
    linear = {f"attention.attention.{part}": (width, width) for part in ("query", "key", "value")}
    linear |= {"attention.output.dense": (width, width), "mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width)}
    for number in range(depth):
        block: Shapes = {f"{name}.weight": shape for name, shape in linear.items()}
        block |= {f"{name}.bias": shape[:1] for name, shape in linear.items()}
        block |= {f"norm{k}.{part}": (width,) for k in (1, 2) for part in ("weight", "bias")}
        block |= {f"layer_scale{k}.lambda1": (width,) for k in (1, 2)}
        shapes |= {f"encoder.layer.{number}.{name}": shape for name, shape in block.items()}
    return shapes


def conch(depth: int) -> Shapes:
    """The tensors of CONCH's file: its ViT, two poolers, and something of its text tower."""
    shapes = {f"visual.trunk.{name}": shape for name, shape in vit(768, depth, 16, 785, 3072, scaled=False).items()}
    for pool, width, queries in (("contrast", 512, 1), ("caption", 768, 256)):
        attention = {f"{part}_proj_weight": (width, 768) for part in ("k", "v")} | {"q_proj_weight": (width, width)}
        if width == 768:
            attention = {"in_proj_weight": (3 * width, width)}
        attention |= {"in_proj_bias": (3 * width,), "out_proj.weight": (width, width), "out_proj.bias": (width,)}
        pooler: Shapes = {"query": (queries, width)} | {f"attn.{name}": shape for name, shape in attention.items()}
        pooler |= {f"ln_q.{part}": (width,) for part in ("weight", "bias")}
        pooler |= {f"ln_k.{part}": (768,) for part in ("weight", "bias")}
        shapes |= {f"visual.attn_pool_{pool}.{name}": shape for name, shape in pooler.items()}
        shapes |= {f"visual.ln_{pool}.{part}": (width,) for part in ("weight", "bias")}
    return shapes | {"visual.proj_contrast": (512, 512), "text.cls_emb": (768,), "logit_scale": ()}


def published(name: str, depth: int | None = None) -> Shapes:
    """Names and shapes of an encoder's published tensors; `depth` blocks alone."""
    giant: dict[str, Any] = {"width": 1536, "patch": 14, "hidden": 8192, "gated": True}
    made: dict[str, Callable[[], Shapes]] = {
        "hipt_vit256": lambda: vit(384, depth or 12, 16, 197, 1536, scaled=False),
        "uni": lambda: vit(1024, depth or 24, 16, 197, 4096),
        "uni2_h": lambda: vit(**giant, depth=depth or 24, positions=256, n_reg=8),
        "virchow2": lambda: vit(1280, depth or 32, 14, 261, 6832, gated=True, n_reg=4),
        "h_optimus_0": lambda: vit(**giant, depth=depth or 40, positions=256, n_reg=4),
        "h_optimus_1": lambda: vit(**giant, depth=depth or 40, positions=256, n_reg=4),
        "prov_gigapath": lambda: vit(**giant | {"patch": 16}, depth=depth or 40, positions=197),
        "phikon_v2": lambda: dinov2_of_transformers(1024, depth or 24, 16, 197),
        "kaiko": lambda: vit(1024, depth or 24, 14, 1369, 4096, n_reg=4),
        "conch": lambda: conch(depth or 12),
    }
    return made[name]()


def drawn(shapes: Shapes) -> dict[str, Tensor]:
    """Random values in float16, small so that tokens are finite."""
    generator = torch.Generator().manual_seed(0)
    return {name: (0.02 * torch.randn(shape, generator=generator)).half() for name, shape in shapes.items()}


def settings_of(name: str, **changes: Any) -> Settings:  # noqa: ANN401
    """A preset laid over config/config.yaml, as Snakemake does, with a hash in the place that is to be filled."""
    config = yaml.safe_load((FOLDER.parent / "config.yaml").read_text())
    update_config(config, yaml.safe_load((FOLDER / f"{name}.yaml").read_text()))
    config["patch_encoder"]["sha256"] = config["patch_encoder"]["sha256"] or "0" * 64
    update_config(config["patch_encoder"], changes)
    experiment = load_experiment(config)
    assert experiment.regions.region_px == 16 * experiment.patch_encoder.patch_px
    assert experiment.regions.mpp == 0.5
    return experiment.patch_encoder


def test_all_encoders_are_tested() -> None:
    assert sorted(PUBLISHED) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_an_encoder_has_its_published_size_and_takes_its_published_tensors(name: str) -> None:
    settings = settings_of(name)
    model = build_model(settings, "meta")
    millions, width = PUBLISHED[name]
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    assert n_parameters == pytest.approx(millions * 1e6, rel=5e-3)
    assert f"{n_parameters:,} parameters, tokens of {width}" in (FOLDER / f"{name}.yaml").read_text()
    assert token_width(model, settings, "meta") == width
    shapes = published(name)
    refuse_other_weights(model, {key: torch.empty(shape, device="meta") for key, shape in shapes.items()})
    shapes.pop(next(key for key in shapes if key.endswith("fc1.weight")))
    with pytest.raises(UserError, match=r"blocks\.0\.mlp\.fc1\.weight is missing"):
        refuse_other_weights(model, {key: torch.empty(shape, device="meta") for key, shape in shapes.items()})


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_published_tensors_is_checked_and_encodes(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weights = drawn(published(name, depth=1))
    path = tmp_path / f"weights{Path(settings_of(name).checkpoint or '').suffix}"
    save_file(weights, path) if path.suffix == ".safetensors" else torch.save(weights, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    settings = settings_of(name, arguments={"depth": 1}, checkpoint=str(path), sha256=digest)
    with caplog.at_level(logging.INFO):
        assert run_stage("check_encoder", ["--settings", settings.model_dump_json()]) == 0
    assert f"tokens of {PUBLISHED[name][1]} values" in caplog.text
    region = torch.randint(0, 256, (settings.patch_px, settings.patch_px, 3), dtype=torch.uint8).numpy()
    tokens = (
        PatchEncoder(settings, {key: value.float() for key, value in weights.items()}, 1).encode(region, 0.5).tokens
    )
    assert tokens.shape == (1, PUBLISHED[name][1])
    assert tokens.std() > 0


def test_class_and_mean_are_those_of_virchow2s_card() -> None:
    settings = settings_of("virchow2", arguments={"depth": 1})
    encoder = PatchEncoder(settings, None, 1)
    patch = torch.rand(2, 3, 224, 224, device=encoder.device)
    with torch.inference_mode():
        output = encoder.model(patch)  # (2, 261, 1280), as the card says
        token = encoder.forward((255 * patch).byte())
        output = encoder.model(((255 * patch).byte().float() - encoder.mean) / encoder.std)
    assert output.shape == (2, 261, 1280)
    expected = torch.cat([output[:, 0], output[:, 5:].mean(1)], dim=-1)  # tokens 1 to 4 are registers
    tolerance = 1e-5 if encoder.device.type == "cpu" else 2e-2
    assert torch.allclose(token.float(), expected.float(), atol=tolerance)


def test_phikons_tensors_mean_under_timms_names_what_they_mean_under_transformers() -> None:
    settings = settings_of("phikon_v2", arguments={"depth": 1})
    weights = {name: value.float() for name, value in drawn(published("phikon_v2", 1)).items()}
    model = build_model(settings)
    load_weights(model, weights)
    patch = torch.rand(1, 3, 224, 224)
    with torch.inference_mode():
        assert torch.allclose(model(patch), dinov2_class_token(weights, patch), atol=1e-5)


def dinov2_class_token(weights: Mapping[str, Tensor], patch: Tensor) -> Tensor:
    """The class token of a Dinov2Model with one block of 16 heads, from its equations."""

    def layer(name: str, x: Tensor) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-6)

    projection = "embeddings.patch_embeddings.projection"
    x = F.conv2d(patch, weights[f"{projection}.weight"], weights[f"{projection}.bias"], stride=16).flatten(2).mT
    x = torch.cat([weights["embeddings.cls_token"], x], 1) + weights["embeddings.position_embeddings"]
    block = "encoder.layer.0"
    normed = norm(f"{block}.norm1", x)
    query, key, value = (
        layer(f"{block}.attention.attention.{part}", normed).unflatten(-1, (16, 64)).transpose(1, 2)
        for part in ("query", "key", "value")
    )
    mixed = torch.softmax(query @ key.mT / 8, -1) @ value
    mixed = layer(f"{block}.attention.output.dense", mixed.transpose(1, 2).flatten(2))
    x = x + weights[f"{block}.layer_scale1.lambda1"] * mixed
    hidden = layer(f"{block}.mlp.fc2", F.gelu(layer(f"{block}.mlp.fc1", norm(f"{block}.norm2", x))))
    return norm("layernorm", x + weights[f"{block}.layer_scale2.lambda1"] * hidden)[:, 0]


def test_conchs_pool_is_one_query_over_all_tokens() -> None:
    weights = {name: value.float() for name, value in drawn(conch(1)).items()}
    settings = settings_of("conch", arguments={"depth": 1})
    encoder = PatchEncoder(settings, weights, 1)
    patch = torch.randint(0, 256, (1, 3, 448, 448), dtype=torch.uint8, device=encoder.device)
    with torch.inference_mode():
        tokens = encoder.model.forward_features((patch.float() - encoder.mean) / encoder.std).float().cpu()  # type: ignore[operator]
        token = encoder.forward(patch).float().cpu()
    pool = {name.removeprefix("visual.attn_pool_contrast."): value for name, value in weights.items()}
    keys = F.layer_norm(tokens, (768,), pool["ln_k.weight"], pool["ln_k.bias"])
    query = F.layer_norm(pool["query"], (512,), pool["ln_q.weight"], pool["ln_q.bias"])
    biases = pool["attn.in_proj_bias"].chunk(3)
    parts = (
        (query, pool["attn.q_proj_weight"]),
        (keys[0], pool["attn.k_proj_weight"]),
        (keys[0], pool["attn.v_proj_weight"]),
    )
    q, k, v = ((x @ w.T + b).unflatten(-1, (8, 64)).transpose(0, 1) for (x, w), b in zip(parts, biases, strict=True))
    mixed = (torch.softmax(q @ k.mT / 8, -1) @ v).transpose(0, 1).flatten(1)
    summary = mixed @ pool["attn.out_proj.weight"].T + pool["attn.out_proj.bias"]
    expected = F.layer_norm(summary, (512,), weights["visual.ln_contrast.weight"], weights["visual.ln_contrast.bias"])
    assert torch.allclose(token, expected, atol=1e-4 if encoder.device.type == "cpu" else 2e-2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "vit_of_nobody"}, r"patch_encoder\.model vit_of_nobody"),
        ({"arguments": {"mlp_layer": "SwiGLUPackd"}}, r"no layer 'SwiGLUPackd', did you mean SwiGLUPacked\?"),
        (
            {"arguments": {"act_layer": "os.system"}},
            r"act_layer: timm\.layers and torch\.nn have no layer 'os\.system'",
        ),
        ({"arguments": {"norm_layer": "torch.nn.Tensor"}}, r"no layer 'torch\.nn\.Tensor'"),
        ({"pooling": "attention", "model": "resnet18"}, r"(?s)patch_encoder\.model resnet18"),
        ({"pooling": "class_and_mean", "model": "resnet18"}, r"(?s)patch_encoder\.model resnet18"),
        ({"model": "local-dir:absent"}, r"local-dir:absent .*absent/config\.json"),
        ({"checkpoint": "absent.bin", "sha256": "0" * 64}, r"patch_encoder\.checkpoint absent\.bin: No such file"),
    ],
)
def test_what_cannot_be_built_is_refused_before_any_slide(changes: dict[str, Any], message: str) -> None:
    given = {"model": "vit_small_patch16_224", "arguments": {}, "pooling": "model", "checkpoint": None, "sha256": None}
    common = {"seed": 0, "patch_px": 224, "mean": (0.5, 0.5, 0.5), "std": (0.2, 0.2, 0.2)}
    settings = Settings(**given | common | changes)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=message):
        run_stage("check_encoder", ["--settings", settings.model_dump_json()])


@pytest.mark.parametrize("layer", ["SiLU", "silu", "torch.nn.SiLU"])
def test_layers_are_named_as_on_cards(layer: str) -> None:
    arguments = {"img_size": 224, "depth": 1, "act_layer": layer, "mlp_layer": "timm.layers.SwiGLUPacked"}
    model = build_model(vit_small(arguments), "meta")
    assert type(model.get_submodule("blocks.0.mlp.act")) is torch.nn.SiLU
    assert type(model.get_submodule("blocks.0.mlp")).__name__ == "GluMlp"  # of which SwiGLUPacked is a form


def vit_small(arguments: dict[str, Any]) -> Settings:
    """A small ViT of random weights."""
    return Settings(
        model="vit_small_patch16_224",
        arguments=arguments,
        pooling="model",
        checkpoint=None,
        sha256=None,
        seed=0,
        patch_px=224,
        mean=(0.5, 0.5, 0.5),
        std=(0.2, 0.2, 0.2),
    )


def test_a_folder_of_timms_hub_names_the_model(tmp_path: Path) -> None:
    card = {"architecture": "vit_small_patch16_224", "num_classes": 0, "model_args": {"depth": 2}, "pretrained_cfg": {}}
    (tmp_path / "config.json").write_text(json.dumps(card))
    settings = vit_small({}).model_copy(update={"model": f"local-dir:{tmp_path}"})
    assert settings.folder == str(tmp_path)
    assert len(build_model(settings, "meta").get_submodule("blocks")) == 2  # type: ignore[arg-type]


def test_a_name_that_would_be_downloaded_is_refused_with_the_file_to_fetch() -> None:
    wanted = re.escape("fetch pytorch_model.bin or model.safetensors of https://huggingface.co/MahmoodLab/UNI yourself")
    for scheme in ("hf-hub:", "hf_hub:"):
        with pytest.raises(UserError, match=f"^config.patch_encoder.model: jobs download nothing; {wanted}"):
            settings_of("uni", model=f"{scheme}MahmoodLab/UNI")


@pytest.mark.workflow
def test_a_run_that_encodes_refuses_an_encoder_before_its_first_job(tmp_path: Path, make_slide: toy.MakeSlide) -> None:
    toy.make_toy(tmp_path, make_slide)
    config = yaml.safe_load((tmp_path / "toy.yaml").read_text())
    config["patch_encoder"]["arguments"]["mlp_layer"] = "SwiGLU_packed"
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(config))
    run = toy.snakemake(tmp_path)
    assert run.returncode != 0
    assert "error: patch_encoder.model vit_small_patch16_224" in run.stderr
    assert "no layer 'SwiGLU_packed', did you mean SwiGLUPacked?" in run.stderr
    assert "Traceback" not in run.stderr
    assert not (tmp_path / "results").exists()
