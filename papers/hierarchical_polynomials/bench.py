"""What the closed forms save: one Krylov space for all ridges against a factorisation for each; a ridge solution against gradient descent; a whole curve."""

from __future__ import annotations

from collections.abc import Callable

import torch

from papers.hierarchical_polynomials import baselines, model
from papers.hierarchical_polynomials.replicate import LAMS2, NETWORK, RIDGES, Config, draw_problem, fit

STEPS = 10_000
RATIOS = (1, 2, 4, 8)


def cases() -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """Name -> (ours, plain)."""
    config = Config()
    problem = draw_problem(config, 0, "cpu", 24, 8 * 24**2)
    train, first, second = problem.train, problem.first, problem.second
    K = baselines.gram(baselines.tangent_kernel, train.x[:2000], train.x[:2000])
    y, identity = train.y[:2000], torch.eye(2000, dtype=torch.float64)
    D1, _ = train.halves()
    Z, lams = first(D1.x), first.lams(RIDGES, len(D1))

    def factorisations():
        return [torch.cholesky_solve(y[:, None], torch.linalg.cholesky(K + r * identity)) for r in RIDGES]

    def curve():
        """Test errors of the network at d = 24, the central line of the first figure."""
        problems = [draw_problem(config, 0, "cpu", 24, r * 24**2) for r in RATIOS]
        return [model.mse(fit(config, NETWORK, p, 0).predict(p.test.x), p.test.y) for p in problems]

    def plain_curve():
        """The same, every pair of penalties fitted on its own."""
        errors = []
        for r in RATIOS:
            p = draw_problem(config, 0, "cpu", 24, r * 24**2)
            tried = [model.fit_three_layer(first, second, p.train, p.validation, [value], [lam2]).predict for value in RIDGES for lam2 in LAMS2]
            errors.append(min((model.mse(network(p.validation.x), p.validation.y), model.mse(network(p.test.x), p.test.y)) for network in tried)[1])
        return errors

    return {
        "kernel ridge, n = 2000, all ridges": (lambda: baselines.shifted_solves(K, y, RIDGES), factorisations),
        f"stage 1, one ridge, against {STEPS} steps of descent": (lambda: model.ridge(Z, D1.y, lams[4:5]), lambda: model.descend(Z, D1.y, lams[4], [STEPS])),
        "error curve of the network, d = 24": (curve, plain_curve),
    }
