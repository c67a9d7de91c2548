"""Augmentation of whole batches of images as tensor operations, on CPU and GPU alike.

Every function takes images (batch, channels, height, width), float in [0, 1] unless it says otherwise, and a torch generator on the same device; each image of
the batch gets draws of its own. The result is a new tensor.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def _uniform(x: Tensor, low: float, high: float, generator: Generator) -> Tensor:
    """One draw an image, shape (batch, 1, 1, 1)."""
    return torch.rand(len(x), 1, 1, 1, generator=generator, device=x.device) * (high - low) + low


def shift(x: Tensor, pixels: int, generator: Generator, mode: str = "constant") -> Tensor:
    """Pad by ``pixels`` on every side and crop back at a random place: shifts by -pixels..pixels on each axis (He et al. 2016, Section 4.2, pixels = 4)."""
    n, _, height, width = x.shape
    padded = F.pad(x, [pixels] * 4, mode=mode)
    top, left = torch.randint(0, 2 * pixels + 1, (2, n), generator=generator, device=x.device)
    rows = top[:, None] + torch.arange(height, device=x.device)
    columns = left[:, None] + torch.arange(width, device=x.device)
    image = torch.arange(n, device=x.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


def flip(x: Tensor, generator: Generator, p: float = 0.5) -> Tensor:
    """Mirror each image left to right with probability ``p``."""
    return torch.where(_uniform(x, 0, 1, generator) < p, x.flip(-1), x)


def cutout(x: Tensor, size: int, generator: Generator) -> Tensor:
    """Set a square of side ``size`` around a random pixel to zero; it may hang over the border (DeVries and Taylor 2017)."""
    n, _, height, width = x.shape
    centre_y = torch.randint(0, height, (n, 1, 1, 1), generator=generator, device=x.device)
    centre_x = torch.randint(0, width, (n, 1, 1, 1), generator=generator, device=x.device)
    y = torch.arange(height, device=x.device)[:, None]
    column = torch.arange(width, device=x.device)
    low, high = size // 2, size - size // 2
    inside = (y >= centre_y - low) & (y < centre_y + high) & (column >= centre_x - low) & (column < centre_x + high)
    return x.masked_fill(inside, 0.0)


def greyscale(x: Tensor, generator: Generator, p: float = 0.2) -> Tensor:
    """Replace RGB by its luma with probability ``p``."""
    grey = (x * x.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True).expand_as(x)
    return torch.where(_uniform(x, 0, 1, generator) < p, grey, x)


def colour(x: Tensor, strength: float, generator: Generator, p: float = 0.8) -> Tensor:
    """With probability ``p`` scale brightness, then contrast, then saturation by factors in 1 +- ``strength``, clipped to [0, 1].

    The jitter of SimCLR (Chen et al. 2020, Appendix A) without its hue rotation and in a fixed order. One-channel images have no saturation.
    """
    brightness, contrast, saturation = (_uniform(x, max(0.0, 1 - strength), 1 + strength, generator) for _ in range(3))
    changed = (x * brightness).clamp(0, 1)
    mean = changed.mean((1, 2, 3), keepdim=True)
    changed = (mean + contrast * (changed - mean)).clamp(0, 1)
    if x.shape[1] == 3:
        grey = (changed * x.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
        changed = (grey + saturation * (changed - grey)).clamp(0, 1)
    return torch.where(_uniform(x, 0, 1, generator) < p, changed, x)


def resized_crop(x: Tensor, smallest: float, generator: Generator) -> Tensor:
    """A random square of ``smallest``..1 of the image's area, resized back bilinearly (square images)."""
    n = len(x)
    side = _uniform(x, smallest, 1.0, generator).sqrt().view(n)
    offset = (torch.rand(n, 2, generator=generator, device=x.device) * 2 - 1) * (1 - side)[:, None]
    theta = torch.zeros(n, 2, 3, device=x.device, dtype=x.dtype)
    theta[:, 0, 0] = theta[:, 1, 1] = side
    theta[:, :, 2] = offset
    return F.grid_sample(x, F.affine_grid(theta, list(x.shape), align_corners=False), padding_mode="reflection", align_corners=False)


def two_views(x: Tensor, generator: Generator, *, smallest: float = 0.3, strength: float = 0.4, mirror: bool = True) -> tuple[Tensor, Tensor]:
    """Two independent random crops, mirrored and recoloured, of every image: the positive pairs of contrastive learning."""

    def view() -> Tensor:
        seen = resized_crop(x, smallest, generator)
        seen = flip(seen, generator) if mirror else seen
        seen = colour(seen, strength, generator)
        return greyscale(seen, generator) if x.shape[1] == 3 else seen

    return view(), view()
