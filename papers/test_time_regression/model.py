"""Sequence layers as solutions of one regression problem (Eq. 1 of the paper in our notation):

    m_t = argmin_(m in M)  1/2 sum_(i <= t) gamma_i ||v_i - m(k_i)||^2,        y_t = m_t(q_t)

The weights gamma, the class of maps M and the optimiser make the layer. This file holds what stands above the layers in `shared/sequence` (linear attention,
its gated form, the delta rule, softmax attention): one gradient step, exact least squares, other online steps, and local polynomials.

Symbols: b tasks, h heads, t time, m queries, d width of keys, e width of values; tau bandwidth, lam ridge, g discount. Linear maps are stored as
S = M^T of shape (d, e), so that M k is k^T S: the transpose of the paper's M_t, and the state of the shared layers.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from shared.sequence.recurrence import unroll

# ---- one batch step of gradient descent: linear attention ----


def regression_loss(S: Float[Tensor, "b h d e"], k: Float[Tensor, "b h t d"], v: Float[Tensor, "b h t e"]) -> Float[Tensor, ""]:
    """1/2 sum_i ||v_i - M k_i||^2, summed over tasks."""
    return 0.5 * ((v - k @ S) ** 2).sum()


def gradient_step(k: Float[Tensor, "b h t d"], v: Float[Tensor, "b h t e"], lam: float | None = None) -> Float[Tensor, "b h d e"]:
    """One step of size 1 from M = 0 on the regression loss, the gradient taken by autodiff.

    As it stands this is linear attention; preconditioned with the inverse Hessian (K^T K + lam I)^-1 it is exact least squares (Newton's step).
    """
    S = torch.zeros(*k.shape[:2], k.shape[-1], v.shape[-1], dtype=k.dtype, device=k.device, requires_grad=True)
    (gradient,) = torch.autograd.grad(regression_loss(S, k, v), S)
    return -gradient if lam is None else -torch.linalg.solve(gram(k, lam), gradient)


# ---- exact least squares ----


def gram(k: Float[Tensor, "b h t d"], lam: float) -> Float[Tensor, "b h d d"]:
    """K^T K + lam I."""
    return k.mT @ k + lam * torch.eye(k.shape[-1], dtype=k.dtype, device=k.device)


def least_squares(k: Float[Tensor, "b h t d"], v: Float[Tensor, "b h t e"], lam: float, g: float = 1.0) -> Float[Tensor, "b h d e"]:
    """argmin_M sum_i g^(t-i) ||v_i - M k_i||^2 + g^t lam ||M||^2: the mesa layer, or intention, when g = 1."""
    t = k.shape[2]
    root = g ** (torch.arange(t - 1, -1, -1, dtype=k.dtype, device=k.device)[:, None] / 2)
    return torch.linalg.solve(gram(root * k, g**t * lam), (root * k).mT @ (root * v))


class LeastSquares(NamedTuple):
    """State of recursive least squares."""

    P: Float[Tensor, "b h d d"]
    """Inverse of the (discounted) gram matrix."""
    S: Float[Tensor, "b h d e"]


def recursive_least_squares(
    q: Float[Tensor, "b h t d"], k: Float[Tensor, "b h t d"], v: Float[Tensor, "b h t e"], lam: float, g: float = 1.0
) -> tuple[Float[Tensor, "b h t e"], LeastSquares]:
    """``least_squares`` at every t, by Sherman-Morrison.

    P_t = (P - P k k^T P / (g + k^T P k)) / g,  P_0 = I / lam;    M_t = M_(t-1) + (v_t - M_(t-1) k_t) k_t^T P_t
    """
    eye = torch.eye(k.shape[-1], dtype=k.dtype, device=k.device)

    def step(state, q, k, v):
        P, S = state
        q, k, v = q[..., None, :], k[..., None], v[..., None, :]  # (b, h, 1, d), (b, h, d, 1), (b, h, 1, e)
        P_k = P @ k
        P = (P - P_k @ P_k.mT / (g + k.mT @ P_k)) / g
        S = S + P @ k @ (v - k.mT @ S)
        return (q @ S).squeeze(-2), LeastSquares(P, S)

    start = LeastSquares((eye / lam).expand(*k.shape[:2], *eye.shape), k.new_zeros(*k.shape[:2], k.shape[-1], v.shape[-1]))
    return unroll(step, start, q, k, v)


# ---- online steps ----


def implicit_step_size(k: Float[Tensor, "b h t d"], delta: float) -> Float[Tensor, "b h t"]:
    """Longhorn: b_t = delta / (1 + delta ||k_t||^2), with which the delta rule solves

    M_t = argmin_M ||M - M_(t-1)||^2 + delta ||v_t - M k_t||^2.
    """
    return delta / (1 + delta * (k**2).sum(-1))


def normalised_step_size(k: Float[Tensor, "b h t d"], beta: float) -> Float[Tensor, "b h t"]:
    """b_t = beta / ||k_t||^2: stable for beta in (0, 2) whatever the scale of the keys; beta itself for unit keys."""
    return beta / (k**2).sum(-1)


def momentum_delta_rule(
    q: Float[Tensor, "b h t d"], k: Float[Tensor, "b h t d"], v: Float[Tensor, "b h t e"], b: Float[Tensor, "b h t"], momentum: float
) -> tuple[Float[Tensor, "b h t e"], Float[Tensor, "b h d e"]]:
    """Online gradient descent with momentum (a linear Titans): R_t = m R_(t-1) - b_t grad_t, M_t = M_(t-1) + R_t. Returns outputs and the last memory."""

    def step(state, q, k, v, b):
        S, R = state
        k, v = k[..., None], v[..., None, :]
        R = momentum * R + b[..., None, None] * k @ (v - k.mT @ S)
        S = S + R
        return (q[..., None, :] @ S).squeeze(-2), (S, R)

    zero = k.new_zeros(*k.shape[:2], k.shape[-1], v.shape[-1])
    y, (S, _) = unroll(step, (zero, zero), q, k, v, b)
    return y, S


# ---- local regression: softmax attention and its higher orders ----


def unit(x: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
    """x / ||x||: QK-normalisation."""
    return x / x.norm(dim=-1, keepdim=True)


def dot_scores(q: Float[Tensor, "b h m d"], k: Float[Tensor, "b h t d"]) -> Float[Tensor, "b h m t"]:
    """q . k, the scores of softmax attention."""
    return q @ k.mT


def rbf_scores(q: Float[Tensor, "b h m d"], k: Float[Tensor, "b h t d"]) -> Float[Tensor, "b h m t"]:
    """-||k - q||^2 / 2, the scores of a Gaussian window. They equal ``dot_scores`` up to a constant of each query when all keys have one norm;

    otherwise the dot product favours long keys, by ||k||^2 / 2.
    """
    return -0.5 * torch.cdist(q, k, compute_mode="donot_use_mm_for_euclid_dist") ** 2


def local_weights(scores: Float[Tensor, "b h m t"], tau: float, seen: Tensor | None = None) -> Float[Tensor, "b h m t"]:
    """s_i / sum_j s_j with s = exp(scores / tau), over the pairs where ``seen`` is True."""
    if seen is not None:
        scores = scores.masked_fill(~seen, -torch.inf)
    return (scores / tau).softmax(-1)


def monomials(x: Float[Tensor, "... d"], degree: int) -> Float[Tensor, "... f"]:
    """All monomials of degrees 1 to ``degree`` (1 or 2)."""
    if degree == 1:
        return x
    row, column = torch.triu_indices(x.shape[-1], x.shape[-1], device=x.device)
    return torch.cat([x, x[..., row] * x[..., column]], dim=-1)


def local_polynomial(
    weights: Float[Tensor, "b h m t"],
    q: Float[Tensor, "b h m d"],
    k: Float[Tensor, "b h t d"],
    v: Float[Tensor, "b h t e"],
    degree: int,
    tau: float = 1.0,
    ridge: float = 0.0,
) -> Float[Tensor, "b h m e"]:
    """Local regression of order ``degree``: minimise sum_i s_i ||v_i - y - M psi(k_i - q)||^2 over y and M and return y, in closed form

        y = vbar - M psibar,    M = Cov_s(v, psi) (Cov_s(psi, psi) + lam I)^-1,

    where degree 0 leaves y = vbar, softmax attention. lam is ``ridge`` times the mean variance of psi, because the covariance is nearly singular when the
    weights are peaked; psi takes differences in units of sqrt(tau), so that its monomials are of one size. Space is O(m t f), as the paper states it.
    """
    v_mean = weights @ v
    if degree == 0:
        return v_mean
    psi = monomials((k[..., None, :, :] - q[..., :, None, :]) / tau**0.5, degree)  # (b, h, m, t, f)
    s = weights[..., None, :]  # (b, h, m, 1, t)
    psi_mean = s @ psi  # (b, h, m, 1, f)
    centred = psi - psi_mean
    weighted = s.mT * centred
    cov = weighted.mT @ centred
    cross = weighted.mT @ v[..., None, :, :]  # (b, h, m, f, e); the mean of v drops out
    return v_mean - (psi_mean @ torch.linalg.solve(_ridged(cov, ridge), cross)).squeeze(-2)


def local_linear_from_moments(
    weights: Float[Tensor, "b h m t"], q: Float[Tensor, "b h m d"], k: Float[Tensor, "b h t d"], v: Float[Tensor, "b h t e"], ridge: float = 0.0
) -> Float[Tensor, "b h m e"]:
    """``local_polynomial`` of degree 1 in space O(m t + m d^2), for long sequences.

    The covariance does not see the shift by q, so weighted means of k, k k^T and k v^T suffice, and these are plain attention over longer values.
    Differences of moments cancel digits: float64.
    """
    d, e = k.shape[-1], v.shape[-1]
    products = [(k[..., :, None] * x[..., None, :]).flatten(-2) for x in (k, v)]
    k_mean, v_mean, kk, kv = (weights @ torch.cat([k, v, *products], dim=-1)).split([d, e, d * d, d * e], dim=-1)
    cov = kk.unflatten(-1, (d, d)) - k_mean[..., :, None] * k_mean[..., None, :]
    cross = kv.unflatten(-1, (d, e)) - k_mean[..., :, None] * v_mean[..., None, :]
    return v_mean + ((q - k_mean)[..., None, :] @ torch.linalg.solve(_ridged(cov, ridge), cross)).squeeze(-2)


def _ridged(cov: Float[Tensor, "... f f"], ridge: float) -> Float[Tensor, "... f f"]:
    """Cov + lam I, lam = ridge tr(Cov) / f. A window that holds but one pair (Cov = 0, or all but) gets a floor far below any variance: no slope, y = vbar."""
    lam = ridge * cov.diagonal(dim1=-2, dim2=-1).mean(-1) + torch.finfo(cov.dtype).tiny ** 0.5
    return cov + lam[..., None, None] * torch.eye(cov.shape[-1], dtype=cov.dtype, device=cov.device)


# ---- what is paired with what ----


def short_convolution(x: Float[Tensor, "b h t d"]) -> tuple[Tensor, Tensor, Tensor]:
    """Causal convolution of width 2 that forms bigrams: q_t = x_t, k_t = x_(t-1) (zero at the start), v_t = x_t."""
    return x, torch.cat([torch.zeros_like(x[:, :, :1]), x[:, :, :-1]], dim=2), x
