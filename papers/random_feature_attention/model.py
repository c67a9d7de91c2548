"""Random-feature attention (RFA), its biased variant (BRFA) and a random-feature MLP (RFMLP), as kernels for one ridge regression.

An input is a query token x_0 and N key tokens x_1, ..., x_N in R^d; x~ = [x; 1] and D = d + 1. With M heads of frozen query-key matrices W_m,

    f(x_{0:N}) = sum_m (1/N) sum_i relu(<W_m, x~_0 x~_i^T>) <v_m, x~_i>     (RFA: W_m ~ std N(0, 1);  BRFA: W_m ~ b W_0 + std N(0, 1))
    f(x_{0:N}) = sum_j relu(<w_j, [vec(x_{0:N}); 1]>) a_j                   (RFMLP: w_j ~ N(0, 1))

and only v (M D numbers) or a (M D of them too) is learned. Both are linear in fixed features phi, so ridge regression needs nothing but the kernel
K(x, x') = <phi(x), phi(x')>, which has a closed form when the width is infinite.

Symbols: n examples, T targets, L ridge strengths. Everything is float64, on whatever device its arguments are on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

# ---- inputs and targets ----


def draw_tokens(rng: np.random.Generator, n: int, N: int, d: int) -> Float[np.ndarray, "n N+1 d"]:
    """Query (first) and keys, independent and uniform on the sphere of radius sqrt(d)."""
    x = rng.standard_normal((n, N + 1, d))
    return x * (math.sqrt(d) / np.linalg.norm(x, axis=-1, keepdims=True))


def draw_direction(rng: np.random.Generator, d: int) -> Float[np.ndarray, " d"]:
    """beta, uniform on the unit sphere."""
    beta = rng.standard_normal(d)
    return beta / np.linalg.norm(beta)


def targets(x: Float[np.ndarray, "n N+1 d"], beta: Float[np.ndarray, " d"]) -> dict[str, Float[np.ndarray, " n"]]:
    """The target functions, of the form (1/N) sum_i F(x_0, x_i) and so invariant to the order of the keys; u = x / |x|.

    avg_p = mean_i <beta, u_i>^p,   corr_p_q = mean_i <u_0, u_i>^p <beta, u_i>^q,   cos_g = mean_i cos(g <u_0, u_i>) <beta, u_i>,   query_p = <beta, u_0>^p.
    """
    u = x / np.linalg.norm(x, axis=-1, keepdims=True)
    query, keys = u[:, 0], u[:, 1:]
    along_beta = keys @ beta  # (n, N)
    along_query = (keys @ query[:, :, None])[..., 0]  # (n, N)
    averages = {f"avg_{p}": (along_beta**p).mean(axis=1) for p in (1, 2, 3, 4)}
    weighted = {f"corr_{p}_{q}": (along_query**p * along_beta**q).mean(axis=1) for p, q in ((1, 1), (3, 1))}
    oscillating = {f"cos_{g}": (np.cos(g * along_query) * along_beta).mean(axis=1) for g in (3, 6)}
    of_the_query = {f"query_{p}": (query @ beta) ** p for p in (1, 2)}
    return averages | weighted | oscillating | of_the_query


# ---- random features ----


def draw_query_key_matrices(rng: np.random.Generator, M: int, d: int, std: float, b: float = 0.0) -> Float[np.ndarray, "M D D"]:
    """W_m = b W_0 + std G_m with W_0 = [[I_d, 0], [0, 0]]; b = 0 is RFA. Fewer heads from the same stream are the first of more."""
    W = std * rng.standard_normal((M, d + 1, d + 1))
    W[:, :d, :d] += b * np.eye(d)
    return W


def with_one(x: Float[Tensor, "... d"]) -> Float[Tensor, "... D"]:
    """x~ = [x; 1]"""
    return torch.cat([x, torch.ones_like(x[..., :1])], dim=-1)


def attention_features(x: Float[Tensor, "n N+1 d"], W: Float[Tensor, "M D D"]) -> Float[Tensor, "n MD"]:
    """phi_m(x) = (1/N) sum_i relu(x~_0^T W_m x~_i) x~_i, the heads side by side."""
    x = with_one(x)
    query, keys = x[:, 0], x[:, 1:]  # (n, D), (n, N, D)
    M, D, _ = W.shape
    queries = (query @ W.transpose(0, 1).reshape(D, M * D)).view(-1, M, D)  # x~_0^T W_m
    attention = torch.relu(queries @ keys.mT) / keys.shape[1]  # (n, M, N)
    return (attention @ keys).flatten(1)


def flat(x: Float[Tensor, "n N+1 d"]) -> Float[Tensor, "n P"]:
    """[vec(x_{0:N}); 1], what the MLP sees; P = (N + 1) d + 1"""
    return with_one(x.flatten(1))


def mlp_features(x: Float[Tensor, "n N+1 d"], w: Float[Tensor, "H P"]) -> Float[Tensor, "n H"]:
    """relu(<w_j, [vec(x_{0:N}); 1]>) of H hidden units."""
    return torch.relu(flat(x) @ w.T)


# ---- kernels of infinitely many features ----


def kappa1(cos: Tensor) -> Tensor:
    """Arc-cosine kernel of order 1: 2 E[relu(u) relu(u')] for standard normal u, u' of correlation cos."""
    cos = cos.clamp(-1.0, 1.0)
    return (torch.sqrt(1 - cos**2) + cos * (math.pi - torch.arccos(cos))) / math.pi


def attention_kernel(x: Float[Tensor, "n N+1 d"], other: Float[Tensor, "m N+1 d"], std: float, block: int = 1 << 20) -> Float[Tensor, "n m"]:
    """Limit of <phi(x), phi(x')> / M for many heads of RFA:

    K(x, x') = (1/N^2) sum_ij E[relu(x~_0^T W x~_i) relu(x~'_0^T W x~'_j)] <x~_i, x~'_j>.

    The two pre-activations are Gaussian, of variances std^2 |x~_0|^2 |x~_i|^2 and correlation cos(x~_0, x~'_0) cos(x~_i, x~'_j), so with c_ij the latter cosine
    a summand is (std^2 / 2) |x~_0| |x~'_0| |x~_i|^2 |x~'_j|^2 kappa1(c_00 c_ij) c_ij. At most ``block`` summands are held at a time.
    """
    x, other = with_one(x), with_one(other)
    norms, other_norms = x.norm(dim=-1), other.norm(dim=-1)  # (n, N + 1), (m, N + 1)
    x, other = x / norms[..., None], other / other_norms[..., None]
    N = x.shape[1] - 1
    queries, keys = x[:, 0] @ other[:, 0].T, other[:, 1:].flatten(0, 1)
    weights = other_norms[:, 1:] ** 2  # (m, N)
    rows = []
    for chosen in torch.arange(len(x), device=x.device).split(max(1, block // (N * len(keys)))):
        c = (x[chosen, 1:] @ keys.T).unflatten(2, weights.shape)  # (rows, N, m, N)
        summands = kappa1(queries[chosen, None, :, None] * c) * c * weights
        rows.append((norms[chosen, 1:, None] ** 2 * summands.sum(dim=3)).sum(dim=1))
    return std**2 / (2 * N**2) * norms[:, :1] * other_norms[:, 0] * torch.cat(rows)


def mlp_kernel(x: Float[Tensor, "n N+1 d"], other: Float[Tensor, "m N+1 d"]) -> Float[Tensor, "n m"]:
    """Limit of <phi(x), phi(x')> / H for many hidden units of RFMLP: |z| |z'| kappa1(cos(z, z')) / 2 with z = [vec(x_{0:N}); 1]."""
    z, other = flat(x), flat(other)
    scale = z.norm(dim=1, keepdim=True) * other.norm(dim=1)
    return scale * kappa1(z @ other.T / scale) / 2


# ---- ridge regression in the dual ----


def ridge_path(
    K: Float[Tensor, "n n"], K_new: Float[Tensor, "new n"], Y: Float[Tensor, "n T"], strengths: Float[Tensor, " L"]
) -> Iterator[Float[Tensor, "new T"]]:
    """Predictions on new inputs for each ridge strength: min over v and the free intercept of |Y - intercept - Phi v|^2 + lam |v|^2.

    The intercept is removed by centring features and targets on the training mean. lam is ``strengths`` times the largest eigenvalue of the centred kernel,
    whose one eigendecomposition serves all strengths and all targets: prediction = K_new U (S + lam)^-1 U^T Y + mean(Y).
    """
    mean = K.mean(dim=0)  # of each training column; K is symmetric
    centred = K - mean - mean[:, None] + mean.mean()
    centred_new = K_new - mean - K_new.mean(dim=1, keepdim=True) + mean.mean()
    S, U = torch.linalg.eigh(centred)
    S = S.clamp(min=0.0)
    onto, coefficients = centred_new @ U, U.T @ (Y - Y.mean(dim=0))
    for strength in strengths:
        yield onto @ (coefficients / (S + strength * S[-1])[:, None]) + Y.mean(dim=0)


def tuned_ridge_errors(
    K: Float[Tensor, "n n"],
    K_new: Float[Tensor, "new n"],
    Y: Float[Tensor, "n T"],
    Y_validation: Float[Tensor, "v T"],
    Y_test: Float[Tensor, "t T"],
    strengths: Float[Tensor, " L"],
) -> Float[Tensor, " T"]:
    """Mean squared test error of each target at the ridge strength with the least mean squared validation error; ``K_new`` holds validation, then test rows."""
    v = len(Y_validation)
    errors = [
        torch.stack([(prediction[:v] - Y_validation).square().mean(dim=0), (prediction[v:] - Y_test).square().mean(dim=0)])
        for prediction in ridge_path(K, K_new, Y, strengths)
    ]
    on_validation, on_test = torch.stack(errors, dim=1)  # (L, T) each
    return on_test.gather(0, on_validation.argmin(dim=0, keepdim=True))[0]
