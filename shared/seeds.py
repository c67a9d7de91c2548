"""Independent random streams from one seed.

A trial has one seed; its data, its initialisation and its batch order each draw from a stream of their own, named by the caller, so that changing how
much one of them draws never shifts the others, and two methods compared on one seed see the same data.

    rng = numpy_rng(seed, "data")
    key = jax_key(seed, "init")
    generator = torch_generator(seed, "order")
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np


def stream(seed: int, name: str) -> np.random.SeedSequence:
    """The seed sequence of the stream ``name`` of ``seed``; equal names give equal streams, different names independent ones."""
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, got {seed}")
    return np.random.SeedSequence(entropy=int(seed), spawn_key=(zlib.crc32(name.encode()),))


def integer(seed: int, name: str) -> int:
    """A 63-bit integer drawn from the stream, for libraries that take a plain seed."""
    return int(stream(seed, name).generate_state(1, np.uint64)[0] >> np.uint64(1))


def integer32(seed: int, name: str) -> int:
    """A 32-bit integer drawn from the stream (scikit-learn's ``random_state``)."""
    return int(stream(seed, name).generate_state(1, np.uint32)[0])


def numpy_rng(seed: int, name: str) -> np.random.Generator:
    """A NumPy generator on the stream."""
    return np.random.default_rng(stream(seed, name))


def jax_key(seed: int, name: str):
    """A JAX key on the stream: a typed key array of shape ()."""
    import jax

    return jax.random.key(integer32(seed, name))


def jax_keys(seeds: Sequence[int], name: str):
    """One JAX key per seed, shape ``(len(seeds),)``, ready for ``vmap``."""
    import jax
    import jax.numpy as jnp

    return jax.vmap(jax.random.key)(jnp.asarray([integer32(seed, name) for seed in seeds], dtype=jnp.uint32))


def torch_generator(seed: int, name: str, device: str = "cpu"):
    """A torch generator on the stream, living on ``device``."""
    import torch

    return torch.Generator(device=device).manual_seed(integer(seed, name))


def seed_torch(seed: int, name: str) -> None:
    """Seed torch's global generators, which ``torch.nn`` layers draw their initial weights from."""
    import torch

    torch.manual_seed(integer(seed, name))
