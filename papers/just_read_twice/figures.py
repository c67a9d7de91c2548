"""Figures from the record: accuracy by order of the sets and size of the state (Fig. 2), learning curves, and the time to read a prompt (Table 5).

python -m papers.just_read_twice.figures
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from papers.just_read_twice.prefill import METHODS
from shared.effects import log_log_slope
from shared.engine import Record, draw_figures
from shared.figures import TWO_COLUMNS, band, colour, log_band, reported_points, style, whiskers

READERS = {
    "causal": ("causal, once", "baseline"),
    "repeated": ("causal, twice", "method"),
    "noncausal": ("non-causal", "baseline2"),
    "prefix": ("prefix", "variant"),
}
PREFILL = {"softmax": ("softmax", "baseline"), "based": ("Based", "control"), "jrt_prompt": ("JRT-Prompt", "method"), "jrt_rnn": ("JRT-RNN", "variant")}

PAPER_MS = {
    "softmax": {2048: 0.5, 4096: 1.8, 8192: 6.8, 16384: 26.6, 32768: 107.8},
    "based": {2048: 0.3, 4096: 0.6, 8192: 1.2, 16384: 2.3, 32768: 4.5},
    "jrt_prompt": {2048: 0.6, 4096: 1.2, 8192: 2.3, 16384: 4.5, 32768: 9.0},
    "jrt_rnn": {2048: 0.4, 4096: 0.8, 8192: 1.5, 16384: 2.8, 32768: 5.6},
}
"""Table 5: milliseconds on an H100 (FlashAttention-2; kernels in CUDA) at batch 16, 16 heads."""
PAPER_MS_BY_BATCH = {
    "softmax": {2: 3.5, 4: 6.7, 16: 26.6, 32: 52.9, 64: 108.2},
    "jrt_rnn": {2: 1.5, 4: 1.5, 8: 1.8, 16: 2.8, 32: 5.6, 64: 11.1},
}
"""The same at N = 16384."""


def draw(record: Record) -> dict[str, Figure]:
    with style():
        figures = {"order": orders(record), "sizes": sizes_of_sets(record), "learning": learning_curves(record), "prefill": prefill_over(record, "length", "N")}
        if record.config["batches"]:
            figures["prefill_batch"] = prefill_over(record, "batch", "B")
        return figures


def small_set_guess(record: Record) -> float:
    """Mean accuracy, over the sizes trained on, of naming any token of the smaller set."""
    return float(np.mean([1 / min(sizes) for sizes in record.config["train_sizes"]]))


def orders(record: Record) -> Figure:
    """Accuracy against state size, the two orders and what lies between them."""
    fig, axes = plt.subplots(1, 3, figsize=(TWO_COLUMNS[0], 2.7))
    rows = record.select(experiment="disjointness")
    dims = sorted(rows["d"].unique())
    for ax, order, title in zip(
        axes, ("short_first", "long_first", None), ("smaller set first", "larger set first", "smaller minus larger first"), strict=True
    ):
        for i, (reader, (name, role)) in enumerate(READERS.items()):
            mine = rows[rows["reader"] == reader]
            for place, d in enumerate(dims):
                at = mine[mine["d"] == d]
                values = at[f"accuracy_{order}"] if order else at["accuracy_short_first"] - at["accuracy_long_first"]
                whiskers(ax, place + 0.16 * (i - 1.5), values, name if place == 0 else None, role)
        ax.set(title=title, xlabel="state of the Based layers (bytes)", xlim=(-0.5, len(dims) - 0.5))
        ax.set_xticks(range(len(dims)), [f"{rows[rows['d'] == d]['state_bytes'].iloc[0]:.0f}\n$d={d:.0f}$" for d in dims])
        if order:
            ax.axhline(small_set_guess(record), color="#444444", linewidth=0.7, linestyle=":", label="any token of the smaller set")
    low = min(ax.get_ylim()[0] for ax in axes[:2])
    high = max(ax.get_ylim()[1] for ax in axes[:2])
    for ax in axes[:2]:
        ax.set_ylim(low, high)
    axes[2].axhline(0, color="#444444", linewidth=0.7)
    axes[0].set_ylabel("accuracy, sizes trained on")
    axes[2].set_ylabel("difference of accuracies")
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, ncols=5, loc="outside lower center", title=f"95% CI, n = {len(record.seeds)}", title_fontsize=7)
    return fig


def sizes_of_sets(record: Record) -> Figure:
    """Accuracy for each pair of sizes at the smallest state, trained on or not."""
    fig, axes = plt.subplots(1, 2, figsize=TWO_COLUMNS, sharey=True)
    d = min(record.config["feature_dims"])
    pairs = [tuple(pair) for pair in record.config["test_sizes"]]
    trained = [tuple(pair) for pair in record.config["train_sizes"]]
    for ax, half, title in zip(axes, (slice(None, len(pairs)), slice(len(pairs), None)), ("smaller set first", "larger set first"), strict=True):
        for i, (reader, (name, role)) in enumerate(READERS.items()):
            accuracy = record.curve("accuracy", reader=reader, d=d)[:, half]
            for place in range(len(pairs)):
                whiskers(ax, place + 0.18 * (i - 1.5), accuracy[:, place], name if place == 0 else None, role)
        for place, pair in enumerate(pairs):
            ax.plot([place - 0.4, place + 0.4], [1 / min(pair)] * 2, color="#444444", linewidth=0.7, linestyle=":")
        ax.plot([], [], color="#444444", linewidth=0.7, linestyle=":", label="any token of the smaller set")
        names = [f"{small}, {large}" + ("" if (small, large) in trained else "\nuntrained") for small, large in pairs]
        ax.set_xticks(range(len(pairs)), names)
        ax.set(title=f"{title}, $d={d}$", xlabel="sizes of the sets")
    axes[0].set_ylabel("accuracy")
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, ncols=5, loc="outside lower center", title=f"95% CI, n = {len(record.seeds)}", title_fontsize=7)
    return fig


def learning_curves(record: Record) -> Figure:
    dims = record.config["feature_dims"]
    fig, axes = plt.subplots(1, len(dims), figsize=TWO_COLUMNS, sharey=True, squeeze=False)
    for ax, d in zip(axes[0], dims, strict=True):
        for reader, (name, role) in READERS.items():
            where = {"experiment": "disjointness", "reader": reader, "d": d}
            band(ax, record.curve("step", **where)[0], record.curve("training_loss", **where), name, role, show_n=False)
        ax.set(title=f"$d={d}$", xlabel="updates")
    axes[0, 0].set_ylabel("training loss (nats)")
    axes[0, -1].legend(title=f"95% CI, n = {len(record.seeds)}", title_fontsize=7)
    return fig


def prefill_over(record: Record, sweep: str, axis: str) -> Figure:
    """Milliseconds, times faster than softmax attention, tokens a second and memory, against N or B; the paper's times as diamonds."""
    fig, grid = plt.subplots(2, 2, figsize=(TWO_COLUMNS[0], 5.0))
    axes = grid.ravel()
    where = {"experiment": "prefill", "sweep": sweep}
    paper = PAPER_MS if sweep == "length" else PAPER_MS_BY_BATCH
    x = record.curve(axis, **where)[0]
    tokens = record.curve("N", **where) * record.curve("B", **where)
    softmax = record.curve("seconds_softmax", **where)
    for method in METHODS:
        name, role = PREFILL[method]
        seconds = record.curve(f"seconds_{method}", **where)
        slope = log_log_slope(x[-3:], seconds[:, -3:]).mean() if len(x) > 2 else np.nan
        log_band(axes[0], x, 1e3 * seconds, f"{name} ({slope:.2f})", role)
        if method in paper:
            sizes, ms = zip(*paper[method].items(), strict=True)
            axes[0].scatter(sizes, ms, marker="D", s=16, facecolors="none", edgecolors=colour(role), linewidths=0.8)
        if method != "softmax":
            log_band(axes[1], x, softmax / seconds, name, role)
            normalised = softmax / record.curve(f"seconds_{method}_normalised", **where)
            axes[1].plot(x, 10 ** np.log10(normalised).mean(axis=0), color=colour(role), linestyle=":")
        log_band(axes[2], x, tokens / seconds, name, role)
        axes[3].plot(x, record.curve(f"peak_bytes_{method}", **where)[0] / 2**20, color=colour(role), marker="o", label=name)
        axes[3].plot(x, record.curve(f"state_bytes_{method}", **where)[0] / 2**20, color=colour(role), linestyle=":")
    if sweep == "length":
        reported_points(axes[1], [32768, 32768], [19.2, 11.9], "paper, 32k")
    axes[1].axhline(1, color="#444444", linewidth=0.7)
    axes[0].scatter([], [], marker="D", s=16, facecolors="none", edgecolors="#555555", linewidths=0.8, label="paper (H100)")
    axes[1].plot([], [], color="#444444", linestyle=":", label="with denominator")
    axes[3].plot([], [], color="#444444", linestyle=":", label="state left for decoding")
    units = ("milliseconds (log)", "times softmax's speed (log)", "tokens of the prompt / second (log)", "MiB at the peak (log)")
    size = "tokens $N$" if sweep == "length" else "batch $B$"
    for ax, unit, title in zip(axes, units, ("time (slope over the last three)", "speed-up", "throughput", "memory"), strict=True):
        ax.set(yscale="log", xlabel=f"{size} (log 2)", ylabel=unit, title=title)
        ax.set_xscale("log", base=2)
        places = sorted({*map(int, x), *(paper["softmax"] if title.startswith("time") else ())})
        ax.set_xticks(places, [str(place) for place in places], rotation=30)
        ax.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
    for ax in axes[:3]:
        ax.legend(fontsize=6)
    fig.suptitle(f"geometric means, bands: 95% CI, n = {len(record.seeds)}", fontsize=7)
    axes[3].legend(fontsize=6, loc="lower right", bbox_to_anchor=(1, 0.06))
    return fig


if __name__ == "__main__":
    draw_figures(__file__)
