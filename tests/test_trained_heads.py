"""Networks of heads: each equals its definition, whatever else is in the batch."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from small_cases import abmil, max_mil, simlp, survival_data, vit_wsi
from torch import Tensor, nn

from slpd.evaluation import vit_wsi as vit_wsi_module
from slpd.evaluation.abmil import Abmil, AttentionPooling
from slpd.evaluation.baseline_hazard import breslow_hazards
from slpd.evaluation.cases import Outcomes, TaskShape
from slpd.evaluation.dropout import Dropout
from slpd.evaluation.max_mil import MaxMil
from slpd.evaluation.objectives import ClassObjective, CoxObjective, Objective, Truth
from slpd.evaluation.outcome_loss import class_loss, cox_loss, survival_loss
from slpd.evaluation.simlp import Simlp
from slpd.evaluation.survival import interval_of
from slpd.evaluation.vit_wsi import EncoderLayer, SelfAttention, VitWsi

pytestmark = pytest.mark.torch

WIDTH = 5
KINDS = ["gated", "plain", "max_mil", "simlp", "vit_wsi"]


def network(kind: str, n_outputs: int = 3, survival: bool = False) -> nn.Module:
    """Without dropout, unless a test calls `train`."""
    torch.manual_seed(0)
    task = TaskShape(WIDTH, n_outputs, survival)
    if kind == "vit_wsi":
        return VitWsi(vit_wsi(), task).eval()
    if kind == "max_mil":
        return MaxMil(max_mil(), task).eval()
    if kind == "simlp":
        return Simlp(simlp(), task).eval()
    return Abmil(abmil(gated=kind == "gated"), task).eval()


def bags_of(*sizes: int, seed: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, WIDTH, generator=generator) for n in sizes]


def passed(model: nn.Module, *bags: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (B, C) and region weights (T,) of bags that pass together."""
    return model(torch.cat(bags), [len(bag) for bag in bags])  # type: ignore[no-any-return]


def weights_of(model: nn.Module) -> dict[str, np.ndarray]:
    return {name: parameter.detach().double().numpy() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("gated", [False, True])
def test_abmil_equals_the_equations(gated: bool) -> None:
    model = network("gated" if gated else "plain")
    (bag,) = bags_of(7)
    logits, attention = passed(model, bag)
    w = weights_of(model)
    h = [np.maximum(w["embed.0.weight"] @ x + w["embed.0.bias"], 0) for x in bag.double().numpy()]
    scores = []
    for h_k in h:
        hidden = np.tanh(w["pool.v.0.weight"] @ h_k + w["pool.v.0.bias"])  # eq. 8
        if gated:
            hidden = hidden / (1 + np.exp(-(w["pool.u.0.weight"] @ h_k + w["pool.u.0.bias"])))  # eq. 9
        scores.append(float(w["pool.w.weight"][0] @ hidden))
    a = np.exp(scores) / np.exp(scores).sum()
    z = sum(a_k * h_k for a_k, h_k in zip(a, h, strict=True))  # eq. 7
    np.testing.assert_allclose(attention.detach(), a, atol=1e-6)
    np.testing.assert_allclose(logits[0].detach(), w["classify.weight"] @ z + w["classify.bias"], atol=1e-5)


@pytest.mark.parametrize("n_outputs", [2, 4])
@pytest.mark.parametrize("seed", range(5))  # of some bags another class is more probable elsewhere
def test_max_mil_lets_the_most_probable_region_speak(n_outputs: int, seed: int) -> None:
    model = network("max_mil", n_outputs)
    bag = bags_of(9, seed=seed)[0]
    logits, weights = passed(model, bag)
    alone = torch.cat([passed(model, region[None])[0] for region in bag])  # (9, C)
    probabilities = alone.softmax(dim=1)
    top = int((probabilities[:, 1] if n_outputs == 2 else probabilities.amax(dim=1)).argmax())
    torch.testing.assert_close(logits[0], alone[top])
    assert weights.tolist() == [float(i == top) for i in range(9)]


def test_max_mil_lets_the_region_at_most_risk_speak() -> None:
    model = network("max_mil", survival=True)
    bag = bags_of(9)[0]
    logits, _ = passed(model, bag)
    alone = torch.cat([passed(model, region[None])[0] for region in bag])
    survival = torch.cumprod(1 - alone.sigmoid(), dim=1).sum(dim=1)
    torch.testing.assert_close(logits[0], alone[survival.argmin()])


def test_simlp_is_a_perceptron_of_the_mean() -> None:
    model = network("simlp")
    bags = bags_of(7, 1)
    logits, weights = passed(model, *bags)
    w = weights_of(model)
    for bag, of_bag in zip(bags, logits.detach(), strict=True):
        hidden = np.maximum(w["embed.0.weight"] @ bag.double().numpy().mean(axis=0) + w["embed.0.bias"], 0)
        np.testing.assert_allclose(of_bag, w["classify.weight"] @ hidden + w["classify.bias"], atol=1e-5)
    np.testing.assert_allclose(weights, [1 / 7] * 7 + [1], atol=1e-7)


def torchs_layer(ours: EncoderLayer, feedforward: int) -> nn.TransformerEncoderLayer:
    """With the weights of ours."""
    w, width = ours.state_dict(), ours.norm_1.normalized_shape[0]
    theirs = nn.TransformerEncoderLayer(width, ours.attention.n_heads, feedforward, batch_first=True).eval()
    names = {
        "self_attn.in_proj_": "attention.qkv.",
        "self_attn.out_proj.": "attention.project.",
        "linear1.": "feedforward.0.",
        "linear2.": "feedforward.3.",
        "norm1.": "norm_1.",
        "norm2.": "norm_2.",
    }
    theirs.load_state_dict({t + kind: w[o + kind] for t, o in names.items() for kind in ("weight", "bias")})
    return theirs


def test_a_layer_equals_torchs_transformer_encoder_layer() -> None:
    torch.manual_seed(3)
    head = vit_wsi()
    ours = EncoderLayer(head).eval()
    for norm in (ours.norm_1, ours.norm_2):  # ones and zeros would hide a mistake
        nn.init.uniform_(norm.weight, 0.5, 2)
        nn.init.uniform_(norm.bias, -1, 1)
    bags = [torch.randn(n, head.embedding) for n in (4, 1, 6)]
    theirs = torchs_layer(ours, head.feedforward)
    expected = torch.cat([theirs(bag[None])[0] for bag in bags])
    torch.testing.assert_close(ours(torch.cat(bags), [4, 1, 6]), expected, atol=2e-6, rtol=1e-5)


def test_the_slide_transformer_is_put_together_as_hipts() -> None:
    """Its layers are held to torch's above; here what stands before and after them."""
    model = network("vit_wsi")
    (bag,) = bags_of(6)
    logits, attention = passed(model, bag)
    w = {name: torch.from_numpy(value) for name, value in weights_of(model).items()}

    def linear(x: Tensor, layer: str) -> Tensor:
        bias = w.get(f"{layer}.bias", torch.zeros(1, dtype=torch.float64))
        return nn.functional.linear(x, w[f"{layer}.weight"], bias)

    h = linear(bag.double(), "embed.0").relu()
    for layer in model.layers:
        h = layer(h.float(), [6]).double()
    scores = linear(linear(h, "pool.v.0").tanh() * linear(h, "pool.u.0").sigmoid(), "pool.w")
    a = scores.softmax(dim=0)  # (6, 1)
    expected = linear(linear(a.T @ h, "rho.0").relu(), "classify")
    torch.testing.assert_close(attention.double(), a[:, 0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(logits.double(), expected, atol=1e-5, rtol=1e-4)


def test_an_encoder_begins_as_torchs() -> None:
    """Torch copies one layer, draws in_proj by Xavier's uniform distribution, and leaves two biases at 0."""
    torch.manual_seed(0)
    head = vit_wsi(embedding=48)
    ours = VitWsi(head, TaskShape(WIDTH, 2, survival=False))
    layer = nn.TransformerEncoderLayer(head.embedding, head.heads, head.feedforward)
    first: EncoderLayer = ours.layers[0]  # type: ignore[assignment]
    for weight, theirs in [
        (first.attention.qkv.weight, layer.self_attn.in_proj_weight),
        (first.attention.project.weight, layer.self_attn.out_proj.weight),
        (first.feedforward[0].weight, layer.linear1.weight),
        (first.feedforward[3].weight, layer.linear2.weight),
    ]:
        largest = float(weight.detach().abs().max())
        assert largest == pytest.approx(float(theirs.detach().abs().max()), rel=0.02)
        assert float(weight.detach().std()) == pytest.approx(largest / 3**0.5, rel=0.1)  # uniform
    assert not first.attention.qkv.bias.any()
    assert not first.attention.project.bias.any()
    for one, other in zip(first.parameters(), ours.layers[1].parameters(), strict=True):
        assert one is not other
        assert (one == other).all()


def test_max_mil_begins_by_xavier() -> None:
    """CLAM's initialisation: normal, variance 2 / (fan_in + fan_out), biases 0."""
    torch.manual_seed(0)
    model = MaxMil(max_mil(embedding=250), TaskShape(150, 4, survival=False))
    embed, classify = model.embed[0], model.classify
    assert float(embed.weight.detach().std()) == pytest.approx((2 / 400) ** 0.5, rel=0.02)
    assert float(classify.weight.detach().std()) == pytest.approx((2 / 254) ** 0.5, rel=0.06)
    assert float(embed.weight.detach().abs().max()) > 3 * (2 / 400) ** 0.5  # not a uniform distribution
    assert not embed.bias.any()
    assert not classify.bias.any()


@pytest.mark.parametrize("rate", [0.25, 0.9])
@pytest.mark.parametrize("shape", [(20001, 3), (1,), (0, 4)])
def test_dropout_is_torchs(rate: float, shape: tuple[int, ...]) -> None:
    """Each value is 0 with that probability, whatever its neighbours are, else divided by the share that is kept."""
    torch.manual_seed(0)
    x = torch.randn(shape) + 5
    found = Dropout(rate)(x)
    kept = found != 0
    torch.testing.assert_close(found[kept], x[kept] / (1 - rate))
    if x.numel() > 1:
        assert float(kept.float().mean()) == pytest.approx(1 - rate, abs=0.01)
        both = (kept.flatten()[1:] & kept.flatten()[:-1]).float().mean()
        assert float(both) == pytest.approx((1 - rate) ** 2, abs=0.01)
        assert (Dropout(rate)(x) != found).any()
    assert (Dropout(rate).eval()(x) == x).all()
    assert (Dropout(0.0)(x) == x).all()


def test_vit_wsi_drops_both_branches_of_its_gated_attention() -> None:
    """A hidden unit is the product of two that are each kept with probability 0.75, over 0.75."""
    torch.manual_seed(0)
    pool = AttentionPooling(4, 3, gated=True, dropout=0.25)
    with torch.no_grad():
        pool.w.weight.zero_()[0, 0] = 1  # the score is hidden unit 0
    h = torch.randn(20000, 4)
    relative = {mode: pool.train(mode)(h, [20000])[1].log() for mode in (True, False)}  # scores less a constant
    scores = {mode: value - value.mode().values for mode, value in relative.items()}
    dropped = scores[True] == 0  # the score of what is dropped is 0, the only one that occurs often
    assert float(dropped.float().mean()) == pytest.approx(1 - 0.75**2, abs=0.01)
    hidden = pool.v[1](pool.v[0](h)) * pool.u[1](pool.u[0](h))
    torch.testing.assert_close(scores[True][~dropped], hidden[~dropped, 0] / 0.75**2, atol=1e-4, rtol=1e-3)


def mixed_and_gradient(attention: SelfAttention, qkv: Tensor) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    inputs = qkv.clone().requires_grad_()
    found = attention.mix_bag(inputs)
    return found.detach(), torch.autograd.grad(found.square().sum(), inputs)[0]


def test_attention_drops_a_quarter_of_its_weights() -> None:
    """With one-hot values a row of the result is the row of weights: each is 0 or softmax / 0.75."""
    torch.manual_seed(0)
    n = 64
    q, k = torch.randn(2, n, n)
    found, _ = mixed_and_gradient(SelfAttention(n, 1, dropout=0.25), torch.cat([q, k, torch.eye(n)], dim=1))
    whole = (q @ k.T / n**0.5).softmax(dim=-1)
    torch.testing.assert_close(found[found != 0], whole[found != 0] / 0.75)
    assert float((found == 0).float().mean()) == pytest.approx(0.25, abs=0.03)


def test_scores_computed_again_for_the_gradient_have_the_same_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    """In pieces of queries: the gradient is that of the weights that were dropped on the way forth."""
    monkeypatch.setattr(vit_wsi_module, "MOST_SCORES", 3 * 20 * 6)  # six queries at a time, the last piece has two
    torch.manual_seed(1)
    qkv = torch.randn(20, 3 * 12)
    attention = SelfAttention(12, 3, dropout=0.25)
    found, gradient = mixed_and_gradient(attention, qkv)
    torch.manual_seed(0)
    inputs = qkv.clone().requires_grad_()
    q, k, v = inputs.view(20, 3, 3, 4).permute(1, 2, 0, 3)
    weights = (q @ k.transpose(1, 2) / 2).softmax(dim=-1)  # (3, 20, 20)
    keep = torch.cat([attention.dropout(torch.ones(3, m, 20)) for m in (6, 6, 6, 2)], dim=1)
    expected = (weights * keep @ v).transpose(0, 1).reshape(20, 12)
    torch.testing.assert_close(found, expected.detach())
    torch.testing.assert_close(gradient, torch.autograd.grad(expected.square().sum(), inputs)[0])


def test_memory_of_attention_does_not_grow_with_the_square_of_a_bag() -> None:
    """What is kept for the gradient of one bag, by size."""
    attention = SelfAttention(24, 3, dropout=0.25)

    def kept(n: int) -> int:
        sizes: dict[int, int] = {}  # views of one memory count once

        def pack(x: Tensor) -> Tensor:
            sizes[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            attention.mix_bag(torch.randn(n, 72, requires_grad=True))
        return sum(sizes.values())

    assert kept(4000) == pytest.approx(2 * kept(2000), rel=0.1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", [(1, 9), (12, 1, 5), (4,)])
def test_company_changes_no_prediction(kind: str, sizes: tuple[int, ...]) -> None:
    model, bags = network(kind), bags_of(*sizes)
    logits, weights = passed(model, *bags)
    for bag, found, of_bag in zip(bags, logits, torch.split(weights, list(sizes)), strict=True):
        alone, alone_weights = passed(model, bag)
        torch.testing.assert_close(found, alone[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(of_bag, alone_weights, atol=1e-6, rtol=0)
        assert float(of_bag.detach().sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_of_a_batch_is_the_sum_of_its_bags(kind: str) -> None:
    model, bags = network(kind), bags_of(3, 6, 1)
    numbers = torch.tensor([0, 2, 1])

    def gradients(some: list[Tensor], truth: Tensor) -> list[Tensor]:
        model.zero_grad()
        torch.autograd.backward(class_loss(passed(model, *some)[0], truth).sum())
        return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]

    single = [gradients([bag], numbers[i : i + 1]) for i, bag in enumerate(bags)]
    for found, *parts in zip(gradients(bags, numbers), *single, strict=True):
        torch.testing.assert_close(found, sum(parts), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_regions_does_not_matter(kind: str) -> None:
    model = network(kind)
    (bag,) = bags_of(9)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    logits, weights = passed(model, bag)
    shuffled_logits, shuffled_weights = passed(model, bag[order])
    torch.testing.assert_close(logits, shuffled_logits)
    torch.testing.assert_close(weights[order], shuffled_weights)


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


def slow_cox_loss(log_hazards: np.ndarray, times: np.ndarray, seen: np.ndarray) -> list[float]:
    """Of each case: its share of the hazard of all that are at risk when it has its event, in logs."""
    losses = []
    for i in range(len(times)):
        at_risk = sum(np.exp(log_hazards[j]) for j in range(len(times)) if times[j] >= times[i])
        losses.append(-np.log(np.exp(log_hazards[i]) / at_risk) if seen[i] else 0.0)
    return losses


@pytest.mark.filterwarnings("ignore")  # torchsurv's own
def test_cox_loss_is_the_partial_likelihood() -> None:
    """With ties, by a slow loop; and the sum is torchsurv's with Breslow's way of ties."""
    from torchsurv.loss.cox import neg_partial_log_likelihood

    rng = np.random.default_rng(0)
    log_hazards, times, seen = rng.normal(size=20), rng.integers(1, 9, 20).astype(float), rng.random(20) < 0.6
    tensors = [torch.tensor(array) for array in (log_hazards, times, seen)]
    found = cox_loss(*tensors)
    np.testing.assert_allclose(found, slow_cox_loss(log_hazards, times, seen))
    theirs = neg_partial_log_likelihood(tensors[0], tensors[2], tensors[1], ties_method="breslow", reduction="sum")
    assert float(found.sum()) == pytest.approx(float(theirs))


def test_hazards_of_equal_risks_are_nelson_and_aalens() -> None:
    """Without differences of risk the baseline is events / at risk, added up over an interval."""
    times, seen = np.array([1.0, 2, 3, 4, 5]), np.array([True, True, False, True, True])
    starts = np.array([2.5])
    train = Outcomes(interval_of(times, starts), seen, times)
    same = np.full(5, 3.0)
    first, second = 1 / 5 + 1 / 4, 1 / 2 + 1
    expected = [1 - np.exp(-first), 1 - np.exp(-second)]
    np.testing.assert_allclose(breslow_hazards(same, same, train, starts), [expected] * 5)
    double = breslow_hazards(same + np.log(2), same, train, starts)  # twice the hazard: survival is squared
    np.testing.assert_allclose(1 - double[0], (1 - np.array(expected)) ** 2)


def test_a_validation_set_of_one_class_judges_no_classifier() -> None:
    """The network that always says this class would have the lowest loss."""
    times, observed = torch.full((3,), torch.nan), torch.ones(3, dtype=torch.bool)
    assert not ClassObjective().can_judge(Truth(torch.tensor([1, 1, 1]), observed, times))
    assert ClassObjective().can_judge(Truth(torch.tensor([1, 0, 1]), observed, times))


def test_a_validation_set_without_events_judges_no_hazards() -> None:
    """The network that foresees no event would have the lowest loss."""
    numbers, times = torch.tensor([0, 1, 2]), torch.tensor([1.0, 2.0, 3.0])
    assert not Objective().can_judge(Truth(numbers, torch.tensor([False] * 3), times))
    assert Objective().can_judge(Truth(numbers, torch.tensor([False, True, False]), times))
    assert not Objective().can_judge(Truth(numbers[:0], torch.tensor([], dtype=torch.bool), times[:0]))


def test_a_validation_set_without_comparisons_judges_no_cox_model() -> None:
    objective = CoxObjective(survival_data(n=30, loss="cox").folds[0])
    times = torch.tensor([1.0, 2.0, 3.0])
    numbers = torch.zeros(3, dtype=torch.long)
    assert not objective.can_judge(Truth(numbers, torch.tensor([False, False, True]), times))  # alone at the end
    assert objective.can_judge(Truth(numbers, torch.tensor([False, True, False]), times))
    assert not objective.can_judge(Truth(numbers[:0], torch.tensor([], dtype=torch.bool), times[:0]))
