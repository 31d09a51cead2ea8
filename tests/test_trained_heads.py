"""Networks of heads: each equals its definition, whatever else is in the batch."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from small_cases import abmil, max_mil, vit_wsi
from torch import Tensor, nn

from slpd.evaluation import vit_wsi as vit_wsi_module
from slpd.evaluation.abmil import Abmil
from slpd.evaluation.max_mil import MaxMil
from slpd.evaluation.outcome_loss import class_loss, survival_loss
from slpd.evaluation.packed_bags import PackedBags
from slpd.evaluation.stacked import drawn_to_keep
from slpd.evaluation.vit_wsi import EncoderLayer, VitWsi

pytestmark = pytest.mark.torch

WIDTH = 5


def seeds(n: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(n)]


def network(kind: str, n_folds: int, n_outputs: int = 3, survival: bool = False) -> nn.Module:
    if kind == "vit_wsi":
        return VitWsi(WIDTH, n_outputs, vit_wsi(), seeds(n_folds))
    if kind == "max_mil":
        return MaxMil(WIDTH, n_outputs, max_mil(), seeds(n_folds), survival)
    return Abmil(WIDTH, n_outputs, abmil(gated=kind == "gated"), seeds(n_folds))


KINDS = ["gated", "plain", "max_mil", "vit_wsi"]


def bags_of(*sizes: int, seed: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, WIDTH, generator=generator) for n in sizes]


def packed(folds: list[list[Tensor]], filler: float = 0.0) -> PackedBags:
    """The bags of every fold; `filler` stands where there is no region."""
    n_bags = max(map(len, folds))
    sizes = torch.tensor([[len(bag) for bag in bags] + [0] * (n_bags - len(bags)) for bags in folds])
    rows = [torch.cat(bags) for bags in folds]
    return PackedBags(nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=filler), sizes, None)


def of_fold(model: nn.Module, fold: int) -> dict[str, np.ndarray]:
    """The weights of one fold, as torch's layers hold them: matrices (out, in)."""
    found = {}
    for name, parameter in model.named_parameters():
        piece = parameter[fold].detach().double()
        found[name] = (piece.T if name.endswith("weight") and "norm" not in name else piece.squeeze(0)).numpy()
    return found


@pytest.mark.parametrize("gated", [False, True])
def test_abmil_equals_the_equations(gated: bool) -> None:
    model = network("gated" if gated else "plain", n_folds=2)
    (bag,) = bags_of(7)
    logits, attention = model(packed([[bag], [bag]]))
    for fold in range(2):
        w = of_fold(model, fold)
        h = [np.maximum(w["embed.weight"] @ x + w["embed.bias"], 0) for x in bag.double().numpy()]
        scores = []
        for h_k in h:
            hidden = np.tanh(w["attention.v.weight"] @ h_k + w["attention.v.bias"])  # eq. 8
            if gated:
                hidden = hidden / (1 + np.exp(-(w["attention.u.weight"] @ h_k + w["attention.u.bias"])))  # eq. 9
            scores.append(float(w["attention.w.weight"][0] @ hidden))
        a = np.exp(scores) / np.exp(scores).sum()
        z = sum(a_k * h_k for a_k, h_k in zip(a, h, strict=True))  # eq. 7
        np.testing.assert_allclose(attention[fold].detach(), a, atol=1e-6)
        expected = w["classify.weight"] @ z + w["classify.bias"]
        np.testing.assert_allclose(logits[fold, 0].detach(), expected, atol=1e-5)


@pytest.mark.parametrize("n_outputs", [2, 4])
@pytest.mark.parametrize("seed", range(5))  # of some bags another class is more probable elsewhere
def test_max_mil_lets_the_most_probable_region_speak(n_outputs: int, seed: int) -> None:
    model = network("max_mil", n_folds=1, n_outputs=n_outputs)
    bag = bags_of(9, seed=seed)[0]
    logits, weights = model(packed([[bag]]))
    alone = torch.cat([model(packed([[bag[i : i + 1]]]))[0][0] for i in range(9)])  # (9, C)
    probabilities = alone.softmax(dim=1)
    top = int((probabilities[:, 1] if n_outputs == 2 else probabilities.amax(dim=1)).argmax())
    torch.testing.assert_close(logits[0, 0], alone[top])
    assert weights[0].tolist() == [float(i == top) for i in range(9)]


def test_max_mil_lets_the_region_at_most_risk_speak() -> None:
    model = network("max_mil", n_folds=1, survival=True)
    bag = bags_of(9)[0]
    logits, _ = model(packed([[bag]]))
    alone = torch.cat([model(packed([[bag[i : i + 1]]]))[0][0] for i in range(9)])
    survival = torch.cumprod(1 - alone.sigmoid(), dim=1).sum(dim=1)
    torch.testing.assert_close(logits[0, 0], alone[survival.argmin()])


def test_a_layer_equals_torchs_transformer_encoder_layer() -> None:
    head = vit_wsi()
    ours = EncoderLayer(head, seeds(2))
    for norm in (ours.norm_1, ours.norm_2):  # ones and zeros would hide a mistake
        nn.init.uniform_(norm.weight, 0.5, 2)
        nn.init.uniform_(norm.bias, -1, 1)
    generator = torch.Generator().manual_seed(3)
    x = [torch.randn(n, head.embedding, generator=generator) for n in (4, 1, 6)]
    rows = torch.cat(x)
    bags = PackedBags(rows.expand(2, -1, -1), torch.tensor([[4, 1, 6], [4, 1, 6]]), None)
    found = ours(bags.regions, bags)
    for fold in range(2):
        w = {name: torch.from_numpy(value).float() for name, value in of_fold(ours, fold).items()}
        theirs = nn.TransformerEncoderLayer(head.embedding, head.heads, head.feedforward, batch_first=True).eval()
        theirs.load_state_dict(
            {
                "self_attn.in_proj_weight": w["qkv.weight"],
                "self_attn.in_proj_bias": w["qkv.bias"],
                "self_attn.out_proj.weight": w["project.weight"],
                "self_attn.out_proj.bias": w["project.bias"],
                "linear1.weight": w["widen.weight"],
                "linear1.bias": w["widen.bias"],
                "linear2.weight": w["narrow.weight"],
                "linear2.bias": w["narrow.bias"],
                "norm1.weight": w["norm_1.weight"].flatten(),
                "norm1.bias": w["norm_1.bias"],
                "norm2.weight": w["norm_2.weight"].flatten(),
                "norm2.bias": w["norm_2.bias"],
            }
        )
        expected = torch.cat([theirs(bag[None])[0] for bag in x])
        torch.testing.assert_close(found[fold], expected, atol=2e-6, rtol=1e-5)


def test_the_slide_transformer_is_put_together_as_hipts() -> None:
    """Its layers are held to torch's above; here what stands before and behind them."""
    model = network("vit_wsi", n_folds=1)
    (bag,) = bags_of(6)
    logits, attention = model(packed([[bag]]))
    w = {name: torch.from_numpy(value) for name, value in of_fold(model, 0).items()}

    def linear(x: Tensor, layer: str) -> Tensor:
        bias = w.get(f"{layer}.bias", torch.zeros(1, dtype=torch.float64))
        return nn.functional.linear(x, w[f"{layer}.weight"], bias)

    h = linear(bag.double(), "embed").relu()
    sizes = torch.tensor([[6]])
    for layer in model.layers:
        h = layer(h[None].float(), PackedBags(h[None].float(), sizes, None))[0].double()
    scores = linear(linear(h, "attention.v").tanh() * linear(h, "attention.u").sigmoid(), "attention.w")
    a = scores.softmax(dim=0)  # (6, 1)
    expected = linear(linear(a.T @ h, "rho").relu(), "classify")
    torch.testing.assert_close(attention[0].double(), a[:, 0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(logits[0].double(), expected, atol=1e-5, rtol=1e-4)


def test_an_encoder_begins_as_torchs() -> None:
    """Torch copies one layer, draws in_proj by Xavier's uniform distribution, and leaves two biases at 0."""
    head = vit_wsi(embedding=48)
    ours = VitWsi(WIDTH, 2, head, seeds(2))
    layer = nn.TransformerEncoderLayer(head.embedding, head.heads, head.feedforward)
    expected = {
        "qkv": layer.self_attn.in_proj_weight.detach().abs().max(),
        "project": layer.self_attn.out_proj.weight.detach().abs().max(),
        "widen": layer.linear1.weight.detach().abs().max(),
        "narrow": layer.linear2.weight.detach().abs().max(),
    }
    for name, largest in expected.items():
        weight = getattr(ours.layers[0], name).weight.detach()
        assert float(weight.abs().max()) == pytest.approx(float(largest), rel=0.02)
        assert float(weight.std()) == pytest.approx(float(weight.abs().max()) / 3**0.5, rel=0.1)
        assert (weight[0] != weight[1]).any()  # folds differ
    assert not ours.layers[0].qkv.bias.any()
    assert not ours.layers[0].project.bias.any()
    for one, other in zip(ours.layers[0].parameters(), ours.layers[1].parameters(), strict=True):
        assert one is not other
        assert (one == other).all()


def test_max_mil_begins_by_xavier() -> None:
    """CLAM's initialisation: normal, variance 2 / (fan_in + fan_out), biases 0."""
    model = MaxMil(150, 4, max_mil(embedding=250), seeds(2), survival=False)
    assert float(model.embed.weight.detach().std()) == pytest.approx((2 / 400) ** 0.5, rel=0.02)
    assert float(model.classify.weight.detach().std()) == pytest.approx((2 / 254) ** 0.5, rel=0.06)
    assert float(model.embed.weight.detach().abs().max()) > 3 * (2 / 400) ** 0.5  # not a uniform distribution
    assert not model.embed.bias.any()
    assert not model.classify.bias.any()


def test_vit_wsi_drops_both_branches_of_its_gated_attention() -> None:
    """A hidden unit is the product of two that are each kept with probability 0.75, over 0.75."""
    scores = VitWsi(WIDTH, 2, vit_wsi(dropout=0.25), seeds(1)).attention
    with torch.no_grad():
        scores.w.weight.zero_()[0, 0] = 1  # the score is hidden unit 0
    h = torch.randn(1, 20000, scores.v.weight.shape[1], generator=torch.Generator().manual_seed(0))
    bags = PackedBags(h, torch.tensor([[20000]]), None)
    whole, dropped = scores(h, bags), scores(h, PackedBags(h, bags.sizes, [np.random.default_rng(0)]))
    assert float((dropped == 0).float().mean()) == pytest.approx(1 - 0.75**2, abs=0.01)
    torch.testing.assert_close(dropped[dropped != 0], whole[dropped != 0] / 0.75**2)


def attention_and_gradients(q: Tensor, k: Tensor, v: Tensor) -> list[Tensor]:
    inputs = [x.clone().requires_grad_() for x in (q, k, v)]
    found = vit_wsi_module.attend_dropping(*inputs, rate=0.25, generator=np.random.default_rng(0))
    return [found.detach(), *torch.autograd.grad(found.square().sum(), inputs)]


def test_attention_drops_a_quarter_of_its_weights() -> None:
    """With one-hot values a row of the result is the row of weights: each is 0 or softmax / 0.75."""
    n = 64
    q, k = torch.randn(2, 1, n, n, generator=torch.Generator().manual_seed(0))
    found, *_ = attention_and_gradients(q, k, torch.eye(n)[None])
    whole = (q @ k.transpose(1, 2) / n**0.5).softmax(dim=-1)
    torch.testing.assert_close(found[found != 0], whole[found != 0] / 0.75)
    assert float((found == 0).float().mean()) == pytest.approx(0.25, abs=0.03)


def test_scores_computed_again_for_the_gradient_have_the_same_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    """In pieces of queries: the gradient equals that of the weights that were dropped on the way forth."""
    monkeypatch.setattr(vit_wsi_module, "MOST_SCORES", 3 * 20 * 6)  # six queries at a time, the last piece has two
    q, k, v = torch.randn(3, 3, 20, 4, generator=torch.Generator().manual_seed(0))
    found = attention_and_gradients(q, k, v)
    seeds = np.random.default_rng(0).integers(2**63, size=4).tolist()
    inputs = [x.clone().requires_grad_() for x in (q, k, v)]
    weights = (inputs[0] @ inputs[1].transpose(1, 2) / 2).softmax(dim=-1)
    keep = torch.cat(
        [drawn_to_keep((3, m, 20), 0.25, np.random.default_rng(s)) for m, s in zip((6, 6, 6, 2), seeds, strict=True)],
        dim=1,
    )
    expected = (weights * keep / 0.75) @ inputs[2]
    torch.testing.assert_close(found[0], expected.detach())
    for one, other in zip(found[1:], torch.autograd.grad(expected.square().sum(), inputs), strict=True):
        torch.testing.assert_close(one, other)


def test_memory_of_attention_does_not_grow_with_the_square_of_a_bag() -> None:
    """What is kept for the gradient of one bag, by size."""

    def kept(n: int) -> int:
        sizes: dict[int, int] = {}  # views of one memory count once
        q, k, v = (torch.randn(3, n, 8, requires_grad=True) for _ in range(3))

        def pack(x: Tensor) -> Tensor:
            sizes[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            vit_wsi_module.attend_dropping(q, k, v, rate=0.25, generator=np.random.default_rng(0))
        return sum(sizes.values())

    assert kept(4000) == pytest.approx(2 * kept(2000), rel=0.1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", [((1, 9), (4,)), ((12, 1, 5), (2, 2)), ((1,), (1, 1, 1))])
def test_neither_padding_nor_company_changes_a_prediction(kind: str, sizes: tuple[tuple[int, ...], ...]) -> None:
    """Folds have bags of other sizes and numbers; what stands in padded places is ignored."""
    model = network(kind, n_folds=2)
    folds = [bags_of(*of_fold, seed=seed) for seed, of_fold in enumerate(sizes)]
    batch = packed(folds, filler=1e3)
    logits, weights = model(batch)
    for fold, bags in enumerate(folds):
        place = 0
        for number, bag in enumerate(bags):
            alone, alone_weights = model(packed([[bag], [bag]]))
            torch.testing.assert_close(logits[fold, number], alone[fold, 0], atol=1e-5, rtol=0)
            found = weights[fold, place : place + len(bag)]
            torch.testing.assert_close(found, alone_weights[fold], atol=1e-6, rtol=0)
            assert float(found.detach().sum()) == pytest.approx(1, abs=1e-5)
            place += len(bag)
        assert (weights[fold, place:] == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_an_absent_bag_leaves_gradients_finite(kind: str) -> None:
    model = network(kind, n_folds=2)
    batch = packed([bags_of(3, 2), bags_of(4)], filler=0.0)
    logits, _ = model(batch)
    torch.autograd.backward(
        torch.where(batch.sizes > 0, class_loss(logits, torch.zeros(2, 2, dtype=torch.int64)), 0).sum()
    )
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_regions_does_not_matter(kind: str) -> None:
    model = network(kind, n_folds=1)
    (bag,) = bags_of(9)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    logits, weights = model(packed([[bag]]))
    shuffled_logits, shuffled_weights = model(packed([[bag[order]]]))
    torch.testing.assert_close(logits, shuffled_logits)
    torch.testing.assert_close(weights[:, order], shuffled_weights)


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_of_a_fold_is_its_own(kind: str) -> None:
    """The same random numbers whatever bags the other fold has, and others with the next call."""
    model = network(kind, n_folds=2)

    def first_fold(other: list[Tensor], calls: int = 1) -> Tensor:
        generators = [np.random.default_rng(seed) for seed in (5, 6)]
        batch = packed([bags_of(3, 6), other])
        batch = PackedBags(batch.regions, batch.sizes, generators)
        for _ in range(calls):
            logits, _ = model(batch)
        return logits[0, :2].detach()  # type: ignore[no-any-return]

    alone = first_fold(bags_of(2))
    torch.testing.assert_close(alone, first_fold(bags_of(14, 3, 9)), atol=1e-5, rtol=0)
    assert (alone != first_fold(bags_of(2), calls=2)).any()


def slow_survival_loss(hazards: np.ndarray, interval: int, seen: bool) -> float:
    """The likelihood by the rules of probability."""
    through = np.prod(1 - hazards[:interval])
    return -np.log(through * (hazards[interval] if seen else 1 - hazards[interval]))  # type: ignore[no-any-return]


@pytest.mark.parametrize("seen", [True, False])
@pytest.mark.parametrize("interval", [0, 1, 3])
def test_survival_loss_is_the_likelihood(interval: int, seen: bool) -> None:
    logits = torch.tensor([0.3, -1.2, 2.0, 0.1], dtype=torch.float64)
    found = survival_loss(logits[None], torch.tensor([interval]), torch.tensor([seen]))
    assert float(found) == pytest.approx(slow_survival_loss(logits.sigmoid().numpy(), interval, seen))


def test_survival_probabilities_of_all_outcomes_sum_to_one() -> None:
    logits = torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64)
    numbers = torch.tensor([0, 1, 2, 2])
    losses: Callable[..., Tensor] = survival_loss
    found = losses(logits.expand(4, -1), numbers, torch.tensor([True, True, True, False]))
    assert float((-found).exp().sum()) == pytest.approx(1)
