"""Figures from the record: time against n, error against degree, degree against entry bound, error at a fixed rank, Match3.

python -m papers.tensor_attention.figures
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from papers.tensor_attention.model import error_guarantee
from shared.effects import log_log_slope
from shared.engine import Record, draw_figures
from shared.figures import ONE_COLUMN, ROLES, TWO_COLUMNS, band, colour, log_band, style, whiskers

RANK_BUDGET = 500
ENTRIES = {"uniform": "entries uniform on $[-B, B]$", "signs": "entries $\\pm B$"}
SERIES = ("method", "variant", "baseline2", "variant2", "baseline", "baseline3")


def draw(record: Record) -> dict[str, Figure]:
    with style():
        return {
            "time": time_against_n(record),
            "error": error_against_degree(record),
            "bound": error_against_bound(record),
            "degree": degree_against_bound(record),
            "entries": error_at_fixed_rank_and_match3(record),
            "match3": trained_layers(record),
        }


def time_against_n(record: Record) -> Figure:
    """Seconds of a call, with the slope over the three largest n that the claims judge, and the n at which the fast algorithm overtakes the exact one."""
    fig, ax = plt.subplots(figsize=ONE_COLUMN)
    timed = record.select(experiment="time")
    workloads = timed.drop_duplicates(["algorithm", "d", "g"])
    for role, (_, workload) in zip(("baseline", "method", "variant"), workloads.iterrows(), strict=True):
        exact = workload.algorithm == "exact"
        where = {"experiment": "time", "algorithm": workload.algorithm, "d": workload.d} | ({} if exact else {"g": workload.g})
        n, seconds = record.curve("length", **where)[0], record.curve("call_seconds", **where)
        slope = log_log_slope(n[-3:], seconds[:, -3:]).mean()
        name = f"exact, $d={workload.d:g}$" if exact else f"fast, $d={workload.d:g}$, $g={workload.g:g}$"
        log_band(ax, n, seconds, f"{name}: slope {slope:.2f}", role)
        far = n[-5:]
        ax.plot(far, 10 ** np.log10(seconds[:, -1]).mean() * (far / n[-1]) ** (3 if exact else 1), color="#999999", linestyle=":", linewidth=0.8)
    ax.plot([], [], color="#999999", linestyle=":", linewidth=0.8, label="slopes 3 and 1")
    crossing = record.claim("crossover-at-short-sequences")["mean"]
    if crossing is not None:
        ax.axvline(crossing, color="#444444", linewidth=0.7, linestyle="--", label=f"exact = fast, $d=4$: $n = {crossing:.0f}$")
    ax.set(xscale="log", yscale="log", xlabel="sequence length $n$ (log)", ylabel="seconds (log)", ylim=(2e-7, None))
    ax.legend(title=f"95% CI, n = {len(record.seeds)} repeats", title_fontsize=7, loc="lower right")
    return fig


def error_against_degree(record: Record) -> Figure:
    """max |fast - exact| for several B: Taylor full, Chebyshev thin."""
    n = record.config["error_n"][0]
    bounds = [B for B in (0.5, 1.0, 1.5, 2.0) if B in record.config["bounds"]]
    fig, axes = plt.subplots(1, 2, figsize=TWO_COLUMNS, sharey=True)
    for ax, entries in zip(axes, ENTRIES, strict=True):
        for role, B in zip(SERIES, bounds, strict=False):
            where = {"experiment": "error", "entries": entries, "d": 4, "n": n, "B": B}
            g = record.curve("degree", **where)[0]
            log_band(ax, g, record.curve("error_taylor", **where), f"$B={B:g}$", role)
            chebyshev = np.log10(record.curve("error_chebyshev", **where)).mean(axis=0)
            ax.plot(g, 10**chebyshev, color=colour(role), linewidth=0.6, linestyle=":")
        ax.axhline(n**-2, color="#444444", linewidth=0.7)
        ax.annotate("$1/n^2$", (g[-1], n**-2), ha="right", va="bottom", fontsize=7)
        ax.set(yscale="log", xlabel="degree $g$ of the polynomial", title=f"{ENTRIES[entries]}, $n={n}$, $d=4$")
        ax.set_xticks(g)
    axes[0].set_ylabel("max |fast − exact| (log)")
    axes[1].plot([], [], color="#444444", linewidth=0.6, linestyle=":", label="Chebyshev")
    axes[1].legend(title=f"Taylor: 95% CI, n = {len(record.seeds)}", title_fontsize=7, loc="lower left", ncols=2)
    axes[0].set_ylim(bottom=1e-24)  # room for the legend
    return fig


def error_against_bound(record: Record) -> Figure:
    """max |fast - exact| against the entry bound, beside what the polynomial's relative error guarantees."""
    n = record.config["error_n"][0]
    bounds = np.array(record.config["bounds"])
    degrees = [g for g in (6, 12) if g in record.config["degrees"]]
    fig, axes = plt.subplots(1, len(degrees), figsize=TWO_COLUMNS, sharey=True, squeeze=False)
    for ax, g in zip(axes[0], degrees, strict=True):
        for entries, role in zip(ENTRIES, ("method", "baseline"), strict=True):
            wheres = [{"experiment": "error", "entries": entries, "d": 4, "n": n, "B": B} for B in bounds]
            at_g = [record.curve("degree", **where)[0] == g for where in wheres]
            errors = [record.curve("error_chebyshev", **where)[:, chosen][:, 0] for where, chosen in zip(wheres, at_g, strict=True)]
            log_band(ax, bounds, np.stack(errors, axis=1), ENTRIES[entries], role)
        eps = np.array([record.curve("chebyshev_relative_error", **where)[0, chosen][0] for where, chosen in zip(wheres, at_g, strict=True)])
        holds = eps < 1
        guarantee = error_guarantee(eps[holds], bounds[holds])
        ax.plot(bounds[holds], guarantee, color=colour("theory"), linewidth=1, label="guarantee $2\\varepsilon B^2/(1-\\varepsilon)$")
        ax.axvline(np.log(n) ** (1 / 3), color="#444444", linewidth=0.7, linestyle="--", label=f"$(\\log n)^{{1/3}}$, $n={n}$")
        ax.set(yscale="log", xlabel="entry bound $B$", title=f"Chebyshev polynomial of degree $g={g}$, $d=4$")
    axes[0, 0].set_ylabel("max |fast − exact| (log)")
    axes[0, 0].legend(title=f"95% CI, n = {len(record.seeds)}", title_fontsize=7, loc="lower right", frameon=True, framealpha=1, edgecolor="none")
    return fig


def degree_against_bound(record: Record) -> Figure:
    """The degree that exp needs on [-B^k, B^k], and its slope over the range that the claim judges."""
    fig, ax = plt.subplots(figsize=ONE_COLUMN)
    roles = dict(zip((2, 3, 4), ("baseline", "method", "baseline2"), strict=True))
    for order in record.config["degree_orders"]:
        where = {"experiment": "degree", "order": order}
        B, g = record.curve("bound", **where)[0], record.curve("degree_needed", **where)[0]
        inside = (B >= 1.5) & (B <= 2.4)
        slope = log_log_slope(B[inside], g[inside])
        hue, marker, _ = ROLES[roles[order]]
        ax.plot(B, g, color=hue, marker=marker, linestyle="none", markersize=2.5, label=f"order $k={order}$: slope {slope:.2f}")
        ax.plot(B, g[-1] * (B / B[-1]) ** order, color=hue, linestyle=":", linewidth=0.8)
    ax.plot([], [], color="#777777", linestyle=":", linewidth=0.8, label="$B^k$")
    ax.set(xscale="log", yscale="log", xlabel="entry bound $B$ (log)", ylabel="degree for relative error 1% (log)")
    ax.axvspan(1.5, 2.4, color="#7F7F7F", alpha=0.1, linewidth=0)
    ax.set_xticks([1, 1.5, 2, 2.4], ["1", "1.5", "2", "2.4"])
    ax.set_yticks([5, 10, 20, 50], ["5", "10", "20", "50"])
    ax.minorticks_off()
    ax.legend(title="slope over the shaded range", title_fontsize=7)
    return fig


def error_at_fixed_rank_and_match3(record: Record) -> Figure:
    """Large entries: what they cost the fast algorithm, and what Match3 needs them for."""
    fig, (left, right) = plt.subplots(1, 2, figsize=TWO_COLUMNS)
    n, bounds = record.config["error_n"][0], record.config["bounds"]
    for entries, role in zip(ENTRIES, ("method", "baseline"), strict=True):
        best = []
        for B in bounds:
            where = {"experiment": "error", "entries": entries, "d": 4, "n": n, "B": B}
            affordable = record.curve("rank", **where)[0] <= RANK_BUDGET
            both = np.stack([record.curve("error_taylor", **where), record.curve("error_chebyshev", **where)])  # (2, seeds, degrees)
            best.append(both[:, :, affordable].min(axis=(0, 2)) / record.curve("largest_output", **where))
        log_band(left, bounds, np.stack(best, axis=1), ENTRIES[entries], role)
    left.axvline(np.log(n) ** (1 / 3), color="#444444", linewidth=0.7, linestyle="--", label=f"$(\\log n)^{{1/3}}$, $n={n}$")
    left.set(yscale="log", xlabel="entry bound $B$", ylabel="least error / largest output (log)", title=f"fast algorithm at rank $r \\leq {RANK_BUDGET}$")
    left.legend(title=f"95% CI, n = {len(record.seeds)}", title_fontsize=7, frameon=True, framealpha=1, edgecolor="none")

    n, d = record.config["match_n"][len(record.config["match_n"]) // 2], 4
    moduli = [M for M in (31, 101) if M in record.config["match_M"]]
    for M, role in zip(moduli, ("variant", "method"), strict=False):
        where = {"experiment": "match3", "n": n, "M": M}
        entry_bound = (d * record.curve("beta", **where)[0]) ** (1 / 3)
        band(right, entry_bound, record.curve("accuracy_by_beta", **where), f"$M={M}$", role, marker=True, show_n=False)
        yes = record.curve("share_of_yes", **where).mean()
        right.axhline(max(yes, 1 - yes), color=colour(role), linewidth=0.7, linestyle=":")
    right.axvline(np.log(n) ** (1 / 3), color="#444444", linewidth=0.7, linestyle="--", label="$(\\log n)^{1/3}$")
    right.plot([], [], color="#777777", linewidth=0.7, linestyle=":", label="always the commoner answer")
    right.set(xscale="log", xlabel="entry bound $B$ (log)", ylabel="share of right answers", title=f"Match3 by construction, $n={n}$", ylim=(-0.5, 1.05))
    right.set_xticks([1, 2, 5, 10, 20, 50], ["1", "2", "5", "10", "20", "50"])
    right.minorticks_off()
    right.set_yticks([0, 0.25, 0.5, 0.75, 1])
    right.legend(loc="lower right", ncols=2)
    return fig


def trained_layers(record: Record) -> Figure:
    """Test accuracy of the trained layers: at the end, with and without the matches that two tokens make, and on the way there."""
    fig, (left, right) = plt.subplots(1, 2, figsize=TWO_COLUMNS, width_ratios=[1, 1.3], sharey=True)
    layers = record.select(experiment="trained").drop_duplicates(["order", "heads"])
    matrix_roles = iter(("variant2", "baseline3", "baseline2", "baseline"))
    names = []
    for position, (_, layer) in enumerate(layers.iterrows()):
        where = {"experiment": "trained", "order": layer.order, "heads": layer.heads}
        role = "method" if layer.order == 3 else next(matrix_roles)
        kind = "tensor" if layer.order == 3 else "matrix"
        names.append(f"{kind}\n{layer.heads:.0f} × {layer.head_width:.0f}\n{layer.parameters / 1000:.1f}k")
        whiskers(left, position, record.curve("test_accuracy", **where), role=role)
        whiskers(left, position, record.curve("triples_accuracy", **where), role=role)
        step, curve = record.curve("step", **where)[0], record.curve("accuracy_by_step", **where)
        heads = f"{layer.heads:.0f} head" + "s" * (layer.heads > 1)
        band(right, step, curve, f"{kind}, {heads}", role, show_n=False)
    of_two = record.curve("two_tokens_accuracy", **where).mean()
    for ax in (left, right):
        ax.axhline(of_two, color="#444444", linewidth=0.7, linestyle="--", zorder=0, label="exactly the matches of two tokens")
    left.text(2, of_two + 0.02, "all positions", ha="center", fontsize=7)
    left.text(2, 0.55, "without the matches of two tokens", ha="center", fontsize=7)
    left.set_xticks(range(len(names)), names)
    left.set(xlabel="heads × width, parameters", ylabel="balanced test accuracy", ylim=(0.48, 0.8))
    right.set(xlabel="training step")
    right.legend(title=f"95% CI, n = {len(record.seeds)}", title_fontsize=7)
    return fig


if __name__ == "__main__":
    draw_figures(__file__)
