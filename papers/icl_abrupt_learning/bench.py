"""The hot loop: three networks trained in one compiled program, against three runs one after the other in eager torch.

Same network, same sizes, same plain SGD, sequences drawn afresh at every step on both sides. The torch side computes what the plain definition says: all three
projections of all tokens in both layers, and the read-out of the last token.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import numpy as np
import torch

from papers.icl_abrupt_learning.model import draw_world, init_params, measure, training_step
from papers.icl_abrupt_learning.replicate import Config, prepare, setting_of
from shared.optim.many import stack_runs, train_many
from shared.seeds import numpy_rng

SEEDS, STEPS = (1000, 1001, 1002), 50


def ours(config: Config, condition: dict) -> None:
    setting = setting_of(config, condition)
    data = prepare(setting, condition["K"], config.L, config.D, 0.0, config.lr, config.batch, SEEDS)
    params = stack_runs([init_params(numpy_rng(seed, "init"), config.D, config.span, config.L) for seed in SEEDS])
    last, _ = train_many(training_step(setting, config.decay), measure, [STEPS], params, data)
    jax.block_until_ready(last)


def torch_sequences(world: tuple[torch.Tensor, torch.Tensor], config: Config, B: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Bursty sequences (batch, T, E) of uniformly drawn classes, and the targets' labels."""
    (mu, label), N, batch = world, config.N, config.batch
    drawn = torch.randint(len(mu), (batch, N // B), generator=generator).repeat(1, B)
    context = drawn.gather(1, torch.rand(batch, N, generator=generator).argsort(1))
    target = context.gather(1, torch.randint(N, (batch, 1), generator=generator))
    every = torch.cat([context, target], dim=1)
    item = (mu[every] + config.eps * torch.randn(batch, N + 1, config.D, generator=generator) / config.D**0.5) / (1 + config.eps**2) ** 0.5
    pairs = torch.stack([item[:, :-1], label[context % len(label)]], dim=2).flatten(1, 2)
    offset = torch.randint(config.span - 2 * N, (batch, 1), generator=generator)
    position = torch.nn.functional.one_hot(offset + torch.arange(2 * N + 1), config.span).float()
    return torch.cat([position, torch.cat([pairs, item[:, -1:]], dim=1)], dim=2), target[:, 0] % len(label)


def torch_loss(heads: list, read_out: tuple, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
    for Q, K, V in heads:
        scores = (x @ Q.T) @ (x @ K.T).transpose(1, 2)
        x = x + torch.softmax(scores.masked_fill(future, -torch.inf), dim=2) @ (x @ V.T)
    W, b, out = read_out
    h = x[:, -1]
    for weight, bias in zip(W, b, strict=True):
        h = torch.relu(h @ weight + bias)
    return torch.nn.functional.cross_entropy(h @ out, y)


def plain(config: Config, condition: dict) -> None:
    for seed in SEEDS:
        generator = torch.Generator().manual_seed(seed)
        world = tuple(map(torch.tensor, draw_world(numpy_rng(seed, "world"), condition["K"], config.L, config.D, 0.0)[:2]))
        params = jax.tree.map(lambda w: torch.tensor(np.asarray(w), requires_grad=True), init_params(numpy_rng(seed, "init"), config.D, config.span, config.L))
        for _ in range(STEPS):
            loss = torch_loss([params.first, params.second], params.read_out, *torch_sequences(world, config, condition["B"], generator))
            leaves = jax.tree.leaves(params)
            grads = torch.autograd.grad(loss, leaves)
            with torch.no_grad():
                for leaf, grad in zip(leaves, grads, strict=True):
                    leaf.mul_(1 - config.decay).sub_(config.lr * grad)


def cases() -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    config, condition = Config(), {"K": 512, "B": 2, "eps": 0.1, "p_C": 0.0}
    return {f"{len(SEEDS)} seeds, {STEPS} steps of the cpu profile's network": (partial(ours, config, condition), partial(plain, config, condition))}
