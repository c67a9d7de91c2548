"""In-Context Learning Strategies Emerge Rationally (Wurgaft et al., NeurIPS 2025), the Balls & Urns setting replicated.

What is run: small Transformers learn to predict draws from D training urns, for many D; at every checkpoint each is placed between the Bayesian who
memorises the urns (M) and the one who generalises (G); a hierarchical Bayesian model with three parameters then predicts what they predict, from N and D alone.
Hardware: one CPU thread for one setting (V, C, MLP factor), about four minutes; the larger profiles want a GPU.
The number to reach: correlation 0.992 of predicted and observed relative distance; alpha = 0.778 at V = 8, C = 128.

    python -m papers.icl_rational_strategies.replicate --profile cpu
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from papers.icl_rational_strategies import fit
from papers.icl_rational_strategies.model import (
    Strategies,
    best_weight,
    complexity_G,
    complexity_M,
    generalising,
    interpolation_threshold,
    kl,
    memorising,
    mix,
    observed_weight,
    posterior,
)
from papers.icl_rational_strategies.transformer import Sequences, State, Stream, adamw, evaluation, neox, training_step
from shared.engine import main
from shared.icl.urns import draw_sequences, draw_urns
from shared.lms.jax_model import init
from shared.optim.many import train_many
from shared.seeds import jax_key, numpy_rng


@dataclass(frozen=True)
class Config:
    symbols: tuple[int, ...] = (8,)
    """Symbols V; one setting for each with each C and MLP factor. Paper: 8, 12, 16."""
    contexts: tuple[int, ...] = (16,)
    """Draws C in a sequence. Paper: 128, 256, 320."""
    mlp_factors: tuple[float, ...] = (4.0,)
    """Width of the MLP over the width of the model. Paper: 0.5, 4, 8."""
    diversities: tuple[int, ...] = (4, 8, 16, 32, 64, 128)
    """Training urns D, increasing; each divides the last. Paper: 4, 8, ..., 4096."""
    transience_diversity: int = 32
    """The intermediate D whose OOD loss is followed. Paper: 256."""

    width: int = 32
    """Width of the model. Paper: 64."""
    batch: int = 32
    """Sequences in a batch. Paper: 64."""
    steps: int = 7000
    """Training steps. Paper: 100 000."""
    lr: float = 5e-3
    """Step size of AdamW after the warm-up. Paper: 5e-4."""
    warmup: int = 350
    """Steps of linear warm-up. Paper: 5000, 5 % of the steps."""

    first_checkpoint: int = 20
    """Steps before the first checkpoint. Paper: 20."""
    checkpoints: int = 50
    """Checkpoints, evenly spaced in sqrt(step). Paper: 100."""
    evaluation_sequences: int = 64
    """ID, and as many OOD, sequences that the predictions are compared on. Paper: 500."""
    strategy_sequences: int = 2000
    """ID sequences that the mean loss of M and of G is taken over."""


def conditions(config: Config) -> list[dict]:
    return [{"V": V, "C": C, "mlp": mlp} for V in config.symbols for C in config.contexts for mlp in config.mlp_factors]


def run(config: Config, condition: dict, seeds: Sequence[int], device: str) -> list[dict]:
    V, C, Ds = condition["V"], condition["C"], config.diversities
    with jax.default_device(jax.devices({"cpu": "cpu", "cuda": "gpu"}[device])[0]):
        with jax.enable_x64(True):  # the tables of 64-bit numbers that M has to store
            urns = {seed: draw_urns(jax_key(seed, "urns"), max(Ds), V) for seed in seeds}
            evaluated = {(seed, D): draw_evaluation(config, C, seed, urns[seed], D) for seed in seeds for D in Ds}
        steps, T_id, T_ood = train(config, condition, urns, evaluated)
        rows = []
        with jax.enable_x64(True):
            for i, seed in enumerate(seeds):
                runs = slice(i * len(Ds), (i + 1) * len(Ds))
                rows.append(explain(config, C, seed, urns[seed], [evaluated[seed, D] for D in Ds], steps, T_id[runs], T_ood[runs]))
    return rows


# ---- E1: the training grid ----


def repeat(urns: Float[Array, "rows V"], D: int) -> Float[Array, "rows V"]:
    """The first D urns, over and over: an even draw among the rows is an even draw among the D urns, and all D have one shape."""
    return jnp.tile(urns[:D], (len(urns) // D, 1))


def fresh_urns(config: Config, seed: int, V: int) -> Float[Array, "n V"]:
    """The urns of the OOD sequences, one for each."""
    return draw_urns(jax_key(seed, "fresh urns"), config.evaluation_sequences, V)


def draw_evaluation(config: Config, C: int, seed: int, urns: Float[Array, "rows V"], D: int) -> Sequences:
    """ID sequences from the first D urns, OOD sequences from fresh urns; the OOD ones are the same for all D."""
    n, V = config.evaluation_sequences, urns.shape[-1]
    known = several_draws(jax_key(seed, "id"), repeat(urns, D), n, C)
    fresh = one_sequence_each(jax_key(seed, "ood"), fresh_urns(config, seed, V), C)
    return Sequences(known.astype(jnp.int32), fresh.astype(jnp.int32))


predicted_weights = jax.jit(posterior)
several_draws = jax.jit(draw_sequences, static_argnums=(2, 3))


@functools.partial(jax.jit, static_argnums=2)
def one_sequence_each(key: PRNGKeyArray, urns: Float[Array, "n V"], C: int) -> Int[Array, "n C"]:
    """C draws from every urn."""
    return jax.vmap(lambda key, theta: draw_sequences(key, theta[None], 1, C)[0])(jax.random.split(key, len(urns)), urns)


def checkpoint_steps(config: Config) -> np.ndarray:
    """Evenly spaced in sqrt(step)."""
    return np.unique(np.square(np.linspace(np.sqrt(config.first_checkpoint), np.sqrt(config.steps), config.checkpoints)).round().astype(int))


def train(config: Config, condition: dict, urns: dict, evaluated: dict):
    """All seeds and diversities in one program: checkpoints, and predictions on ID and OOD sequences (runs, checkpoints, n, C, V).

    The D urns of a run are the first D of its seed's, and all D of a seed start from the same weights: diversities are compared like with like.
    """
    model = neox(condition["V"], condition["C"], config.width, condition["mlp"])
    optimiser = adamw(config.lr, config.warmup)
    states, streams = [], []
    for (seed, D), sequences in evaluated.items():
        params = init(jax_key(seed, "init"), model)
        states.append(State(params, optimiser.init(params)))
        streams.append(Stream(jax.random.fold_in(jax_key(seed, "batches"), D), jnp.float32(repeat(urns[seed], D)), sequences))
    state, stream = (jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees) for trees in (states, streams))
    steps = checkpoint_steps(config)
    _, seen = train_many(training_step(model, optimiser, config.batch), evaluation(model), steps, state, stream)
    return steps, seen["in_distribution"], seen["out_of_distribution"]


# ---- E2: the hierarchical model of one seed's Transformers ----


@jax.jit
def strategies_on(ids: Int[Array, "D n C"], repeated: Float[Array, "D rows V"]) -> tuple[Float[Array, "D n C V"], Float[Array, "D n C V"]]:
    """The predictions of M and of G on the sequences of every diversity."""
    return jax.lax.map(lambda both: (memorising(*both), generalising(both[0], repeated.shape[-1])), (ids, repeated))


def know_strategies(config: Config, C: int, seed: int, urns: Float[Array, "rows V"], repeated: Float[Array, "D rows V"]) -> Strategies:
    """Losses of M and G above the entropy on ID sequences of their own, KL(theta || Q), and their complexity, for every D."""
    keys = jax.random.split(jax_key(seed, "strategies"), len(config.diversities))
    chosen = np.stack([numpy_rng(seed, "strategies").integers(D, size=config.strategy_sequences) for D in config.diversities])
    theta = urns[chosen]  # (D, n, V)
    ids = jnp.stack([one_sequence_each(*both, C) for both in zip(keys, theta, strict=True)])
    loss_M, loss_G = (mean_kl(theta[:, :, None], Q) for Q in strategies_on(ids, repeated))
    bits_M = jnp.array([complexity_M(np.asarray(urns[:D])) for D in config.diversities], jnp.float64)
    return Strategies(loss_M, loss_G, bits_M, jnp.full_like(bits_M, complexity_G(urns.shape[-1])))


@jax.jit
def place(T: Float[Array, "checkpoints D n C V"], M: Float[Array, "D n C V"], G: Float[Array, "D n C V"]) -> tuple[Array, Array, Array]:
    """Between M and G: the observed weight, the weight of the nearest mixture, and KL(T || that mixture), each (checkpoints, D)."""
    best = best_weight(T, M, G)
    return observed_weight(T, M, G), best, mean_kl(T, mix(best, M, G))


@jax.jit
def mean_kl(P: Float[Array, "... V"], Q: Float[Array, "... n C V"]) -> Float[Array, " *cells"]:
    """KL(P || Q), averaged over sequences and positions."""
    return kl(P, Q).mean((-2, -1))


@jax.jit
def total_variation(T: Float[Array, "checkpoints D n C V"], Q: Float[Array, "checkpoints D n C V"]) -> Float[Array, "checkpoints D"]:
    return (jnp.abs(T - Q).sum(-1) / 2).mean((-2, -1))


def explain(config: Config, C: int, seed: int, urns: Float[Array, "rows V"], evaluated: list[Sequences], steps: np.ndarray, T_id, T_ood) -> dict:
    """Where the Transformers of one seed lie between M and G, and what the model fitted to a corner of the grid says about all of it."""
    Ds = config.diversities
    repeated = jnp.stack([repeat(urns, D) for D in Ds])
    known = know_strategies(config, C, seed, urns, repeated)
    T_id, T_ood = (jnp.swapaxes(jnp.asarray(T, jnp.float64), 0, 1) for T in (T_id, T_ood))  # (checkpoints, D, n, C, V)
    (M_id, G_id), (M_ood, G_ood) = (strategies_on(jnp.stack(ids), repeated) for ids in zip(*evaluated, strict=True))

    w_id, w_best, to_best = map(np.asarray, place(T_id, M_id, G_id))
    w_ood, *_ = map(np.asarray, place(T_ood, M_ood, G_ood))
    first = interpolation_threshold(to_best)
    N = jnp.asarray(steps, jnp.float64)
    cells = fit.Cells(N[first:], known, T_id[first:], M_id, G_id)
    corner = cells.corner(round(0.8 * len(cells.N)), round(0.8 * len(Ds)))
    learners = {name: fit.fit(corner, fixed) for name, fixed in fit.FIXED.items()}
    weights = {name: predicted_weights(learner, cells.N, known)[0] for name, learner in learners.items()}
    weights["constant"] = jnp.full_like(weights["full"], fit.fit_constant(corner))
    weights["random"] = jnp.asarray(numpy_rng(seed, "random weights").uniform(size=weights["full"].shape))

    w = predicted_weights(learners["full"], N, known)[0]  # also before the threshold, for the pictures
    tv_id, tv_ood = (total_variation(T, mix(w, M, G))[first:].mean() for T, M, G in ((T_id, M_id, G_id), (T_ood, M_ood, G_ood)))
    fresh = fresh_urns(config, seed, urns.shape[-1])[:, None]
    ood_kl = np.float32(mean_kl(fresh, T_ood))
    full = learners["full"]
    return {
        "correlation_id": np.corrcoef(w[first:].ravel(), w_id[first:].ravel())[0, 1],
        "correlation_ood": np.corrcoef(w[first:].ravel(), w_ood[first:].ravel())[0, 1],
        "tv_id": float(tv_id),
        "tv_ood": float(tv_ood),
        "alpha": float(full.alpha),
        "beta": float(full.beta),
        "gamma": float(full.gamma),
        "first_kept": first,
        "least_divergence": to_best[first:].mean(),
        "steps": steps.astype(np.float32),
        "diversities": np.array(Ds, np.float32),
        "w_predicted": np.float32(w),
        "w_id": np.float32(w_id),
        "w_ood": np.float32(w_ood),
        "w_best": np.float32(w_best),
        "distance_to_best": np.float32(to_best),
        "loss_gap": np.float32(known.loss_G - known.loss_M),
        "bits_M": np.asarray(known.bits_M),
        "bits_G": np.asarray(known.bits_G),
        "ood_kl": ood_kl,
        "ood_kl_transient": ood_kl[:, Ds.index(config.transience_diversity)],
        "ood_kl_M": np.float32(mean_kl(fresh, M_ood)),
        "ood_kl_G": np.float32(mean_kl(fresh, G_ood)),
    } | {f"divergence_{name}": float(fit.mean_divergence(weight, cells)) for name, weight in weights.items()}


if __name__ == "__main__":
    main(__file__)
