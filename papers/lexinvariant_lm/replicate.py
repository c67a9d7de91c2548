"""Lexinvariant Language Models (Huang et al., NeurIPS 2023), replicated.

What is run: (lm) a standard and a lexinvariant character Transformer, trained alike on Shakespeare; their loss by position, on plain and on enciphered text; a
probe that reads ciphers from the frozen lexinvariant model; LookUp and Permutation prompts. (adaptive) counting models that know no language. (ideal) the exact
lexinvariant predictor of small Markov chains. On a GPU also Python source as text and semi-lexinvariant models.
Hardware: two CPU cores; a few minutes for the cpu profile.
The number to reach: a perplexity less than twice the standard model's at the end of the context, after a gap many times as large at its start.

    python -m papers.lexinvariant_lm.replicate --profile cpu
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float
from optax.contrib import MuonDimensionNumbers, muon

from papers.lexinvariant_lm.decipher import Queries, bigram_em, frequency_matching, guess_accuracy, probe_accuracy, train_probe
from papers.lexinvariant_lm.ideal import adaptive_losses, excess_loss, random_chain, sample
from papers.lexinvariant_lm.model import draw_tables, hidden, init_params, logits, losses
from papers.lexinvariant_lm.text import (
    LETTERS,
    V,
    bigram_frequencies,
    corpus,
    letter_frequencies,
    lookup_prompts,
    permutation_prompts,
    random_windows,
)
from shared.data.ciphers import encipher, inverse, random_cipher
from shared.engine import main
from shared.lms.config import ModelConfig, decoder, rotary_frequencies
from shared.optim.many import train_many
from shared.seeds import jax_key, jax_keys, numpy_rng


@dataclass(frozen=True)
class Config:
    width: int = 64
    """d, the width of the Transformer and of the symbol vectors. Paper: 150M parameters in all."""
    layers: int = 2
    """Blocks of the Transformer. Paper: 12."""
    heads: int = 2
    """Attention heads, few, so that a head can tell thirty random vectors apart. Paper: 8."""
    smeared: bool = True
    """Keys that hold a share of the key before them, in all models. The paper does not have them."""
    context: int = 256
    """T, symbols that a model reads. Paper: 512."""
    steps: int = 750
    """Training steps. Paper: not found, from memory about 250 000."""
    batch: int = 8
    """Sequences in a step."""
    lr: float = 0.02
    """Peak step size of Muon, the same for all models."""
    warm_up: int = 50
    """Steps of linear warm-up; a cosine takes the rate down to a tenth afterwards."""
    texts: tuple[str, ...] = ("english",)
    """Training texts: english (Shakespeare), code (the Python standard library)."""
    random_shares: tuple[float, ...] = (0.0, 1.0)
    """p, the probability that a symbol's vector is random in a sequence: 0 is the standard model, 1 the lexinvariant one, others are semi-lexinvariant."""

    test_windows: int = 512
    """Held-out stretches of text on which losses are measured, each with one draw of random vectors."""
    probe_contexts: tuple[int, ...] = (32, 64, 128, 256)
    """Lengths T of the enciphered prompts."""
    probe_prompts: int = 1024
    """Enciphered training prompts of the probe; a quarter as many, with ciphers of their own, test it."""
    probe_queries: int = 16
    """Symbols asked for in each prompt."""
    probe_hidden: int = 128
    """Hidden units of the probe."""
    probe_steps: int = 500
    """Steps of its training."""
    probe_batch: int = 256
    """Queries in a step."""
    probe_lr: float = 3e-3
    """Peak step size of Adam."""
    em_prompts: int = 128
    """Test prompts that expectation maximisation deciphers."""
    em_iterations: int = 20
    """Its iterations."""
    shots: tuple[int, ...] = (1, 2, 4, 8)
    """Examples in a prompt of symbol manipulation."""
    prompts: int = 500
    """Prompts for each task and number of examples."""

    chain_symbols: int = 5
    """V of the Markov chains."""
    chain_length: int = 256
    """Longest text."""
    chain_concentration: float = 1.0
    """Of the Dirichlet distribution that transition probabilities are drawn from; 1 is uniform."""
    chains: int = 20
    """Chains for each seed."""
    chain_texts: int = 20
    """Texts from each chain."""

    @property
    def model(self) -> ModelConfig:
        """Positions turn a quarter of each head's coordinates, as in GPT-NeoX: the others compare symbols at any distance."""
        pairs = self.width // self.heads // 2
        turning = rotary_frequencies(2 * (pairs // 4))
        return decoder(self.width, self.layers, self.heads, self.context, vocab=0, frequencies=turning + (0.0,) * (pairs - len(turning)))


def conditions(config: Config) -> list[dict]:
    grid = [{"experiment": "lm", "text": text, "random_share": share} for text in config.texts for share in config.random_shares]
    grid += [{"experiment": "adaptive", "text": text} for text in config.texts]
    return [*grid, {"experiment": "ideal"}]


def run(config: Config, condition: dict, seeds: Sequence[int], device: str) -> list[dict]:
    if condition["experiment"] != "lm":
        experiment = {"adaptive": run_adaptive, "ideal": run_ideal}[condition["experiment"]]
        return [experiment(config, condition, seed) for seed in seeds]
    with jax.default_device(jax.devices({"cpu": "cpu", "cuda": "gpu"}[device])[0]):
        return run_lm(config, condition, seeds)


# ---- training ----


class State(NamedTuple):
    params: dict
    descent: optax.OptState


@functools.cache
def optimiser(lr: float, warm_up: int, steps: int) -> optax.GradientTransformation:
    """Muon on the Transformer's matrices, Adam with a quarter of its rate on norms, scalars and the learned table; linear warm-up, cosine decay."""

    def rate(peak: float) -> optax.Schedule:
        return optax.warmup_cosine_decay_schedule(0.0, peak, warm_up, steps, 0.1 * peak)

    def matrices(params: dict) -> dict:
        shapes = jax.tree.map(lambda w: MuonDimensionNumbers() if w.ndim == 2 else None, params)
        return shapes | {"table": None} if "table" in params else shapes

    iterations = ((3.4445, -4.7750, 2.0315),) * 5  # Muon's own numbers; written out, they are compiled once and not five times
    return muon(
        rate(lr), ns_coeffs=iterations, adam_b1=0.9, adam_b2=0.98, adam_learning_rate=rate(lr / 4), muon_weight_dimension_numbers=matrices
    )  # fmt: skip


@functools.cache
def training_step(model: ModelConfig, random_share: float, batch: int, descent: optax.GradientTransformation):
    """``step(state, t, (key, text))``: batch number t, with fresh random vectors for every sequence, and one step of the optimiser."""

    def loss(params, windows, key):
        E = draw_tables(key, params, batch, V, model.width, random_share)
        return losses(params, model, windows, E).mean()

    def step(state: State, t, data) -> State:
        key, text = data
        draw_starts, draw_E = jax.random.split(jax.random.fold_in(key, t))
        starts = jax.random.randint(draw_starts, (batch,), 0, len(text) - model.context)
        windows = text[starts[:, None] + jnp.arange(model.context + 1)].astype(jnp.int32)
        updates, inner = descent.update(jax.grad(loss)(state.params, windows, draw_E), state.descent, state.params)
        return State(optax.apply_updates(state.params, updates), inner)

    return step


def train(config: Config, random_share: float, text: np.ndarray, seeds: Sequence[int]) -> tuple[list[dict], np.ndarray, np.ndarray]:
    """One run per seed, all in one program. Parameters of each seed; the steps and the loss there on the training text, (seeds, points).

    Models of one seed start from the same Transformer and read the same windows.
    """
    descent = optimiser(config.lr, config.warm_up, config.steps)
    params = jax.vmap(lambda key: init_params(key, config.model, V, random_share, config.smeared))(jax_keys(seeds, "init"))
    state = State(params, jax.vmap(descent.init)(params))
    watched = random_windows(numpy_rng(0, "training loss"), text, 32, config.context + 1)

    def measure(state: State, data) -> Array:
        E = draw_tables(data[0], state.params, len(watched), V, config.width, random_share)
        return losses(state.params, config.model, watched, E).mean()

    schedule = np.unique(np.linspace(0, config.steps, 25).astype(int))
    texts = jnp.broadcast_to(jnp.asarray(text), (len(seeds), len(text)))
    step = training_step(config.model, random_share, config.batch, descent)
    state, curves = train_many(step, measure, schedule, state, (jax_keys(seeds, "order"), texts))
    return [unstacked(state.params, i) for i in range(len(seeds))], schedule, np.asarray(curves)


def unstacked(params: dict, i: int) -> dict:
    """The parameters of the i-th run."""
    return jax.tree.map(lambda x: x[i], params)


# ---- testing ----


@functools.partial(jax.jit, static_argnums=(0, 1))
def each(function, model: ModelConfig, params: dict, *arrays: Array) -> Array:
    """``function(params, model, *sequence)`` for every sequence, 64 at a time."""
    return jax.lax.map(lambda sequence: function(params, model, *sequence), arrays, batch_size=64)


def run_lm(config: Config, condition: dict, seeds: Sequence[int]) -> list[dict]:
    """Train the models of all seeds, then test each."""
    train_text, test_text = corpus(condition["text"])
    trained, steps, curves = train(config, condition["random_share"], train_text, seeds)
    rows = []
    for seed, params, curve in zip(seeds, trained, curves, strict=True):
        tables = functools.partial(fresh_tables, config, params, condition["random_share"], seed)
        row = {"steps": steps, "training_loss": curve}
        row |= loss_by_position(config, params, tables, test_text, seed)
        row |= reasoning(config, params, tables, seed)
        if condition["random_share"] == 1:
            row |= deciphering(config, params, tables, train_text, test_text, seed)
        rows.append(row)
    return rows


draw = jax.jit(draw_tables, static_argnums=(2, 3, 4, 5))


def fresh_tables(config: Config, params: dict, random_share: float, seed: int, name: str, B: int) -> Float[Array, "B V d"]:
    """E for B test sequences, from the stream ``name``."""
    return draw(jax_key(seed, name), params, B, V, config.width, random_share)


def loss_by_position(config: Config, params: dict, tables, text: np.ndarray, seed: int) -> dict:
    """E1. Mean loss at every position of plain text, and overall on the same text with its letters enciphered.

    A random vector goes with what its symbol stands for, E'[cipher(v)] = E[v]; a learned one stays with the symbol: that model is handed the secret text.
    """
    windows = random_windows(numpy_rng(seed, "test"), text, config.test_windows, config.context + 1)
    E = tables("test", len(windows))
    plain = each(losses, config.model, params, windows, E)
    rng = numpy_rng(seed, "ciphers")
    ciphers = np.stack([random_cipher(rng, V, LETTERS) for _ in windows])
    E_cipher = E if "table" in params else jnp.take_along_axis(E, inverse(ciphers)[..., None], axis=1)
    cipher = each(losses, config.model, params, encipher(ciphers, windows), E_cipher)
    return {"loss": np.asarray(plain.mean(axis=0)), "loss_cipher": np.asarray(cipher.mean(axis=0))}


def reasoning(config: Config, params: dict, tables, seed: int) -> dict:
    """E4. Share of answer symbols that score highest of all symbols, and of all letters, by the number of examples; the models were trained on text alone."""
    names = ("lookup_accuracy", "lookup_accuracy_letters", "permutation_accuracy", "permutation_accuracy_letters")
    accuracies = {name: [] for name in names}
    for shots in config.shots:
        rng = numpy_rng(seed, f"prompts {shots}")
        for task, prompts in (("lookup", lookup_prompts), ("permutation", permutation_prompts)):
            ids, places, answers = prompts(rng, config.prompts, shots)
            padded = np.pad(ids, ((0, 0), (0, config.context - ids.shape[1])))  # behind the answer, where a causal model does not look
            scores = np.asarray(each(logits, config.model, params, padded, tables(f"{task} {shots}", len(ids))))[:, places]
            accuracies[f"{task}_accuracy"].append((scores.argmax(axis=-1) == answers).mean())
            accuracies[f"{task}_accuracy_letters"].append((LETTERS[scores[..., LETTERS].argmax(axis=-1)] == answers).mean())
    return {name: np.array(values) for name, values in accuracies.items()}


def deciphering(config: Config, params: dict, tables, train_text: np.ndarray, test_text: np.ndarray, seed: int) -> dict:
    """E3. Accuracy of the probe, of a probe on shuffled labels, and of the two classical ways, by the length of the prompt."""
    T = max(config.probe_contexts)
    prompts = {}
    for part, text, count in (("train", train_text, config.probe_prompts), ("test", test_text, config.probe_prompts // 4)):
        rng = numpy_rng(seed, f"probe {part}")
        plain = random_windows(rng, text, count, T)
        secret = encipher(np.stack([random_cipher(rng, V) for _ in plain]), plain)
        E = tables(f"probe {part}", count)
        prompts[part] = (plain, secret, np.asarray(E), np.asarray(each(hidden, config.model, params, secret, E)))
    frequencies, bigrams = letter_frequencies(train_text), bigram_frequencies(train_text)
    plain, secret = prompts["test"][:2]
    names = ("probe_accuracy", "probe_accuracy_end", "probe_accuracy_shuffled", "frequency_accuracy", "em_accuracy")
    accuracies = {name: [] for name in names}
    for t in config.probe_contexts:
        rng = numpy_rng(seed, f"queries {t}")
        for reading, name in (("occurrence", "probe_accuracy"), ("end", "probe_accuracy_end")):
            shown, asked = (ask(rng, *prompts[part], t, reading, config.probe_queries) for part in ("train", "test"))
            fit = functools.partial(
                train_probe, jax_key(seed, "probe"), hidden=config.probe_hidden, classes=len(LETTERS), steps=config.probe_steps, batch=config.probe_batch,
                lr=config.probe_lr,
            )  # fmt: skip
            accuracies[name].append(probe_accuracy(fit(shown), asked))
            if reading == "occurrence":
                shuffled = shown._replace(label=rng.permutation(shown.label))
                accuracies["probe_accuracy_shuffled"].append(probe_accuracy(fit(shuffled), asked))
        guess = frequency_matching(secret[:, :t], frequencies)
        accuracies["frequency_accuracy"].append(guess_accuracy(guess, secret[:, :t], plain[:, :t], LETTERS))
        few = slice(config.em_prompts)
        guess = bigram_em(secret[few, :t], frequencies, bigrams, config.em_iterations)
        accuracies["em_accuracy"].append(guess_accuracy(guess, secret[few, :t], plain[few, :t], LETTERS))
    return {name: np.array(values) for name, values in accuracies.items()}


def ask(rng: np.random.Generator, plain, secret, E, h, T: int, reading: str, count: int) -> Queries:
    """``count`` queries for each prompt of T symbols: a symbol is asked for as often as it occurs, letters only.

    The probe reads the state behind the last symbol ("end"), or where the queried symbol last occurred ("occurrence").
    """
    places = rng.random((len(plain), T))
    places[~np.isin(plain[:, :T], LETTERS)] = 2
    places = np.argsort(places, axis=1)[:, :count]  # random places of letters
    rows = np.arange(len(plain))[:, None]
    symbols = secret[rows, places]
    if reading == "end":
        read_at = np.full_like(places, T - 1)
    else:
        read_at = T - 1 - (secret[:, None, :T] == symbols[..., None])[..., ::-1].argmax(axis=-1)
    flat = (h[rows, read_at], E[rows, symbols], np.searchsorted(LETTERS, plain[rows, places]))
    return Queries(*(values.reshape(-1, *values.shape[2:]) for values in flat))


# ---- without a network ----


def run_adaptive(config: Config, condition: dict, seed: int) -> dict:
    """Losses by position of models that only count symbols, or pairs, in the window itself; on the windows that the networks are tested on."""
    windows = random_windows(numpy_rng(seed, "test"), corpus(condition["text"])[1], config.test_windows, config.context + 1)
    return {f"loss_{name}": adaptive_losses(windows, V, order).mean(axis=0) for order, name in enumerate(("unigram", "bigram"))}


def run_ideal(config: Config, condition: dict, seed: int) -> dict:
    """E5. Excess loss per symbol of the ideal lexinvariant predictor, mean over random Markov chains and texts, at powers of two."""
    lengths = 2 ** np.arange(int(np.log2(config.chain_length)) + 1)
    rng = numpy_rng(seed, "chains")
    excess = np.zeros(config.chain_length)
    for _ in range(config.chains):
        chain = random_chain(rng, config.chain_symbols, config.chain_concentration)
        excess += excess_loss(chain, sample(rng, chain, config.chain_texts, config.chain_length)) / config.chains
    return {"lengths": lengths, "excess": excess[lengths - 1]}


if __name__ == "__main__":
    main(__file__)
