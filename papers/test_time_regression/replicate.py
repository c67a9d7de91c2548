"""Test-time regression: a unifying framework for designing sequence models with associative memory (Wang, Shi and Fox, 2025).

What is run, without any training on a CPU: identities between layers and regressions (E1); linear recall with correlated keys and the design space of layers on
all generators (E2); local constant against local linear and quadratic regression (E3); softmax attention with and without QK-normalisation (E4);
multi-query recall through a short convolution, on random pairs and on bytes of Shakespeare (E5); a map that switches (E6); timing (E7). On a GPU also
two trained layers on multi-query recall.
Hardware and time: the cpu profile needs about two minutes on one core; the gpu profile was written for one H200 and has not been run.
The number to reach: the paper's statements are qualitative; its identities are exact.

    python -m papers.test_time_regression.replicate --profile cpu
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from papers.test_time_regression import layers, model, tasks
from papers.test_time_regression.tasks import Tasks
from papers.test_time_regression.trained import trained_recall
from shared.data import tinyshakespeare
from shared.engine import main, per_seed
from shared.seeds import torch_generator
from shared.sequence.delta import delta_rule
from shared.sequence.linear import linear_attention
from shared.sequence.recurrence import unroll
from shared.sequence.softmax import softmax_attention


@dataclass(frozen=True)
class Config:
    width: int = 16
    """Dk = Dv of linear recall (G1-G3) and of the timing."""
    sigma: float = 0.1
    """Noise of the stored values in linear recall."""
    tasks: int = 64
    """Test tasks of a seed in linear recall."""
    tuning_tasks: int = 16
    """Further tasks of a seed on which every layer's knobs are chosen."""
    lengths: tuple[int, ...] = (16, 32, 64, 128, 256, 512)
    """Numbers of pairs t at which recall is measured."""
    rhos: tuple[float, ...] = (0.0, 0.5, 0.9, 0.99)
    """Correlation of neighbouring coordinates of keys."""
    switch_time: int = 256
    """Length of the tasks whose map switches half-way."""
    smooth_tasks: int = 16
    """Tasks of a seed in the regression of smooth maps (G4, G5)."""
    smooth_pairs: int = 128
    """Pairs of such a task; as many fresh queries are asked after them."""
    smooth_sigma: float = 0.05
    """Noise of their stored values."""
    outputs: int = 4
    """Their Dv."""
    quadratic_width: int = 2
    """Largest Dk at which local quadratic regression is run."""
    norm_spreads: tuple[float, ...] = (0.0, 0.25, 0.5, 1.0)
    """Standard deviation sigma_n of the log norm of keys (G5)."""
    pairs: tuple[int, ...] = (4, 8, 16, 32)
    """Numbers of pairs n of multi-query recall (G6)."""
    streams: int = 32
    """Its streams per seed."""
    vocabulary: int = 64
    """Its tokens, half of them keys; also the width of their codes."""
    text_windows: int = 8
    """Windows of Shakespeare per seed."""
    text_length: int = 512
    """Bytes of a window."""
    timing_lengths: tuple[int, ...] = (128, 256, 512, 1024)
    """t of the timing, batch 1."""
    timing_calls: int = 3
    """Calls of each kind, taken in turns; the fastest counts."""
    trained_steps: int = 0
    """Updates of the trained layers of multi-query recall; 0 = not run."""

    @property
    def ridge(self) -> float:
        """lam of every exact solver: sigma^2 Dk, with which least squares is the posterior mean of A."""
        return self.sigma**2 * self.width


TAUS = tuple(10 ** (-4.4 + 4.95 * i / 11) for i in range(12))
"""Bandwidths tried in E3 and E4, by leave-one-out."""


def conditions(config: Config) -> list[dict]:
    return [
        {"experiment": "identities"},
        *({"experiment": "recall", "generator": "linear", "rho": rho} for rho in config.rhos),
        *({"experiment": "recall", "generator": generator} for generator in ("exact", "switch", "sphere", "norms")),
        *({"experiment": "smooth", "domain": domain, "Dk": Dk} for domain, Dk in (("cube", 1), ("cube", 2), ("cube", 4), ("sphere", 2), ("sphere", 4))),
        *({"experiment": "norms", "Dk": Dk, "sigma_n": spread} for Dk in (2, 4) for spread in config.norm_spreads),
        *({"experiment": "mqar", "pairs": n} for n in config.pairs),
        {"experiment": "text"},
        {"experiment": "timing"},
        *(
            {"experiment": "trained", "mixer": mixer, "conv": conv}
            for mixer in ("linear", "delta", "softmax")
            for conv in (True, False)
            if config.trained_steps
        ),
    ]


@per_seed
def run(config: Config, condition: dict, seed: int, device: str) -> dict:
    match condition["experiment"]:
        case "identities":
            return identities(config, seed, device)
        case "recall":
            return recall(config, condition["generator"], condition.get("rho", 0.0), seed, device)
        case "smooth":
            return smooth(config, condition["domain"], condition["Dk"], seed, device)
        case "norms":
            return norms(config, condition["Dk"], condition["sigma_n"], seed, device)
        case "mqar":
            return multi_query_recall(config, condition["pairs"], seed, device)
        case "text":
            return text_recall(config, seed, device)
        case "timing":
            return timing(config, seed, device)
        case "trained":
            return trained_recall(condition["mixer"], condition["conv"], config.trained_steps, config.vocabulary, config.pairs[-2], seed, device)
    raise ValueError(f"no experiment {condition['experiment']!r}")


def metric(name: str) -> str:
    """A layer's name as the name of a metric."""
    return name.replace(",", "").replace("-", "_").replace(" ", "_").lower()


def distance(y: Tensor, expected: Tensor) -> float:
    """||y - expected|| / ||expected||."""
    return ((y - expected).norm() / expected.norm()).item()


# ---- E1 ----


def identities(config: Config, seed: int, device: str) -> dict:
    """Relative distances between outputs that the framework says are equal, on correlated keys with t = 128."""
    q, k, v, _ = tasks.linear_recall(torch_generator(seed, "identities"), 8, 128, config.width, 0.9, config.sigma).to(device)
    lam, b = config.ridge, model.normalised_step_size(k, 0.5)
    y_linear, memory = linear_attention(q, k, v)
    _, (_, S_rls) = model.recursive_least_squares(q, k, v, lam)
    S_exact = model.least_squares(k, v, lam)
    y_delta, _ = delta_rule(q, k, v, b)

    def one_step(S, q, k, v, b):
        """Online gradient descent by autodiff: a step of size b_t on the newest pair's loss."""
        S = S.detach().requires_grad_()
        loss = 0.5 * (b[..., None] * (v - (k[..., None, :] @ S).squeeze(-2)) ** 2).sum()
        S = S - torch.autograd.grad(loss, S)[0]
        return (q[..., None, :] @ S).squeeze(-2).detach(), S.detach()

    u, w = model.unit(q), model.unit(k)
    tau = config.width**0.5
    seen = torch.ones(128, 128, dtype=torch.bool, device=device).tril()
    rbf = model.local_weights(model.rbf_scores(u, w), tau, seen)
    kernel, features = layers.TAYLOR.kernel, layers.TAYLOR
    dual = kernel(q, k) @ torch.linalg.solve(kernel(k, k) + lam * torch.eye(128, device=device, dtype=k.dtype), v)
    return {
        "gradient_step": distance(q @ model.gradient_step(k, v), q @ memory.S),
        "preconditioned_step": distance(q @ model.gradient_step(k, v, lam), q @ S_rls),
        "recursive_least_squares": distance(S_rls, S_exact),
        "gate_of_one": distance(linear_attention(q, k, v, torch.zeros_like(b))[0], y_linear),
        "delta_as_online_gradient": distance(unroll(one_step, torch.zeros_like(memory.S), q, k, v, b)[0], y_delta),
        "softmax_as_rbf_regression": distance(rbf @ v, softmax_attention(u, w, v, tau=tau)[0]),
        "features_as_kernel_ridge": distance(features(q) @ model.least_squares(features(k), v, lam), dual),
        "moments_as_local_linear": distance(model.local_linear_from_moments(rbf, u, w, v, 1e-3), model.local_polynomial(rbf, u, w, v, 1, ridge=1e-3)),
    }


# ---- E2, E6, the design space ----


def recall(config: Config, generator: str, rho: float, seed: int, device: str) -> dict:
    """Errors of all layers, each with its knobs chosen on tuning tasks; the positions are in the row."""
    at, draw = recall_tasks(config, generator, rho)
    tuning = draw(torch_generator(seed, "tuning"), config.tuning_tasks).to(device)
    test = draw(torch_generator(seed, "test"), config.tasks).to(device)
    lam = 1e-6 if generator == "exact" else config.ridge  # nothing is noisy there
    design = layers.layers(lam, features=generator in ("sphere", "norms"))
    errors = {f"error_{metric(name)}": layers.tuned_error(layer, tuning, test, at).cpu().numpy() for name, layer in design.items()}
    return {"length": np.array(at) + 1, **errors}


def recall_tasks(config: Config, generator: str, rho: float) -> tuple[list[int], Callable[[torch.Generator, int], Tasks]]:
    """Positions at which recall is measured, and how tasks are drawn."""
    d, e, sigma, pairs = config.width, config.outputs, config.smooth_sigma, config.smooth_pairs
    if generator == "linear":
        return [t - 1 for t in config.lengths], lambda gen, b: tasks.linear_recall(gen, b, max(config.lengths), d, rho, config.sigma)
    if generator == "exact":
        return [t - 1 for t in range(2, d + 1, 2)], lambda gen, b: tasks.exact_recall(gen, b, d, d)
    if generator == "switch":
        half, after = config.switch_time // 2, [1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128]
        return [half - 1, *(half + t - 1 for t in after if t <= half)], lambda gen, b: tasks.switching_recall(gen, b, config.switch_time, d, config.sigma)
    spread = 0.5 if generator == "norms" else 0.0
    return [pairs - 1], lambda gen, b: tasks.smooth_recall(gen, b, pairs, 4, e, sigma, "sphere", spread)


# ---- E3, E4 ----


def left_out(scores: Tensor) -> Tensor:
    """Scores among the keys themselves, none for the own pair."""
    return scores.masked_fill(torch.eye(scores.shape[-1], dtype=torch.bool, device=scores.device), -torch.inf)


def chosen_by_leave_one_out(own_scores, scores, own_q, q, k, v, degree: int) -> tuple[Tensor, Tensor]:
    """Local regression with each task's bandwidth of least leave-one-out error. Returns answers (b, 1, m, e) and bandwidths (b,).

    own_scores (b, 1, t, t) and own_q (b, 1, t, d): the keys as queries; scores (b, 1, m, t) and q (b, 1, m, d): the queries.
    """
    losses, answers = [], []
    for tau in TAUS:
        predicted = model.local_polynomial(model.local_weights(left_out(own_scores), tau), own_q, k, v, degree, tau, layers.RIDGE)
        losses.append(((predicted - v) ** 2).mean((1, 2, 3)))
        answers.append(model.local_polynomial(model.local_weights(scores, tau), q, k, v, degree, tau, layers.RIDGE))
    best = torch.stack(losses).argmin(0)  # (b,)
    return torch.stack(answers)[best, torch.arange(len(best), device=best.device)], torch.tensor(TAUS, dtype=v.dtype, device=v.device)[best]


def smooth(config: Config, domain: str, Dk: int, seed: int, device: str) -> dict:
    """Mean squared errors of local constant, linear and quadratic regression; on the cube also apart for the border (within 0.1 of a face) and the interior."""
    gen = torch_generator(seed, "smooth")
    q, k, v, target = tasks.smooth_recall(gen, config.smooth_tasks, config.smooth_pairs, Dk, config.outputs, config.smooth_sigma, domain).to(device)
    score = model.rbf_scores if domain == "cube" else model.dot_scores
    border = ((q < 0.1) | (q > 0.9)).any(-1)  # (b, 1, m)
    row = {}
    for degree in range(3 if Dk <= config.quadratic_width and domain == "cube" else 2):
        y, tau = chosen_by_leave_one_out(score(k, k), score(q, k), k, q, k, v, degree)
        squared = ((y - target) ** 2).mean(-1)
        row |= {f"error_p{degree}": squared.mean().item(), f"log10_tau_p{degree}": tau.log10().mean().item()}
        if domain == "cube":
            row |= {f"border_p{degree}": squared[border].mean().item(), f"interior_p{degree}": squared[~border].mean().item()}
    return row | (curves(config, seed, device) if (domain, Dk) == ("cube", 1) else {})


def curves(config: Config, seed: int, device: str) -> dict:
    """One task of few pairs in one dimension, drawn through: positions, the map, the pairs and three regressions of it."""
    gen = torch_generator(seed, "curves")
    f = tasks.Waves.draw(gen, 1, 1, 1)
    k = torch.rand(1, 1, 30, 1, generator=gen, dtype=torch.float64)
    v = f(k) + config.smooth_sigma * tasks.normal(gen, *k.shape)
    q = torch.linspace(0, 1, 101, dtype=torch.float64)[None, None, :, None]
    row = {"curve_q": q, "curve_map": f(q), "curve_k": k, "curve_v": v}
    for degree in range(3):
        row[f"curve_p{degree}"], _ = chosen_by_leave_one_out(model.rbf_scores(k, k), model.rbf_scores(q, k), k, q, k, v, degree)
    return {name: x.flatten().numpy() for name, x in row.items()}


def norms(config: Config, Dk: int, sigma_n: float, seed: int, device: str) -> dict:
    """Softmax attention on keys of varying norm with and without QK-normalisation; leave-one-out asks with the directions of keys: queries have norm 1."""
    gen = torch_generator(seed, "norms")
    q, k, v, target = tasks.smooth_recall(gen, config.smooth_tasks, config.smooth_pairs, Dk, config.outputs, config.smooth_sigma, "sphere", sigma_n).to(device)
    own = model.unit(k)
    row = {}
    for name, keys in (("without", k), ("with", own)):
        y, tau = chosen_by_leave_one_out(model.dot_scores(own, keys), model.dot_scores(q, keys), own, q, keys, v, degree=0)
        row |= {f"error_{name}": ((y - target) ** 2).mean().item(), f"log10_tau_{name}": tau.log10().mean().item()}
    return row


# ---- E5 ----

SHARP = 0.02
"""Temperature of softmax attention that is to recall one code among many."""
RECALLERS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "linear": lambda q, k, v: linear_attention(q, k, v)[0],
    "gated": lambda q, k, v: linear_attention(q, k, v, torch.full(k.shape[:3], 0.98, dtype=k.dtype, device=k.device).log())[0],
    "delta": lambda q, k, v: delta_rule(q, k, v, torch.ones_like(k[..., 0]))[0],
    "least_squares": lambda q, k, v: model.recursive_least_squares(q, k, v, 1e-6)[0],
    "softmax": lambda q, k, v: softmax_attention(q, k, v, tau=SHARP)[0],
}
"""One layer each, with settings for exact recall of unit codes."""


def answers_of_one_layer(recaller: Callable, x: Tensor, conv: bool) -> Tensor:
    """Causal outputs (b, t, d) on code vectors x (b, t, d), with the short convolution's bigrams or with q = k = v = x."""
    x = x[:, None]
    return recaller(*(model.short_convolution(x) if conv else (x, x, x)))[:, 0]


def multi_query_recall(config: Config, n: int, seed: int, device: str) -> dict:
    """Share of queried keys whose value is the nearest code among values, for each layer with and without convolution."""
    gen = torch_generator(seed, "mqar")
    tokens, wanted = (x.to(device) for x in tasks.multi_query_streams(gen, config.streams, n, config.vocabulary))
    code = tasks.codes(gen, config.vocabulary, config.vocabulary).to(device)
    values = code[config.vocabulary // 2 :]
    row = {}
    for name, recaller in RECALLERS.items():
        for conv in (True, False):
            y = answers_of_one_layer(recaller, code[tokens], conv)[:, 2 * n :]
            right = config.vocabulary // 2 + (y @ values.T).argmax(-1) == wanted
            row[f"accuracy_{name}_{'conv' if conv else 'plain'}"] = right.double().mean().item()
    return row


def text_recall(config: Config, seed: int, device: str) -> dict:
    """Share of Shakespeare's bigrams that have occurred in the window before whose second byte is the nearest code; counting successors is the reference."""
    text = np.frombuffer(tinyshakespeare.load().valid.encode("ascii"), dtype=np.uint8)
    alphabet, text = np.unique(text, return_inverse=True)
    gen = torch_generator(seed, "text")
    starts = torch.randint(len(text) - config.text_length, (config.text_windows, 1), generator=gen)
    tokens = torch.as_tensor(text)[starts + torch.arange(config.text_length)].to(device)
    code = tasks.codes(gen, len(alphabet), config.vocabulary).to(device)
    judged, following = tasks.repeated_bigrams(tokens), tokens[:, 1:]
    row = {"share_repeated": judged.double().mean().item()}
    row["accuracy_counting"] = (tasks.most_frequent_successor(tokens, len(alphabet)) == following)[judged].double().mean().item()
    for name, recaller in RECALLERS.items():
        for conv in (True, False):
            right = (answers_of_one_layer(recaller, code[tokens], conv)[:, :-1] @ code.T).argmax(-1) == following
            row[f"accuracy_{name}_{'conv' if conv else 'plain'}"] = right[judged].double().mean().item()
    return row


# ---- E7 ----


def timing(config: Config, seed: int, device: str) -> dict:
    """Seconds of causal local constant and local linear attention: by moments (space t^2 + t d^2) and as the paper states it (space t^2 d)."""
    tau, rows = config.width**0.5, []
    for t in config.timing_lengths:
        q, k, v = (tasks.normal(torch_generator(seed, name), 1, 1, t, config.width).to(device) for name in ("q", "k", "v"))
        seen = torch.ones(t, t, dtype=torch.bool, device=device).tril()

        def weights(q=q, k=k, seen=seen):
            return model.local_weights(model.dot_scores(q, k), tau, seen)

        calls = {
            "p0_seconds": lambda q=q, k=k, v=v, weights=weights: model.local_polynomial(weights(), q, k, v, 0),
            "p1_seconds": lambda q=q, k=k, v=v, weights=weights: model.local_linear_from_moments(weights(), q, k, v, layers.RIDGE),
            "p1_direct_seconds": lambda q=q, k=k, v=v, weights=weights: model.local_polynomial(weights(), q, k, v, 1, ridge=layers.RIDGE),
        }
        if device != "cpu" and t > 2048:
            del calls["p1_direct_seconds"]  # t^2 d numbers no longer fit
        rows.append({name: fastest(call, config.timing_calls, device) for name, call in calls.items()})
    return {"timing_length": np.array(config.timing_lengths)} | {name: np.array([row[name] for row in rows if name in row]) for name in rows[0]}


def fastest(call: Callable[[], Tensor], calls: int, device: str) -> float:
    """Least seconds of several calls after one to warm up."""
    seconds = []
    for _ in range(calls + 1):
        started = time.perf_counter()
        call()
        if device != "cpu":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])


if __name__ == "__main__":
    main(__file__)
