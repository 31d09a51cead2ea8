"""SLPD's training step in its textbook form: eager modules, a loop over view pairs, crops cut sample by sample.

Written from the papers (DINO, Caron et al. 2021; ViT, Dosovitskiy et al. 2021; SLPD, Yu et al. 2023), with nothing of
`slpd/` but settings and schedules' values, so that it is a baseline for speed and memory and an oracle for the loss.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from slpd.method.schedules import StepRates
from slpd.settings.training import RegionEncoder, Training


class Sample(NamedTuple):
    """A region's views and where it stands."""

    views: list[Tensor]  # each (token width, rows, columns)
    region: int


class RandomCrops(Dataset[Sample]):
    """Two large and some small random crops of a region's token grid, mirrored at random."""

    def __init__(self, tokens: NDArray[np.float16], training: Training) -> None:
        """Take (R, grid, grid, token width) tokens."""
        self.tokens, self.training = tokens, training

    def __len__(self) -> int:
        """R."""
        return len(self.tokens)

    def __getitem__(self, region: int) -> Sample:
        """Fresh crops of a region."""
        grid = torch.from_numpy(self.tokens[region]).float().permute(2, 0, 1)
        sizes = [self.training.global_crop] * 2 + [self.training.local_crop] * self.training.n_local_views
        return Sample([self.crop(grid, size) for size in sizes], region)

    def crop(self, grid: Tensor, size: int) -> Tensor:
        """One random crop."""
        top, left = torch.randint(0, grid.shape[1] - size + 1, (2,)).tolist()
        view = grid[:, top : top + size, left : left + size]
        return view.flip(2) if torch.rand(()) < 0.5 else view


class DropPath(nn.Module):
    """Stochastic depth: leaves a residual branch out of some samples."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        if not self.rate or not self.training:
            return x
        kept = torch.rand(len(x), 1, 1, device=x.device) >= self.rate
        return x / (1 - self.rate) * kept


class Attention(nn.Module):
    """Multi-head self-attention with its matrix of weights written out."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each (B, heads, N, d)
        weights = (q @ k.transpose(2, 3) * q.shape[3] ** -0.5).softmax(dim=3)
        mixed: Tensor = self.proj((weights @ v).transpose(1, 2).flatten(2))
        return mixed


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, width: int, heads: int, drop_path: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, 1e-6), nn.LayerNorm(width, 1e-6)
        self.attn, self.drop_path = Attention(width, heads), DropPath(drop_path)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        x = x + self.drop_path(self.mlp(self.norm2(x)))
        return x


class RegionViT(nn.Module):
    """ViT_4096-256."""

    def __init__(self, settings: RegionEncoder, token_width: int) -> None:
        super().__init__()
        width, self.side = settings.width, settings.position_grid
        self.phi = nn.Sequential(nn.Linear(token_width, width), nn.GELU())
        self.cls_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.pos_embed = nn.Parameter(torch.randn(1, 1 + self.side**2, width) * 0.02)
        rates = torch.linspace(0, settings.drop_path, settings.depth).tolist()
        self.blocks = nn.ModuleList(Block(width, settings.heads, rate) for rate in rates)
        self.norm = nn.LayerNorm(width, 1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """(B, token width, rows, columns) -> (B, D)."""
        rows, columns = x.shape[2:]
        x = self.phi(x.flatten(2).transpose(1, 2))
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1) + self.positions(rows, columns)
        for block in self.blocks:
            x = block(x)
        vectors: Tensor = self.norm(x)[:, 0]
        return vectors

    def positions(self, rows: int, columns: int) -> Tensor:
        """(1, 1 + rows * columns, D), by DINO's rule of interpolation."""
        if (rows, columns) == (self.side, self.side):
            return self.pos_embed
        table = self.pos_embed[:, 1:].view(1, self.side, self.side, -1).permute(0, 3, 1, 2)
        factor = ((rows + 0.1) / self.side, (columns + 0.1) / self.side)
        table = F.interpolate(table, scale_factor=factor, mode="bicubic", recompute_scale_factor=False)
        return torch.cat([self.pos_embed[:, :1], table.flatten(2).transpose(1, 2)], dim=1)


class Head(nn.Module):
    """DINO's projection head."""

    def __init__(self, settings: RegionEncoder) -> None:
        super().__init__()
        hidden = settings.head_width
        self.mlp = nn.Sequential(
            nn.Linear(settings.width, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, settings.bottleneck),
        )
        last = nn.Linear(settings.bottleneck, settings.outputs, bias=False)
        self.last_layer = nn.utils.parametrizations.weight_norm(last)
        self.last_layer.parametrizations.weight.original0.data.fill_(1)
        self.last_layer.parametrizations.weight.original0.requires_grad = False

    def forward(self, x: Tensor) -> Tensor:
        """(B, width) -> (B, outputs)."""
        logits: Tensor = self.last_layer(F.normalize(self.mlp(x), dim=-1))
        return logits


class Network(nn.Module):
    """Encoder and head; views of one size go through together."""

    def __init__(self, settings: RegionEncoder, token_width: int) -> None:
        super().__init__()
        self.backbone, self.head = RegionViT(settings, token_width), Head(settings)

    def forward(self, views: list[Tensor]) -> Tensor:
        """Views (B, token width, rows, columns) each -> (V * B, outputs), view-major."""
        sizes = [view.shape[3] for view in views]
        groups = [
            torch.cat([v for v, s in zip(views, sizes, strict=True) if s == size]) for size in dict.fromkeys(sizes)
        ]
        return self.head(torch.cat([self.backbone(group) for group in groups]))  # type: ignore[no-any-return]


class PairLoss:
    """Cross-entropy pair by pair, with a running centre."""

    def __init__(self, training: Training, outputs: int, device: torch.device) -> None:
        self.training, self.centre = training, torch.zeros(outputs, device=device)

    def __call__(self, student: list[Tensor], targets: list[Tensor], same_view_skipped: bool) -> Tensor:
        """Mean over pairs of (target, view) of logits (B, K); pairs of equal index may be skipped."""
        t = self.training
        shares = [((target - self.centre) / t.teacher_temperature).softmax(dim=-1).detach() for target in targets]
        pairs = [
            -(share * (view / t.student_temperature).log_softmax(dim=-1)).sum(dim=-1).mean()
            for i, share in enumerate(shares)
            for j, view in enumerate(student)
            if not (same_view_skipped and i == j)
        ]
        mean = torch.cat(targets).mean(dim=0)
        self.centre = self.centre * t.centre_momentum + mean.float() * (1 - t.centre_momentum)
        return sum(pairs[1:], pairs[0]) / len(pairs)


class TextbookLearner:
    """Student, teacher, optimiser, losses."""

    def __init__(self, settings: RegionEncoder, training: Training, token_width: int, device: torch.device) -> None:
        self.student = Network(settings, token_width).to(device)
        self.teacher = Network(settings, token_width).to(device).eval().requires_grad_(False)
        self.teacher.load_state_dict(self.student.state_dict())
        self.training, self.device = training, device
        self.self_loss = PairLoss(training, settings.outputs, device)
        self.prototype_loss = PairLoss(training, settings.outputs, device)
        named = [(name, p) for name, p in self.student.named_parameters() if p.requires_grad]
        decayed = [p for name, p in named if p.ndim > 1 and not name.endswith("bias")]
        others = [p for name, p in named if p.ndim <= 1 or name.endswith("bias")]
        groups: list[dict[str, Any]] = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups)

    def losses(self, views: list[Tensor], intra: Tensor, inter: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """L_self, L_intra, L_inter; prototypes are (B, bottleneck)."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            teacher = list(self.teacher(views[:2]).float().chunk(2))
            student = list(self.student(views).float().chunk(len(views)))
            targets = [self.teacher.head.last_layer(vectors).float() for vectors in (intra, inter)]
        return (
            self.self_loss(student, teacher, same_view_skipped=True),
            self.prototype_loss(student, targets[:1], same_view_skipped=False),
            self.prototype_loss(student, targets[1:], same_view_skipped=False),
        )

    def step(self, views: list[Tensor], intra: Tensor, inter: Tensor, rates: StepRates) -> float:
        """One optimiser step; the loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = rates.learning_rate
        self.optimiser.param_groups[0]["weight_decay"] = rates.weight_decay
        loss = sum(self.losses(views, intra, inter), torch.zeros((), device=self.device))
        self.optimiser.zero_grad()
        torch.autograd.backward(loss)
        for p in self.student.parameters():
            if p.grad is not None:
                nn.utils.clip_grad_norm_([p], self.training.clip_norm)
        self.optimiser.step()
        with torch.no_grad():
            for ours, theirs in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
                ours.mul_(rates.teacher_momentum).add_((1 - rates.teacher_momentum) * theirs)
        return loss.item()


def loader(tokens: NDArray[np.float16], training: Training, workers: int) -> DataLoader[Any]:
    """Shuffled batches of crops."""
    crops = RandomCrops(tokens, training)
    return DataLoader(crops, training.batch_size, shuffle=True, num_workers=workers, drop_last=True)
