"""Images of any data set as the input of a backbone, and its features over a whole data set."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from shared.vision.networks import Network
from shared.vision.training import in_chunks


def as_input(images: np.ndarray | Tensor, side: int, channels: int, white: float | None = None) -> Tensor:
    """Images (n, height, width[, channels]) as float32 (n, channels, side, side) in [0, 1].

    Parameters
    ----------
    images : NumPy images with the channel last, as the data sets have them, or a tensor (n, channels, height, width).
    side : other sizes are resized bilinearly.
    channels : 1 or 3. Grey is repeated; colour is averaged by luma (ITU-R BT.601).
    white : the value that becomes 1. Unless it is said: 255 for uint8, or 1 where uint8 images hold only 0 and 1; 1 for floats.
    """
    if isinstance(images, np.ndarray):
        images = torch.from_numpy(np.ascontiguousarray(images))
        images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)
    if white is None:
        white = 255.0 if images.dtype == torch.uint8 and images.numel() and int(images.max()) > 1 else 1.0
    x = images.float() / white
    if x.shape[1] == 3 and channels == 1:
        x = (x * x.new_tensor((0.299, 0.587, 0.114))[:, None, None]).sum(1, keepdim=True)
    elif x.shape[1] == 1 and channels == 3:
        x = x.expand(-1, 3, -1, -1)
    elif x.shape[1] != channels:
        raise ValueError(f"images of {x.shape[1]} channels for a network of {channels}")
    if x.shape[2:] != (side, side):
        x = F.interpolate(x, (side, side), mode="bilinear", align_corners=False, antialias=max(x.shape[2:]) > side)
    return x.contiguous()


@torch.no_grad()
def extract(module: Network, x: Tensor, batch: int = 500, device: str | torch.device | None = None) -> Tensor:
    """Features (n, n_features) in float32 on the CPU, in evaluation mode; the module's own mode is put back afterwards.

    x is what ``as_input`` gives. It may lie on the CPU while the module lies elsewhere: batches are moved one at a time.
    """
    device = device or next(module.parameters()).device
    was_training = module.training
    module.eval()
    try:
        return in_chunks(lambda part: module.features(part.to(device)).float().cpu(), x, batch)
    finally:
        module.train(was_training)
