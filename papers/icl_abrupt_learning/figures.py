"""The figures, drawn from the record alone."""

from __future__ import annotations

import jax
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from papers.icl_abrupt_learning.claims import half_rise, sweep
from papers.icl_abrupt_learning.reduced import NestedLogits, Sizes, nested_loss
from shared.engine import Record, draw_figures
from shared.figures import ROLES, TWO_COLUMNS, band, colour, criterion, style, whiskers

ACCURACIES = {"ic": ("novel classes (IC)", "method"), "ic2": ("shifted labels (IC2)", "variant"), "iw": ("in weights (IW)", "baseline")}
PROGRESS = {"ic": ("IC accuracy", "method"), "cla": ("CLA", "baseline2"), "ila": ("ILA", "variant2"), "tila": ("TILA", "baseline3")}


def line(ax, x, y, label: str | None, role: str, **more) -> None:
    hue, _, dash = ROLES[role]
    ax.plot(x, y, color=hue, linestyle=dash, label=label, **more)


def course(record: Record) -> Figure:
    """E1, seed by seed: loss, accuracies, and the progress measures on a time axis that puts all seeds' transitions at one."""
    fig, (left, middle, right) = plt.subplots(1, 3, figsize=(7.2, 2.8))
    rows = record.select(experiment="abrupt")
    for i, (_, row) in enumerate(rows.iterrows()):
        line(left, row.steps, row.curve_loss, "each a seed" if i == 0 else None, "theory", linewidth=0.9, alpha=0.8)
        for name, (label, role) in ACCURACIES.items():
            line(middle, row.steps, row[f"curve_{name}"], label if i == 0 else None, role, linewidth=0.9)
        for name, (label, role) in PROGRESS.items():
            line(right, row.steps / half_rise(row.steps, row.curve_ic), row[f"curve_{name}"], label if i == 0 else None, role, linewidth=0.9)
    plateau = rows.B.iloc[0] / rows.pairs.iloc[0]
    right.axhline(plateau, color="#7F7F7F", linewidth=0.7, label="any context label: B/N")
    left.set(xlabel="step", title="training loss (fresh data)")
    middle.set(xlabel="step", title="accuracy", ylim=(-0.02, 1.02))
    right.set(xlabel="step / step of half-rise of IC", title="progress measures", ylim=(-0.02, 1.02), xlim=(0, 3))
    left.legend()
    middle.legend(loc="center right")
    fig.legend(*right.get_legend_handles_labels(), loc="outside lower right", ncols=5)
    return fig


def attention(record: Record) -> Figure:
    """Both layers' attention in one test sequence of novel classes, before training and after it."""
    row = record.select(experiment="abrupt").iloc[0]
    fig, axes = plt.subplots(1, 4, figsize=(7.2, 2.4), sharex=True, sharey=True)
    names = [f"{kind}{n}" for n in range(1, int(row.pairs) + 1) for kind in ("x", "l")] + ["?"]
    right = 2 * np.flatnonzero(row.shown_context == row.shown_answer) + 1
    for ax, (layer, when) in zip(axes, ((1, "before"), (1, "after"), (2, "before"), (2, "after")), strict=True):
        image = ax.imshow(row[f"attention_{layer}_{when}"], cmap="cividis", vmin=0, vmax=1)
        ax.set_xticks(range(len(names)), names, fontsize=4.5)
        ax.set_yticks(range(len(names)), names, fontsize=4.5)
        ax.set(title=f"layer {layer}, {when} training", xlabel="attended to")
    for ax in axes[2:]:
        ax.scatter(right, np.full(len(right), len(names) - 1), marker="s", s=14, facecolors="none", edgecolors="#D55E00", linewidths=0.8)
    axes[0].set_ylabel(f"token (x item, l label, ? target), seed {record.seeds[0]}", fontsize=6.5)
    fig.colorbar(image, ax=axes, label="attention; squares: right labels", shrink=0.8)
    return fig


def data_dependence(record: Record) -> Figure:
    """IC and IW accuracy at the end against classes for each burstiness, against noise and against the Zipf exponent."""
    grid = record.select(experiment="grid")
    bursts = sorted(grid.B.unique())
    fig, axes = plt.subplots(1, len(bursts) + 2, figsize=(1.85 * (len(bursts) + 2), 2.7), sharey=True)
    for ax, B in zip(axes, bursts, strict=False):
        against(ax, grid[grid.B == B], "K", f"B = {B:g}: classes K")
    against(axes[-2], sweep(record.trials, "noise"), "eps", r"noise $\varepsilon$" + f", K = {record.config['noise_K']}, B = {record.config['noise_B']}")
    against(axes[-1], sweep(record.trials, "zipf"), "alpha", rf"Zipf $\alpha$, K = {record.config['alpha_K']}, B = {record.config['alpha_B']}")
    axes[0].set(ylabel="accuracy at the end", ylim=(-0.03, 1.03))
    axes[-1].legend(title=f"95% CI, n = {len(record.seeds)}", loc="center left")
    return fig


def against(ax, rows, name: str, xlabel: str) -> None:
    values = sorted(rows[name].unique())
    for metric, label, role in (("final_ic", "IC", "method"), ("final_iw", "IW", "baseline")):
        for at, value in enumerate(values):
            whiskers(ax, at, rows[rows[name] == value][metric], label if at == 0 else None, role)
        line(ax, range(len(values)), [rows[rows[name] == value][metric].mean() for value in values], None, role, linewidth=0.8)
    ax.set_xticks(range(len(values)), [f"{value:g}" for value in values])
    ax.set_xlim(-0.4, len(values) - 0.6)
    ax.set_xlabel(xlabel)


def baselines(record: Record) -> Figure:
    """What data that can only be answered in context, and a read-out without context, learn and how fast."""
    fig, (context, weights) = plt.subplots(1, 2, figsize=(6.2, 2.6), sharey=True)
    n = f"95% CI, n = {len(record.seeds)}"
    for experiment, label, role in (("abrupt", "trained classes, E1", "method"), ("only in context", "fresh classes only", "baseline")):
        band(context, record.curve("steps", experiment=experiment)[0], record.curve("curve_ic", experiment=experiment), label, role, show_n=False)
    rows = record.select(experiment="only in weights")
    for K, role in zip(sorted(rows.K.unique()), ("method", "baseline", "baseline2", "variant"), strict=False):
        where = {"experiment": "only in weights", "K": K}
        band(weights, record.curve("steps", **where)[0], record.curve("curve_iw", **where), f"K = {K:g}", role, show_n=False)
    context.set(xlabel="step", ylabel="accuracy", title="network: IC accuracy", ylim=(-0.02, 1.02))
    weights.set(xlabel="step", title="read-out on the target alone: IW accuracy")
    context.legend(title=n)
    weights.legend(title=n)
    return fig


def three_parameters(record: Record) -> Figure:
    """E4: the reduced model with and without its bias towards labels, and what its parameters do."""
    fig, (accuracy, parameters) = plt.subplots(1, 2, figsize=TWO_COLUMNS)
    for stage, label, suffix in ((True, r"$\alpha$ learnt", "-"), (False, r"$\alpha$ = 0", ":")):
        for i, (_, row) in enumerate(record.select(experiment="induction head", stage=stage).iterrows()):
            for name, role in (("ic", "method"), ("cla", "baseline2")):
                what = f"{'IC accuracy' if name == 'ic' else 'CLA'}, {label}" if i == 0 else None
                accuracy.plot(row.steps, row[f"curve_{name}"], color=colour(role), linestyle=suffix, linewidth=0.9, label=what)
            for name, symbol, role in (("beta1", r"$\beta_1$", "variant2"), ("beta2", r"$\beta_2$", "baseline3"), ("alpha", r"$\alpha$", "theory")):
                if stage or name != "alpha":
                    what = f"{symbol}, {label}" if i == 0 else None
                    parameters.plot(row.steps, row[f"curve_{name}"], color=colour(role), linestyle=suffix, linewidth=0.9, label=what)
    accuracy.set(xlabel="step", title="each line a seed", ylabel="accuracy", ylim=(-0.02, 1.02))
    parameters.set(xlabel="step", title="parameters")
    accuracy.legend()
    parameters.legend()
    return fig


def nested_logits(record: Record) -> Figure:
    """E5: loss curves from shared starts, learning times, and the loss over beta2 and xi with the first layer already sharp."""
    fig, (curves, times, plane) = plt.subplots(1, 3, figsize=(7.4, 2.7), width_ratios=[1.3, 0.9, 1])
    N, sizes = record.config["nested_N"], record.config["nested_L"]
    for at, (L, role) in enumerate(zip(sizes, ("baseline", "baseline2", "variant", "method"), strict=False)):
        where = {"experiment": "nested logits", "L": L}
        steps = record.curve("steps", **where)[0]
        for i, loss in enumerate(record.curve("curve_loss", **where)[0][:5]):
            line(curves, steps, loss, f"L = {L}" if i == 0 else None, role, linewidth=0.8)
        learnt = record.curve("learnt_after", **where).ravel()
        times.boxplot(learnt, positions=[at], widths=0.6, showfliers=False, medianprops={"color": colour(role)})
    curves.axhline(np.log(N), color="#7F7F7F", linewidth=0.7, linestyle=(0, (2, 2)), label="ln N")
    curves.set(xscale="log", xlim=(100, steps[-1]), xlabel="step (log scale)", title=f"loss, N = {N}, five starts of seed {record.seeds[0]}")
    curves.legend(loc="lower left")
    times.set(yscale="log", ylabel="steps to loss < ln(N)/2 (log scale)", title=f"{learnt.size} starts: quartiles, 1.5 IQR")
    times.set_xticks(range(len(sizes)), [f"L = {L}" for L in sizes])
    beta2, xi = np.meshgrid(np.linspace(-6, 10, 60), np.linspace(-4, 16, 60))
    flat = NestedLogits(np.full(beta2.size, 5.0), beta2.ravel(), xi.ravel())
    loss = jax.vmap(nested_loss)(flat, Sizes(np.full(beta2.size, float(N)), np.full(beta2.size, float(sizes[-1])))).reshape(beta2.shape)
    image = plane.contourf(beta2, xi, np.asarray(loss), levels=20, cmap="cividis")
    plane.contour(beta2, xi, np.asarray(loss), levels=[np.log(sizes[-1])], colors="white", linewidths=0.8)
    plane.set(xlabel=r"$\beta_2$", ylabel=r"$\xi$", title=rf"loss, $\beta_1$ = 5, L = {sizes[-1]}; white: ln L")
    fig.colorbar(image, ax=plane)
    return fig


def verdicts(record: Record) -> Figure:
    """The three measures of the transition with their criteria."""
    names = {"icl-appears-abruptly": "rise of IC\n/ time before", "rise-above-the-context-label-plateau-is-abrupt": "the same above\nthe plateau B/N"}
    fig, (width, order) = plt.subplots(1, 2, figsize=(5.6, 2.5), width_ratios=[1.6, 1])
    for at, name in enumerate(names):
        whiskers(width, at, record.claim(name)["values"])
    width.set_xticks(range(len(names)), names.values())
    width.set(xlim=(-0.5, len(names) - 0.5), ylim=(0, None), title="width of the transition (95% CI)")
    criterion(width, None, 0.5, "claim: below 0.5")
    width.legend()
    whiskers(order, 0, record.claim("context-label-stage-comes-first")["values"])
    order.set_xticks([0], ["half-rise of IC\n/ half-rise of CLA"])
    order.set(xlim=(-0.5, 0.5), ylim=(0, None), title="order of the stages")
    criterion(order, 1.2, None, "claim: above 1.2")
    order.legend(loc="lower right")
    return fig


def draw(record: Record) -> dict[str, Figure]:
    with style():
        return {
            "course": course(record),
            "attention": attention(record),
            "data_dependence": data_dependence(record),
            "baselines": baselines(record),
            "three_parameters": three_parameters(record),
            "nested_logits": nested_logits(record),
            "verdicts": verdicts(record),
        }


if __name__ == "__main__":
    draw_figures(__file__)
