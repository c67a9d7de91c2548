"""In-context linear regression: the prompts, one layer of multi-head attention, its read-outs, and the predictors that it is compared with.

Symbols as in the paper: d covariates, L examples in the prompt, H heads, N tasks (one, unless said otherwise), D = d + N the width of a token
z = [x; y_1 .. y_N], beta regression weights, s2 noise variance. Tokens are rows here: Z is (L, D), the transpose of the paper's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# ---- prompts ----


@dataclass(frozen=True)
class Setting:
    """The distribution of prompts: x ~ N(0, Sigma) with Sigma_ij = rho^|i-j|, and task k reads the covariates ``supports[k]``:
    y_k = beta_k . x[start:stop] + e, beta_k ~ N(0, beta_var[k] I), e ~ N(0, noise_var[k])."""

    d: int
    supports: tuple[tuple[int, int], ...]
    beta_var: tuple[float, ...]
    noise_var: tuple[float, ...]
    rho: float = 0.0

    @property
    def N(self) -> int:
        return len(self.supports)

    @property
    def Sigma(self) -> Float[np.ndarray, "d d"]:
        i = np.arange(self.d)
        return self.rho ** np.abs(i[:, None] - i)


def single_task(d: int, s2: float, rho: float = 0.0) -> Setting:
    """The paper's standard: beta ~ N(0, I/d), so that y has variance 1 + s2."""
    return Setting(d, ((0, d),), (1 / d,), (s2,), rho)


def two_tasks(d: int, d1: int, d2: int, s2: float) -> Setting:
    """Task 1 reads the first d1 covariates, task 2 the last d2; beta_k ~ N(0, I) and noise of variance d_k s2, as in the official generator."""
    return Setting(d, ((0, d1), (d - d2, d)), (1.0, 1.0), (d1 * s2, d2 * s2))


class Prompts(NamedTuple):
    Z: Float[Array, "B L D"]
    x_q: Float[Array, "B d"]  # z_q = [x_q; 0], so the query token is not stored
    y_q: Float[Array, "B N"]  # with noise, as the examples


def draw_prompts(key: Array, setting: Setting, batch: int, L: int) -> Prompts:
    """Fresh prompts of L examples and a query, each with weights beta of its own."""
    d, N = setting.d, setting.N
    with jax.threefry_partitionable(False):  # half the hashing per draw: a third of the time of a training step
        normals = jax.random.normal(key, (batch, (L + 1) * (d + N) + d * N))
    x, e, beta = jnp.split(normals, [(L + 1) * d, (L + 1) * (d + N)], axis=1)
    x, e, beta = x.reshape(batch, L + 1, d), e.reshape(batch, L + 1, N), beta.reshape(batch, d, N)
    if setting.rho:
        x = x @ np.linalg.cholesky(setting.Sigma).T.astype(np.float32)
    beta = beta * np.array([[start <= i < stop for start, stop in setting.supports] for i in range(d)]) * np.sqrt(setting.beta_var, dtype=np.float32)
    y = jnp.einsum("bld,bdn->bln", x, beta) + e * np.sqrt(setting.noise_var, dtype=np.float32)
    return Prompts(jnp.concatenate([x, y], axis=2)[:, :L], x[:, L], y[:, L])


# ---- one layer of attention ----


class Params(NamedTuple):
    Q: Float[Array, "H D D"]
    K: Float[Array, "H D D"]
    V: Float[Array, "H D D"]
    O: Float[Array, "H N D"]


def init_params(rng: np.random.Generator, H: int, d: int, N: int = 1) -> Params:
    """torch's default for the fused linear layers without bias: uniform in +-1/sqrt(fan in), the fan in being D for Q, K, V and H D for O."""
    D = d + N
    Q, K, V = rng.uniform(-(D**-0.5), D**-0.5, (3, H, D, D)).astype(np.float32)
    O = rng.uniform(-((H * D) ** -0.5), (H * D) ** -0.5, (H, N, D)).astype(np.float32)
    return Params(Q, K, V, O)


def key_query(params: Params) -> Float[Array, "H D D"]:
    """KQ_h = K_h^T Q_h / sqrt(D): head h scores example l by z_l^T KQ_h z_q."""
    return jnp.einsum("hai,haj->hij", params.K, params.Q) * params.Q.shape[-1] ** -0.5


def output_value(params: Params) -> Float[Array, "H N D"]:
    """OV_h = O_h V_h: what head h adds to the prediction for each unit of attention to z_l is OV_h z_l."""
    return jnp.einsum("hna,hai->hni", params.O, params.V)


def scores(params: Params, Z: Float[Array, "B L D"], x_q: Float[Array, "B d"]) -> Float[Array, "B H L"]:
    """z_l^T KQ_h z_q. The label part of z_q is zero, so the columns of KQ beyond d act on nothing and are never trained."""
    queries = jnp.einsum("hij,bj->bhi", key_query(params)[:, :, : x_q.shape[1]], x_q)
    return jnp.einsum("bli,bhi->bhl", Z, queries)


def attention_weights(attention: str, scores: Float[Array, "B H L"], L: int) -> Float[Array, "B H L"]:
    """Softmax over the examples, or linear attention: the scores themselves over a fixed L."""
    return {"softmax": lambda: jax.nn.softmax(scores, axis=-1), "linear": lambda: scores / L}[attention]()


def predict(params: Params, Z: Float[Array, "B L D"], x_q: Float[Array, "B d"], attention: str = "softmax") -> Float[Array, "B N"]:
    """yhat = sum_h O_h V_h Z^T softmax(Z KQ_h z_q), the whole model: no residual, no bias, no positions; the query does not attend to itself."""
    weights = attention_weights(attention, scores(params, Z, x_q), L=Z.shape[1])
    contexts = jnp.einsum("bhl,bli->bhi", weights, Z)
    return jnp.einsum("bhi,hni->bn", contexts, output_value(params))


def loss(params: Params, prompts: Prompts, attention: str = "softmax") -> Float[Array, ""]:
    """Mean squared error on the query, averaged over prompts and tasks."""
    return jnp.square(predict(params, prompts.Z, prompts.x_q, attention) - prompts.y_q).mean()


def predict_prefixes(params: Params, Z: Float[Array, "B L D"], x_q: Float[Array, "B d"], attention: str, L_train: int) -> Float[Array, "B L N"]:
    """``predict`` on the first 1, 2, .. L examples at once: numerator and denominator of the softmax are running sums. ``attention`` may also be
    "linear/L", linear attention divided by the length of the prompt that it sees in place of the fixed L_train."""
    s = scores(params, Z, x_q)  # (B, H, L)
    e = jnp.exp(s - s.max(axis=-1, keepdims=True)) if attention == "softmax" else s
    totals = jnp.cumsum(jnp.einsum("bhl,bli->bhli", e, Z), axis=2)
    length = jnp.arange(1, Z.shape[1] + 1)
    denominator = {"softmax": lambda: jnp.cumsum(e, axis=2), "linear": lambda: jnp.full_like(e, L_train), "linear/L": lambda: jnp.broadcast_to(length, e.shape)}
    return jnp.einsum("bhli,hni->bln", totals / denominator[attention]()[..., None], output_value(params))


def in_learnt_form(omega: Float[Array, " H"], mu: Float[Array, " H"], d: int) -> Params:
    """Weights of the form that training ends in: KQ_h = omega_h I on the covariates, OV_h = mu_h on the label, zeros elsewhere."""
    D = d + 1
    on_x = jnp.diag(jnp.arange(D) < d).astype(jnp.float32)
    on_y = jnp.eye(D) - on_x
    H = len(omega)
    return Params(omega[:, None, None] * on_x * D**0.5, jnp.tile(on_x, (H, 1, 1)), jnp.tile(on_y, (H, 1, 1)), mu[:, None, None] * on_y[-1:])


# ---- read-outs of one task's weights ----


class Pattern(NamedTuple):
    """One value per head."""

    omega: Float[Array, " H"]  # mean of the first d diagonal entries of KQ
    mu: Float[Array, " H"]  # last entry of OV
    diag_ratio: Float[Array, " H"]  # sum of squares of the d diagonal entries over that of all entries of KQ that act, d + 1 rows by d columns
    diag_ratio_whole: Float[Array, " H"]  # the same over all entries of KQ, with the column that acts on nothing
    diag_variance: Float[Array, " H"]  # variance of the d diagonal entries of KQ
    last_ratio: Float[Array, " H"]  # mu^2 over the sum of squares of OV


def pattern(params: Params) -> Pattern:
    """How close the weights are to KQ_h = omega_h [I; 0] and OV_h = mu_h [0, 1]."""
    d = params.Q.shape[-1] - 1
    whole, OV = key_query(params), output_value(params)[:, 0]
    KQ = whole[:, :, :d]
    diagonal = jnp.diagonal(KQ, axis1=1, axis2=2)
    on_diagonal = jnp.square(diagonal).sum(axis=1)
    omega, mu = diagonal.mean(axis=1), OV[:, -1]
    return Pattern(
        omega,
        mu,
        on_diagonal / jnp.square(KQ).sum(axis=(1, 2)),
        on_diagonal / jnp.square(whole).sum(axis=(1, 2)),
        diagonal.var(axis=1),
        jnp.square(mu) / jnp.square(OV).sum(axis=1),
    )


def is_active(mu: Float[Array, " H"]) -> Float[Array, " H"]:
    """Heads that are not dummies: |mu_h| of at least a hundredth of the largest."""
    return jnp.abs(mu) >= 0.01 * jnp.abs(mu).max()


def effective_preconditioner(params: Params) -> Float[Array, "d d"]:
    """Gamma = sum_h mu_h KQ_h on the covariates: for small scores the layer is yhat = (1/L) sum_l (y_l - ybar) x_l^T Gamma x_q."""
    d = params.Q.shape[-1] - 1
    return jnp.einsum("h,hij->ij", output_value(params)[:, 0, -1], key_query(params)[:, :d, :d])


# ---- predictors to compare with, on every prefix of the examples ----


def gd_prefixes(Z: Float[Array, "B L D"], x_q: Float[Array, "B d"]) -> tuple[Float[Array, "B L"], Float[Array, "B L"]]:
    """One step of gradient descent from beta = 0 with step size 1, plain and debiased:
    (1/L) sum_l y_l x_l.x_q  and  (1/L) sum_l (y_l - ybar) x_l.x_q, for one task."""
    x, y = Z[..., :-1], Z[..., -1]
    s = jnp.einsum("bld,bd->bl", x, x_q)
    length = jnp.arange(1, Z.shape[1] + 1)
    plain = jnp.cumsum(y * s, axis=1) / length
    return plain, plain - jnp.cumsum(y, axis=1) / length * jnp.cumsum(s, axis=1) / length


def ridge_prefixes(Z: Float[Array, "B L D"], x_q: Float[Array, "B d"], penalty: float) -> Float[Array, "B L"]:
    """x_q^T (X^T X + penalty I)^{-1} X^T y, the Bayes predictor when penalty = d s2. The inverse is updated example by example (Sherman and Morrison)."""
    batch, d = x_q.shape

    def add_example(carry, z):
        P, Xy = carry  # (B, d, d), (B, d)
        x, y = z[:, :-1], z[:, -1:]
        Px = jnp.einsum("bij,bj->bi", P, x)
        P = P - Px[:, :, None] * Px[:, None, :] / (1 + (x * Px).sum(axis=1))[:, None, None]
        Xy = Xy + y * x
        return (P, Xy), jnp.einsum("bi,bij,bj->b", x_q, P, Xy)

    start = jnp.tile(jnp.eye(d) / penalty, (batch, 1, 1)), jnp.zeros((batch, d))
    return jax.lax.scan(add_example, start, Z.swapaxes(0, 1))[1].T
