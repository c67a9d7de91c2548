"""The figures, drawn from the record alone."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from papers.multitasking_hebbian.claims import STRONG, table
from papers.multitasking_hebbian.model import LEARNED, critical_dilution, entropy, lone_overlap
from shared.engine import Record, chosen, draw_figures
from shared.figures import ROLES, TWO_COLUMNS, band, colour, interval, style, whiskers

RANKS = ("method", "baseline", "baseline2", "baseline3", "variant2")  # of the first, second, ... overlap
PHASES = ("none retrieved", "one", "several, unequal", "several, equal", "all, unequal", "all, equal (parallel)")
HUES = ("#F0F0F0", "#999999", "#F5D7A1", "#CFE3F1", "#E69F00", "#0072B2")

NOTHING, EQUAL = 0.07, 0.8  # of Monte Carlo, whose overlaps fluctuate; those of the equations are held to 0.02 and 0.99


def phase(m: np.ndarray, d: float, nothing: float, equal: float) -> np.ndarray:
    """Index into PHASES of overlaps (..., K), largest first: those below ``nothing`` (1 - d) count as zero, those above ``equal`` of the largest as equal."""
    count = (m > nothing * (1 - d)).sum(axis=-1)
    last = np.take_along_axis(m, np.maximum(count - 1, 0)[..., None], axis=-1)[..., 0]
    unequal_or_equal = (last >= equal * m[..., 0]).astype(int)
    of_several = np.where(count == m.shape[-1], 4, 2) + unequal_or_equal
    return np.where(count < 2, count, of_several)


def amplitudes(record: Record) -> Figure:
    """Overlaps at T = 0 against the dilution, every number of patterns in a panel."""
    counts = record.config["patterns"]
    fig, axes = plt.subplots(1, len(counts), figsize=(7.2, 2.8), sharey=True, squeeze=False)
    for ax, K in zip(axes[0], counts, strict=True):
        rows = chosen(record.trials, experiment="amplitudes", K=K)
        d = np.sort(rows.d.unique())
        for rank in range(K):
            of_d = [rows[rows.d == value] for value in d]
            theory = [table(one, "theory")[0, rank] for one in of_d]
            ax.plot(d, theory, color=colour(RANKS[rank]), linewidth=0.8)
            mean, low, high = interval(np.stack([table(one, "overlaps")[:, rank] for one in of_d], axis=1))
            ax.errorbar(d, mean, [mean - low, high - mean], color=colour(RANKS[rank]), marker=ROLES[RANKS[rank]][1], linestyle="none", label=f"$m_{rank + 1}$")
        if K > 2:
            ax.axvline(critical_dilution(K), color=colour("theory"), linewidth=0.7, linestyle=":", label="hierarchy breaks, theory")
            measured = chosen(record.trials, experiment="critical").query("K == @K")
            if len(measured):
                mean, low, high = interval(measured.critical_dilution)
                ax.errorbar(
                    mean, 0.95, xerr=[[mean - low], [high - mean]], color=colour("control"), marker="x", capsize=2, label="hierarchy breaks, Monte Carlo"
                )
        ax.set(xlabel="dilution d", title=f"K = {K}", ylim=(0, 1))
    axes[0][0].set_ylabel(r"overlap $m_\mu$ at T = 0")
    fig.legend(
        *axes[0][-1].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=4,
        title=f"points: Monte Carlo, 95% CI, n = {len(record.seeds)}; lines: theory",
    )
    return fig


def phase_diagram(record: Record) -> Figure:
    """What the state of least free energy retrieves, and what Monte Carlo from random spins does."""
    counts = record.config["phase_patterns"]
    fig, axes = plt.subplots(1, len(counts), figsize=(7.0, 3.4), sharey=True, squeeze=False)
    shades, bounds = ListedColormap(HUES), BoundaryNorm(np.arange(7) - 0.5, 6)
    T = np.linspace(0.05, 1.25, record.config["phase_points"])
    for ax, K in zip(axes[0], counts, strict=True):
        rows = record.select(experiment="phase", K=K, seed=record.seeds[0]).sort_values("d")
        kinds = np.stack([phase(stable, d, 0.02, 0.99) for stable, d in zip(rows.stable, rows.d, strict=True)], axis=1)
        ax.pcolormesh(rows.d, T, kinds, cmap=shades, norm=bounds, shading="nearest")
        for (d, temperature), point in record.select(experiment="thermal", K=K, start="random", N=record.config["N"]).groupby(["d", "T"]):
            kind = phase(table(point, "overlaps").mean(axis=0), d, NOTHING, EQUAL)
            ax.scatter(d, temperature, s=42, color=HUES[kind], edgecolors="white", linewidths=2.2, zorder=3)
            ax.scatter(d, temperature, s=42, color=HUES[kind], edgecolors="black", linewidths=0.9, zorder=4)
        onset = record.select(experiment="onset", K=K).onset.mean()
        ax.plot(onset, 0.98, marker="v", color="black", markersize=5)
        if K > 2:
            ax.plot(critical_dilution(K), 0.02, marker="^", color="black", markersize=5, clip_on=False)
        ax.set(xlabel="dilution d", title=f"K = {K}", ylim=(0.02, 1.28))
    axes[0][0].set_ylabel(r"$T / T_c$,  $T_c = 1 - d$")
    handles = [Patch(facecolor=hue, edgecolor="#777777", label=name) for hue, name in zip(HUES, PHASES, strict=True)]
    handles += [
        Line2D(
            [],
            [],
            marker="o",
            linestyle="none",
            markerfacecolor="none",
            markeredgecolor="black",
            markersize=6,
            label=f"Monte Carlo: zero below {NOTHING:g} (1 - d),\nequal above {EQUAL:g} of $m_1$",
        ),
        Line2D([], [], marker="^", linestyle="none", color="black", label="hierarchy breaks (T = 0)"),
        Line2D([], [], marker="v", linestyle="none", color="black", label="onset of equality (0.98 $T_c$)"),
    ]
    fig.legend(handles=handles, loc="outside lower center", ncols=3)
    return fig


def thermal(record: Record) -> Figure:
    """Monte Carlo overlaps against those of the equations, at all points; and the parallel regime beside the undiluted network."""
    fig, (points, bars) = plt.subplots(1, 2, figsize=TWO_COLUMNS)
    rows = chosen(record.trials, experiment="thermal", start="hierarchical", K=3)
    for rank in range(3):
        for i, (_, point) in enumerate(rows.groupby(["d", "T"])):
            mean, low, high = interval(table(point, "overlaps")[:, rank])
            label = f"$m_{rank + 1}$" if i == 0 else None
            x, role = table(point, "followed")[0, rank], RANKS[rank]
            points.errorbar(x, mean, [[mean - low], [high - mean]], color=colour(role), marker=ROLES[role][1], linestyle="none", label=label)
    points.plot([0, 0.85], [0, 0.85], color=colour("theory"), linewidth=0.7)
    points.set(xlabel="overlap, self-consistency equations", ylabel="time-averaged overlap, Monte Carlo", title="K = 3, all (d, T)")
    points.legend(title=f"95% CI, n = {len(record.seeds)}")
    for d, role, label in ((STRONG, "method", f"d = {STRONG:g}"), (0.0, "baseline", "undiluted")):
        of_d = record.select(experiment="thermal", N=record.config["N_large"], K=3, d=d, start="random", T=0.5)
        shift = 0.12 if d else -0.12
        for rank in range(3):
            whiskers(bars, rank + 1 + shift, table(of_d, "overlaps")[:, rank] / (1 - d), label if rank == 0 else None, role)
        bars.plot(np.arange(1, 4) + shift, table(of_d, "stable")[0] / (1 - d), color=colour("theory"), marker="_", markersize=9, linestyle="none")
    bars.set_xticks([1, 2, 3])
    bars.set(xlabel=r"rank of the overlap", ylabel=r"$m_\mu / (1 - d)$", ylim=(-0.03, 1.05), title=r"$T = 0.5\,T_c$, from random spins; bars: theory")
    bars.legend(title=f"95% CI, n = {len(record.seeds)}")
    return fig


def learning(record: Record) -> Figure:
    """The overlap with the first pattern against the entropy of the data set, both rules and the equations."""
    counts = record.config["learning_patterns"]
    fig, axes = plt.subplots(1, len(counts), figsize=(7.0, 3.2), sharey=True, squeeze=False)
    for ax, K in zip(axes[0], counts, strict=True):
        for i, d in enumerate(record.config["learning_dilutions"]):
            for j, r in enumerate(record.config["qualities"]):
                rows = chosen(record.trials, experiment="learning", K=K, d=d, r=r)
                M = np.sort(rows.M.unique())
                rho = entropy(M, r)
                curves = {
                    name: np.stack([table(rows[rows["M"] == m], name)[:, 0] for m in M], axis=1) / (1 - d) for name in ("supervised", "unsupervised", "theory")
                }
                hue = colour(RANKS[2 * i + j])
                ax.plot(rho, curves["theory"][0], color=hue, linewidth=0.9, label=f"d = {d:g}, r = {r:g}")
                for rule, marker, fill in (("supervised", "o", hue), ("unsupervised", "s", "none")):
                    mean, low, high = interval(curves[rule])
                    size = 3 if rule == "supervised" else 6
                    ax.errorbar(
                        rho, mean, [mean - low, high - mean], color=hue, marker=marker, markersize=size, markerfacecolor=fill, linestyle="none", elinewidth=0.8
                    )
        if K == 1:
            rho = np.geomspace(0.03, 100, 100)
            ax.plot(rho, lone_overlap(0.0, rho), color=colour("theory"), linewidth=0.8, linestyle="--", label=r"erf$(1 / \sqrt{2 \rho})$")
        ax.axhline(LEARNED, color=colour("control"), linewidth=0.7, linestyle=":")
        ax.set(xscale="log", xlabel=r"entropy of the data set $\rho = (1 - r^2) / (M r^2)$ (log scale)", title=f"K = {K}, T = 0", ylim=(0, 1.05))
        ax.legend(title="lines: equations", loc="lower left")
    axes[0][0].set_ylabel(r"$m_1 / (1 - d)$")
    handles = [
        Line2D([], [], marker="o", linestyle="none", color="black", markersize=3, label="supervised"),
        Line2D([], [], marker="s", linestyle="none", color="black", markersize=6, markerfacecolor="none", label="unsupervised"),
        Line2D([], [], linestyle=":", color=colour("control"), label="threshold, erf$(1/\\sqrt{2})$"),
    ]
    fig.legend(handles=handles, loc="outside lower center", ncols=3, title=f"95% CI, n = {len(record.seeds)}")
    return fig


def descent(record: Record) -> Figure:
    """Energy and loss of every pattern, sweep by sweep; patterns in the order of their last loss."""
    fig, axes = plt.subplots(1, 3, figsize=(7.2, 2.6))
    for d, role in ((0.3, "baseline"), (STRONG, "method")):
        energy = record.curve("energy", experiment="descent", d=d) / (1 - d) ** 2
        band(axes[0], np.arange(energy.shape[1]), energy, f"d = {d:g}", role, show_n=False)
    axes[0].set(xlabel="sweep", ylabel=r"$H / N (1 - d)^2$", title=f"energy (95% CI, n = {len(record.seeds)})")
    axes[0].legend()
    for ax, d in zip(axes[1:], (0.3, STRONG), strict=True):
        losses = record.curve("losses", experiment="descent", d=d)
        order = np.argsort(losses[:, -1], axis=1)
        for rank in range(3):
            values = np.stack([of_seed[:, which] for of_seed, which in zip(losses, order[:, rank], strict=True)])
            band(ax, np.arange(values.shape[1]), values, ("lowest", "middle", "highest")[rank], RANKS[rank], show_n=False)
        ax.set(xlabel="sweep", ylabel=r"$L_\mu = \min(L_\mu^+, L_\mu^-)$", ylim=(0, 1.05), title=f"losses, d = {d:g}, T = 0.3 $T_c$")
        ax.legend()
    return fig


def draw(record: Record) -> dict[str, Figure]:
    with style():
        return {
            "amplitudes": amplitudes(record),
            "phase_diagram": phase_diagram(record),
            "thermal": thermal(record),
            "learning": learning(record),
            "descent": descent(record),
        }


if __name__ == "__main__":
    draw_figures(__file__)
