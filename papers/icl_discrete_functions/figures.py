"""The figures, drawn from the record alone."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from papers.icl_discrete_functions.claims import attention_matters, lead_over_lstm
from shared.engine import Record, draw_figures
from shared.figures import TWO_COLUMNS, band, colour, criterion, interval, reported_points, style, whiskers

TITLES = {
    "conjunction": "conjunctions",
    "disjunction": "disjunctions",
    "sparse_disjunction": "sparse disjunctions",
    "dnf": "3-term DNF",
    "cnf": "3-clause CNF",
    "majority": "sparse majority",
    "threshold": "0-1 thresholds",
    "halfspace": "integer halfspaces",
    "parity": "parity",
    "sparse_parity": "sparse parity",
    "nearest_neighbour": "nearest neighbour",
}
NETWORKS = {
    "transformer": ("Transformer", "method"),
    "lstm": ("LSTM", "baseline"),
    "retnet": ("RetNet", "variant2"),
    "frozen": ("frozen Transformer", "variant"),
}
STROKES = ("-", "--", ":")
"""Of single seeds."""
PAPER = {"conjunction": 1.0, "dnf": 0.95, "parity": 0.5}
"""Accuracy of the paper's Transformer at the end of prompts of 28 bits (parity: 10), as the claims quote it."""
PREDICTORS = {
    "optimal": ("optimal learner", "theory"),
    "nearest": ("1-NN", "baseline2"),
    "averaging": ("averaging", "baseline3"),
    "null": ("constant", "control"),
}


def untaught(record: Record) -> list[str]:
    """The tasks without teaching sequences, in the order of the config."""
    return [task for task in record.config["tasks"] if task in TITLES]


def has(record: Record, metric: str, **condition) -> bool:
    rows = record.select(**condition)
    return metric in rows and len(rows) > 0 and rows[metric].notna().all()


def accuracy_curves(record: Record) -> Figure:
    """Accuracy against the number of examples, one panel for each task."""
    tasks = untaught(record)
    columns = min(4, len(tasks))
    fig, axes = plt.subplots(-(-len(tasks) // columns), columns, figsize=(7.2, 2.6 * -(-len(tasks) // columns)), sharey=True, squeeze=False)
    for ax, task in zip(axes.flat, tasks, strict=False):
        for name, (label, role) in PREDICTORS.items():
            if has(record, f"{name}_accuracy", task=task, learner="predictors"):
                curves = record.curve(f"{name}_accuracy", task=task, learner="predictors")
                band(ax, range(curves.shape[1]), curves, label, role, show_n=False)
        sizes = record.curve("fitted_sizes", task=task, learner="predictors")[0]
        band(ax, sizes, record.curve("fitted_accuracy", task=task, learner="predictors"), "network fitted per prompt", "variant", marker=True, show_n=False)
        for name, (label, role) in NETWORKS.items():
            if has(record, "accuracy", task=task, learner=name):
                curves = record.curve("accuracy", task=task, learner=name)
                band(ax, range(curves.shape[1]), curves, label, role, show_n=False)
        ax.set(title=TITLES[task], xlabel="examples before", ylim=(0.35, 1.02))
    for ax in axes.flat[len(tasks) :]:
        ax.axis("off")
    for ax in axes[:, 0]:
        ax.set_ylabel("accuracy on fresh prompts")
    handles = {label: handle for ax in axes.flat for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    fig.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, title=f"95% CI, n = {len(record.seeds)}")
    return fig


def final_accuracies(record: Record) -> Figure:
    """Accuracy over the last positions (nearest neighbour: those that count), all learners and tasks."""
    tasks = untaught(record)
    rows = [(NETWORKS[name], name, None) for name in NETWORKS] + [(PREDICTORS[name], "predictors", name) for name in PREDICTORS]
    present = [row for row in rows if any(has(record, "last" if row[2] is None else f"{row[2]}_last", learner=row[1], task=task) for task in tasks)]
    fig, ax = plt.subplots(figsize=(max(5.5, 1.4 * len(tasks)), 2.8))
    width = 0.8 / len(present)
    for j, ((label, role), learner, predictor) in enumerate(present):
        for i, task in enumerate(tasks):
            metric = "counted" if task == "nearest_neighbour" else "last"
            metric = metric if predictor is None else f"{predictor}_{metric}"
            if not has(record, metric, learner=learner, task=task):
                continue
            mean, low, high = interval(record.select(task=task, learner=learner)[metric].astype(float))
            at = i - 0.4 + (j + 0.5) * width
            first = label not in ax.get_legend_handles_labels()[1]
            ax.bar(at, mean, width, color=colour(role), yerr=[[mean - low], [high - mean]], error_kw={"linewidth": 0.8}, label=label if first else None)
            ax.text(at, 0.415, f"{mean:.2f}", rotation=90, ha="center", va="bottom", fontsize=5.5, color="white")
    marked = [task for task in tasks if task in PAPER and has(record, "last", learner="transformer", task=task)]
    reported_points(ax, [tasks.index(task) - 0.4 + 0.5 * width for task in marked], [PAPER[task] for task in marked], "paper's Transformer\n(more bits)")
    ax.set_xticks(range(len(tasks)), [TITLES[task] for task in tasks], rotation=20 if len(tasks) > 6 else 0)
    ax.set(ylim=(0.4, 1.03), ylabel="accuracy at the end of prompts")
    fig.legend(loc="outside right upper", title=f"95% CI, n = {len(record.seeds)}")
    return fig


def teaching(record: Record) -> Figure:
    """One network on prompts with a teaching sequence and on their vanilla twins; at the right, aligned to the end of the sequence."""
    task = {"task": "teaching_conjunction"}
    fig, (whole, after) = plt.subplots(1, 2, figsize=TWO_COLUMNS, sharey=True)
    for kind, role in (("taught", "method"), ("vanilla", "variant2")):
        label = "with a teaching sequence" if kind == "taught" else "vanilla prompt"
        curves = record.curve(kind, learner="transformer", **task)
        band(whole, range(curves.shape[1]), curves, label, role)
        aligned = record.curve(f"{kind}_after", learner="transformer", **task)
        band(after, np.arange(1, aligned.shape[1] + 1), aligned, label, role, marker=True)
    optimal = record.curve("optimal_vanilla", learner="predictors", **task)
    band(whole, range(optimal.shape[1]), optimal, "optimal learner, vanilla", "theory")
    optimal = record.curve("optimal_vanilla_after", learner="predictors", **task)
    band(after, np.arange(1, optimal.shape[1] + 1), optimal, "optimal learner, vanilla", "theory")
    after.axvspan(0.7, 5.3, color="#7F7F7F", alpha=0.12, linewidth=0, label="positions of the claim", zorder=0)
    whole.set(xlabel="examples before", ylabel="accuracy", title="whole prompts")
    after.set(xlabel="position after the end t of the teaching sequence", title=r"behind $t = |w| + 1$ examples")
    after.legend()
    return fig


def neighbour_attention(record: Record) -> Figure:
    """Where the Transformer looks on the nearest-neighbour task, and what it gains over the LSTM."""
    fig, (share, gap) = plt.subplots(1, 2, figsize=TWO_COLUMNS, width_ratios=[2, 1])
    attention = record.curve("attention", task="nearest_neighbour", learner="transformer")  # (seeds, layers, H, m)
    seeds, layers, _, m = attention.shape
    best = attention[..., record.config["start"] :].mean(-1).argmax(2)  # (seeds, layers): heads have no names across seeds
    roles = ("control", "method") if layers == 2 else ("method",) * layers
    for layer in range(layers) if layers <= 2 else (int(attention.mean((0, 2, 3)).argmax()),):
        curves = attention[np.arange(seeds), layer, best[:, layer], 1:]
        for i, curve in enumerate(curves):  # no band: seeds are on one side or the other of a jump, and nothing lies between
            share.plot(np.arange(1, m), curve, color=colour(roles[layer]), linestyle=STROKES[i % 3], label=f"layer {layer + 1}, best head" if i == 0 else None)
    share.plot(np.arange(1, m), 1 / (2 * np.arange(1, m) + 1), color="black", linewidth=0.9, linestyle=(0, (2, 2)), label="even attention")
    share.axvline(record.config["start"], color="#7F7F7F", linewidth=0.8)
    share.annotate("counted from here", (record.config["start"], 1.0), fontsize=6.5, va="top", xytext=(3, 0), textcoords="offset points")
    share.set(xlabel="examples before", ylabel="attention on the neighbour's label", ylim=(0, 1.02), title="nearest-neighbour task, a line for each seed")
    share.legend(loc="center right", bbox_to_anchor=(1, 0.27))
    for i, task in enumerate(("conjunction", "nearest_neighbour")):
        whiskers(gap, i, lead_over_lstm(record.trials, task))
    whiskers(gap, 2, attention_matters(record.trials), role="variant2")
    gap.set_xticks(range(3), ["conjunc-\ntions", "nearest\nneighbour", "difference\n(claim)"])
    gap.set(xlim=(-0.5, 2.5), title="Transformer minus LSTM", ylabel="difference in accuracy")
    gap.set_ylim(min(gap.get_ylim()[0], -0.06), gap.get_ylim()[1])
    criterion(gap, 0, None, "claim: above 0")
    gap.legend(title=f"95% CI, n = {seeds}")
    return fig


def learning(record: Record) -> Figure:
    """Accuracy at the end of prompts over training."""
    fig, axes = plt.subplots(1, 2, figsize=(7.0, 3.2), sharey=True)
    palette = ("method", "baseline", "baseline2", "baseline3", "variant", "variant2", "theory", "control")
    names = TITLES | {"teaching_conjunction": "taught conjunctions", "teaching_dnf": "taught DNF"}
    for ax, learner in zip(axes, ("transformer", "lstm"), strict=True):
        for i, task in enumerate(record.config["tasks"]):
            if has(record, "learning", task=task, learner=learner):
                where = {"task": task, "learner": learner}
                band(ax, record.curve("steps", **where)[0], record.curve("learning", **where), names[task], palette[i % 8], marker=True, show_n=False)
        ax.set(xlabel="training step", title=NETWORKS[learner][0])
    axes[0].set_ylabel("accuracy, last ten positions")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, title=f"95% CI, n = {len(record.seeds)}")
    return fig


def draw(record: Record) -> dict[str, Figure]:
    with style():
        figures = {"accuracy_curves": accuracy_curves(record), "final_accuracies": final_accuracies(record), "learning": learning(record)}
        if "teaching_conjunction" in record.config["tasks"]:
            figures["teaching"] = teaching(record)
        if "nearest_neighbour" in record.config["tasks"]:
            figures["neighbour_attention"] = neighbour_attention(record)
        return figures


if __name__ == "__main__":
    draw_figures(__file__)
