"""NoProp: Training Neural Networks without Back-propagation or Forward-propagation (Li, Teh, Pascanu 2025, arXiv 2503.24322).

Run: NoProp-DT with one-hot, learned and prototype embeddings, NoProp-CT and -FM, back-propagation through the same T-block sampler (B1) and through an
unrolled neural ODE (B3); then the memory of a training step, block order, and what single blocks can do. cpu profile: 8x8 digits and narrow blocks, under
5 minutes on one core. Number to reach: 99.54 % on MNIST and 80.54 % on CIFAR-10 (DT, prototypes), equal to back-propagation.

    python -m papers.noprop.replicate --profile cpu
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from papers.noprop.blocks import Blocks, Image, TimeBlock
from papers.noprop.memory import allocated_bytes, saved_bytes, training_flops
from papers.noprop.model import DiscreteChain, NeuralODE, NoiseSchedule, NoPropCT, NoPropFM, Readout, prior
from papers.noprop.training import N_CLASSES, Data, accuracy, first_embeddings, load, streams_of, train
from shared.engine import main, per_seed
from shared.seeds import torch_generator

DISCRETE = ("noprop-dt", "backprop")


@dataclass(frozen=True)
class Config:
    epochs: dict[str, int] = field(default_factory=lambda: {"digits": 30})
    """The data sets that are run (digits, mnist, cifar10) and how many passes over each, the same for all methods. Paper: mnist 100, cifar10 150 (CT 500)."""
    train_images: int = 0
    """Use only so many training images; 0 means all."""
    batch: int = 64
    """Images in a mini-batch. Paper: 128; the 1,438 digits give too few steps an epoch for that."""
    lr: float = 2e-3
    """Step size of AdamW (discrete time) and Adam (continuous time). Paper: 1e-3, for some fifty times as many steps."""
    weight_decay: float = 1e-3
    """Weight decay, as in the paper."""
    T: int = 10
    """Blocks (paper: 10)."""
    other_T: tuple[int, ...] = (2,)
    """Further numbers of blocks, for NoProp-DT on one-hot embeddings."""
    discrete_embeddings: tuple[str, ...] = ("one-hot", "learned", "prototype")
    """Embeddings that NoProp-DT is trained with: one-hot, learned (from orthogonal rows) or prototype (learned from an image of each class)."""
    backprop_embeddings: tuple[str, ...] = ("one-hot",)
    """The same for back-propagation through the chain (B1)."""
    continuous_embeddings: tuple[str, ...] = ("one-hot",)
    """The same for NoProp-CT and NoProp-FM."""
    channels: tuple[int, int, int] = (8, 16, 32)
    """Channels of the three convolutions. Paper: 32, 64, 128."""
    width: int = 64
    """Units of the fully connected layers. Paper: 256."""
    dropout: float = 0.2
    """Dropout after each convolution (paper: 0.2)."""
    learned_m: int = 20
    """Dimension of the learned embeddings (paper: 20)."""
    eta_dt: float = 0.1
    """Weight eta of the denoising term in discrete time (paper: 0.1)."""
    eta_ct: float = 1.0
    """Weight eta of the denoising term in continuous time (paper: 1)."""
    gamma_ends: tuple[float, float] = (-3.0, 3.0)
    """First values of gamma_0 and gamma_1 (log of noise over signal at t = 1 and at t = 0) in the learned noise schedule. The paper's were not found; chosen
    on validation data, where (-7, 7), the range of the discrete schedule, did far worse."""
    sampler_steps: int = 50
    """Steps of inference in continuous time and flow matching. Paper: 1000."""
    ode_steps: int = 20
    """Euler steps of the neural ODE (B3), in training and inference."""
    inference_runs: int = 5
    """Inference is random: the final accuracy is the mean over so many runs."""
    evaluations: int = 6
    """Points of the test-accuracy curve, equally spaced in epochs."""
    blind_epochs: int = 3
    """Passes over the data when every image is replaced by zeros."""
    order_epochs: int = 1
    """Passes over the data when blocks are trained one at a time in two orders."""
    order_images: int = 500
    """Use at most so many training images for that."""
    cost_batch: int = 128
    """Images in the training step whose memory and operations are counted."""


def conditions(config: Config) -> list[dict]:
    compared = [("noprop-dt", embedding) for embedding in config.discrete_embeddings]
    compared += [("backprop", embedding) for embedding in config.backprop_embeddings]
    compared += [(method, embedding) for method in ("noprop-ct", "noprop-fm") for embedding in config.continuous_embeddings]
    compared += [("neural-ode", "one-hot")]
    grid = []
    for dataset in config.epochs:
        grid += [{"part": "accuracy", "dataset": dataset, "method": method, "embedding": embedding} for method, embedding in compared]
        grid += [{"part": "depth", "dataset": dataset, "T": T} for T in config.other_T]
        grid += [{"part": "blind", "dataset": dataset}, {"part": "order", "dataset": dataset}]
    return grid + [{"part": "cost", "method": method, "size": size} for size in ("profile", "paper") for method in (*DISCRETE, "noprop-ct", "neural-ode")]


@per_seed
def run(config: Config, condition: dict, seed: int, device: str) -> dict:
    if condition["part"] == "cost":
        return run_cost(config, condition["method"], condition["size"], seed, device)
    data, epochs = load(condition["dataset"], config.train_images, seed, device), config.epochs[condition["dataset"]]
    if condition["part"] == "order":
        with torch.backends.cudnn.flags(enabled=True, deterministic=True):  # on a GPU
            return run_order(config, data.first_in_double_precision(config.order_images), seed, device)
    if condition["part"] == "depth":
        return run_accuracy(replace(config, T=condition["T"]), data, "noprop-dt", "one-hot", epochs, seed, device)
    if condition["part"] == "blind":
        return run_accuracy(config, data.blinded(), "noprop-dt", "one-hot", config.blind_epochs, seed, device)
    return run_accuracy(config, data, condition["method"], condition["embedding"], epochs, seed, device)


# ------------------------------------------------------------------------------------------------------------------------------------ networks


def readout_of(config: Config, embedding: str, data: Data, seed: int) -> Readout:
    return Readout(first_embeddings(embedding, data, config.learned_m, seed), learned=embedding != "one-hot")


def chain_of(config: Config, readout: Readout, image: Image, which: Sequence[int], seed: int, device: str) -> DiscreteChain:
    """Blocks ``which`` of a chain of T. Block t starts from the same weights in every method and in whatever company."""
    init = streams_of(seed, "init block", which, device)
    blocks = Blocks(init, image, readout.m, N_CLASSES, config.channels, config.width, config.dropout)
    return DiscreteChain(readout, blocks, which, config.T, config.eta_dt)


def continuous_of(config: Config, method: str, readout: Readout, image: Image, seed: int, device: str) -> NoPropCT | NoPropFM | NeuralODE:
    stream = torch_generator(seed, "init continuous", device)
    n_out = N_CLASSES if method == "noprop-ct" else readout.m  # class logits, or a velocity
    block = TimeBlock(stream, image, readout.m, n_out, config.channels, config.width, config.dropout)
    if method == "noprop-ct":
        return NoPropCT(readout, block, NoiseSchedule(stream, *config.gamma_ends), config.eta_ct, config.sampler_steps)
    return NoPropFM(readout, block, config.sampler_steps) if method == "noprop-fm" else NeuralODE(readout, block, config.ode_steps)


def model_and_loss(config: Config, method: str, readout: Readout, image: Image, which: Sequence[int], seed: int, device: str) -> tuple[nn.Module, Callable]:
    """The model, and the function (x, y, streams) -> loss that the method minimises."""
    if method in DISCRETE:
        chain = chain_of(config, readout, image, which, seed, device)
        return chain, chain.noprop_loss if method == "noprop-dt" else chain.backprop_loss
    model = continuous_of(config, method, readout, image, seed, device)
    return model, model.loss


def optimiser_of(config: Config, method: str, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    """AdamW in discrete time, Adam with L2 decay in continuous time. Both treat every number by itself, so that stacked blocks share no state."""
    algorithm = torch.optim.AdamW if method in DISCRETE else torch.optim.Adam
    return algorithm([p for p in parameters if p.requires_grad], lr=config.lr, weight_decay=config.weight_decay, fused=True)


# ------------------------------------------------------------------------------------------------------------------------------------ accuracy


def run_accuracy(config: Config, data: Data, method: str, embedding: str, epochs: int, seed: int, device: str) -> dict:
    """Train on the training part, report the test part. The last epoch counts, whatever the curve does before."""
    which = range(1, config.T + 1)
    readout = readout_of(config, embedding, data, seed)
    model, loss = model_and_loss(config, method, readout, data.image, which, seed, device)
    optimiser = optimiser_of(config, method, model.parameters())
    streams = streams_of(seed, "train block", which if method == "noprop-dt" else [1], device)
    inference = torch_generator(seed, "inference", device)

    def measured(x: Tensor, y: Tensor) -> float:
        return float(accuracy(lambda images: model.predict(images, inference), x, y))

    seen = sorted({math.ceil(epochs * i / config.evaluations) for i in range(1, config.evaluations + 1)})
    curve = []
    for epoch in range(1, epochs + 1):
        train(loss, model, optimiser, data, streams, config.batch)
        if epoch in seen:
            curve.append(measured(data.x_test, data.y_test))
    return {
        "accuracy": float(np.mean([measured(data.x_test, data.y_test) for _ in range(config.inference_runs)])),
        "train_accuracy": measured(data.x, data.y),
        "curve_epochs": np.array(seen, np.float32),
        "curve": np.array(curve, np.float32),
        "smallest_embedding_norm": float(readout.W_embed.detach().norm(dim=1).min()),
        **(chain_diagnostics(model, data, inference) if method in DISCRETE else {}),
    }


@torch.no_grad()
def chain_diagnostics(chain: DiscreteChain, data: Data, inference: torch.Generator, n_shown: int = 4) -> dict:
    """What the single blocks of a trained chain do, on the test images."""
    x, y = data.x_test, data.y_test

    def classes_from_noise(images: Tensor) -> Tensor:
        z = torch.stack([prior(inference, images, chain.readout.m)] * chain.T)
        return chain.blocks(z, images[None]).argmax(-1)

    def classes_of_blocks(images: Tensor) -> Tensor:
        return torch.stack(chain.sample(images, inference)[0]).argmax(-1)

    def classes_of_states(images: Tensor) -> Tensor:
        return chain.readout.logits(torch.stack(chain.sample(images, inference)[1])).argmax(-1)

    along = torch.stack(chain.sample(x[:1000], inference)[0], dim=1)  # (n, T, C)
    certainty = along.gather(2, y[:1000, None, None].expand(-1, chain.T, 1)).mean(dim=(1, 2))  # probability of the true class, over the chain
    shown = certainty.argsort()[:n_shown]
    return {
        "accuracy_of_block": accuracy(classes_of_blocks, x, y),  # (T,): the class that block t finds most likely, along the chain
        "accuracy_of_state": accuracy(classes_of_states, x, y),  # (T + 1,): the class read off z_t
        "accuracy_of_block_from_noise": accuracy(classes_from_noise, x, y),  # (T,): each block alone, on z ~ N(0, I)
        "accuracy_without_noise": float(accuracy(lambda images: chain.predict(images, inference, noise=False), x, y)),
        "shown_images": x[shown].cpu().numpy(),  # (n_shown, channels, H, W): those that the blocks are least sure of
        "shown_labels": y[shown].cpu().numpy(),
        "shown_probabilities": along[shown].cpu().numpy(),  # (n_shown, T, C)
    }


# ----------------------------------------------------------------------------------------------------------------------- order of training, cost


def run_order(config: Config, data: Data, seed: int, device: str) -> dict:
    """The paper's algorithm, block after block, in order 1..T and in order T..1; and all blocks side by side. Only the blocks' parameters are compared.

    Learned embeddings are the control: through them blocks do touch each other, and the order must show. In double precision, because some biases are
    subtracted by the next batch norm: their gradient is a rounding error, which Adam makes a step of, and a stack of blocks does not round as one block does.
    """
    upwards, downwards = range(1, config.T + 1), range(config.T, 0, -1)
    trained = {e: [train_in_order(config, e, data, [[t] for t in order], seed, device) for order in (upwards, downwards)] for e in ("one-hot", "learned")}
    together = train_in_order(config, "one-hot", data, [upwards], seed, device)
    untrained = train_in_order(replace(config, order_epochs=0), "one-hot", data, [upwards], seed, device)
    return {
        "order_difference": largest_difference(*trained["one-hot"]),
        "order_difference_learned": largest_difference(*trained["learned"]),
        "together_difference": largest_difference(trained["one-hot"][0], together),
        "distance_moved": largest_difference(trained["one-hot"][0], untrained),
    }


def train_in_order(config: Config, embedding: str, data: Data, shares: Sequence[Sequence[int]], seed: int, device: str) -> dict[tuple[int, str], Tensor]:
    """In every epoch, one share of the blocks after the other; theta_out and W_embed are handed on from share to share. Block t's parameters by name.

    One AdamW serves all: it keeps its moments and step counts for each parameter, and leaves alone those that a loss has given no gradient.
    """
    readout = readout_of(config, embedding, data, seed)
    chains = [chain_of(config, readout, data.image, which, seed, device).to(data.x.dtype) for which in shares]
    streams = [streams_of(seed, "train block", which, device) for which in shares]
    optimiser = optimiser_of(config, "noprop-dt", [*readout.parameters(), *(p for chain in chains for p in chain.blocks.parameters())])
    for _ in range(config.order_epochs):
        for chain, own in zip(chains, streams, strict=True):
            train(chain.noprop_loss, chain, optimiser, data, own, config.batch)
    return {
        (t, name): tensor.detach()
        for chain, which in zip(chains, shares, strict=True)
        for name, stacked in chain.blocks.named_parameters()
        for t, tensor in zip(which, stacked, strict=True)
    }


def largest_difference(one: dict[tuple[int, str], Tensor], other: dict[tuple[int, str], Tensor]) -> float:
    """Largest absolute difference over every entry of every parameter of every block."""
    return max(float((one[key] - other[key]).abs().max()) for key in one.keys() | other.keys())


def run_cost(config: Config, method: str, size: str, seed: int, device: str) -> dict:
    """Memory and operations of one training step on one-hot embeddings: memory of one block for NoProp-DT, of the whole network for the others.

    Counted on the meta device, where nothing is computed; on a GPU the allocator's peak is measured beside it.
    """
    if size == "paper":
        config, image = replace(config, channels=(32, 64, 128), width=256), (3, 32, 32)
    else:
        image = {"digits": (1, 8, 8), "mnist": (1, 28, 28), "cifar10": (3, 32, 32)}[next(iter(config.epochs))]
    blocks = 1 if method == "noprop-dt" else config.T
    model, step = step_on("meta", config, method, image, blocks, seed)
    _, step_of_one_block = step_on("meta", replace(config, T=1), method, image, 1, seed)  # the counter knows no grouped convolution's backward pass
    return {
        "saved_bytes": saved_bytes(step, [*model.parameters(), *model.buffers()]),
        "parameter_bytes": sum(p.numel() * p.element_size() for p in model.parameters()),
        "flops_per_image": training_flops(step_of_one_block) / config.cost_batch * (config.T if method in DISCRETE else 1),  # all T blocks
        **({"allocated_bytes": allocated_bytes(step_on("cuda", config, method, image, blocks, seed)[1])} if device == "cuda" else {}),
    }


def step_on(where: str, config: Config, method: str, image: Image, blocks: int, seed: int) -> tuple[nn.Module, Callable[[], Tensor]]:
    """A model on a device, and a function that takes the forward pass of one training step of it."""
    model, loss = model_and_loss(config, method, Readout(torch.eye(N_CLASSES), learned=False), image, range(1, blocks + 1), seed, "cpu")
    model.to(where)
    x, y = torch.zeros(1, config.cost_batch, *image, device=where), torch.zeros(1, config.cost_batch, dtype=torch.long, device=where)
    streams = [torch_generator(seed, "cost", "cuda" if where == "cuda" else "cpu")]
    return model, lambda: loss(x, y, streams)


if __name__ == "__main__":
    main(__file__)
