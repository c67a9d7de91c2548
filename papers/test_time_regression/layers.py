"""The layers under comparison as functions of one form: queries, keys, values and positions in, outputs at these positions out: points of the design space.

A layer's knobs are listed with it; they are chosen on tasks of their own, for every layer alike.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from papers.test_time_regression import model
from papers.test_time_regression.model import unit
from papers.test_time_regression.tasks import Tasks
from shared.sequence.delta import delta_rule
from shared.sequence.features import Taylor
from shared.sequence.linear import linear_attention

RIDGE = 1e-3
"""Ridge of local regressions, relative to the variance of the keys in the window."""
TAYLOR = Taylor()
Answers = Float[Tensor, "b h m e"]


class Layer(NamedTuple):
    """``answer(q, k, v, at, *knob)``: outputs at the positions ``at``, each from the pairs up to and including its own."""

    answer: Callable[..., Answers]
    knobs: tuple[tuple[float, ...], ...] = ((),)
    scaled: bool = False
    """Whether the output is multiplied by the best scalar, one for each position (its scale is arbitrary otherwise)."""


# ---- linear memories ----


def linear(q, k, v, at: list[int]) -> Answers:
    """Linear attention / t: sum_i v_i k_i^T / t estimates A Sigma."""
    return linear_attention(q, k, v, chunk=CHUNK)[0][:, :, at] / (torch.tensor(at, device=q.device)[:, None] + 1)


def linear_of_features(q, k, v, at: list[int]) -> Answers:
    """Linear attention on Taylor features, normalised (Based)."""
    return linear_attention(q, k, v, features=TAYLOR, normalise=True)[0][:, :, at]


def gated_linear(q, k, v, at: list[int], g: float) -> Answers:
    """Gated linear attention / sum of weights."""
    log_g = torch.full(k.shape[:3], g, dtype=k.dtype, device=k.device).log()
    total = torch.tensor([sum(g**i for i in range(t + 1)) for t in at], device=q.device)
    return linear_attention(q, k, v, log_g, chunk=CHUNK)[0][:, :, at] / total[:, None]


def delta(q, k, v, at: list[int], beta: float, g: float = 1.0) -> Answers:
    """The (gated) delta rule with steps beta / ||k||^2."""
    b = model.normalised_step_size(k, beta)
    return delta_rule(q, k, v, b, torch.full_like(b, g).log(), chunk=CHUNK)[0][:, :, at]


def longhorn(q, k, v, at: list[int], size: float) -> Answers:
    """The delta rule with implicit steps; ``size`` is in units of the mean squared norm of keys."""
    return delta_rule(q, k, v, model.implicit_step_size(k, size / (k**2).sum(-1).mean().item()), chunk=CHUNK)[0][:, :, at]


def momentum(q, k, v, at: list[int], beta: float, m: float) -> Answers:
    """Online gradient descent with momentum m, steps beta / ||k||^2."""
    return model.momentum_delta_rule(q, k, v, model.normalised_step_size(k, beta), m)[0][:, :, at]


def least_squares(q, k, v, at: list[int], lam: float, g: float = 1.0) -> Answers:
    """Exact (discounted) least squares, solved anew at each position."""
    answers = [q[:, :, t : t + 1] @ model.least_squares(k[:, :, : t + 1], v[:, :, : t + 1], lam, g) for t in at]
    return torch.cat(answers, dim=2)


def least_squares_of_features(q, k, v, at: list[int], lam: float) -> Answers:
    """Kernel ridge regression with the kernel 1 + s + s^2 / 2, as least squares on its features."""
    return least_squares(TAYLOR(q), TAYLOR(k), v, at, lam)


# ---- local regressions ----


def local(q, k, v, at: list[int], tau: float, degree: int = 0, norm: bool = False) -> Answers:
    """Local regression with weights exp(q . k / tau): degree 0 is softmax attention. ``norm`` normalises queries and keys first."""
    if norm:
        q, k = unit(q), unit(k)
    q = q[:, :, at]
    seen = torch.arange(k.shape[2], device=k.device) <= torch.tensor(at, device=k.device)[:, None]
    return model.local_polynomial(model.local_weights(model.dot_scores(q, k), tau, seen), q, k, v, degree, tau, RIDGE)


def softmax(q, k, v, at: list[int], tau: float) -> Answers:
    return local(q, k, v, at, tau)


def softmax_qk_norm(q, k, v, at: list[int], tau: float) -> Answers:
    return local(q, k, v, at, tau, norm=True)


def local_linear(q, k, v, at: list[int], tau: float) -> Answers:
    return local(q, k, v, at, tau, degree=1)


STEPS = (0.03, 0.1, 0.3, 1.0)
GATES = (0.9, 0.95, 0.98, 0.99, 1.0)
CHUNK = 32
BANDWIDTHS = tuple((10 ** (-2 + 4 * i / 11),) for i in range(12))


def layers(lam: float, features: bool = False) -> dict[str, Layer]:
    """The design space, by name; every exact solver has the same ridge ``lam``. ``features`` adds layers with Taylor features."""
    of_features = {"linear, Taylor features": Layer(linear_of_features), "least squares, Taylor features": Layer(least_squares_of_features, ((lam,),))}
    return {
        "linear": Layer(linear),
        "linear, best scale": Layer(linear, scaled=True),
        "gated linear, best scale": Layer(gated_linear, tuple(product(GATES)), scaled=True),
        "delta": Layer(delta, tuple(product(STEPS))),
        "gated delta": Layer(delta, tuple(product(STEPS[1:], GATES[1:]))),
        "longhorn": Layer(longhorn, tuple(product((0.1, 0.3, 1.0, 10.0)))),
        "momentum": Layer(momentum, tuple(product((0.03, 0.1, 0.3), (0.5, 0.9)))),
        "least squares": Layer(least_squares, ((lam,),)),
        "discounted least squares": Layer(least_squares, tuple(product((lam,), GATES))),
        "softmax": Layer(softmax, BANDWIDTHS),
        "softmax, QK-norm": Layer(softmax_qk_norm, BANDWIDTHS),
        "local linear": Layer(local_linear, BANDWIDTHS),
    } | (of_features if features else {})


def relative_error(y: Answers, target: Answers) -> Float[Tensor, " m"]:
    """||y - target||^2 / ||target||^2 at each position, over all tasks."""
    return ((y - target) ** 2).sum((0, 1, 3)) / (target**2).sum((0, 1, 3))


def tuned_error(layer: Layer, tuning: Tasks, test: Tasks, at: list[int]) -> Float[Tensor, " m"]:
    """Error on the test tasks at each position, with the knob (and the scale) that is best there on the tuning tasks."""
    candidates = []
    for knob in layer.knobs:
        y, target = layer.answer(tuning.q, tuning.k, tuning.v, at, *knob), tuning.target[:, :, at]
        scale = (y * target).sum((0, 1, 3)) / (y**2).sum((0, 1, 3)) if layer.scaled else torch.ones(len(at), dtype=y.dtype, device=y.device)
        candidates.append((relative_error(scale[:, None] * y, target), scale))
    best = torch.stack([error for error, _ in candidates]).argmin(0).tolist()  # knob of each position
    errors = torch.empty(len(at), dtype=test.q.dtype, device=test.q.device)
    for i in set(best):
        here = [place for place, chosen in enumerate(best) if chosen == i]
        positions = [at[place] for place in here]
        q, k, v, target = (x[:, :, : max(positions) + 1] for x in test)
        y = layer.answer(q, k, v, positions, *layer.knobs[i])
        errors[here] = relative_error(candidates[i][1][here, None] * y, target[:, :, positions])
    return errors
