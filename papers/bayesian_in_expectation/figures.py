"""The figures, drawn from the record alone."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from papers.bayesian_in_expectation.theory import count_risk
from shared.engine import Record, draw_figures
from shared.figures import ROLES, band, interval, reported_points, style

NETWORKS = {
    "none": ({"encoding": "none"}, "theory"),
    "learned": ({"encoding": "learned"}, "baseline"),
    "sinusoidal": ({"encoding": "sinusoidal"}, "baseline2"),
    "rotary": ({"encoding": "rotary"}, "method"),
    "ALiBi": ({"encoding": "alibi"}, "baseline3"),
}

MEAN_POOL = "#8C564B"


def curves(record: Record, name: str, **where) -> np.ndarray:
    """A metric of one kind of coin Transformer, (seeds, points); one layer and plainly trained unless said."""
    return record.curve(name, **({"network": "transformer", "V": 2, "training": "plain", "layers": record.config["depths"][0]} | where))


def shown(record: Record) -> dict[str, tuple[dict, str]]:
    """The networks of the record, with their labels and roles."""
    kept = {label: (where, role) for label, (where, role) in NETWORKS.items() if where["encoding"] in ("none", *record.config["encodings"])}
    deep = record.config["deep"]
    if deep not in record.config["depths"]:
        kept[f"none, {deep} layers"] = ({"encoding": "none", "layers": deep}, "control")
        kept[f"rotary, {deep} layers"] = ({"encoding": "rotary", "layers": deep}, "variant")
    return kept | {"rotary, reordered copies": ({"encoding": "rotary", "training": "reordered"}, "variant2")}


def points(ax, x, values, label: str, role: str, shift: int = 0) -> None:
    """Geometric means over seeds with 95 % intervals of the logarithm, on a log axis; ``shift`` moves a series sideways, so that whiskers do not overlap."""
    mean, low, high = (np.exp(limit) for limit in interval(np.log(values)))
    hue, shape, dash = ROLES[role]
    at = np.asarray(x) * 1.025**shift
    ax.errorbar(at, mean, yerr=[mean - low, high - mean], color=hue, marker=shape or "*", linestyle=dash, linewidth=1, elinewidth=0.6, label=label)


def log_axes(ax, n, xlabel: str = "n (log scale)") -> None:
    ax.set(xscale="log", yscale="log", xlabel=xlabel)
    ax.set_xticks(n, [f"{value:g}" for value in n])
    ax.set_xticks([], minor=True)


def common_legend(fig: Figure, ax, record: Record, columns: int = 4) -> None:
    title = f"one layer unless said; geometric means, 95% CI, n = {len(record.seeds)}"
    fig.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=columns, title=title)


def order_and_martingale(record: Record) -> Figure:
    """Order standard deviation and martingale gap against the length of the prefix."""
    fig, axes = plt.subplots(1, 3, figsize=(7.0, 3.3))
    n = np.asarray(record.config["lengths"], float)
    for i, (label, (where, role)) in enumerate(shown(record).items()):
        deviation = np.sqrt(np.maximum(curves(record, "order_variance", **where), 1e-36))
        points(axes[0], n, deviation, label, role, i - 4)
        if deviation.max() > 1e-9:
            points(axes[1], n, deviation, label, role, i - 4)
        points(axes[2], n, curves(record, "martingale_gap", **where), label, role, i - 4)
    pooled = record.curve("martingale_gap", network="mean pool", V=2)
    mean, low, high = (np.exp(limit) for limit in interval(np.log(pooled)))
    axes[2].errorbar(n, mean, yerr=[mean - low, high - mean], color=MEAN_POOL, marker="h", linewidth=1, elinewidth=0.6, label="mean pool")
    guide = np.log(n) / n
    axes[2].plot(n, guide * curves(record, "martingale_gap", encoding="rotary").mean(axis=0)[0] / guide[0], color="#7F7F7F", dashes=(2, 2), label="log n / n")
    for ax, title in zip(axes, ("order std $s_n$", "order std $s_n$, enlarged", r"martingale gap $\Delta_n$"), strict=True):
        log_axes(ax, n)
        ax.set(title=f"{title} (log scale)")
    common_legend(fig, axes[2], record, 5)
    return fig


def averaging(record: Record) -> Figure:
    """Standard deviation of the mean of k orders, and the gap between a single order and the mean of all."""
    fig, (deviation, gap) = plt.subplots(1, 2, figsize=(7.0, 3.3))
    n, ks = np.asarray(record.config["lengths"]), np.asarray(record.config["ks"], float)
    for i, (label, (where, role)) in enumerate(shown(record).items()):
        values = curves(record, "averaging_deviation", **where)
        if values.max() > 1e-9:
            points(deviation, ks, values / values[:, :1], label, role, i - 4)
            points(gap, n, curves(record, "realization_gap", **where), label, role, i - 4)
    deviation.plot(ks, ks**-0.5, color="#7F7F7F", linestyle=(0, (2, 2)), label=r"$k^{-1/2}$")
    log_axes(deviation, ks, "orders averaged, k (log scale)")
    deviation.set(ylabel="std of the mean / std of one (log scale)", title=f"averaging at n = {record.config['focus']}")
    log_axes(gap, n)
    gap.set(ylabel=r"$E_\pi\,|q_\pi - E q_\pi|$ (log scale)", title="a single order against the mean")
    if {10, 48} <= set(n):
        start = curves(record, "realization_gap", encoding="rotary")[:, list(n).index(10)].mean()
        reported_points(gap, [10, 50], [start, start * 0.26 / 0.74], "paper's fall, 0.74 to 0.26, scaled")
        gap.legend(*(part[:1] for part in gap.get_legend_handles_labels()))
    common_legend(fig, deviation, record)
    return fig


def risk(record: Record) -> Figure:
    """Expected loss against Bayes and KT, and what is lost to Bayes by one order and by the average of several."""
    fig, (loss, excess) = plt.subplots(1, 2, figsize=(7.0, 3.4))
    longest = curves(record, "kl", encoding="none").shape[1]
    n = np.arange(1, longest)
    bayes, kt = (np.array([count_risk(m, alpha=alpha) for m in n]) for alpha in (1.0, 0.5))
    losses = {label: (curves(record, "kl", **where)[:, 1:], ROLES[role]) for label, (where, role) in shown(record).items()}
    losses["mean pool"] = (record.curve("kl", network="mean pool", V=2)[:, 1:], (MEAN_POOL, "h", "-"))
    for label, (kl, (hue, _, dash)) in losses.items():
        loss.plot(n, (bayes + kl).mean(axis=0) - 0.5, color=hue, linestyle=dash, linewidth=1, label=label)
        mean, low, high = (np.exp(limit) for limit in interval(np.log(kl)))
        excess.plot(n, mean, color=hue, linestyle=dash, linewidth=1)
        if label in ("rotary", "ALiBi", "mean pool"):
            excess.fill_between(n, low, high, color=hue, alpha=0.13, linewidth=0)
    lengths = record.config["lengths"]
    for label, (where, role) in shown(record).items():
        if label in ("rotary", "ALiBi"):
            averaged = np.exp(np.log(curves(record, "kl_averaged", **where)).mean(axis=0))
            excess.plot(lengths, averaged, color=ROLES[role][0], marker=ROLES[role][1], linestyle="none")
    loss.plot(n, bayes - 0.5, color="black", linewidth=0.8, linestyle=(0, (1, 1)), label="Bayes")
    for ax, values in ((loss, kt - 0.5), (excess, kt - bayes)):
        ax.plot(n, values, color="#444444", linewidth=0.8, linestyle=(0, (6, 2)), label="KT")
        log_axes(ax, [1, 2, 5, 10, 20, longest - 1])
    excess.axhline(0.01 * count_risk(20), color="#7F7F7F", linewidth=0.7)
    excess.annotate("1% of the Bayes risk at n = 20", (1, 0.011 * count_risk(20)), fontsize=6.5, color="#555555")
    loss.set(ylabel="loss - source entropy (nats, log scale)", title="excess over the source entropy")
    excess.set(ylabel="KL(Bayes || network) (nats, log scale)", title=f"excess over Bayes; marks: mean of {record.config['averaged']} orders")
    fig.legend(
        *loss.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=5,
        title=f"one layer unless said; geometric means, n = {len(record.seeds)}; bands 95% CI",
    )
    return fig


def calibration_and_probe(record: Record) -> Figure:
    """Predictions of single orders against Laplace's rule, and how well counts are read from the states of each layer."""
    fig, (calibration, probes) = plt.subplots(1, 2, figsize=(7.0, 3.0))
    for label, (where, role) in shown(record).items():
        if "layers" in where or "training" in where:
            continue
        bayes, q = (curves(record, name, **where) for name in ("calibration_bayes", "calibration_one_order"))
        levels, group = np.unique(bayes[0].round(6), return_inverse=True)
        error = np.stack([np.bincount(group, row) / np.bincount(group) for row in q - bayes])
        band(calibration, levels, error, label, role, show_n=False)
    calibration.axhline(0, color="#7F7F7F", linewidth=0.7)
    calibration.set(xlabel=f"Laplace's rule, n = {record.config['focus']}", ylabel="network - Laplace's rule", title="calibration, one order")
    for i, (where, role) in enumerate(shown(record).values()):
        unexplained = 1 - curves(record, "probe_frequency", **where)
        for layer, at in enumerate(np.linspace(-0.2, 0.2, unexplained.shape[1])):
            points(probes, [i + at], unexplained[:, [layer]], "", role)
            probes.annotate(str(layer), (i + at, np.exp(np.log(unexplained[:, layer]).mean())), xytext=(4, 2), textcoords="offset points", fontsize=6)
    probes.set_xticks(range(len(shown(record))), list(shown(record)), rotation=40, ha="right")
    probes.set(yscale="log", ylabel="1 - held-out $R^2$ for $h/n$ (log scale)", title="linear probe; digits: layer, 0 is the embedding")
    calibration.legend(title=f"95% CI, n = {len(record.seeds)}", ncols=2)
    return fig


def draw(record: Record) -> dict[str, Figure]:
    with style():
        drawings = (order_and_martingale, averaging, risk, calibration_and_probe)
        return {drawing.__name__: drawing(record) for drawing in drawings}


if __name__ == "__main__":
    draw_figures(__file__)
