"""What the network is compared with: random features, an oracle that knows p, kernels, and a trained two-layer network.

All have the same n samples, validation set and ridges as the three-layer network, and use all n at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from papers.hierarchical_polynomials.model import FirstLayer, Fitted, Labelled, SecondLayer, mse, ridge
from shared.kernels import relu_dual


def fit_random_features(first: FirstLayer, train: Labelled, validation: Labelled, ridges: Sequence[float]) -> Fitted:
    """The two-layer network with the same fixed first layer: ridge regression on phi."""
    candidates = ridge(first(train.x), train.y, first.lams(ridges, len(train)))
    i = int(((first(validation.x) @ candidates.T - validation.y[:, None]) ** 2).mean(dim=0).argmin())
    return Fitted(lambda x: first(x) @ candidates[i], ridges[i])


def fit_oracle(second: SecondLayer, p: Callable[[Tensor], Tensor], train: Labelled, validation: Labelled, lams2: Sequence[float]) -> Fitted:
    """Stage 2 alone, with the true p in place of g_u."""
    feature, feature_validation = p(train.x), p(validation.x)
    candidates = ridge(second(feature), train.y - feature, lams2)
    errors = [mse(feature_validation + second(feature_validation) @ c, validation.y) for c in candidates]
    i = int(np.argmin(errors))
    return Fitted(lambda x: p(x) + second(p(x)) @ candidates[i], math.nan, lams2[i])


def exponential_kernel(x: Tensor, y: Tensor) -> Tensor:
    """exp(<x, x'> / d)."""
    return torch.exp(x @ y.T / x.shape[1])


def tangent_kernel(x: Tensor, y: Tensor) -> Tensor:
    """Neural tangent kernel of a two-layer relu network of infinite width, without biases, divided by d; rho is the cosine of the two inputs.

    |x| |x'| (kappa_1(rho) + rho kappa_0(rho)), the arc-cosine kernels, with kappa_1 = rho kappa_0 + sqrt(1 - rho^2) / pi so that kappa_0 is computed once.
    """
    norms = x.norm(dim=1)[:, None] * y.norm(dim=1)
    rho = (x @ y.T / norms).clip(-1, 1)
    return norms * (2 * rho * relu_dual().derivative(rho) + (1 - rho**2).sqrt() / math.pi) / x.shape[1]


KERNELS = {"exponential kernel": exponential_kernel, "tangent kernel": tangent_kernel}


def gram(kernel: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor, rows: int = 32) -> Tensor:
    """kernel(x, y), filled ``rows`` rows at a time to bound the memory of intermediates. (n, d), (m, d) -> (n, m)"""
    out = x.new_empty(len(x), len(y))
    for start in range(0, len(x), rows):
        out[start : start + rows] = kernel(x[start : start + rows], y)
    return out


def shifted_solves(K: Tensor, y: Tensor, ridges: Sequence[float], tolerance: float = 1e-3, most: int = 2000) -> Tensor:
    """(K + r I)^-1 y for every ridge r from one Krylov space, (len(ridges), n): K Q = Q T by Lanczos, then |y| Q (T + r I)^-1 e_1.

    One product with K per dimension of the space serves all ridges, instead of one factorisation for each. Ends when the residual of the smallest ridge
    (the worst) is below ``tolerance`` times |y|; RuntimeError when that takes more than ``most`` dimensions.
    """
    most = min(most, len(y))
    Q, diagonal, off = K.new_empty(most, len(y)), [], []
    Q[0] = y / y.norm()

    def solve(r: float) -> np.ndarray:
        """(T + r I)^-1 e_1."""
        T = np.diag(diagonal) + np.diag(off[:-1], 1) + np.diag(off[:-1], -1)
        return np.linalg.solve(T + r * np.eye(len(T)), np.eye(len(T))[0])

    for size in range(1, most + 1):
        basis = Q[:size]
        v = K @ basis[-1]
        diagonal.append(float(basis[-1] @ v))
        for _ in range(2):  # twice is enough: orthogonal to working precision
            v = v - basis.T @ (basis @ v)
        off.append(float(v.norm()))
        if size % 10 == 0 or size == most:
            residual = off[-1] * abs(solve(min(ridges))[-1])
            if residual < tolerance:
                return y.norm() * torch.as_tensor(np.stack([solve(r) for r in ridges]), dtype=K.dtype, device=K.device) @ basis
        if size < most:
            Q[size] = v / off[-1]
    raise RuntimeError(f"residual {residual:.1e} after {most} Lanczos steps: the kernel matrix is too ill-conditioned for the smallest ridge")


def fit_kernel(kernel: Callable[[Tensor, Tensor], Tensor], train: Labelled, validation: Labelled, ridges: Sequence[float], tolerance: float = 1e-3) -> Fitted:
    """Kernel ridge regression; the ridge is added to the Gram matrix.

    ``tolerance`` is that of ``shifted_solves``; the default moves test errors at n = 4096 by less than 1e-4 Var h.
    """
    dual = shifted_solves(gram(kernel, train.x, train.x), train.y, ridges, tolerance)
    errors = ((dual @ gram(kernel, train.x, validation.x) - validation.y) ** 2).mean(dim=1)
    i = int(errors.argmin())
    return Fitted(lambda x: dual[i] @ gram(kernel, train.x, x), ridges[i])


def fit_relu_network(
    train: Labelled, validation: Labelled, rng: np.random.Generator, width: int, steps: int, rates: Sequence[float], every: int = 50
) -> Fitted:
    """A two-layer relu network, all weights trained: full-batch Adam; validation chooses the step size and when to stop (checked ``every`` so many steps)."""
    d, device = train.x.shape[1], train.x.device
    start = [rng.standard_normal((width, d)) / math.sqrt(d), np.zeros(width), rng.standard_normal(width) / math.sqrt(width), np.zeros(1)]
    best, best_error = None, math.inf

    def output(weights: Sequence[Tensor], x: Tensor) -> Tensor:
        W, b, c, bias = weights
        return torch.relu(x.to(torch.float32) @ W.T + b) @ c + bias

    for rate in rates:
        weights = [torch.as_tensor(part, dtype=torch.float32, device=device).requires_grad_() for part in start]
        optimiser = torch.optim.Adam(weights, lr=rate)
        for step in range(steps + 1):
            if step % every == 0:
                with torch.no_grad():
                    error = mse(output(weights, validation.x), validation.y)
                if error < best_error:
                    best, best_error = [part.detach().clone() for part in weights], error
            optimiser.zero_grad()
            ((output(weights, train.x) - train.y) ** 2).mean().backward()
            optimiser.step()
    return Fitted(lambda x: output(best, x).to(x.dtype), math.nan)
