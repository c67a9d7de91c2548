"""CoT Information: Improved Sample Complexity under Chain-of-Thought Supervision (Altabaa, Montasser and Lafferty, NeurIPS 2025).

Runs the paper's two simulations exactly, by enumerating hypotheses and inputs: autoregressive linear thresholds (6561 hypotheses, 256 inputs) and automata
of four states (65,536 hypotheses, 1024 strings), with traces revealed step by step; the two bounds on sample sizes; and three edge cases.
Hardware and time: the cpu profile is at the paper's scale and needs a minute or two on one core; a GPU would add nothing.
The numbers to reach: about 600 (predicted) and 100 to 1000 (measured) for automata, about 6 and 5 for linear thresholds (Fig. 2, App. C).

    python -m papers.cot_information.replicate --profile cpu
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from papers.cot_information import model
from shared.engine import main
from shared.seeds import numpy_rng

CURVE_POINTS = 100
CONVENTIONS = ({"threshold": ">=", "bits": "0, 1"}, {"threshold": ">", "bits": "0, 1"}, {"threshold": ">=", "bits": "-1, 1"})


@dataclass(frozen=True)
class Config:
    window: int = 8
    """Class A: weights, and bits of the input. Paper: 8."""
    generated: int = 16
    """Class A: bits T that a hypothesis appends to its input. Paper: 16."""
    linear_targets: int = 20
    """Class A: random h* of one seed."""
    streams: int = 30
    """Class A: streams of examples for each h*, over which m_emp is averaged."""
    bound_trials: int = 200
    """Class A: trials of one seed that test the bounds, each with an h*, an eps and a stream of its own."""
    bound_eps: tuple[float, ...] = (0.0, 0.05, 0.1)
    """Errors eps at which the bounds are tested."""
    upper_delta: float = 0.05
    """Failure rate that Result 1 promises not to exceed."""
    lower_delta: float = 0.5
    """Failure rate that Result 4 promises to exceed when there are too few examples."""
    states: int = 4
    """Class B: states of an automaton. Paper: 4."""
    length: int = 10
    """Class B: letters of a string. Paper: 10."""
    reference: tuple[tuple[int, int], ...] = ((2, 1), (3, 1), (2, 3), (2, 0))
    """Class B: transition table T[s][a] of the reference h*. The authors' own is only drawn in a figure; this one has a ratio of the size that they report."""
    accept_sets: tuple[tuple[int, ...], ...] = ((3,),)
    """Class B: accept sets of the class; the reference h* has the first of them. Not stated in the paper."""
    details: tuple[int, ...] = (0, 1, 2, 4, 6, 8, 10)
    """Class B: how many of the visited states are revealed, from the first on. 0 is end-to-end supervision, ``length`` the full trace."""
    random_targets: int = 10
    """Class B: random h* of one seed."""
    accept_rates: tuple[float, float] = (0.05, 0.95)
    """Class B: a random h* accepts a share of the strings within these limits, ends included."""
    agnostic_examples: int = 200
    """Examples m of the agnostic case."""
    agnostic_eps: float = 0.05
    """Error eps at which the agnostic CoT information is recorded."""

    @property
    def reference_index(self) -> int:
        """Where the reference automaton stands in its class."""
        return model.automaton_index(self.reference, 0, len(self.accept_sets))


def conditions(config: Config) -> list[dict]:
    """Linear thresholds under three conventions (every h*; learning a few), bounds (Results 1 and 4), random automata, the reference automaton, edge cases."""
    return [
        *({"experiment": "census"} | convention for convention in CONVENTIONS),
        *({"experiment": "linear"} | convention for convention in CONVENTIONS),
        {"experiment": "bounds"},
        {"experiment": "random automata"},
        *({"experiment": "automaton", "detail": r} for r in config.details),
        *({"experiment": "edge", "case": case} for case in ("product", "identity", "unrealizable")),
    ]


def run(config: Config, condition: dict, seeds: tuple[int, ...], device: str) -> list[dict]:
    """One row per seed. What is enumerated is the same for all seeds; they differ in the targets and in the streams of examples."""
    match condition["experiment"]:
        case "census":
            row = census(linear_thresholds(config, **condition))
            return [row for _ in seeds]
        case "linear":
            H = linear_thresholds(config, **condition)
            return [linear_targets(config, H, seed) for seed in seeds]
        case "bounds":
            H = model.linear_class(config.window, config.generated)
            return [try_bounds(config, H, seed) for seed in seeds]
        case "random automata":
            H = automata(config)
            return [random_automata(config, H, model.reveal(H, ()), seed) for seed in seeds]
        case "automaton":
            H = model.reveal(automata(config), range(condition["detail"]))
            return learn_automaton(model.relate(H, config.reference_index), seeds)
        case "edge":
            case_of = {"product": product_case, "identity": identity_case, "unrealizable": unrealizable_case}[condition["case"]]
            return [case_of(config, seed) for seed in seeds]
    raise ValueError(f"no experiment {condition['experiment']!r}")


def linear_thresholds(config: Config, threshold: str, bits: str, **_) -> model.HypothesisClass:
    """Class A under one of the CONVENTIONS."""
    return model.linear_class(config.window, config.generated, strict=threshold == ">", signs=bits == "-1, 1")


@functools.cache
def automata(config: Config) -> model.HypothesisClass:
    """Class B with full traces, built once in a process."""
    return model.automaton_class(config.states, config.length, config.accept_sets)


# ---- the two classes ----


def census(H: model.HypothesisClass) -> dict:
    """Percentiles, over every h* of the class, of eps+ / I(0), which is 0 where I(0) is infinite."""
    hardest = [model.hardest_at_zero(model.relate(H, target)) for target in range(len(H.answers))]
    value = np.array([model.relative_value(survival, eps_plus) for eps_plus, survival in hardest])
    return {"inverse_value": np.quantile(1 / value, np.linspace(0, 1, 101)), "infinite": np.isinf(value).mean()}


def linear_targets(config: Config, H: model.HypothesisClass, seed: int) -> dict:
    """Predicted and measured value of a trace for random linear thresholds h*; both rules see the same streams."""
    count, inputs = H.answers.shape
    answers_only = model.reveal(H, ())
    targets, stream = numpy_rng(seed, "targets").integers(count, size=config.linear_targets), numpy_rng(seed, "streams")
    eps_plus, survival = np.empty(len(targets)), np.empty(len(targets))
    needed = np.empty((len(targets), config.streams, 2))  # m_emp(0) of CoT-Cons, E2E-Cons
    for i, target in enumerate(targets):
        cot, e2e = model.relate(H, target), model.relate(answers_only, target)
        eps_plus[i], survival[i] = model.hardest_at_zero(cot)
        bad = cot.risk > 0
        suspects = cot.differs[bad], e2e.differs[bad]
        for j in range(config.streams):
            visits = model.first_visits(stream, inputs)
            needed[i, j] = [model.elimination_times(differs, visits).max() for differs in suspects]
    means = needed.mean(axis=1)
    first = model.relate(H, targets[0])
    return {"eps_plus": eps_plus, "survival": survival, "needed_cot": means[:, 0], "needed_e2e": means[:, 1]} | scatter(first) | information_curve(first)


def random_automata(config: Config, H: model.HypothesisClass, answers_only: model.HypothesisClass, seed: int) -> dict:
    """Predicted value of a trace for random automata h* that neither accept nor refuse nearly everything, and the measured one on one stream each."""
    low, high = config.accept_rates
    choice, stream = numpy_rng(seed, "targets"), numpy_rng(seed, "streams")
    columns = {name: np.empty(config.random_targets) for name in ("eps_plus", "survival", "needed_cot", "needed_e2e")}
    for i in range(config.random_targets):
        target = choice.integers(len(H.answers))
        while not low <= H.answers[target].mean() <= high:
            target = choice.integers(len(H.answers))
        cot, e2e = model.relate(H, target), model.relate(answers_only, target)
        visits = model.first_visits(stream, H.answers.shape[1])
        columns["eps_plus"][i], columns["survival"][i] = model.hardest_at_zero(cot)
        for name, relation in (("needed_cot", cot), ("needed_e2e", e2e)):
            bad = relation.risk > 0
            columns[name][i] = model.elimination_times(relation.differs[bad], visits).max()
    return columns


def learn_automaton(relation: model.Relation, seeds: tuple[int, ...]) -> list[dict]:
    """CoT information of the reference automaton at one detail of the trace, and learning it from one stream per seed, the same one at every detail."""
    risk, survival, differs = relation
    inputs = differs.shape[1]
    sizes = np.unique(np.geomspace(1, 20 * inputs, 80).round().astype(int))
    bad = survival[risk > 0]
    eps_plus, hardest = model.hardest_at_zero(relation)
    theory = {
        "eps_plus": eps_plus,
        "survival": hardest,
        "sizes": sizes,
        "failure_at_least": hardest**sizes,  # the hardest bad hypothesis survives
        "failure_at_most": np.array([min(1.0, (bad**m).sum()) for m in sizes]),  # union bound over all of them
    }
    theory |= scatter(relation) | information_curve(relation)
    rows = []
    for seed in seeds:
        times = model.elimination_times(differs, model.first_visits(numpy_rng(seed, "streams"), inputs))
        needed = model.examples_needed(risk, times)
        error = np.array([model.consistent_error(risk, times, m) for m in sizes])
        rows.append(theory | {"needed": needed[0], "needed_at": needed[thinned(len(needed))], "consistent_error": error})
    return rows


def information_curve(relation: model.Relation) -> dict:
    """exp(-I(eps)) against eps+, at no more than CURVE_POINTS levels."""
    steps, survival = model.levels(relation.risk), model.worst_above(relation.risk, relation.survival)
    kept = thinned(len(steps))
    return {"levels": steps[kept], "survival_at": survival[kept]}


def thinned(length: int) -> np.ndarray:
    """At most CURVE_POINTS places of a curve, spaced geometrically, its ends included."""
    return np.unique(np.geomspace(1, length, CURVE_POINTS).round().astype(int)) - 1


def scatter(relation: model.Relation) -> dict:
    """Some of the different pairs (R_e2e(h), exp(-I(h*, h))) of hypotheses in lexicographic order: spaced evenly, and as many again where errors are small."""
    pairs = np.unique(np.stack([relation.risk, relation.survival], axis=1), axis=0)
    kept = np.union1d(np.linspace(0, len(pairs) - 1, CURVE_POINTS).round().astype(int), thinned(len(pairs)))
    return {"pair_risk": pairs[kept, 0], "pair_survival": pairs[kept, 1]}


# ---- the two bounds ----


def try_bounds(config: Config, H: model.HypothesisClass, seed: int) -> dict:
    """How often an error > eps survives as many examples as Result 1 asks for, and as many as Result 4 calls too few."""
    count, inputs = H.answers.shape
    choice, stream = numpy_rng(seed, "targets"), numpy_rng(seed, "streams")
    survived_enough, survived_few = np.empty(config.bound_trials), np.empty(config.bound_trials)
    for i in range(config.bound_trials):
        relation, eps = model.relate(H, choice.integers(count)), choice.choice(config.bound_eps)
        rate = model.cot_information(relation, eps)
        enough = max(1, math.ceil(model.enough_examples(count, config.upper_delta, rate)))  # at least one, also where I = inf
        too_few = math.ceil(model.too_few_examples(config.lower_delta, rate)) - 1
        bad = relation.risk > eps
        needed = model.elimination_times(relation.differs[bad], model.first_visits(stream, inputs)).max()
        survived_enough[i], survived_few[i] = needed > enough, needed > too_few
    return {"survived_enough": survived_enough.mean(), "survived_few": survived_few.mean()}


# ---- edge cases ----


def product_case(config: Config, seed: int) -> dict:
    """All pairs of a threshold on 0..X-1 and a random trace function: the trace is worth nothing, I(eps) = -log(1 - eps+)."""
    rng, inputs = numpy_rng(seed, "class"), 2**config.window
    thresholds = (np.arange(inputs) >= np.arange(inputs)[:, None]).astype(np.uint8)[:: inputs // 16]  # (16, X)
    H = model.product_class(thresholds, rng.integers(8, size=(16, inputs)))
    target = int(rng.integers(len(H.answers)))
    cot = model.relate(H, target)
    gap = np.abs(model.worst_above(cot.risk, cot.survival) - (1 - model.levels(cot.risk))).max()
    return {"information_gap": gap} | both_rules(H, target, seed)


def identity_case(config: Config, seed: int) -> dict:
    """Class A with the number of the hypothesis as its trace: one example tells all, I = inf."""
    H = model.linear_class(config.window, config.generated)
    H = H._replace(traces=np.broadcast_to(np.arange(len(H.answers))[:, None], H.answers.shape))
    target = int(numpy_rng(seed, "targets").integers(len(H.answers)))
    cot = model.relate(H, target)
    return {"survival": cot.survival[cot.risk > 0].max()} | both_rules(H, target, seed)


def both_rules(H: model.HypothesisClass, target: int, seed: int) -> dict:
    """m_emp(0) of CoT-Cons and of E2E-Cons on one stream."""
    visits = model.first_visits(numpy_rng(seed, "streams"), H.answers.shape[1])
    cot, e2e = model.relate(H, target), model.relate(model.reveal(H, ()), target)
    return {name: model.examples_needed(r.risk, model.elimination_times(r.differs, visits))[0] for name, r in (("needed_cot", cot), ("needed_e2e", e2e))}


def unrealizable_case(config: Config, seed: int) -> dict:
    """Answers of the reference automaton with traces that no automaton emits: CoT-ERM keeps all of H, E2E-ERM learns."""
    H = automata(config)
    y = H.answers[config.reference_index]
    z = np.full(len(y), -1)
    by_answer, by_example = model.answer_differs(H, y), model.example_differs(H, y, z)
    risk, cot_risk = by_answer.mean(axis=1), by_example.mean(axis=1)
    sample = numpy_rng(seed, "streams").integers(len(y), size=config.agnostic_examples)
    return {
        "error_cot": risk[model.empirical_risk_minimisers(by_example, sample)].mean(),
        "error_e2e": risk[model.empirical_risk_minimisers(by_answer, sample)].mean(),
        "smallest_cot_risk": cot_risk.min(),
        "agnostic_information": model.agnostic_information(risk, cot_risk, config.agnostic_eps),
    }


if __name__ == "__main__":
    main(__file__)
