"""PAC Generalization via Invariant Representations (Parulekar, Shanmugam and Shakkottai, 2022), replicated.

What is run: random linear SEMs with exact interventional covariances; over all subsets of features, the largest probability nu_max(n) of failing on an unseen
intervention among those that are eps-invariant on n interventions. (pac) over the number of variables, of sites, and kinds of intervention; (ambient) over
variables added behind a fixed core; (ood) invariant predictors against pooled least squares under stronger interventions; (finite) covariances from N samples;
(latent) a linear observation of latent features; (unfaithful) two paths that cancel, beside the same SEM with paths that do not; (linear) linear
representations, searched for the worst.
Hardware: one CPU core, a few minutes for the cpu profile.
The number to reach: none is printed; a rate of 1/n, without growth in the number of variables.

    python -m papers.pac_invariant_representations.replicate --profile cpu
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, Le, Len

from papers.pac_invariant_representations import linear, model, predictors
from shared.engine import main, per_seed
from shared.seeds import numpy_rng

Count = Annotated[int, Ge(1)]
Features = Annotated[int, Ge(2), Le(15)]
Positive = Annotated[float, Gt(0)]


@dataclass(frozen=True)
class Config:
    m: Annotated[int, Ge(4), Le(15)] = 8
    """Features (variables but for Y) of every experiment that does not sweep them."""
    dimensions: Annotated[tuple[Features, ...], Len(1)] = (5, 7, 9, 11)
    """Features of the dimension sweep."""
    sites: Count = 2
    """Variables that are intervened on."""
    site_counts: Annotated[tuple[Count, ...], Len(1)] = (1, 2, 3, 5)
    """Sites of the sweep over them."""
    kinds: tuple[Literal["soft", "noise", "weights", "hard"], ...] = model.KINDS
    """Kinds of intervention: weights and variance, variance alone, weights alone, weights set to zero."""
    eps: Positive = 0.3
    """Approximate invariance: ||w_e - w_0|| <= eps, or an excess risk of at most eps^2."""
    ns: Annotated[tuple[Count, ...], Len(1)] = (1, 2, 4, 8, 16, 32, 64, 128)
    """Numbers n of training interventions."""
    redraws: Count = 16
    """Independent sequences of training interventions for each SEM."""
    test: Count = 2000
    """Fresh interventions in which the violation probability is measured."""
    delta: Annotated[float, Gt(0), Le(1)] = 0.05
    """Probability with which the bound may fail."""

    train: Count = 64
    """Training interventions of the ood and finite experiments."""
    eps_selection: Positive = 0.05
    """Invariance asked of the subset that predicts out of distribution."""
    strength: Positive = 3.0
    """Weight shifts of the stronger unseen interventions, U[-strength, strength]; the training law has 1."""
    irm_lams: Annotated[tuple[Positive, ...], Len(1)] = (1.0, 10.0, 100.0, 1000.0)
    """Weights of the IRM penalty; chosen on held-out interventions of the training law."""

    samples: Annotated[tuple[Count, ...], Len(1)] = (50, 100, 400, 1600)
    """Samples N in each environment."""
    slack: Positive = 0.5
    """c in the certified level eps' = eps + c sqrt(m / N)."""

    latent_m: Annotated[int, Ge(2), Le(12)] = 6
    """Latent features."""
    latent_p: Annotated[int, Ge(2), Le(13)] = 10
    """Observed coordinates."""
    latent_noise: Positive = 0.01
    """Variance of the observation noise."""

    ranks: Annotated[tuple[Count, ...], Len(1)] = (2,)
    """Rows r of the linear representations."""
    linear_ns: Annotated[tuple[Count, ...], Len(1)] = (4, 16, 64)
    """Their numbers of training interventions."""
    linear_random: Count = 500
    """Random linear representations. Spec: 20 000 on a GPU."""
    linear_searched: Count = 16
    """Starts of the local searches."""
    linear_steps: Count = 150
    """Gradient steps of each search."""
    linear_shadow: Count = 128
    """Interventions that the adversary knows and the learner does not."""

    def __post_init__(self):
        if max(self.sites, *self.site_counts) > self.m - 1:
            raise ValueError(f"sites and site_counts must be at most m - 1 = {self.m - 1}: Y and the root are not intervened on")
        if self.sites > min(*self.dimensions, self.latent_m) - 1:
            raise ValueError("sites must be at most min(dimensions, latent_m) - 1: Y and the root are not intervened on")
        if self.latent_p < self.latent_m:
            raise ValueError("latent_p must be at least latent_m, for M to have full column rank")
        if max(self.ranks) > self.m:
            raise ValueError("ranks must be at most m")
        if min(self.samples) < self.m + 4:
            raise ValueError("samples must be at least m + 4: the error of least squares has no variance below")


def conditions(config: Config) -> list[dict]:
    headline = {"experiment": "pac", "m": config.m, "sites": config.sites, "kind": "soft"}
    grid = [headline]  # A
    grid += [headline | {"m": m} for m in config.dimensions]  # B
    grid += [headline | {"sites": sites} for sites in config.site_counts] + [headline | {"kind": kind} for kind in config.kinds]  # C
    grid += [{"experiment": "ambient", "m": m} for m in config.dimensions if m > min(config.dimensions)]  # B, around the same core
    grid += [{"experiment": "ood"}]  # D
    grid += [{"experiment": "finite", "N": N} for N in config.samples]  # E
    grid += [{"experiment": "latent"}]  # F
    grid += [{"experiment": "unfaithful", "cancel": cancel} for cancel in (True, False)]  # G
    grid += [{"experiment": "linear", "r": r} for r in config.ranks]
    return [condition for i, condition in enumerate(grid) if condition not in grid[:i]]  # the sweeps meet in the headline


@per_seed
def run(config: Config, condition: dict, seed: int, device: str) -> dict:
    """One SEM, the same for all experiments with equally many features."""
    match condition["experiment"]:
        case "pac":
            sem = model.draw_sem(condition["m"], condition["sites"], numpy_rng(seed, "sem"))
            return run_pac(config, sem, seed, condition["kind"])
        case "ambient":
            core = model.draw_sem(min(config.dimensions), config.sites, numpy_rng(seed, "sem"))
            return run_pac(config, model.with_ambient(core, condition["m"], numpy_rng(seed, "ambient")), seed)
        case "unfaithful":
            sem = model.draw_sem(config.m, config.sites, numpy_rng(seed, "sem"))
            return run_pac(config, model.with_two_paths(sem, condition["cancel"]), seed)
        case "ood":
            return run_ood(config, seed)
        case "finite":
            return run_finite(config, condition["N"], seed)
        case "latent":
            return run_latent(config, seed)
        case "linear":
            return run_linear(config, condition["r"], seed)
    raise ValueError(f"no experiment {condition['experiment']!r}")


def stack_environments(config: Config, sem: model.SEM, seed: int, kind: str = "soft") -> np.ndarray:
    """The reference, then all training sequences one after another, then the fresh test interventions."""
    train = model.environments(sem, config.redraws * max(config.ns), numpy_rng(seed, "train"), kind)
    test = model.environments(sem, config.test, numpy_rng(seed, "test"), kind)
    return np.concatenate([model.reference(sem)[None], train, test])


def run_pac(config: Config, sem: model.SEM, seed: int, kind: str = "soft") -> dict:
    """A, B, C, G, ambient. Worst violation over n, under both definitions of invariance."""
    S = stack_environments(config, sem, seed, kind)
    distance, excess = model.deviations(S)
    curves = learning_curves(config, distance > config.eps)
    of_risk = learning_curves(config, excess > config.eps**2)
    return curves | {
        "nu_max_risk": of_risk["nu_max"],
        "survivors_risk": of_risk["survivors"],
        "parameters": sem.parameters,
        "correlation": root_correlation(S[0]),
    }


def learning_curves(config: Config, violated: np.ndarray) -> dict:
    """From which representation violates which environment, (H, training sequences then test): nu_max (redraws, ns) and what explains it, (ns,)."""
    ns, known = np.array(config.ns), config.redraws * max(config.ns)
    nu = violated[:, known:].mean(axis=1)
    sequences = np.split(violated[:, :known], config.redraws, axis=1)
    found = [model.worst_consistent(sequence, nu, ns) for sequence in sequences]
    lower, upper = model.expected_bounds(nu, ns)
    return {
        "ns": ns,
        "nu_max": np.stack([worst for worst, _ in found]).astype(np.float32),
        "survivors": np.mean([count for _, count in found], axis=0),
        "patterns": np.mean([model.growth(sequence, ns) for sequence in sequences], axis=0),
        "bound": model.uniform_bound(len(nu), config.delta, ns),
        "expected_lower": lower,
        "expected_upper": upper,
        "class_size": len(nu),
    }


def root_correlation(S: np.ndarray) -> float:
    """|corr(X_0, Y)|."""
    return abs(S[0, -1]) / np.sqrt(S[0, 0] * S[-1, -1])


def run_ood(config: Config, seed: int) -> dict:
    """D. Risks under stronger unseen interventions, in units of Var(Y); quantiles over interventions."""
    sem = model.with_child_as_site(model.draw_sem(config.m, config.sites, numpy_rng(seed, "sem")))
    base = model.reference(sem)
    S = np.concatenate([base[None], model.environments(sem, config.train, numpy_rng(seed, "train"))])
    validation = model.environments(sem, config.train, numpy_rng(seed, "validation"))
    parents = np.flatnonzero(np.delete(sem.B[sem.target], sem.target))
    subset = predictors.invariant_subset(S, config.eps_selection)
    fitted = {
        "erm": predictors.erm(S),
        "invariant": predictors.on_subset(S, subset),
        "parents": predictors.on_subset(S, parents),
        "irm": predictors.irm(S, validation, config.irm_lams),
    }
    laws = {"strong": config.strength, "training_law": 1.0}
    row = {"subset_size": len(subset), "child_is_site": bool(sem.B[sem.sites, sem.target].any())}
    for law, shift in laws.items():
        unseen = model.environments(sem, config.test, numpy_rng(seed, f"unseen {law}"), shift=shift)
        for name, risk in zip(fitted, model.risks(np.array(list(fitted.values())), unseen) / base[-1, -1], strict=True):
            row |= {f"{law}_{name}_mean": risk.mean(), f"{law}_{name}_q95": np.quantile(risk, 0.95)}
            row[f"{law}_{name}_quantiles"] = np.quantile(risk, np.linspace(0, 1, 101)).astype(np.float32)
    return row


def run_finite(config: Config, N: int, seed: int) -> dict:
    """E. Invariance certified on sample covariances, violation measured on population ones."""
    sem = model.draw_sem(config.m, config.sites, numpy_rng(seed, "sem"))
    S = np.concatenate([model.reference(sem)[None], model.environments(sem, config.train, numpy_rng(seed, "train"))])
    fresh = np.concatenate([S[:1], model.environments(sem, config.test, numpy_rng(seed, "test"))])
    sampled = model.sample_covariances(S, N, numpy_rng(seed, "samples"))
    level = config.eps + config.slack * np.sqrt(config.m / N)
    seen, unseen = model.deviations(sampled)[0], model.deviations(fresh)[0]
    row = {"level": level, "false_rejections": (model.deviations(S)[0].max(axis=1) <= config.eps)[(seen > level).any(axis=1)].sum()}
    cases = {"nu_max": (level, 2 * level), "nu_max_same_level": (level, level), "nu_max_no_slack": (config.eps, config.eps)}
    for name, (certified, tested) in cases.items():
        worst, survivors = model.worst_consistent(seen > certified, (unseen > tested).mean(axis=1), [config.train])
        row |= {name: worst[0], f"{name}_survivors": survivors[0]}
    errors, expected = [], []
    for (T, w, _), (_, w_hat, _) in zip(model.subset_optima(S), model.subset_optima(sampled), strict=True):
        errors.append(((w_hat - w) ** 2).sum(axis=0))
        expected.append(model.expected_squared_error(S, T, N))
    return row | {"rms_error": np.sqrt(np.mean(errors)), "rms_expected": np.sqrt(np.mean(expected)), "error_ratio": np.mean(np.divide(errors, expected))}


def run_latent(config: Config, seed: int) -> dict:
    """F. Representations of Z = M X + noise: subsets of its coordinates, and subsets of the coordinates of M^+ Z."""
    sem = model.draw_sem(config.latent_m, config.sites, numpy_rng(seed, "sem"))
    M = numpy_rng(seed, "observation").normal(size=(config.latent_p, config.latent_m))
    Z = model.observe(stack_environments(config, sem, seed), M, config.latent_noise)
    unmixed = model.observe(Z, np.linalg.pinv(M), 0.0)
    return learning_curves(config, np.concatenate([model.deviations(S)[0] for S in (Z, unmixed)]) > config.eps)


def run_linear(config: Config, r: int, seed: int) -> dict:
    """Linear representations of rank r: drawn at random, made invariant on the training environments, and made to deceive."""
    sem = model.draw_sem(config.m, config.sites, numpy_rng(seed, "sem"))
    base = model.reference(sem)[None]
    train = model.environments(sem, max(config.linear_ns), numpy_rng(seed, "train"))
    shadow = model.environments(sem, config.linear_shadow, numpy_rng(seed, "shadow"))
    fresh = np.concatenate([base, model.environments(sem, config.test, numpy_rng(seed, "test"))])
    drawn = linear.orthonormal(numpy_rng(seed, "representations").normal(size=(config.linear_random, r, config.m)))
    nu_drawn = (linear.distances(drawn, fresh) > config.eps).mean(axis=1)
    row = {"ns": np.array(config.linear_ns)}
    curves = {name: [] for name in ("nu_random", "nu_invariant", "nu_deceptive", "survivors_random", "survivors_invariant", "survivors_deceptive")}
    for n in config.linear_ns:
        seen = np.concatenate([base, train[:n]])
        smooth = linear.invariant_ones(drawn[: config.linear_searched], seen, config.linear_steps)
        deceptive = linear.deceptive_ones(smooth, seen, shadow, config.eps, config.linear_steps)
        for name, Phi in (("random", drawn), ("invariant", smooth), ("deceptive", deceptive)):
            nu = nu_drawn if name == "random" else (linear.distances(Phi, fresh) > config.eps).mean(axis=1)
            worst, survivors = model.worst_consistent(linear.distances(Phi, seen) > config.eps, nu, [n])
            curves[f"nu_{name}"].append(worst[0])
            curves[f"survivors_{name}"].append(survivors[0])
    return row | {name: np.array(curve) for name, curve in curves.items()}


if __name__ == "__main__":
    main(__file__)
