"""Data as tensors, first embeddings, the training loop and the accuracy: what every method of the comparison goes through alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from papers.noprop.blocks import Streams
from papers.noprop.model import prototypes
from shared.data import cifar10, digits, mnist
from shared.seeds import numpy_rng, torch_generator

N_CLASSES = 10


@dataclass(frozen=True)
class Data:
    """Images (n, channels, H, W), centred and scaled by the training part's mean and standard deviation; labels (n,)."""

    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor

    @property
    def image(self) -> tuple[int, int, int]:
        return tuple(self.x.shape[1:])

    def first_in_double_precision(self, n: int) -> Data:
        """At most ``n`` training images."""
        return Data(self.x[:n].double(), self.y[:n], self.x_test.double(), self.y_test)

    def blinded(self) -> Data:
        """Every image replaced by zeros: what a block can then learn, it learns from z alone."""
        return Data(torch.zeros_like(self.x), self.y, torch.zeros_like(self.x_test), self.y_test)


def load(dataset: str, train_images: int, seed: int, device: str) -> Data:
    """Digits have no official split and get one of their own per seed; MNIST and CIFAR-10 keep theirs. ``train_images`` 0 means all."""
    images = digits.load(seed=seed) if dataset == "digits" else {"mnist": mnist, "cifar10": cifar10}[dataset].load()
    x, x_test = (part.reshape(*part.shape[:3], -1).transpose(0, 3, 1, 2).astype(np.float32) for part in (images.x_train, images.x_test))
    chosen = numpy_rng(seed, "training images").permutation(len(x))[: train_images or None]
    x, y = x[chosen], images.y_train[chosen]
    mean, std = x.mean(), x.std()
    return Data(*(torch.from_numpy(part).to(device) for part in ((x - mean) / std, y, (x_test - mean) / std, images.y_test)))


def first_embeddings(embedding: str, data: Data, m: int, seed: int) -> Tensor:
    """W_embed (C, m) before training: one-hot rows, orthogonal rows, or the medoid image of each class."""
    if embedding == "one-hot":
        return torch.eye(N_CLASSES, device=data.x.device)
    if embedding == "prototype":
        return prototypes(data.x, data.y, N_CLASSES)
    return nn.init.orthogonal_(torch.empty(N_CLASSES, m), generator=torch_generator(seed, "embeddings")).to(data.x.device)


def streams_of(seed: int, purpose: str, blocks: Sequence[int], device: str) -> Streams:
    """A random stream for each of the blocks named."""
    return [torch_generator(seed, f"{purpose} {t}", device) for t in blocks]


def train(loss: Callable, model: nn.Module, optimiser: torch.optim.Optimizer, data: Data, streams: Streams, batch: int) -> None:
    """One epoch of ``loss(x, y, streams)``. Every stream shuffles the images for itself: each block of NoProp-DT goes through them in an order of its own.

    The blocks of NoProp-DT take their steps side by side. The paper trains block after block within an epoch. For fixed embeddings the two are the same
    to the blocks (measured in the part "order"); theta_out and learned embeddings take one step on T summed losses in place of T steps.
    """
    model.train()
    shuffled = torch.stack([torch.randperm(len(data.y), generator=stream, device=stream.device) for stream in streams])  # (streams, n)
    for chosen in shuffled.split(batch, dim=1):
        optimiser.zero_grad()
        loss(data.x[chosen], data.y[chosen], streams).backward()
        optimiser.step()
    model.eval()


@torch.no_grad()
def accuracy(predict: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> np.ndarray:
    """Share of correct classes. ``predict`` takes images (B, channels, H, W) to classes (..., B); its leading axes are kept."""
    right = [predict(images) == labels for images, labels in zip(x.split(2000), y.split(2000), strict=True)]
    return torch.cat(right, dim=-1).float().mean(-1).cpu().numpy()
