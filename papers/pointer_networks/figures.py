"""Figures from the record alone: Tables 1 and 2 beside the paper's, hulls beyond the training sizes (Table 1), answers to look at (Fig. 3), training curves."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from papers.pointer_networks.geometry import until_stop
from shared.engine import Record, draw_figures
from shared.figures import TWO_COLUMNS, band, colour, criterion, interval, reported_points, style, training_range, whiskers

ROLE = {"ptr": "method", "attention": "baseline", "lstm": "baseline2"}
NAME = {"ptr": "Ptr-Net", "attention": "LSTM + attention", "lstm": "LSTM"}

# The paper's numbers. Table 1: (accuracy, area coverage or None for FAIL).
PAPER_FIXED_HULL = {"ptr": (0.726, 0.999), "attention": (0.389, 0.997), "lstm": (0.019, None)}  # trained and tested at n = 50
PAPER_RANGED_HULL = {5: (0.92, 0.996), 10: (0.87, 0.998), 50: (0.696, 0.999), 100: (0.503, 0.999), 200: (0.221, 0.999), 500: (0.013, 0.992)}  # trained at 5-50
# Table 2, by n: optimal, A1, A3, Ptr-Net.
PAPER_TSP = {5: (2.12, 2.18, 2.12, 2.12), 10: (2.87, 3.07, 2.87, 2.88), 20: (3.83, 4.24, 3.85, 3.88), 25: (None, 4.71, 4.24, 4.30)}
PAPER_TSP |= {30: (None, 5.11, 4.60, 4.72), 40: (None, 5.82, 5.23, 5.91), 50: (None, 6.46, 5.79, 7.66)}
PAPER_DELAUNAY = {5: (0.807, 0.930), 10: (0.226, 0.813), 50: (0.0, 0.528)}  # Section 4.3: accuracy, triangle coverage


def draw(record: Record) -> dict[str, Figure]:
    """All figures by file name."""
    with style():
        return {
            "tables": tables(record),
            "hull": hull(record),
            "triangulation": triangulation(record),
            "examples": examples(record),
            "training": training(record),
        }


def fixed_hull(record: Record) -> pd.DataFrame:
    rows = record.select(task="hull")
    return rows[rows.n_low == rows.n_high]


def ranged_hull(record: Record) -> pd.DataFrame:
    rows = record.select(task="hull")
    return rows[rows.n_low < rows.n_high]


def sizes(rows: pd.DataFrame, metric: str) -> list[int]:
    """The sizes n at which ``metric`` was measured in these rows."""
    return sorted(int(name.rpartition("_n")[2]) for name in rows if name.rpartition("_n")[0] == metric and rows[name].notna().all())


def with_interval(values: pd.Series, digits: int) -> str:
    mean, low, high = interval(values)
    return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def hull_row(label: str, rows: pd.DataFrame, n: int, paper: tuple[float, float | None] | None, paper_n: int) -> list[str]:
    """One line of Table 1. As there, the area is averaged over simple polygons and FAILs when more than 1 % are not simple."""
    accuracy, simple, coverage = (rows[f"{name}_n{n}"] for name in ("accuracy", "simple", "coverage"))
    area = "FAIL" if simple.mean() < 0.99 else with_interval(coverage / simple, 3)
    theirs = ["", "", ""] if paper is None else [f"{paper[0]:.3f}", "FAIL" if paper[1] is None else f"{paper[1]:.3f}", f"{paper_n}"]
    return [label, f"{n}", with_interval(accuracy, 3), area, with_interval(coverage, 3), *theirs]


def tables(record: Record) -> Figure:
    """Tables 1 and 2, ours and the paper's."""
    fixed, ranged, tsp = fixed_hull(record), ranged_hull(record), record.select(task="tsp")
    n, low, high = int(fixed.n_high.iloc[0]), int(ranged.n_low.iloc[0]), int(ranged.n_high.iloc[0])
    first = [hull_row(f"{NAME[kind]}, trained at {n}", fixed[fixed.model == kind], n, PAPER_FIXED_HULL[kind], 50) for kind in ("lstm", "attention", "ptr")]
    first += [hull_row(f"Ptr-Net, trained at {low}-{high}", ranged, n, PAPER_RANGED_HULL.get(n), n) for n in sizes(ranged, "accuracy")]
    columns = ("optimal", "greedy_edge", "insertion_2opt", "length")
    second = []
    for n in sizes(tsp, "length"):
        ours = [with_interval(tsp[f"{name}_n{n}"], 3) if n in sizes(tsp, name) else "" for name in columns]
        theirs = ["" if value is None else f"{value:.2f}" for value in PAPER_TSP[n]]
        second.append([f"{n}", *[f"{a}\n{b}" for a, b in zip(ours, theirs, strict=True)]])
    fig, axes = plt.subplots(2, 1, figsize=(7.0, 0.24 * len(first) + 0.4 * len(second) + 1.3), height_ratios=(len(first) + 2, 1.7 * len(second) + 2))
    seeds = len(record.seeds)
    headings = ["convex hull", "tested at n", "accuracy", "area of simple ones", "area, others as 0", "paper:\naccuracy", "paper:\narea", "paper:\nat n"]
    spread(axes[0], first, headings, (0.25, 0.09, 0.17, 0.17, 0.17, 0.09, 0.08, 0.06), f"Table 1 (mean [95% CI], n = {seeds} seeds)")
    headings = ["n", "optimal", "greedy edge\n(like A1)", "farthest insertion\n+ 2-opt (like A3)", "Ptr-Net"]
    spread(axes[1], second, headings, (0.06, 0.25, 0.25, 0.25, 0.25), "Table 2: mean tour length (ours above, the paper's below)", lines=2)
    return fig


def spread(ax, rows: list[list[str]], headings: list[str], widths: tuple[float, ...], title: str, lines: int = 1) -> None:
    """A table that fills the axes."""
    ax.set_axis_off()
    ax.set_title(title, loc="left")
    table = ax.table(rows, colLabels=headings, colWidths=widths, cellLoc="center", bbox=(0, 0, 1, 1))
    table.auto_set_font_size(False)
    table.set_fontsize(6.5)
    for (row, _), cell in table.get_celld().items():
        cell.set_linewidth(0.4)
        cell.set_height(2.0 if row == 0 else lines)


def hull(record: Record) -> Figure:
    """Accuracy of the three models at one size; accuracy and area of the variable-length network against the test size."""
    fixed, ranged = fixed_hull(record), ranged_hull(record)
    fig, axes = plt.subplots(1, 3, figsize=(7.0, 2.6), width_ratios=(1, 1.2, 1.2))
    for position, kind in enumerate(("lstm", "attention", "ptr")):
        whiskers(axes[0], position, fixed[fixed.model == kind][f"accuracy_n{fixed.n_high.iloc[0]}"], role=ROLE[kind])
    reported_points(axes[0], range(3), [PAPER_FIXED_HULL[kind][0] for kind in ("lstm", "attention", "ptr")], "paper, n = 50")
    axes[0].set_xticks(range(3), ["LSTM", "LSTM +\nattention", "Ptr-Net"])
    axes[0].set(title=f"one size, n = {fixed.n_high.iloc[0]}", ylabel="exact hulls", ylim=(-0.02, 1.02), xlim=(-0.5, 2.5))
    tested = sizes(ranged, "accuracy")
    paper = [n for n in PAPER_RANGED_HULL if n <= max(tested)]
    for ax, metric, column in ((axes[1], "accuracy", 0), (axes[2], "coverage", 1)):
        training_range(ax, ranged.n_low.iloc[0], ranged.n_high.iloc[0])
        band(ax, tested, ranged[[f"{metric}_n{n}" for n in tested]], "Ptr-Net", marker=True)
        reported_points(ax, paper, [PAPER_RANGED_HULL[n][column] for n in paper], "paper, trained at 5-50")
        ax.set(xlabel="points n in test")
    axes[1].set(title=f"trained at {ranged.n_low.iloc[0]}-{ranged.n_high.iloc[0]}", ylabel="exact hulls", ylim=(-0.02, 1.02))
    axes[2].set(title="same network", ylabel="area, non-simple as 0")
    axes[2].set_ylim(min(0.9, axes[2].get_ylim()[0]), 1.005)
    for claim_id, where in (("hull-area-coverage", 1), ("length-generalisation-hull", 2)):
        limit, n = float(record.claim(claim_id)["criterion"].removeprefix(">=")), where * ranged.n_high.iloc[0]
        axes[2].plot([n - 1.5, n + 1.5], [limit, limit], color="#444444", linewidth=0.9, label="criterion" if where == 1 else None)
    axes[0].legend(loc="upper left")
    axes[1].legend(loc="lower left")
    axes[2].legend(loc="lower left")
    return fig


def triangulation(record: Record) -> Figure:
    """Delaunay accuracy and triangle coverage against n, one model for each n; tours against optimum and heuristics."""
    rows, tsp = record.select(task="delaunay"), record.select(task="tsp")
    fig, axes = plt.subplots(1, 3, figsize=TWO_COLUMNS)
    trained = sorted(rows.n_high.unique())
    for ax, metric, column in ((axes[0], "accuracy", 0), (axes[1], "coverage", 1)):
        for position, n in enumerate(trained):
            whiskers(ax, position, rows[rows.n_high == n][f"{metric}_n{n}"], "Ptr-Net" if position == 0 else None)
        reported_points(ax, range(len(trained)), [PAPER_DELAUNAY[n][column] for n in trained])
        ax.set_xticks(range(len(trained)), [f"{n}" for n in trained])
        ax.set(xlabel="points n, in training and test", ylim=(-0.02, 1.02), xlim=(-0.5, len(trained) - 0.5))
    axes[0].set(title="Delaunay triangulation", ylabel="all triangles right")
    axes[1].set(title="Delaunay triangulation", ylabel="true triangles found")
    axes[0].legend()
    tested = sizes(tsp, "ratio")
    lines = (("length", "Ptr-Net", "method", 3), ("insertion_2opt", "insertion + 2-opt", "baseline", 2), ("greedy_edge", "greedy edge", "baseline2", 1))
    for shift, (name, label, role, column) in enumerate(lines):
        for position, n in enumerate(tested):
            at = position + 0.25 * (shift - 1)
            whiskers(axes[2], at, tsp[f"{name}_n{n}"] / tsp[f"optimal_n{n}"], label if position == 0 else None, role)
            reported_points(axes[2], [at], [PAPER_TSP[n][column] / PAPER_TSP[n][0]], "paper" if position == shift == 0 else None)
    axes[2].set_xticks(range(len(tested)), [f"{n}" for n in tested])
    axes[2].set(title="tours", xlabel="cities n", ylabel="length over optimal length", xlim=(-0.5, len(tested) - 0.5))
    limit = float(record.claim("tsp-near-optimal-small")["criterion"].removeprefix("<"))
    criterion(axes[2], None, limit, "criterion, Ptr-Net")
    axes[2].legend()
    return fig


def examples(record: Record) -> Figure:
    """The first three test instances of the first seed in every task: the answer in blue, the truth in grey beneath it."""
    conditions = [ranged_hull(record), record.select(task="delaunay", n_high=record.select(task="delaunay").n_high.min()), record.select(task="tsp")]
    titles = ("convex hull", "Delaunay triangulation", "tour")
    fig, axes = plt.subplots(3, 3, figsize=(4.4, 4.7))
    for line, rows, title in zip(axes, conditions, titles, strict=True):
        row = rows.sort_values("seed").iloc[0]
        for ax, P, C, truth in zip(line, row.example_points, row.example_answer, row.example_truth, strict=True):
            for slots, hue, width in ((truth, "#BBBBBB", 4), (C, colour("method"), 1.2)):
                corners = P[until_stop(slots).astype(int) - 1]
                shapes = np.split(corners, range(3, len(corners), 3)) if title.startswith("Delaunay") else [corners]
                for shape in shapes:
                    ax.plot(*np.concatenate([shape, shape[:1]]).T, color=hue, linewidth=width)
            ax.scatter(*P.T, s=9, color="black", zorder=3)
            ax.set(xlim=(-0.05, 1.05), ylim=(-0.05, 1.05), aspect="equal")
            ax.set_axis_off()
        line[1].set_title(f"{title}, n = {len(P)}")
    fig.supxlabel("grey: truth; blue: the network's answer", fontsize=7)
    return fig


def training(record: Record) -> Figure:
    """Loss per pointer of the three models at one size, and of the other runs."""
    fixed = fixed_hull(record)
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 2.5), sharey=True)
    for kind in ("lstm", "attention", "ptr"):
        curves = np.stack(fixed[fixed.model == kind].sort_values("seed").loss)
        band(axes[0], np.linspace(0, record.config["hull_fixed_steps"], curves.shape[1]), curves, NAME[kind], ROLE[kind])
    axes[0].set(title=f"hulls of {fixed.n_high.iloc[0]} points", xlabel="training step", ylabel="loss per pointer (nats)")
    others = [("hulls of {}-{} points", ranged_hull(record), "hull_range_steps"), ("tours of {}-{} cities", record.select(task="tsp"), "tsp_steps")]
    others += [("triangulations of {}-{} points", rows, "delaunay_steps") for _, rows in record.select(task="delaunay").groupby("n_high")]
    for (label, rows, steps), role in zip(others, ("method", "baseline", "baseline2", "baseline3", "variant"), strict=False):
        curves = np.stack(rows.sort_values("seed").loss)
        low, high = rows.n_low.iloc[0], rows.n_high.iloc[0]
        text = label.format(low, high).replace(f"{high}-{high}", f"{high}")
        band(axes[1], np.linspace(0, record.config[steps], curves.shape[1]), curves, text, role, show_n=False)
    axes[1].set(title=f"Ptr-Net on the other tasks (95% CI, n = {len(record.seeds)})", xlabel="training step")
    for ax in axes:
        ax.set_ylim(0, None)
        ax.legend()
    return fig


if __name__ == "__main__":
    draw_figures(__file__)
