"""The figures, drawn from the record alone."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from papers.grokking_feature_emergence.claims import order, thresholds
from shared.engine import NotRun, Record, draw_figures
from shared.figures import TWO_COLUMNS, band, colour, criterion, interval, reported, style, whiskers

KAPPA = 2.7482
"""The constant of the authors' code in p = kappa ln(M)/M."""

DECAY_ROLES = ("baseline", "baseline2", "variant", "method")


def curves_over_training(record: Record, panels: dict[str, str], log_panels: tuple[str, ...]) -> Figure:
    """One panel for each metric over training, one line per weight decay and one for the permuted labels."""
    fig, axes = plt.subplots(1, len(panels), figsize=(6.2, 2.8))
    rows = record.select(experiment="curve", labels="true")
    lines = [(f"{decay:g}", role, {"labels": "true", "decay": decay}) for decay, role in zip(sorted(rows.decay.unique()), DECAY_ROLES, strict=False)]
    lines.append((f"{rows.decay.max():g}, labels permuted", "control", {"labels": "permuted"}))
    for ax, (name, title) in zip(axes, panels.items(), strict=True):
        for label, role, where in lines:
            band(ax, record.curve("steps", experiment="curve", **where)[0], record.curve(name, experiment="curve", **where), label, role, show_n=False)
        ax.set(xscale="log", xlabel="step (log scale)", title=title, yscale="log" if name in log_panels else "linear")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, title=f"weight decay (95% CI, n = {len(record.seeds)})")
    return fig


def grokking_curves(record: Record) -> Figure:
    """Test accuracy and loss over training, and the train accuracy that is perfect long before."""
    fig = curves_over_training(record, {"curve_test_accuracy": "test accuracy", "curve_test_loss": "test loss (log scale)"}, ("curve_test_loss",))
    rows = record.select(experiment="curve")
    train = np.stack(rows.curve_train_accuracy.to_list()).mean(axis=0)
    fig.axes[0].plot(rows.steps.iloc[0], train, color="#7F7F7F", linewidth=0.7)
    fig.axes[0].annotate("train accuracy", (rows.steps.iloc[0][0], train[0]), xytext=(0, -9), textcoords="offset points", fontsize=7, color="#555555")
    return fig


def signal_curves(record: Record) -> Figure:
    """Size and direction of the back-propagated signal over training."""
    panels = {"curve_signal_norm": r"$\|G_F\|_F$ on train pairs (log scale)", "curve_signal_cosine": r"$\cos(G_F,\ \tilde Y \tilde Y^T F)$"}
    return curves_over_training(record, panels, ("curve_signal_norm",))


def phase_diagram(record: Record) -> Figure:
    """Final test accuracy over group and kappa, and the threshold p*(M) against the scaling law."""
    rows = record.select(experiment="phase")
    table = rows.pivot_table(index="kappa", columns="group", values="final_test_accuracy", sort=True)[list(dict.fromkeys(rows.group))]
    fig, (heat, law) = plt.subplots(1, 2, figsize=TWO_COLUMNS, width_ratios=[1.1, 1])
    image = heat.imshow(table, origin="lower", aspect="auto", cmap="cividis", vmin=0, vmax=1)
    for (i, j), accuracy in np.ndenumerate(table.to_numpy()):
        heat.text(j, i, f"{accuracy:.2f}", ha="center", va="center", fontsize=6.5, color="white" if accuracy < 0.5 else "black")
    heat.set_xticks(range(table.shape[1]), table.columns)
    heat.set_yticks(range(table.shape[0]), [f"{kappa:g}" for kappa in table.index])
    heat.axhline(np.interp(KAPPA, table.index, range(len(table))), color="white", linestyle=(0, (2, 2)), linewidth=1)
    heat.set(xlabel="group", ylabel=r"$\kappa = p\,M/\ln M$", title=rf"test accuracy (mean, n = {len(record.seeds)}); dashed: authors' $\kappa$")
    fig.colorbar(image, ax=heat)
    try:
        p = thresholds(record.trials)
    except NotRun as reason:  # some ladder of train fractions does not cross the switch
        law.text(0.5, 0.5, str(reason), ha="center", va="center", wrap=True, transform=law.transAxes)
        return fig
    M = np.array([order(group) for group in p])
    x = np.log(M) / M
    mean, low, high = interval(p)
    law.errorbar(
        x, mean, yerr=[mean - low, high - mean], color=colour("method"), marker="o", linestyle="none", capsize=2.5, label=f"ours (95% CI, n = {len(p)})"
    )
    line = np.array([x.min() * 0.9, x.max() * 1.1])
    law.plot(line, KAPPA * line, color="#7F7F7F", linestyle=(0, (2, 2)), linewidth=1, label=rf"authors' code: {KAPPA:g} ln(M)/M")
    if p.shape[1] > 1:
        slope, offset = np.polyfit(np.log(x), np.log(mean), 1)
        law.plot(line, np.exp(offset) * line**slope, color=colour("method"), label=f"fit, slope {slope:.2f}")
    law.set(xscale="log", yscale="log", xlabel="ln(M) / M (log scale)", ylabel="p* (log scale)", title="train fraction needed to generalise")
    law.set_xticks(x, [f"{value:.2f}\nM = {m}" for value, m in zip(x, M, strict=True)])
    law.set_xticks([], minor=True)
    ticks = [tick for tick in (0.1, 0.2, 0.3, 0.4, 0.6, 0.8) if mean.min() * 0.8 < tick < mean.max() * 1.25]
    law.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    law.set_yticks([], minor=True)
    law.legend()
    return fig


def fourier_power(record: Record) -> Figure:
    """Fourier power of the strongest hidden nodes of one net, before training and after it."""
    where = {"experiment": "curve", "labels": "true", "decay": record.select(experiment="curve").decay.max()}
    fig, axes = plt.subplots(1, 2, figsize=(5.5, 2.8), sharex=True, sharey=True)
    for ax, name, title in zip(axes, ("power_before", "power_after"), ("before training", "after grokking"), strict=True):
        power = record.curve(name, **where)[0]  # (nodes, frequencies) of the first seed
        share = power / power.sum(axis=1, keepdims=True)
        image = ax.imshow(share, aspect="auto", cmap="cividis", vmin=0, vmax=1)
        ax.set_xticks(range(0, share.shape[1], 2), range(1, share.shape[1] + 1, 2))
        ax.set(xlabel="frequency k", title=title, yticks=[])
    axes[0].set_ylabel(f"the {len(power)} strongest nodes, seed {record.seeds[0]}")
    fig.colorbar(image, ax=axes, label="share of the node's power")
    return fig


def energy_maxima(record: Record) -> Figure:
    """Energies where ascents end, and how many end on one frequency, with all pairs and with fewer."""
    fig, (energies, single) = plt.subplots(1, 2, figsize=TWO_COLUMNS)
    rows = record.select(experiment="landscape")
    groups = list(dict.fromkeys(rows.group))
    for group, role in zip(groups, ("method", "baseline", "baseline2"), strict=False):
        M = order(group)
        ends = record.curve("energies", experiment="landscape", group=group, pairs="all").ravel()
        jitter = np.linspace(-0.3, 0.3, len(ends))
        energies.scatter(M + jitter, ends, s=5, color=colour(role), linewidth=0, label=f"{len(ends)} ascents, M = {M}")
        subset = record.select(experiment="landscape", group=group, pairs="subset")
        for p, at in subset.groupby("train_fraction"):  # where p is capped, the kappa that it amounts to
            whiskers(single, p * M / np.log(M), at.single_mode, f"M = {M}" if p == subset.train_fraction.min() else None, role)
    line = np.array([min(map(order, groups)) - 1, max(map(order, groups)) + 1])
    energies.plot(line, line / 4, color="black", linewidth=0.8, zorder=0, label="theory: E* = M/4")
    energies.set(xlabel="M", ylabel="E where the ascent ends", title="all pairs")
    energies.legend()
    reported(single, KAPPA, "authors' " + r"$\kappa$", horizontal=False)
    single.set(
        xlabel=r"$\kappa = p\,M/\ln M$ (largest: p = 0.9)", ylabel="share of one-frequency maxima", title="random subsets of the pairs", ylim=(-0.05, 1.05)
    )
    single.legend(title=f"95% CI, n = {len(record.seeds)}")
    return fig


def lazy_signal(record: Record) -> Figure:
    """How the back-propagated signal turns to the labels as the ridge grows."""
    etas = record.config["lazy_etas"]
    fig, ax = plt.subplots(figsize=(3.8, 2.6))
    rows = record.select(experiment="lazy")
    for width, role in zip(sorted(rows.width.unique()), ("method", "baseline", "baseline2"), strict=False):
        where = {"experiment": "lazy", "width": width}
        cosines = np.concatenate([record.select(**where).cosine_random.to_numpy()[:, None], record.curve("cosines_ridge", **where)], axis=1)
        band(ax, range(len(etas) + 1), cosines, f"K = {width:g}", role, marker=True, show_n=False)
    ax.set_xticks(range(len(etas) + 1), ["random V", *(f"{eta:g}" for eta in etas)])
    ax.set(xlabel=r"ridge $\eta$ in units of $\|\tilde F\|_F^2 / n$", ylabel=r"$\cos(G_F,\ \tilde Y \tilde Y^T F)$", ylim=(-0.1, 1.05))
    ax.legend(title=f"95% CI, n = {len(record.seeds)}")
    return fig


def optimisers(record: Record) -> Figure:
    """Few hidden nodes: test accuracy, frequencies carried, and the paired difference that the claim is about."""
    fig, axes = plt.subplots(1, 3, figsize=(7.2, 2.6))
    rows = record.select(experiment="muon")
    widths = sorted(rows.width.unique())
    for name, role in (("muon", "method"), ("adam", "baseline"), ("adamw", "baseline2")):
        for ax, metric in zip(axes, ("final_test_accuracy", "frequencies"), strict=False):
            values = rows[rows.optimiser == name].pivot(index="seed", columns="width", values=metric).to_numpy()
            band(ax, range(len(widths)), values, {"muon": "Muon", "adam": "Adam", "adamw": "AdamW"}[name], role, marker=True, show_n=False)
    accuracy = rows.pivot_table(index="seed", columns=["optimiser", "width"], values="final_test_accuracy")
    for i, width in enumerate(widths):
        whiskers(axes[2], i, accuracy["muon"][width] - accuracy["adam"][width])
    criterion(axes[2], 0, None, "claim: above 0")
    for ax, title in zip(axes, ("test accuracy", "frequencies carried (> 2% of power)", "accuracy, Muon minus Adam"), strict=True):
        ax.set_xticks(range(len(widths)), [f"{width:g}" for width in widths])
        ax.set(xlabel="hidden nodes K", title=title)
    axes[0].legend(title=f"optimiser of W\n95% CI, n = {len(record.seeds)}")
    axes[2].legend()
    return fig


def draw(record: Record) -> dict[str, Figure]:
    with style():
        figures = {
            "grokking": grokking_curves(record),
            "signal": signal_curves(record),
            "fourier_power": fourier_power(record),
            "energy_maxima": energy_maxima(record),
            "lazy_signal": lazy_signal(record),
            "optimisers": optimisers(record),
        }
        if len(record.select(experiment="phase").group.unique()) > 2:
            figures["phase_diagram"] = phase_diagram(record)
        return figures


if __name__ == "__main__":
    draw_figures(__file__)
