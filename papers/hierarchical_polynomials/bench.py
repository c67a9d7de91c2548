"""What the closed forms save: one Krylov space for all ridges against a factorisation for each; a ridge solution against gradient descent; a whole curve."""

from __future__ import annotations

from collections.abc import Callable

import torch

from papers.hierarchical_polynomials import baselines, model
from papers.hierarchical_polynomials.replicate import LAMS2, NETWORK, NETWORK_RIDGES, RIDGES, Config, draw_problem, fit

STEPS = 2000
RATIOS = (1, 2, 4)


def cases() -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """Name -> (ours, plain)."""
    problem = draw_problem(Config(), 0, "cpu", 24, 8 * 24**2)
    train, first = problem.train, problem.first
    K = baselines.gram(baselines.tangent_kernel, train.x[:2000], train.x[:2000])
    y, identity = train.y[:2000], torch.eye(2000, dtype=torch.float64)
    D1, _ = train.halves()
    Z, lams = first(D1.x), first.lams(RIDGES, len(D1))

    def factorisations():
        return [torch.cholesky_solve(y[:, None], torch.linalg.cholesky(K + r * identity)) for r in RIDGES]

    small = Config(validation=200, test=1000, min_width=100, m2=60)
    problems = [draw_problem(small, 0, "cpu", 8, r * 8**2) for r in RATIOS]

    def curve():
        """Test errors of the network at d = 8, a line of the first figure."""
        return [model.mse(fit(small, NETWORK, p, 0).predict(p.test.x), p.test.y) for p in problems]

    def plain_curve():
        """The same, every pair of penalties fitted on its own."""
        errors = []
        for p in problems:
            tried = [model.fit_three_layer(p.first, p.second, p.train, p.validation, [r], [lam2]).predict for r in NETWORK_RIDGES for lam2 in LAMS2]
            errors.append(min((model.mse(network(p.validation.x), p.validation.y), model.mse(network(p.test.x), p.test.y)) for network in tried)[1])
        return errors

    return {
        "kernel ridge, n = 2000, all ridges": (lambda: baselines.shifted_solves(K, y, RIDGES), factorisations),
        f"stage 1, one ridge, against {STEPS} steps of descent": (lambda: model.ridge(Z, D1.y, lams[4:5]), lambda: model.descend(Z, D1.y, lams[4], [STEPS])),
        "error curve of the network, d = 8": (curve, plain_curve),
    }
