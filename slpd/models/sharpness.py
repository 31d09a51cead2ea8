"""How sharp a region is: the contrast between neighbouring points of its tissue."""

import torch
import torch.nn.functional as F
from torch import Tensor

SHARPNESS_MPP = 2.0  # µm/px: between the size of a nucleus and the blur of a slide that is out of focus
TISSUE_DENSITY = 0.07  # log10 of glass over tissue in green: darker than glass


def sharpness(region: Tensor, mpp: float) -> Tensor:
    """Standard deviation over tissue of the Laplacian of green optical density, after Pech-Pacheco et al. 2000.

    The Laplacian is that of pixels of 2 µm, whatever the resolution of the region, so that one threshold serves
    for all slides. It weakens with the stain's contrast as well as with blur.

    Args:
        region: (H, W, 3) uint8 RGB, on any device.
        mpp: µm per pixel; regions coarser than 2 µm/px are used as they are.

    Returns:
        () float32, in optical density; 0 where there is no tissue.
    """
    height, width = (min(length, max(3, round(length * mpp / SHARPNESS_MPP))) for length in region.shape[:2])
    green = F.adaptive_avg_pool2d(region[None, :, :, 1].float(), (height, width))[0]  # (height, width)
    density = -torch.log10((green + 1) / 256)
    inner = density[1:-1, 1:-1]
    laplacian = density[:-2, 1:-1] + density[2:, 1:-1] + density[1:-1, :-2] + density[1:-1, 2:] - 4 * inner
    tissue = (inner > TISSUE_DENSITY).float()
    n_tissue = tissue.sum().clamp(min=1)
    mean = (laplacian * tissue).sum() / n_tissue
    return (((laplacian - mean) ** 2 * tissue).sum() / n_tissue).sqrt()
