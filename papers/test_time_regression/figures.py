"""Figures from the record alone: the design space, error against correlation and length, regression curves, norms, multi-query recall, a switch, time."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from shared.engine import Record, draw_figures
from shared.figures import ROLES, TWO_COLUMNS, band, colour, criterion, label_with_n, style, whiskers

LAYERS = {
    "linear": ("linear attention / t", "baseline"),
    "linear_best_scale": ("linear attention, best scale", "baseline2"),
    "delta": ("delta rule", "variant2"),
    "softmax_qk_norm": ("softmax attention, QK-norm", "baseline3"),
    "local_linear": ("local linear attention", "variant"),
    "least_squares": ("exact least squares", "method"),
}
"""Metric of a layer -> its name and role in the curves."""
TABLE = (
    ("linear", "linear attention / t"),
    ("linear_best_scale", "linear attention, best scale"),
    ("gated_linear_best_scale", "gated linear, best scale"),
    ("linear_taylor_features", "linear, Taylor features"),
    ("delta", "delta rule"),
    ("gated_delta", "gated delta rule"),
    ("longhorn", "Longhorn"),
    ("momentum", "momentum"),
    ("least_squares", "least squares"),
    ("discounted_least_squares", "discounted least squares"),
    ("least_squares_taylor_features", "least squares, Taylor features"),
    ("softmax", "softmax attention"),
    ("softmax_qk_norm", "softmax attention, QK-norm"),
    ("local_linear", "local linear attention"),
)
DEGREES = (("p0", "local constant (softmax)", "baseline"), ("p1", "local linear", "method"), ("p2", "local quadratic", "baseline2"))
RECALLERS = {
    "least_squares": ("least squares", "method"),
    "softmax": ("softmax", "baseline3"),
    "linear": ("linear", "baseline"),
    "delta": ("delta", "variant2"),
    "gated": ("gated (0.98)", "variant"),
}


def draw(record: Record) -> dict[str, Figure]:
    """All figures by file name."""
    with style():
        return {
            "design_space": design_space(record),
            "correlation": correlation(record),
            "smooth_maps": smooth_maps(record),
            "regression_curves": regression_curves(record),
            "qk_norm": qk_norm(record),
            "multi_query_recall": multi_query_recall(record),
            "switch": switch(record),
            "cost": cost(record),
        }


def at_length(record: Record, layer: str, length: int, **condition) -> np.ndarray | None:
    """Errors of all seeds at a length; None where the layer was not run."""
    rows = record.select(experiment="recall", **condition)
    values = rows.get(f"error_{layer}")
    if values is None or values.map(lambda x: np.ndim(x) == 0).any():
        return None
    return np.array([curve[list(at).index(length)] for curve, at in zip(values, rows["length"], strict=True)])


def design_space(record: Record) -> Figure:
    """Layer x generator: relative squared error, geometric mean over seeds; every layer with its knobs chosen on other tasks."""
    width, half = record.config["width"], record.config["switch_time"] // 2
    pairs, longest = record.config["smooth_pairs"], min(128, max(record.config["lengths"]))
    columns = {
        f"linear map,\nrho = 0,\nt = {longest}": ({"generator": "linear", "rho": 0.0}, longest),
        f"linear map,\nrho = 0.9,\nt = {longest}": ({"generator": "linear", "rho": 0.9}, longest),
        f"stored pairs,\nt = Dk = {width}": ({"generator": "exact"}, width),
        f"{half // 2} pairs after\na switch": ({"generator": "switch"}, half + half // 2),
        f"smooth map\non the sphere,\nt = {pairs}": ({"generator": "sphere"}, pairs),
        "the same,\nkeys of\nvarying norm": ({"generator": "norms"}, pairs),
    }
    table = np.full((len(TABLE), len(columns)), np.nan)
    for i, (layer, _) in enumerate(TABLE):
        for j, (condition, length) in enumerate(columns.values()):
            errors = at_length(record, layer, length, **condition)
            if errors is not None:
                table[i, j] = np.exp(np.log(np.maximum(errors, 1e-12)).mean())
    fig, ax = plt.subplots(figsize=(7.0, 4.2))
    shades = ax.imshow(np.log10(table), cmap="viridis_r", vmin=-4, vmax=0.5, aspect="auto")
    for (i, j), value in np.ndenumerate(table):
        shown = "not run" if np.isnan(value) else "< 1e-9" if value < 1e-9 else f"{value:.2g}"
        ax.text(j, i, shown, ha="center", va="center", fontsize=7, color="white" if value > 0.05 else "black")
    ax.set_xticks(range(len(columns)), columns, fontsize=6.5)
    ax.set_yticks(range(len(TABLE)), [name for _, name in TABLE])
    ax.spines[:].set_visible(False)
    ax.set_title(f"geometric means over {len(record.seeds)} seeds")
    fig.colorbar(shades, ax=ax, label="relative squared error (log 10)", extend="both")
    return fig


def correlation(record: Record) -> Figure:
    """Error against the correlation of keys at t = 128, and against the number of pairs at rho = 0.9."""
    fig, axes = plt.subplots(1, 2, figsize=(7.0, 3.3), sharey=True)
    rhos, lengths = list(record.config["rhos"]), list(record.config["lengths"])
    t, rho = min(128, max(lengths)), 0.9
    for layer, (name, role) in LAYERS.items():
        errors = np.stack([at_length(record, layer, t, generator="linear", rho=r) for r in rhos], axis=1)
        band(axes[0], range(len(rhos)), np.log10(errors), name, role, marker=True, show_n=False)
        curve = record.curve(f"error_{layer}", experiment="recall", generator="linear", rho=rho)
        band(axes[1], lengths, np.log10(curve), name, role, marker=True, show_n=False)
    axes[0].set(xlabel="correlation rho of neighbouring coordinates", ylabel="relative squared error (log 10)", title=f"t = {t}")
    axes[0].set_xticks(range(len(rhos)), [f"{r:g}" for r in rhos])
    axes[1].set(xlabel="pairs t (log 2)", title=f"rho = {rho}")
    axes[1].set_xscale("log", base=2)
    axes[1].set_xticks(lengths, [str(t) for t in lengths])
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, title=label_with_n("means", len(record.seeds)), title_fontsize=7)
    return fig


def smooth_maps(record: Record) -> Figure:
    """Error of local constant, linear and quadratic regression; on the cube inside and near the border."""
    fig, axes = plt.subplots(1, 2, figsize=(7.0, 3.0), sharey=True, width_ratios=(3, 2))
    places = [("cube", Dk, part) for Dk in (1, 2, 4) for part in ("interior", "border")] + [("sphere", Dk, "error") for Dk in (2, 4)]
    for ax, domain in zip(axes, ("cube", "sphere"), strict=True):
        here = [(Dk, part) for name, Dk, part in places if name == domain]
        for shift, (degree, name, role) in zip((-0.2, 0.0, 0.2), DEGREES, strict=True):
            first = True
            for x, (Dk, part) in enumerate(here):
                rows = record.select(experiment="smooth", domain=domain, Dk=Dk)
                if f"{part}_{degree}" in rows and rows[f"{part}_{degree}"].notna().all():
                    values = np.log10(rows[f"{part}_{degree}"].astype(float))
                    whiskers(ax, x + shift, values, label_with_n(name, len(values)) if first else None, role)
                    first = False
        ax.set_xticks(range(len(here)), [f"Dk = {Dk}\n{part if domain == 'cube' else ''}" for Dk, part in here])
        ax.set_xlim(-0.6, len(here) - 0.4)
        ax.set_title("keys on the cube, Gaussian window" if domain == "cube" else "keys on the sphere, dot product")
    axes[0].set_ylabel("mean squared error (log 10)")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return fig


def regression_curves(record: Record) -> Figure:
    """One task in one dimension: local constant, linear and quadratic fits through 30 pairs, up to the border."""
    fig, axes = plt.subplots(1, 3, figsize=TWO_COLUMNS, sharex=True, sharey=True)
    names = ("q", "map", "k", "v", *(degree for degree, *_ in DEGREES))
    curves = {name: record.curve(f"curve_{name}", experiment="smooth", domain="cube", Dk=1)[0] for name in names}
    for ax, (degree, name, role) in zip(axes, DEGREES, strict=True):
        ax.plot(curves["q"], curves["map"], color="#7F7F7F", linestyle=(0, (3, 2)), linewidth=1, label="true map")
        ax.scatter(curves["k"], curves["v"], s=8, color="#444444", alpha=0.7, linewidth=0, label="stored pairs")
        ax.plot(curves["q"], curves[degree], color=colour(role), linestyle=ROLES["method"][2], label="regression")
        ax.set(title=name, xlabel="query")
    axes[0].set_ylabel("value")
    axes[0].legend()
    fig.suptitle(f"seed {record.seeds[0]}, bandwidth by leave-one-out", fontsize=8)
    return fig


def qk_norm(record: Record) -> Figure:
    """Softmax attention on keys of varying norm, raw and normalised."""
    fig, axes = plt.subplots(1, 2, figsize=(7.0, 2.8), sharey=True)
    spreads = list(record.config["norm_spreads"])
    for ax, Dk in zip(axes, (2, 4), strict=True):
        for name, label, role in (("without", "softmax attention", "baseline"), ("with", "with QK-normalisation", "method")):
            errors = np.stack([record.select(experiment="norms", Dk=Dk, sigma_n=s)[f"error_{name}"].astype(float) for s in spreads], axis=1)
            band(ax, spreads, np.log10(errors), label, role, marker=True)
        ax.set(title=f"Dk = {Dk}", xlabel="spread of log norms, sigma_n")
    axes[0].set_ylabel("mean squared error (log 10)")
    axes[1].legend(loc="center right")
    return fig


def multi_query_recall(record: Record) -> Figure:
    """Accuracy of one layer against the number of pairs with and without convolution; the same on repeated bigrams of text."""
    fig, axes = plt.subplots(1, 2, figsize=(7.0, 3.2), sharey=True)
    pairs = list(record.config["pairs"])
    for layer, (name, role) in RECALLERS.items():
        for how, label in (("conv", name), ("plain", None)):
            accuracy = np.stack([record.select(experiment="mqar", pairs=n)[f"accuracy_{layer}_{how}"].astype(float) for n in pairs], axis=1)
            band(axes[0], pairs, accuracy, label, role, marker=True, show_n=False)
    axes[0].axhline(2 / record.config["vocabulary"], color="#444444", linewidth=0.7, linestyle=":", label="chance")
    axes[0].set(xlabel="pairs n (log 2)", ylabel="accuracy", title="random pairs: with convolution (top), without (bottom)", ylim=(-0.03, 1.05))
    axes[0].set_xscale("log", base=2)
    axes[0].set_xticks(pairs, [str(n) for n in pairs])
    text = record.select(experiment="text")
    for x, layer in enumerate(RECALLERS):
        whiskers(axes[1], x - 0.1, text[f"accuracy_{layer}_conv"], None, "method")
        whiskers(axes[1], x + 0.1, text[f"accuracy_{layer}_plain"], None, "baseline")
    axes[1].axhline(text["accuracy_counting"].astype(float).mean(), color="#000000", linewidth=0.8, linestyle="--")
    axes[1].annotate("counting successors", (len(RECALLERS) - 1, text["accuracy_counting"].astype(float).mean() + 0.02), ha="right", fontsize=7)
    axes[1].set_xticks(range(len(RECALLERS)), [name for name, _ in RECALLERS.values()], fontsize=6.5)
    axes[1].set_title("repeated bigrams of Shakespeare:\nblue with convolution, orange without")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, title=label_with_n("means", len(record.seeds)), title_fontsize=7)
    return fig


def switch(record: Record) -> Figure:
    """Error after the map has changed."""
    fig, ax = plt.subplots(figsize=(5.2, 2.9))
    after = record.curve("length", experiment="recall", generator="switch")[0] - record.config["switch_time"] // 2
    shown = {
        "least_squares": ("least squares", "baseline"),
        "linear_best_scale": ("linear, best scale", "baseline2"),
        "gated_linear_best_scale": ("gated linear, best scale", "variant"),
        "delta": ("delta rule", "variant2"),
        "gated_delta": ("gated delta rule", "baseline3"),
        "discounted_least_squares": ("discounted least squares", "method"),
    }
    for layer, (name, role) in shown.items():
        curve = record.curve(f"error_{layer}", experiment="recall", generator="switch")
        band(ax, after[1:], np.log10(curve[:, 1:]), name, role, marker=True, show_n=False)
    ax.set(xlabel="pairs after the switch (log 2)", ylabel="relative squared error (log 10)")
    ax.set_xscale("log", base=2)
    ax.set_xticks([1, 2, 4, 8, 16, 32, 64, 128], ["1", "2", "4", "8", "16", "32", "64", "128"])
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), title=label_with_n("means", len(record.seeds)), title_fontsize=7)
    return fig


def cost(record: Record) -> Figure:
    """Seconds of causal attention of order 0 and 1, and their ratio."""
    fig, axes = plt.subplots(1, 2, figsize=TWO_COLUMNS)
    lengths = record.curve("timing_length", experiment="timing")[0]
    seconds = {name: record.curve(f"{name}_seconds", experiment="timing") for name in ("p0", "p1", "p1_direct")}
    names = {"p0": ("softmax", "baseline"), "p1": ("local linear, by moments", "method"), "p1_direct": ("local linear, as stated", "baseline2")}
    for form, (name, role) in names.items():
        n = seconds[form].shape[1]  # the stated form stops early on a GPU
        band(axes[0], lengths[:n], np.log10(seconds[form]), name, role, marker=True)
        if form != "p0":
            band(axes[1], lengths[:n], seconds[form] / seconds["p0"][:, :n], name, role, marker=True, show_n=False)
    for ax in axes:
        ax.set_xscale("log", base=2)
        ax.set_xticks(lengths, [f"{t:.0f}" for t in lengths])
        ax.set_xlabel("length t (log 2)")
    axes[0].set_ylabel("seconds (log 10)")
    axes[0].set_ylim(top=axes[0].get_ylim()[1] + 1.2)
    axes[0].legend(loc="upper left")
    axes[1].set(yscale="log", ylabel="time over softmax (log 10)", ylim=(1, 150))
    criterion(axes[1], 3, None)
    return fig


if __name__ == "__main__":
    draw_figures(__file__)
