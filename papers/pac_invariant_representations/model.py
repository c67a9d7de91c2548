"""Random linear structural equation models, their interventions, and approximately invariant representations; everything on population covariances.

A structural equation model (SEM) over m features and a target Y, in causal order: X_j = sum_i B_ji X_i + eta_j, eta_j ~ N(0, om_j), B strictly lower
triangular. An environment is a pair (B, om) or, once Y has been moved to the end by `features_first`, the covariance S of (features, Y), shape (m + 1, m + 1).
A stack of environments has the un-intervened SEM, the reference, at index 0. A representation Phi (r, m) has the optimum w_e in environment e; it is
eps-approximately invariant in e if ||w_e - w_0|| <= eps, definition (a), or if w_0 has there an excess risk of at most eps^2, definition (b).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

KINDS = ("soft", "noise", "weights", "hard")


class SEM(NamedTuple):
    B: Float[np.ndarray, "V V"]  # B[j, i] is the weight of X_i in the equation of X_j
    om: Float[np.ndarray, " V"]
    target: int  # the place of Y among the V = m + 1 variables
    sites: Int[np.ndarray, " s"]  # the variables that are intervened on, never Y

    @property
    def parameters(self) -> int:
        """Number of intervention parameters: at each site its incoming weights and its noise variance."""
        return int((self.B[self.sites] != 0).sum() + len(self.sites))


# ---- models ----


def draw_sem(m: int, sites: int, rng: np.random.Generator) -> SEM:
    """Every variable but the first takes min(j, 2) of the earlier ones as parents; Y is in the middle; the sites are neither Y nor the root.

    More sites only add to fewer.
    """
    V, target = m + 1, m // 2
    B = np.zeros((V, V))
    for j in range(1, V):
        parents = rng.choice(j, size=min(j, 2), replace=False)
        B[j, parents] = rng.choice([-1, 1], size=len(parents)) * rng.uniform(0.5, 1.5, size=len(parents))
    om = rng.uniform(0.5, 1.5, size=V)
    order = rng.permutation(np.setdiff1d(np.arange(1, V), [target]))
    return SEM(B, om, target, order[:sites])


def with_child_as_site(sem: SEM) -> SEM:
    """The same SEM with a child of Y in the place of its first site, where Y has a child and none is a site."""
    children = np.flatnonzero(sem.B[:, sem.target])
    if len(children) == 0 or np.isin(children, sem.sites).any():
        return sem
    return sem._replace(sites=np.r_[children[0], sem.sites[1:]])


def with_two_paths(sem: SEM, cancel: bool) -> SEM:
    """Y is given the parents 0 and 1; 1 is a child of 0. With ``cancel`` the two paths from 0 sum to zero: corr(X_0, Y) = 0 though 0 is a parent."""
    B, Y = sem.B.copy(), sem.target
    parents = np.flatnonzero(B[Y])
    B[Y] = 0
    B[Y, 1] = sem.B[Y, parents[-1]]
    direct = B[Y, 1] * B[1, 0]
    B[Y, 0] = -direct if cancel else direct
    return sem._replace(B=B)


def with_ambient(sem: SEM, m: int, rng: np.random.Generator) -> SEM:
    """The same SEM, target and sites, with further variables behind it up to m features; each has two earlier parents and the generator's weights."""
    V, known = m + 1, len(sem.om)
    B, om = np.zeros((V, V)), np.r_[sem.om, rng.uniform(0.5, 1.5, size=V - known)]
    B[:known, :known] = sem.B
    for j in range(known, V):
        B[j, rng.choice(j, size=2, replace=False)] = rng.choice([-1, 1], size=2) * rng.uniform(0.5, 1.5, size=2)
    return sem._replace(B=B, om=om)


# ---- interventions ----


def intervene(sem: SEM, count: int, rng: np.random.Generator, kind: str = "soft", shift: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Environments drawn from D: at every site, new incoming weights B_j,pa(j) + U[-shift, shift] and a new noise variance om_j U[0.2, 3].

    ``kind``: "noise" leaves the weights, "weights" leaves the variance, "hard" sets the weights to zero. Returns B (count, V, V) and om (count, V).
    """
    B, om = np.repeat(sem.B[None], count, axis=0), np.repeat(sem.om[None], count, axis=0)
    moves = rng.uniform(-shift, shift, size=(count, *sem.B[sem.sites].shape)) * (sem.B[sem.sites] != 0)
    factors = rng.uniform(0.2, 3.0, size=(count, len(sem.sites)))
    if kind in ("soft", "weights"):
        B[:, sem.sites] += moves
    elif kind == "hard":
        B[:, sem.sites] = 0
    if kind != "weights":
        om[:, sem.sites] *= factors
    return B, om


def covariance(B: Float[np.ndarray, "... V V"], om: Float[np.ndarray, "... V"]) -> Float[np.ndarray, "... V V"]:
    """Sigma = (I - B)^-1 diag(om) (I - B)^-T."""
    A = np.linalg.inv(np.eye(B.shape[-1]) - B)
    return (A * om[..., None, :]) @ np.swapaxes(A, -1, -2)


def features_first(Sigma: Float[np.ndarray, "... V V"], target: int) -> Float[np.ndarray, "... V V"]:
    """The same covariance with Y moved to the end."""
    order = np.r_[np.delete(np.arange(Sigma.shape[-1]), target), target]
    return Sigma[..., order[:, None], order]


def environments(sem: SEM, count: int, rng: np.random.Generator, kind: str = "soft", shift: float = 1.0) -> Float[np.ndarray, "count V V"]:
    """Population covariances of (features, Y) in fresh environments."""
    return features_first(covariance(*intervene(sem, count, rng, kind, shift)), sem.target)


def reference(sem: SEM) -> Float[np.ndarray, "V V"]:
    """The covariance of (features, Y) without intervention."""
    return features_first(covariance(sem.B, sem.om), sem.target)


def sample_covariances(S: Float[np.ndarray, "E V V"], N: int, rng: np.random.Generator) -> Float[np.ndarray, "E V V"]:
    """(1/N) sum_i x_i x_i^T of N draws in each environment, by Bartlett's decomposition of the Wishart law: no draw is made one by one."""
    E, V = S.shape[:2]
    root = np.tril(rng.normal(size=(E, V, V)), -1)
    root[:, np.arange(V), np.arange(V)] = np.sqrt(rng.chisquare(N - np.arange(V), size=(E, V)))
    factor = np.linalg.cholesky(S) @ root
    return factor @ np.swapaxes(factor, 1, 2) / N


def observe(S: Float[np.ndarray, "E V V"], M: Float[np.ndarray, "p m"], noise: float) -> Float[np.ndarray, "E p+1 p+1"]:
    """The covariance of (Z, Y) for the linear observation Z = M X + N(0, noise I) of latent features X."""
    p, m = M.shape
    full = np.zeros((p + 1, m + 1))
    full[:p, :m], full[p, m] = M, 1
    return full @ S @ full.T + np.diag(np.r_[np.full(p, noise), 0])


# ---- representations ----


def optimum(S: Float[np.ndarray, "*E V V"], Phi: Float[np.ndarray, "*K r m"]) -> Float[np.ndarray, "*EK r"]:
    """w_e(Phi) = (Phi S_XX Phi^T)^-1 Phi S_XY."""
    Phi_S = Phi @ S[..., :-1, :-1]
    return np.linalg.solve(Phi_S @ np.swapaxes(Phi, -1, -2), Phi @ S[..., :-1, -1:])[..., 0]


def subset_optima(S: Float[np.ndarray, "E V V"]) -> Iterator[tuple[tuple[int, ...], np.ndarray, np.ndarray]]:
    """For every non-empty subset T of the features: T, the optimum on it (|T|, E), and its mean squared error (E,).

    All subsets share their work: Gauss-Jordan elimination of one feature after another, on a binary tree of "take it" and "leave it". A table has the rows
    (taken, undecided, Y) and the columns (undecided, Y): regression coefficients in the rows of what is taken, residual covariances in the others.
    """
    table = np.ascontiguousarray(np.moveaxis(S, 0, -1))
    return (found for found in decide(table, (), tuple(range(len(table) - 1))) if found[0])


def decide(table: Float[np.ndarray, "rows cols E"], taken: tuple[int, ...], undecided: tuple[int, ...]) -> Iterator[tuple]:
    """Leave or take the first undecided feature, and go on with the others."""
    if not undecided:
        yield taken, table[:-1, 0], table[-1, 0]
        return
    k = len(taken)
    yield from decide(np.concatenate([table[:k, 1:], table[k + 1 :, 1:]]), taken, undecided[1:])
    row = table[k, 1:] / table[k, 0]
    swept = table[:, 1:] - table[:, :1] * row
    swept[k] = row
    yield from decide(swept, (*taken, undecided[0]), undecided[1:])


# ---- invariance ----


def deviations(S: Float[np.ndarray, "E V V"]) -> tuple[Float[np.ndarray, "H E-1"], Float[np.ndarray, "H E-1"]]:
    """How far each subset of features is from invariance in each environment after the reference.

    Definition (a): ||w_e - w_0||. Definition (b): the excess risk of w_0 in e, (w_e - w_0)^T S_TT (w_e - w_0) = risk_e(w_0) - risk_e(w_e).
    """
    m = S.shape[-1] - 1
    distance = np.empty((2**m - 1, len(S) - 1))
    least = np.empty_like(distance)
    w_0 = np.zeros((2**m - 1, m))
    for i, (T, w, mse) in enumerate(subset_optima(S)):
        distance[i] = np.sqrt(((w[:, 1:] - w[:, :1]) ** 2).sum(axis=0))
        least[i] = mse[1:]
        w_0[i, T] = w[:, 0]
    return distance, risks(w_0, S[1:]) - least


def risks(w: Float[np.ndarray, "H m"], S: Float[np.ndarray, "E V V"]) -> Float[np.ndarray, "H E"]:
    """E (Y - w.X)^2 of each predictor in each environment: (-w, 1) S (-w, 1)^T."""
    u = np.concatenate([-w, np.ones((len(w), 1))], axis=1)
    return (u[:, :, None] * u[:, None, :]).reshape(len(u), -1) @ S.reshape(len(S), -1).T


def worst_consistent(train: Bool[np.ndarray, "H n"], nu: Float[np.ndarray, " H"], ns: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """nu_max(n): the largest violation probability among the representations that violate none of the first n environments; and how many these are.

    ``train`` says which representation violates which training environment. Where no representation is left, nu_max is 0.
    """
    consistent = ~np.logical_or.accumulate(train, axis=1)[:, np.asarray(ns) - 1]
    return np.where(consistent, nu[:, None], 0.0).max(axis=0), consistent.sum(axis=0)


def growth(train: Bool[np.ndarray, "H n"], ns: Sequence[int]) -> np.ndarray:
    """The number of different patterns of violation that the class shows on the first n environments: what VC theory counts in place of |H|."""
    return np.array([len(np.unique(np.packbits(train[:, :n], axis=1), axis=0)) for n in ns])


# ---- bounds ----


def uniform_bound(H: int, delta: float, ns: Sequence[int]) -> np.ndarray:
    """(ln |H| + ln(1/delta)) / n: with probability 1 - delta, no representation consistent with n environments violates more."""
    return (np.log(H) + np.log(1 / delta)) / np.asarray(ns)


def expected_bounds(nu: Float[np.ndarray, " H"], ns: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Bounds on E nu_max(n) for a class whose violation probabilities nu are known.

    A representation is consistent with probability (1 - nu)^n, exactly. Hence the lower bound max nu (1 - nu)^n, by the best single one, and the upper bound by
    the union, P(nu_max > t) <= min(1, sum over nu > t of (1 - nu)^n), integrated over t.
    """
    nu = np.sort(nu)
    alone = (1 - nu) ** np.asarray(ns)[:, None]  # (n, H)
    tail = np.minimum(1, alone[:, ::-1].cumsum(axis=1)[:, ::-1])
    return (nu * alone).max(axis=1), tail @ np.diff(nu, prepend=0.0)


def expected_squared_error(S: Float[np.ndarray, "E V V"], T: Sequence[int], N: int) -> Float[np.ndarray, " E"]:
    """E ||w_hat - w||^2 of least squares on the features T with N Gaussian draws: mse tr(S_TT^-1) / (N - |T| - 1), exactly."""
    T = np.asarray(T)
    inverse = np.linalg.inv(S[:, T[:, None], T])
    cross = S[:, T, -1]
    mse = S[:, -1, -1] - np.einsum("ei,eij,ej->e", cross, inverse, cross)
    return mse * np.trace(inverse, axis1=1, axis2=2) / (N - len(T) - 1)
