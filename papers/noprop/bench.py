"""One training step of ten NoProp-DT blocks: stacked in grouped convolutions and batched products, against block after block."""

from __future__ import annotations

from collections.abc import Callable

import torch

from papers.noprop.model import DiscreteChain, Readout
from papers.noprop.replicate import Config, chain_of, optimiser_of
from papers.noprop.training import N_CLASSES, streams_of

IMAGE, SEED = (1, 8, 8), 1000


def step_of(config: Config, shares: list[list[int]]) -> Callable[[], None]:
    """A function that takes one step of every block, one share of the blocks after the other."""
    readout = Readout(torch.eye(N_CLASSES), learned=False)
    chains = [chain_of(config, readout, IMAGE, which, SEED, "cpu") for which in shares]
    streams = [streams_of(SEED, "bench", which, "cpu") for which in shares]
    optimisers = [optimiser_of(config, "noprop-dt", chain.parameters()) for chain in chains]
    x, y = torch.randn(config.batch, *IMAGE), torch.randint(N_CLASSES, (config.batch,))

    def one(chain: DiscreteChain, own: list[torch.Generator], optimiser: torch.optim.Optimizer) -> None:
        optimiser.zero_grad()
        chain.noprop_loss(x.expand(len(own), *x.shape), y.expand(len(own), -1), own).backward()
        optimiser.step()

    def step() -> None:
        for chain, own, optimiser in zip(chains, streams, optimisers, strict=True):
            one(chain, own, optimiser)

    return step


def cases() -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    blocks = range(1, Config.T + 1)
    together, apart = [list(blocks)], [[t] for t in blocks]
    return {f"step of {Config.T} blocks, batch {batch}": tuple(step_of(Config(batch=batch), shares) for shares in (together, apart)) for batch in (16, 64, 256)}
