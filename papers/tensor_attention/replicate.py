"""Tensor attention (Alman & Song, ICLR 2024): its theorems as scaling laws, and Match3 as the task that wants it.

The paper proves and measures nothing; every experiment here is a controlled one of ours.
What is run: time against n of the exact and of the fast algorithm; error against degree, entry bound and n; the degree that exp needs, by order of attention;
the order-3 head that solves Match3 by construction; layers of order 3 and 2 trained on Match3.
Hardware: one thread of a CPU, about 4 minutes (profile cpu), half of them the trained layers. The numbers to reach: slopes 1 (fast) and 3 (exact) of time on n.

    python -m papers.tensor_attention.replicate --profile cpu
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import comb

import jax
import jax.numpy as jnp
import numpy as np

from papers.tensor_attention.match3 import full_beta, match3, match3_by_attention, match3_of_two
from papers.tensor_attention.model import chebyshev_coefficients, chebyshev_relative_error, degree_needed, exact_attention, fast_attention, taylor_coefficients
from papers.tensor_attention.trained import Layer, balanced_accuracy, head_width, n_parameters, training
from shared.engine import main
from shared.optim.many import train_many
from shared.seeds import jax_keys, numpy_rng


@dataclass(frozen=True)
class Config:
    time_dtype: str = "float64"
    """Precision of the timed calls. Everything about errors is float64, the trained layers are float32."""
    naive_n: tuple[int, ...] = (16, 32, 64, 128, 256, 512, 1024)
    """Sequence lengths at which the exact algorithm is timed."""
    tile: int = 64
    """Tokens j_1 that the exact algorithm treats at a time: the weights of a tile stay in the cache of a CPU core."""
    fast_n: tuple[int, ...] = (16, 32, 64, 128, 256, 512, 1024, 4096, 16384, 65536, 262144)
    """Sequence lengths at which the fast algorithm is timed. Those shared with the exact one show where the two cross."""
    block: int = 256
    """Tokens that the fast algorithm treats at a time, for the same reason."""
    workloads: tuple[tuple[int, int], ...] = ((4, 6), (8, 4))
    """Pairs (d, g) of head width and degree at which the fast algorithm is timed; ranks C(d+g, g) = 210 and 495. The exact algorithm takes the first d."""
    calls: int = 3
    """Timed calls in one repeat; the shortest counts. A repeat is a seed."""

    error_d: tuple[int, ...] = (4,)
    """Head widths at which errors are measured."""
    error_n: tuple[int, ...] = (64, 128, 256, 512)
    """Sequence lengths of the errors: the first for all entry bounds, the others for B = 1."""
    bounds: tuple[float, ...] = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0)
    """Entry bounds B."""
    degrees: tuple[int, ...] = (2, 4, 6, 8, 10, 12)
    """Degrees g of the polynomial: even, so that Taylor polynomials of exp are positive."""
    max_rank: int = 20_000
    """Degrees whose rank C(d+g, g) is larger are left out."""

    degree_orders: tuple[int, ...] = (2, 3, 4)
    """Orders k of attention whose logits, at most B^k, exp is approximated on."""
    degree_bounds: tuple[float, ...] = tuple(round(float(B), 2) for B in np.arange(1.0, 2.401, 0.05))
    """Entry bounds of the degree experiment."""
    degree_eps: float = 0.01
    """Relative error that the polynomial must reach."""

    match_n: tuple[int, ...] = (8, 16, 32)
    """Sequence lengths of the Match3 construction."""
    match_M: tuple[int, ...] = (7, 17, 31, 101)
    """Its moduli."""
    instances: int = 300
    """Random sequences for each of them and each seed."""
    beta_shares: tuple[float, ...] = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
    """Logit scale as a share of the construction's M^2 log(n^2), which comes last."""

    sequence_length: int = 8
    """n of the trained Match3."""
    M: int = 50
    """Modulus of the trained Match3; balances yes and no at its n."""
    heads: tuple[int, ...] = (1, 2, 4, 8)
    """Heads of the matrix-attention layers. The tensor-attention layer has one."""
    d: int = 8
    """Width of a head; matrix layers with few heads get wider ones, so as to have no fewer parameters than the tensor layer."""
    width: int = 32
    """Width of the token table."""
    hidden: int = 64
    """Hidden width of the read-out."""
    steps: int = 3000
    """Training steps."""
    warmup: int = 50
    """Steps of linear warm-up; cosine decay afterwards."""
    batch: int = 128
    """Sequences a step."""
    learning_rate: float = 0.01
    """Adam's."""
    test_sequences: int = 2000
    """Test sequences for each seed."""
    measurements: int = 10
    """Points of the learning curve."""


def conditions(config: Config) -> list[dict]:
    grid = [{"experiment": "time", "algorithm": "exact", "d": config.workloads[0][0]}]
    grid += [{"experiment": "time", "algorithm": "fast", "d": d, "g": g} for d, g in config.workloads]
    for d in config.error_d:
        for entries in ("uniform", "signs"):
            grid += [{"experiment": "error", "entries": entries, "d": d, "n": config.error_n[0], "B": B} for B in config.bounds]
            grid += [{"experiment": "error", "entries": entries, "d": d, "n": n, "B": 1.0} for n in config.error_n[1:]]
    grid += [{"experiment": "degree", "order": order} for order in config.degree_orders]
    grid += [{"experiment": "match3", "n": n, "M": M} for n in config.match_n for M in config.match_M]
    grid += [{"experiment": "trained", "order": 3, "heads": 1}]
    grid += [{"experiment": "trained", "order": 2, "heads": heads} for heads in config.heads]
    return grid


def run(config: Config, condition: dict, seeds: tuple[int, ...], device: str) -> list[dict]:
    experiment = condition["experiment"]
    if experiment == "trained":
        return train_layers(config, condition, seeds)
    with jax.enable_x64(True):
        return [EXPERIMENTS[experiment](config, condition, seed) for seed in seeds]


def draw(rng: np.random.Generator, entries: str, B: float, n: int, d: int, dtype: str = "float64"):
    """Q, (K_1, K_2), (V_1, V_2), all (n, d): uniform on [-B, B], or of the worst size, +B or -B."""
    shape = (5, n, d)
    drawn = rng.uniform(-B, B, shape) if entries == "uniform" else B * rng.choice([-1.0, 1.0], shape)
    Q, K_1, K_2, V_1, V_2 = jnp.asarray(drawn, dtype)
    return Q, (K_1, K_2), (V_1, V_2)


def shortest_seconds(call: Callable[[], jax.Array], calls: int) -> tuple[float, jax.Array]:
    """Wall time of the shortest of some calls, after one that compiles, and what that one returned."""
    output = call().block_until_ready()
    seconds = []
    for _ in range(calls):
        started = time.perf_counter()
        call().block_until_ready()
        seconds.append(time.perf_counter() - started)
    return min(seconds), output


def time_algorithm(config: Config, condition: dict, seed: int) -> dict:
    """Seconds of a call at each n, for entries uniform on [-1, 1]."""
    rng = numpy_rng(seed, "entries")
    exact = condition["algorithm"] == "exact"
    lengths = config.naive_n if exact else config.fast_n
    seconds, largest = [], []
    for n in lengths:
        inputs = draw(rng, "uniform", 1.0, n, condition["d"], config.time_dtype)
        if exact:
            call = partial(exact_attention, *inputs, tile=min(config.tile, n))
        else:
            call = partial(fast_attention, *inputs, taylor_coefficients(condition["g"]), block=min(config.block, n))
        shortest, output = shortest_seconds(call, config.calls)
        seconds.append(shortest)
        largest.append(float(jnp.abs(output).max()))
    return {"length": np.array(lengths), "call_seconds": np.array(seconds), "largest_output": np.array(largest)}


def measure_error(config: Config, condition: dict, seed: int) -> dict:
    """max |fast - exact| at each degree, for the Taylor polynomial and for the Chebyshev polynomial on [-B^3, B^3], and the latter's relative error there."""
    B, d = condition["B"], condition["d"]
    inputs = draw(numpy_rng(seed, "entries"), condition["entries"], B, condition["n"], d)
    exact = exact_attention(*inputs)
    degrees = [g for g in config.degrees if comb(d + g, g) <= config.max_rank]

    def errors(polynomial):
        return np.array([float(jnp.abs(fast_attention(*inputs, polynomial(g)) - exact).max()) for g in degrees])

    return {
        "degree": np.array(degrees),
        "rank": np.array([comb(d + g, g) for g in degrees]),
        "error_taylor": errors(taylor_coefficients),
        "error_chebyshev": errors(partial(chebyshev_coefficients, R=B**3)),
        "chebyshev_relative_error": np.array([chebyshev_relative_error(g, B**3) for g in degrees]),
        "largest_output": float(jnp.abs(exact).max()),
    }


def count_degrees(config: Config, condition: dict, seed: int) -> dict:
    """The least degree for each entry bound; no randomness, so every seed has the same row."""
    needed = [degree_needed(B ** condition["order"], config.degree_eps) for B in config.degree_bounds]
    return {"bound": np.array(config.degree_bounds), "degree_needed": np.array(needed)}


@jax.jit
def answers(x: jax.Array, M: int, beta: float) -> jax.Array:
    """The construction's answers for every sequence of x, (instances, n)."""
    return jax.lax.map(partial(match3_by_attention, M=M, beta=beta), x, batch_size=100)


def solve_match3(config: Config, condition: dict, seed: int) -> dict:
    """The construction on random sequences, at the logit scale that makes it exact and at smaller ones."""
    n, M = condition["n"], condition["M"]
    x = jnp.asarray(numpy_rng(seed, "sequences").integers(0, M, (config.instances, n)))
    y = match3(x, M)
    accuracy = []
    for share in config.beta_shares:
        right = answers(x, M, share * full_beta(M, n)) == y
        accuracy.append(float(right.mean()))
    return {
        "beta": np.array(config.beta_shares) * full_beta(M, n),
        "accuracy_by_beta": np.array(accuracy),
        "solved": float(right.all(axis=1).mean()),
        "share_of_yes": float(y.mean()),
    }


def train_layers(config: Config, condition: dict, seeds: tuple[int, ...]) -> list[dict]:
    """One layer for each seed, all in one program."""
    order, heads, n = condition["order"], condition["heads"], config.sequence_length
    layer = Layer(order, heads, head_width(order, heads, config.d), config.M, config.width, config.hidden)
    start, step, measure = training(layer, n, config.batch, config.steps, config.warmup)
    test = np.stack([numpy_rng(seed, "test sequences").integers(0, config.M, (config.test_sequences, n)) for seed in seeds])
    data = {"key": jax_keys(seeds, "training sequences"), "learning_rate": jnp.full(len(seeds), config.learning_rate), "x": jnp.asarray(test)}
    schedule = np.linspace(0, config.steps, config.measurements + 1).astype(int)
    _, curves = train_many(step, measure, schedule, jax.vmap(start)(jax_keys(seeds, "init")), data)
    return [
        {
            "step": schedule,
            "accuracy_by_step": np.asarray(accuracy),
            "test_accuracy": float(accuracy[-1]),
            "triples_accuracy": float(triples[-1]),
            "two_tokens_accuracy": float(balanced_accuracy(match3_of_two(x, config.M), match3(x, config.M))),
            "share_of_yes": float(match3(x, config.M).mean()),
            "head_width": layer.d,
            "parameters": n_parameters(layer),
        }
        for accuracy, triples, x in zip(curves["accuracy"], curves["triples_accuracy"], test, strict=True)
    ]


EXPERIMENTS = {"time": time_algorithm, "error": measure_error, "degree": count_degrees, "match3": solve_match3}

if __name__ == "__main__":
    main(__file__)
