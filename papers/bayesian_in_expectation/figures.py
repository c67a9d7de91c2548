"""The figures, drawn from the record alone."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from papers.bayesian_in_expectation.theory import count_risk
from shared.engine import Record, draw_figures
from shared.figures import band, reported_points, style, whiskers

NETWORKS = {
    "none": ({"encoding": "none"}, "theory"),
    "learned": ({"encoding": "learned"}, "baseline"),
    "sinusoidal": ({"encoding": "sinusoidal"}, "baseline2"),
    "rotary": ({"encoding": "rotary"}, "method"),
    "ALiBi": ({"encoding": "alibi"}, "baseline3"),
}


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


def common_legend(fig: Figure, ax, record: Record, columns: int = 4) -> None:
    fig.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=columns, title=f"one layer unless said; 95% CI, n = {len(record.seeds)}")


def order_and_martingale(record: Record) -> Figure:
    """Order standard deviation and martingale gap against the length of the prefix."""
    fig, axes = plt.subplots(1, 3, figsize=(7.0, 3.2))
    n = np.asarray(record.config["lengths"], float)
    for label, (where, role) in shown(record).items():
        variance = curves(record, "order_variance", **where)
        band(axes[0], n, np.sqrt(np.maximum(variance, 1e-36)), label, role, marker=True, show_n=False)
        if variance.max() > 1e-18:
            band(axes[1], n, np.sqrt(variance), label, role, marker=True, show_n=False)
        band(axes[2], n, curves(record, "martingale_gap", **where), label, role, marker=True, show_n=False)
    scale = np.exp(np.mean([np.log(curves(record, "martingale_gap", **where)).mean() for where, _ in shown(record).values()]))
    guide = np.log(n) / n
    axes[2].plot(n, guide * scale / np.exp(np.log(guide).mean()), color="#7F7F7F", linestyle=(0, (2, 2)), label="log n / n (guide)")
    titles = ("order std $s_n$", "order std $s_n$, enlarged", r"martingale gap $\Delta_n$")
    for ax, title in zip(axes, titles, strict=True):
        ax.set(xscale="log", yscale="log", xlabel="n (log scale)", title=f"{title} (log scale)")
        ax.set_xticks(n, [f"{value:g}" for value in n])
        ax.set_xticks([], minor=True)
    common_legend(fig, axes[2], record)
    return fig


def averaging(record: Record) -> Figure:
    """Standard deviation of the mean of k orders, and the gap between a single order and the mean of all."""
    fig, (deviation, gap) = plt.subplots(1, 2, figsize=(7.0, 3.2))
    n, ks = np.asarray(record.config["lengths"]), np.asarray(record.config["ks"], float)
    for label, (where, role) in shown(record).items():
        values = curves(record, "averaging_deviation", **where)
        if values.max() > 1e-9:
            band(deviation, ks, values / values[:, :1], label, role, marker=True, show_n=False)
            band(gap, n, curves(record, "realization_gap", **where), label, role, marker=True, show_n=False)
    deviation.plot(ks, ks**-0.5, color="#7F7F7F", linestyle=(0, (2, 2)), label=r"$k^{-1/2}$")
    deviation.set(xscale="log", yscale="log", xlabel="orders averaged, k (log scale)", ylabel="std of the mean / std of one (log scale)")
    deviation.set_title(f"averaging at n = {record.config['focus']}")
    gap.set(xscale="log", yscale="log", xlabel="n (log scale)", ylabel=r"$E_\pi\,|q_\pi - E q_\pi|$ (log scale)", title="a single order against the mean")
    gap.set_xticks(n, n)
    gap.set_xticks([], minor=True)
    if {10, 48} <= set(n):
        anchor = np.mean([curves(record, "realization_gap", **where)[:, list(n).index(10)].mean() for where, _ in shown(record).values()])
        reported_points(gap, [10, 50], [anchor, anchor * 0.26 / 0.74], "paper's fall, 0.74 to 0.26, scaled")
        gap.legend(*(part[-1:] for part in gap.get_legend_handles_labels()))
    common_legend(fig, deviation, record)
    return fig


def risk(record: Record) -> Figure:
    """Expected loss against Bayes and KT, and what is lost to Bayes by one order and by the average of several."""
    fig, (loss, excess) = plt.subplots(1, 2, figsize=(7.0, 3.3))
    longest = curves(record, "kl", encoding="none").shape[1]
    n = np.arange(1, longest)
    bayes, kt = (np.array([count_risk(m, alpha=alpha) for m in n]) for alpha in (1.0, 0.5))
    for label, (where, role) in shown(record).items():
        kl = curves(record, "kl", **where)[:, 1:]
        band(loss, n, bayes + kl - 0.5, label, role, show_n=False)
        band(excess, n, kl, label, role, show_n=False)
        averaged = curves(record, "kl_averaged", **where)
        excess.plot(record.config["lengths"], averaged.mean(axis=0), color=excess.lines[-1].get_color(), marker="o", markersize=3, linestyle="none")
    pooled = record.curve("kl", network="mean pool", V=2)[:, 1:]
    band(loss, n, bayes + pooled - 0.5, "mean pool", "baseline", show_n=False)
    band(excess, n, pooled, "mean pool", "baseline", show_n=False)
    for ax in (loss, excess):
        ax.lines[-1].set(color="#8C564B", linestyle=(0, (4, 1, 1, 1)))
        ax.collections[-1].set_color("#8C564B")
    loss.plot(n, bayes - 0.5, color="black", linewidth=0.8, linestyle=(0, (1, 1)), label="Bayes")
    loss.plot(n, kt - 0.5, color="#444444", linewidth=0.8, linestyle=(0, (6, 2)), label="KT")
    excess.plot(n, kt - bayes, color="#444444", linewidth=0.8, linestyle=(0, (6, 2)))
    excess.axhline(0.01 * count_risk(20), color="#7F7F7F", linewidth=0.7)
    excess.annotate("1% of the Bayes risk at n = 20", (n[0], 0.011 * count_risk(20)), fontsize=6.5, color="#555555")
    loss.set(xscale="log", yscale="log", xlabel="n (log scale)", ylabel="loss - source entropy (nats, log scale)", title="excess over the source entropy")
    excess.set(
        xscale="log", yscale="log", xlabel="n (log scale)", ylabel="KL(Bayes || network) (log scale)", title="excess over Bayes; dots: mean of several orders"
    )
    common_legend(fig, loss, record)
    return fig


def calibration_and_probe(record: Record) -> Figure:
    """Predictions of single orders against Laplace's rule, and how well counts are read from the states of each layer."""
    fig, (calibration, probes) = plt.subplots(1, 2, figsize=(7.0, 3.0))
    for label, (where, role) in list(shown(record).items())[:5]:
        x, y = (curves(record, name, **where) for name in ("calibration_bayes", "calibration_one_order"))
        band(calibration, x[0][np.argsort(x[0])], (y - x)[:, np.argsort(x[0])], label, role, show_n=False)
    calibration.axhline(0, color="#7F7F7F", linewidth=0.7)
    calibration.set(xlabel=f"Laplace's rule, n = {record.config['focus']}", ylabel="network - Laplace's rule", title="calibration, one order")
    for i, (where, role) in enumerate(shown(record).values()):
        frequency = curves(record, "probe_frequency", **where)
        for layer in range(frequency.shape[1]):
            whiskers(probes, i + 0.25 * layer - 0.25, 1 - frequency[:, layer], None, role)
            probes.annotate(str(layer), (i + 0.25 * layer - 0.25, 1 - frequency[:, layer].mean()), xytext=(4, 2), textcoords="offset points", fontsize=6)
    probes.set_xticks(range(len(shown(record))), list(shown(record)), rotation=40, ha="right")
    probes.set(yscale="log", ylabel="1 - held-out $R^2$ for $h/n$ (log scale)", title="linear probe; digits: layer, 0 is the embedding")
    calibration.legend(title=f"95% CI, n = {len(record.seeds)}")
    return fig


def draw(record: Record) -> dict[str, Figure]:
    with style():
        drawings = (order_and_martingale, averaging, risk, calibration_and_probe)
        return {drawing.__name__: drawing(record) for drawing in drawings}


if __name__ == "__main__":
    draw_figures(__file__)
