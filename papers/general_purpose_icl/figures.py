"""The figures, drawn from the record alone."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from papers.general_purpose_icl.baselines import BASELINES
from papers.general_purpose_icl.claims import elsewhere, most_tasks, state_models, task_sweep
from papers.general_purpose_icl.data import REPEATED
from papers.general_purpose_icl.model import UNLIMITED
from shared.engine import Record, draw_figures
from shared.figures import ROLES as STYLES
from shared.figures import TWO_COLUMNS, band, colour, reported_points, style, whiskers

ROLES = ("method", "baseline", "baseline2", "baseline3", "variant")
PAPER = {"unseen_last": 0.737, "on fashion_mnist": 0.622}
"""Table 1, at 10 classes and 99 examples."""


def name_of(K: float) -> str:
    return "no limit" if K == UNLIMITED else f"{K:g}"


def tasks_figure(record: Record) -> Figure:
    """Accuracy by position for each number of tasks, seen and unseen, and the phases over K."""
    sweep = task_sweep(record.trials)
    Ks = sorted(sweep.K.unique())
    fig, axes = plt.subplots(1, 3, figsize=TWO_COLUMNS, sharey=True)
    for ax, metric, title in zip(axes, ("seen", "unseen"), ("tasks seen, images unseen", "tasks and images unseen"), strict=False):
        for K, role in zip(Ks, ROLES, strict=False):
            values = np.stack(sweep[sweep.K == K][f"{metric}_by_position"].to_list())
            band(ax, np.arange(values.shape[1]), values, f"K = {name_of(K)}", role, show_n=False)
        ax.set(xlabel="labelled examples before the answer", title=title)
    axes[0].set_ylabel("accuracy")
    lines = (
        ("seen_images_first", "seen task and image,\nno example", "control"),
        ("seen_last", "seen task,\nlast answer", "baseline"),
        ("unseen_last", "unseen task,\nlast answer", "method"),
    )
    for metric, label, role in lines:
        table = sweep.reset_index().pivot(index="seed", columns="K", values=metric)[Ks]
        band(axes[2], range(len(Ks)), table, label, role, marker=True, show_n=False)
    axes[2].set_xticks(range(len(Ks)), [name_of(K) for K in Ks])
    axes[2].set(xlabel="number of tasks K", title="memorise, or learn to learn")
    for ax in axes:
        ax.axhline(1 / record.config["C"], color="#7F7F7F", linewidth=0.7)
    axes[0].legend(title=f"95% CI, n = {len(record.seeds)}", title_fontsize=7)
    axes[2].legend(fontsize=6, loc="lower left", bbox_to_anchor=(0, 0.13))
    return fig


def elsewhere_figure(record: Record) -> Figure:
    """Accuracy on each data set, of the learner and of what is fitted to the same examples."""
    places = ["unseen_last", *elsewhere(record.trials), f"on {REPEATED}"]
    fig, ax = plt.subplots(figsize=(7.0, 3.0))
    methods = {"meta-trained Transformer": most_tasks(record.trials)} | {name: record.select(learner=name) for name in BASELINES}
    for i, (name, rows) in enumerate(methods.items()):
        for j, place in enumerate(places):
            whiskers(ax, j + 0.18 * (i - 1.5), rows[place], name if j == 0 else None, ROLES[i])
    base = most_tasks(record.trials)
    chances = [1 / record.config["C"], *(base[f"chance {place}"].iloc[0] for place in places[1:])]
    ax.hlines(chances, np.arange(len(places)) - 0.45, np.arange(len(places)) + 0.45, color="#7F7F7F", linewidth=0.8, label="chance")
    marks = [(j, PAPER[place]) for j, place in enumerate(places) if place in PAPER]
    reported_points(ax, *zip(*marks, strict=True), label="paper (MNIST base, 10 classes, 99 examples)")
    names = [f"{record.config['images']}, unseen", *(place.removeprefix("on ").replace("_", " ") for place in places[1:])]
    ax.set_xticks(range(len(places)), [name.replace(", ", ",\n") for name in names])
    ax.set(ylabel=f"accuracy after {record.config['T'] - 1} examples", ylim=(0, 1.02))
    ax.legend(title=f"95% CI, n = {len(record.seeds)}", title_fontsize=7, ncols=3, loc="lower right", fontsize=6)
    return fig


def plateaus_figure(record: Record) -> Figure:
    """Loss and last answer over training, on random permutations: a line for each seed, for each bias and for each batch size."""
    trials = record.trials
    rows = trials[(trials.learner == "transformer") & (trials["K"] == UNLIMITED) & (trials.width == record.config["width"])]
    usual = rows[rows.batch == record.config["batch"]]
    panels = [(usual, "q", "curve_loss"), (usual, "q", "curve_last")]
    unbiased = rows[rows.q == 0]
    if unbiased.batch.nunique() > 1:
        panels.append((unbiased, "batch", "curve_loss"))
    fig, axes = plt.subplots(1, len(panels), figsize=TWO_COLUMNS)
    for ax, (part, column, metric) in zip(axes, panels, strict=True):
        for value, role in zip(sorted(part[column].unique()), ROLES, strict=False):
            hue, _, dash = STYLES[role]
            for i, row in enumerate(part[part[column] == value].itertuples()):
                ax.plot(row.steps, getattr(row, metric), color=hue, linestyle=dash, linewidth=1, label=f"{column} = {value:g}" if i == 0 else None)
        ax.set(xlabel="step", ylabel="loss on unseen tasks (nats)" if metric == "curve_loss" else "accuracy of the last answer, unseen tasks")
        if metric == "curve_loss":
            ax.axhline(0.9 * math.log(record.config["C"]), color="#7F7F7F", linewidth=0.8, linestyle=(0, (2, 2)), label="end of the plateau: 0.9 log C")
        ax.legend(title=f"each of {len(record.seeds)} seeds", title_fontsize=7)
    return fig


def states_figure(record: Record) -> Figure:
    """Accuracy on unseen tasks against state size and against parameters."""
    models: pd.DataFrame = state_models(record.trials)
    fig, axes = plt.subplots(1, 2, figsize=TWO_COLUMNS, sharey=True)
    for ax, column, label in zip(axes, ("state", "parameters"), ("numbers in the state", "parameters"), strict=True):
        for kind, name, role in (("transformer", "Transformer", "method"), ("lstm", "LSTM", "baseline")):
            table = models[models.learner == kind].pivot(index="seed", columns=column, values="unseen_last")
            band(ax, table.columns, table, name, role, marker=True, show_n=False)
        mlp = record.trials[record.trials.learner == "mlp"]
        if column == "parameters":
            ax.scatter(mlp.parameters, mlp.unseen_last, marker="x", s=12, color=colour("control"), label="MLP (state 0)")
        ax.axhline(1 / record.config["C"], color="#7F7F7F", linewidth=0.7)
        ax.set(xscale="log", xlabel=f"{label} (log scale)")
    axes[0].set_ylabel("accuracy, last answer, unseen tasks")
    axes[1].legend(title=f"95% CI, n = {len(record.seeds)}", title_fontsize=7)
    return fig


def draw(record: Record) -> dict[str, Figure]:
    with style():
        drawn = {"number_of_tasks": tasks_figure(record), "other_data_sets": elsewhere_figure(record), "plateaus": plateaus_figure(record)}
        return drawn | ({"state_size": states_figure(record)} if (record.trials.learner == "lstm").any() else {})


if __name__ == "__main__":
    draw_figures(__file__)
