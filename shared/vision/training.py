"""Train an image classifier on tensors that lie on the device, and read its features out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

Augment = Callable[[Tensor, Generator], Tensor]


def batches(n: int, size: int, generator: Generator, *, drop_last: bool = True) -> Iterator[Tensor]:
    """Index tensors of one shuffled pass over ``n`` examples, on the generator's device; a last smaller batch is dropped unless it is all there is."""
    order = torch.randperm(n, generator=generator, device=generator.device)
    stop = n - n % size if drop_last and n >= size else n
    for start in range(0, stop, size):
        yield order[start : min(start + size, stop)]


def cosine(step: int, steps: int, warm_up: int = 0) -> float:
    """Factor on the learning rate: linear over ``warm_up`` steps, then half a cosine down to 0 at ``steps``."""
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def fit(
    network: nn.Module,
    x: Tensor,
    y: Tensor,
    optimizer: torch.optim.Optimizer,
    *,
    epochs: int,
    batch: int,
    generator: Generator,
    augment: Augment | None = None,
    warm_up_epochs: float = 0.0,
    label_smoothing: float = 0.0,
    bf16: bool = False,
    after_epoch: Callable[[int, float], None] | None = None,
) -> None:
    """Cross-entropy with a cosine learning rate.

    Parameters
    ----------
    x, y : images (n, channels, height, width), float, and labels (n,), on the network's device.
    generator : order and augmentation draw from it; it lives on that device too.
    bf16 : run the forward pass in bfloat16 (GPU).
    after_epoch : called with the epoch, from 1, and its mean loss.
    """
    per_epoch = max(1, len(x) // batch)
    steps = epochs * per_epoch
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: cosine(step, steps, round(warm_up_epochs * per_epoch)))
    for epoch in range(1, epochs + 1):
        network.train()
        total = x.new_zeros(())
        for rows in batches(len(x), batch, generator):
            images = x[rows] if augment is None else augment(x[rows], generator)
            with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=bf16):
                scores = network(images)
            loss = F.cross_entropy(scores.float(), y[rows], label_smoothing=label_smoothing)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.detach()
        if after_epoch is not None:
            after_epoch(epoch, float(total) / per_epoch)


@torch.no_grad()
def in_chunks(function: Callable[[Tensor], Tensor], x: Tensor, chunk: int = 1000) -> Tensor:
    """``function`` over x without gradients, ``chunk`` rows at a time."""
    return torch.cat([function(part) for part in x.split(chunk)])


def accuracy(network: nn.Module, x: Tensor, y: Tensor) -> float:
    """Fraction of arg-max scores that equal y, in evaluation mode."""
    network.eval()
    return float((in_chunks(network, x).argmax(1) == y).float().mean())


def frozen_features(network, x: Tensor) -> Tensor:
    """Features (n, n_features) in evaluation mode: batch norms use their running statistics."""
    network.eval()
    return in_chunks(network.features, x)
