"""Figures from the record: error against examples, heads and tokens, plain against biased attention, and the digits.

python -m papers.random_feature_attention.figures
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from papers.random_feature_attention.claims import LEVEL, curves, error_at, error_with_heads, numbers_of_heads, samples_needed, setting
from shared.engine import Record, draw_figures
from shared.figures import ROLES, TWO_COLUMNS, band, colour, interval, style

NAMES = {"rfa": "RFA", "brfa": "BRFA", "rfmlp": "RFMLP"}
ROLE = {"rfa": "method", "brfa": "variant2", "rfmlp": "baseline"}
FORMULAS = {
    "avg_1": r"$\langle\beta,u_i\rangle$",
    "avg_2": r"$\langle\beta,u_i\rangle^2$",
    "avg_3": r"$\langle\beta,u_i\rangle^3$",
    "avg_4": r"$\langle\beta,u_i\rangle^4$",
    "corr_1_1": r"$\langle u_0,u_i\rangle\langle\beta,u_i\rangle$",
    "corr_3_1": r"$\langle u_0,u_i\rangle^3\langle\beta,u_i\rangle$",
    "cos_3": r"$\cos(3\langle u_0,u_i\rangle)\langle\beta,u_i\rangle$",
    "cos_6": r"$\cos(6\langle u_0,u_i\rangle)\langle\beta,u_i\rangle$",
    "query_1": r"$\langle\beta,u_0\rangle$",
    "query_2": r"$\langle\beta,u_0\rangle^2$",
}
"""What is averaged over the keys i."""


def draw(record: Record) -> dict[str, Figure]:
    with style():
        return {
            "learning_curves": learning_curves(record),
            "heads": heads(record),
            "tokens": tokens(record),
            "bias": bias(record),
            "digits": digits(record),
        }


def note(fig: Figure, record: Record, text: str) -> None:
    """A line under the figure."""
    fig.supxlabel(f"{text}; bands and whiskers: 95% CI, {len(record.seeds)} seeds", fontsize=6.5, x=0.99, ha="right")


def at_sizes(ax, n: np.ndarray) -> None:
    """A logarithmic axis labelled at the sizes that were run, at every other one where they are many."""
    ax.set_xscale("log")
    ax.set_xticks(n[:: -2 if len(n) > 5 else 1], [f"{size:g}" for size in n[:: -2 if len(n) > 5 else 1]])
    ax.minorticks_off()


def learning_curves(record: Record) -> Figure:
    """Error against n, one panel per target; thin lines: with label noise."""
    N = setting(record.trials).N
    methods = {"rfa": {"features": "rfa"}, "brfa": {"features": "brfa", "b": 1.0, "std": 0.2}, "rfmlp": {"features": "rfmlp"}}
    fig, axes = plt.subplots(2, 5, figsize=(TWO_COLUMNS[0], 3.6), sharex=True, sharey=True)
    for ax, (target, formula) in zip(axes.T.flat, FORMULAS.items(), strict=True):
        for name, which in methods.items():
            n, errors = curves(record.trials, target, experiment="samples", N=N, **which)
            band(ax, n, np.log10(errors), NAMES[name], ROLE[name], marker=True, show_n=False)
            _, noisy = curves(record.trials, f"{target}_noisy", experiment="samples", N=N, **which)
            ax.plot(n, np.log10(noisy).mean(), color=colour(ROLE[name]), linewidth=0.6)
        ax.axhline(-1, color="#444444", linewidth=0.6, linestyle=":")
        at_sizes(ax, n)
        ax.set_title(formula, fontsize=7.5)
    for ax in axes[:, 0]:
        ax.set_yticks([-3, -2, -1, 0], ["0.001", "0.01", "0.1", "1"])
        ax.set_ylabel("test error (log)")
    for ax in axes[-1]:
        ax.set_xlabel("examples $n$ (log)")
    axes[1, 3].legend(loc="lower left")  # nobody's curve comes down here
    note(fig, record, f"targets: means over {N} keys; dotted: {LEVEL}; BRFA: $b = 1$, std 0.2; thin: 1% label noise, means alone")
    return fig


def heads(record: Record) -> Figure:
    """Error against the number of heads, down to the kernel of infinitely many."""
    n = setting(record.trials).n
    numbers = numbers_of_heads(record.trials)
    fig, axes = plt.subplots(1, 4, figsize=(TWO_COLUMNS[0], 2.3), sharex=True, sharey=True)
    for ax, target in zip(axes, ("avg_1", "avg_2", "avg_3", "cos_3"), strict=True):
        for features in ("rfa", "rfmlp"):
            errors = pd.DataFrame({M: error_with_heads(record.trials, target, M, features) for M in numbers})
            band(ax, numbers, np.log10(errors), NAMES[features], ROLE[features], marker=True, show_n=False)
            limit = np.log10(error_at(record.trials, target, n, experiment="limit", features=features)).mean()
            ax.axhline(limit, color=colour(ROLE[features]), linestyle=ROLES["baseline3"][2], linewidth=1, label=f"{NAMES[features]}, $M\\to\\infty$")
        ax.set(xscale="log", xlabel="heads $M$ (log)", title=FORMULAS[target])
    axes[0].set_yticks([-4, -3, -2, -1, 0], ["0.0001", "0.001", "0.01", "0.1", "1"])
    axes[0].set_ylabel("test error (log)")
    axes[2].legend(loc="lower left", handlelength=1.8)
    note(fig, record, f"n = {n}; RFMLP: $M(d+1)$ units")
    return fig


def tokens(record: Record) -> Figure:
    """Examples needed and error at fixed n against the number of key tokens."""
    n, _, _ = setting(record.trials)
    samples = record.select(experiment="samples")
    numbers = sorted(int(N) for N in samples["N"].unique())
    fig, axes = plt.subplots(1, 2, figsize=(TWO_COLUMNS[0], 2.6))
    for features in ("rfa", "rfmlp"):
        for target, dash in (("avg_1", "-"), ("avg_2", "--")):
            label = f"{NAMES[features]}, {FORMULAS[target]}"
            needed, errors = [], []
            for N in numbers:
                sizes, by_seed = curves(record.trials, target, experiment="samples", features=features, N=N)
                needed.append([samples_needed(sizes, error) for error in by_seed.to_numpy()])
                errors.append(error_at(record.trials, target, n, experiment="samples", features=features, N=N))
            reached = np.isfinite(needed).all(axis=1)
            at = np.array(numbers)
            for ax, chosen, values in ((axes[0], reached, needed), (axes[1], np.ones_like(reached), errors)):
                mean, low, high = interval(np.log(np.array(values)[chosen]), axis=1)
                ax.plot(at[chosen], np.exp(mean), color=colour(ROLE[features]), marker=ROLES[ROLE[features]][1], linestyle=dash, label=label)
                ax.fill_between(at[chosen], np.exp(low), np.exp(high), color=colour(ROLE[features]), alpha=0.2, linewidth=0)
            axes[0].scatter(at[~reached], np.full((~reached).sum(), 1.25 * sizes.max()), marker="^", s=14, color=colour(ROLE[features]))
    axes[0].plot(numbers, record.config["d"] * np.array(numbers), color="#999999", linestyle=":", linewidth=1, label="$N d$")
    axes[0].set_ylabel(f"examples needed $n_{{{LEVEL}}}$ (log)")
    axes[1].set_ylabel(f"test error at n = {n} (log)")
    for ax in axes:
        ax.set(xscale="log", yscale="log", xlabel="key tokens $N$ (log)")
        ax.set_xticks(numbers, [str(N) for N in numbers])
        ax.minorticks_off()
    axes[1].set_ylim(top=1.5)
    axes[0].legend(loc="upper center", ncols=1, bbox_to_anchor=(-0.45, 0.9))
    note(fig, record, f"triangles: {LEVEL} not reached by every seed with {sizes.max()} examples")
    return fig


def bias(record: Record) -> Figure:
    """Error of plain and of biased attention at fixed n, for every target; the stronger the bias, the darker."""
    n, N, _ = setting(record.trials)
    biased = record.select(experiment="samples", features="brfa")[["b", "std"]].drop_duplicates()
    strengths = sorted((b / std, b, std) for b, std in biased.itertuples(index=False))
    variants = [({"features": "rfa", "N": N}, "RFA ($b = 0$)", colour("method"))]
    shades = plt.get_cmap("YlOrBr")(np.linspace(0.35, 0.9, len(strengths)))
    variants += [
        ({"features": "brfa", "b": b, "std": std}, f"BRFA, $b$/std = {b:g}/{std:g}", shade) for (_, b, std), shade in zip(strengths, shades, strict=True)
    ]
    fig, ax = plt.subplots(figsize=(TWO_COLUMNS[0], 2.6))
    width = 0.85 / len(variants)
    for i, (which, label, hue) in enumerate(variants):
        errors = pd.DataFrame({target: error_at(record.trials, target, n, experiment="samples", **which) for target in FORMULAS})
        mean, low, high = interval(errors.to_numpy())
        at = np.arange(len(FORMULAS)) + (i - (len(variants) - 1) / 2) * width
        ax.bar(at, mean, width, color=hue, label=label, yerr=[mean - low, high - mean], error_kw={"linewidth": 0.7, "capsize": 1})
    factors = [formula.strip("$").rpartition(r"\langle\beta") for formula in FORMULAS.values()]
    in_two_lines = [f"${weight}$\n$\\cdot{beta}{rest}$" if weight else f"${beta}{rest}$" for weight, beta, rest in factors]
    ax.set_xticks(np.arange(len(FORMULAS)), in_two_lines, fontsize=6.5)
    ax.set_ylabel(f"test error at n = {n}")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 1.16), ncols=len(variants), columnspacing=1, handlelength=1)
    note(fig, record, f"means over {N} keys")
    return fig


def digits(record: Record) -> Figure:
    """Error against n on sets of digit blocks, in raster order and shuffled."""
    fig, axes = plt.subplots(1, 2, figsize=(0.75 * TWO_COLUMNS[0], 2.3), sharey=True)
    for ax, order in zip(axes, ("raster", "shuffled"), strict=True):
        for features in ("rfa", "rfmlp"):
            n, errors = curves(record.trials, "ink", experiment="digits", features=features, order=order)
            band(ax, n, np.log10(errors), NAMES[features], ROLE[features], marker=True, show_n=False)
        at_sizes(ax, n)
        ax.set(xlabel="examples $n$ (log)", title=f"blocks in {order.replace('shuffled', 'random')} order")
    axes[0].set_yticks([-1, 0], ["0.1", "1"])
    axes[0].set_ylabel("test error (log)")
    axes[0].legend(loc="lower left")
    note(fig, record, "ink near a place")
    return fig


if __name__ == "__main__":
    draw_figures(__file__)
