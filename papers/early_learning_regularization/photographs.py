"""CIFAR-10 with wrong labels: a ResNet-34 in torch, trained as the paper's main table says. The losses agree with losses.py on the same scores (tested).

Shapes: B images of a batch, n training images, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from papers.early_learning_regularization.losses import GCE_Q, SMALLEST
from shared.data import cifar10
from shared.data.label_noise import CIFAR10_CONFUSIONS, asymmetric, symmetric
from shared.seeds import numpy_rng, seed_torch, torch_generator
from shared.vision.augment import flip, shift
from shared.vision.networks import resnet8, resnet34
from shared.vision.training import batches

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


class NoisyLabelLoss(nn.Module):
    """Any of the losses of losses.py, with the running targets t (n, C) of every training example in a buffer.

    ``forward(scores, labels, rows)`` updates the targets of ``rows`` first and then holds them constant, as the released code does.
    """

    def __init__(self, name: str, n: int, classes: int, beta: float, lam: float):
        super().__init__()
        self.name, self.beta, self.lam = name, beta, lam
        self.register_buffer("targets", torch.zeros(n, classes))

    def forward(self, scores: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
        """Scores (B, C), labels (B,) and indices (B,) into the training set -> mean loss."""
        p = scores.softmax(-1).clamp(SMALLEST, 1 - SMALLEST)
        share = p.detach() / p.detach().sum(-1, keepdim=True)
        t = self.targets[rows] = self.beta * self.targets[rows] + (1 - self.beta) * share
        cross_entropy = F.cross_entropy(scores, labels, reduction="none")
        match self.name:
            case "ce":
                each = cross_entropy
            case "elr":
                each = cross_entropy + self.lam * torch.log(1 - (p * t).sum(-1))
            case "kl":
                each = cross_entropy - self.lam * (t * scores.log_softmax(-1)).sum(-1)
            case "gce":
                each = (1 - torch.exp(-GCE_Q * cross_entropy)) / GCE_Q
            case _:
                raise ValueError(f"no loss {self.name!r}")
        return each.mean()


def normalised(images: np.ndarray, device: str) -> Tensor:
    """uint8 (n, 32, 32, 3) -> (n, 3, 32, 32), standardised by channel, on the device."""
    x = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 255
    return ((x - x.new_tensor(MEAN)[:, None, None]) / x.new_tensor(STD)[:, None, None]).contiguous(memory_format=torch.channels_last)


def train(
    seed: int,
    device: str,
    *,
    name: str,
    noise: str,
    rate: float,
    beta: float,
    lam: float,
    epochs: int,
    milestones: tuple[int, ...],
    batch: int,
    per_class: int | None,
    small: bool,
) -> dict:
    """One run on 90 % of the training images with wrong labels; the other 10 % (wrong labels too) choose the reported epoch. Curves have one entry an epoch."""
    images = cifar10.load(per_class, None if per_class is None else max(1, per_class // 5))
    rng = numpy_rng(seed, "noise")
    given = symmetric(images.y_train, rate, 10, rng) if noise == "symmetric" else asymmetric(images.y_train, rate, CIFAR10_CONFUSIONS, rng)
    order = rng.permutation(len(given))
    kept, held_out = order[len(order) // 10 :], order[: len(order) // 10]
    x, x_valid, x_test = (normalised(part, device) for part in (images.x_train[kept], images.x_train[held_out], images.x_test))
    y, y_true, y_valid, y_test = (torch.from_numpy(part).to(device) for part in (given[kept], images.y_train[kept], given[held_out], images.y_test))

    seed_torch(seed, "init")
    network = (resnet8 if small else resnet34)(10).to(device, memory_format=torch.channels_last)
    loss = NoisyLabelLoss(name, len(x), 10, beta, lam).to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, list(milestones), gamma=0.01)
    generator = torch_generator(seed, "order", device)
    bf16 = torch.autocast("cuda", torch.bfloat16) if device == "cuda" else nullcontext()

    def answers(inputs: Tensor) -> Iterator[Tensor]:
        network.eval()
        with torch.no_grad(), bf16:
            yield from (network(part).argmax(-1) for part in inputs.split(1000))

    wrong = y != y_true
    curves: dict[str, list[float]] = {}
    for _ in range(epochs):
        network.train()
        for rows in batches(len(x), batch, generator, drop_last=False):
            with bf16:
                scores = network(flip(shift(x[rows], 4, generator), generator).contiguous(memory_format=torch.channels_last))
            optimizer.zero_grad(set_to_none=True)
            loss(scores.float(), y[rows], rows).backward()
            optimizer.step()
        schedule.step()
        answer = torch.cat(list(answers(x)))
        shares = {
            "right_correct": (answer == y_true)[~wrong],
            "wrong_correct": (answer == y_true)[wrong],
            "wrong_memorised": (answer == y)[wrong],
            "valid_accuracy": torch.cat(list(answers(x_valid))) == y_valid,
            "test_accuracy": torch.cat(list(answers(x_test))) == y_test,
            "target_accuracy": loss.targets.argmax(-1) == y_true,
        }
        for metric, hits in shares.items():
            curves.setdefault(metric, []).append(float(hits.float().mean()))
    return {**{metric: np.array(values, np.float32) for metric, values in curves.items()}, "source": images.source}
