"""Small encoders that stand in for the paper's large pre-trained ones: one trained with labels, the other without, both frozen afterwards.

Images are float tensors (size, channels, height, width) in [0, 1]. An encoder maps them to the non-negative output of its last ReLU, (size, width).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from shared.vision.augment import flip, greyscale, shift
from shared.vision.networks import resnet18

MASKED = 0.5
"""Share of pixels set to zero before the auto-encoder sees an image."""


@dataclass(frozen=True)
class Schedule:
    """How long and with which optimiser an encoder is trained."""

    steps: int
    batch: int = 256
    optimiser: str = "adam"
    """``adam``: step size 1e-3. ``sgd``: step size 0.1 falling to 0 along a cosine, momentum 0.9, weight decay 5e-4."""


# --- Architectures ------------------------------------------------------------------------------------------------------------------------------------


def mlp(pixels: int) -> nn.Sequential:
    """784-512-256 for MNIST, ReLU after both layers."""
    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU())


def resnet(channels: int = 3) -> nn.Module:
    """ResNet-18 for 32x32 images without its head: 512 features averaged over the image."""
    network = resnet18(classes=1, channels=channels)
    network.head = nn.Identity()
    return network


# --- Training -----------------------------------------------------------------------------------------------------------------------------------------


def train(loss: Callable[[Int[Tensor, " batch"]], Tensor], modules: nn.ModuleList, size: int, schedule: Schedule, device: str) -> None:
    """Minimise ``loss(indices of a batch)`` over the modules' weights; full batches only, the ``size`` images shuffled anew at each pass.

    The draws come from torch's global generators, which the caller has seeded.
    """
    sgd = schedule.optimiser == "sgd"
    optimiser = torch.optim.SGD(modules.parameters(), 0.1, momentum=0.9, weight_decay=5e-4) if sgd else torch.optim.Adam(modules.parameters(), 1e-3, fused=True)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, schedule.steps) if sgd else None
    per_pass = size // schedule.batch
    for step in range(schedule.steps):
        if step % per_pass == 0:
            order = torch.randperm(size, device=device)
        first = step % per_pass * schedule.batch
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            value = loss(order[first : first + schedule.batch])
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        optimiser.step()
        if decay:
            decay.step()


def supervised(encoder: nn.Module, width: int, images: Float[Tensor, "size c h w"], labels: Int[Tensor, " size"], schedule: Schedule, augmented: bool) -> None:
    """Cross-entropy of a linear head on the encoder's output."""
    device = images.device.type
    head = nn.Linear(width, int(labels.max()) + 1).to(device)

    def loss(batch):
        x = augment(images[batch], jitter=False) if augmented else images[batch]
        return F.cross_entropy(head(encoder(x)).float(), labels[batch])

    train(loss, nn.ModuleList([encoder, head]), len(images), schedule, device)


def denoising(encoder: nn.Module, width: int, images: Float[Tensor, "size c h w"], schedule: Schedule) -> None:
    """Binary cross-entropy between an image and what a linear decoder makes of the code of its masked copy; no labels."""
    device = images.device.type
    decoder = nn.Linear(width, images[0].numel()).to(device)

    def loss(batch):
        clean = images[batch]
        kept = torch.rand_like(clean) >= MASKED
        return F.binary_cross_entropy_with_logits(decoder(encoder(clean * kept)).float(), clean.flatten(1))

    train(loss, nn.ModuleList([encoder, decoder]), len(images), schedule, device)


def simclr(encoder: nn.Module, width: int, images: Float[Tensor, "size c h w"], schedule: Schedule, temperature: float = 0.5) -> None:
    """SimCLR: two augmented views of an image are each other's only positive among all views of the batch; no labels."""
    device = images.device.type
    projection = nn.Sequential(nn.Linear(width, 256), nn.ReLU(), nn.Linear(256, 128)).to(device)

    def loss(batch):
        views = torch.cat([augment(images[batch]), augment(images[batch])])
        return nt_xent(projection(encoder(views)).float(), temperature)

    train(loss, nn.ModuleList([encoder, projection]), len(images), schedule, device)


def nt_xent(z: Float[Tensor, "2b d"], temperature: float) -> Float[Tensor, ""]:
    """-log [ exp(s(z_i, z_i') / t) / sum_{j != i} exp(s(z_i, z_j) / t) ] averaged over all views; rows i and i + b are views of one image, s is the cosine."""
    z = F.normalize(z, dim=1)
    similarity = z @ z.T / temperature
    similarity = similarity.masked_fill(torch.eye(len(z), dtype=torch.bool, device=z.device), -torch.inf)
    return F.cross_entropy(similarity, torch.arange(len(z), device=z.device).roll(len(z) // 2))


def augment(x: Float[Tensor, "b c h w"], pad: int = 4, jitter: bool = True) -> Float[Tensor, "b c h w"]:
    """A random shift by up to ``pad`` pixels and a random flip; with ``jitter`` also a random gain (0.6 to 1.4) of every channel and, for one in five, grey."""
    generator = torch.default_generator if x.device.type == "cpu" else torch.cuda.default_generators[x.device.index or 0]
    x = flip(shift(x, pad, generator), generator)
    if jitter:
        x = (x * (0.6 + 0.8 * torch.rand(*x.shape[:2], 1, 1, device=x.device))).clamp(0, 1)
        x = greyscale(x, generator) if x.shape[1] == 3 else x
    return x


@torch.no_grad()
def encode(encoder: nn.Module, images: Float[Tensor, "size c h w"]) -> Float[np.ndarray, "size width"]:
    """Features of all images, the encoder in evaluation mode."""
    encoder.eval()
    return torch.cat([encoder(part) for part in images.split(2048)]).float().cpu().numpy()
