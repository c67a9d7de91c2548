"""Figures from the record: weights, their course, error against prompt length and heads, the gradient flow, correlated covariates, two tasks.

python -m papers.icl_linear_regression.figures
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from papers.icl_linear_regression import theory
from papers.icl_linear_regression.model import single_task
from shared.engine import Record, draw_figures
from shared.figures import TWO_COLUMNS, band, colour, reported, reported_points, style, whiskers

HEAD_COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#7F7F7F"]
# Printed in the authors' notebook for layers trained with 1 and 2 heads, less the 0.1 that it adds to an error whose targets are noisy already.
PAPER_LENGTHS = (10, 20, 40, 60, 80, 100)
PAPER_ERRORS = {1: (0.847, 0.574, 0.406, 0.338, 0.305, 0.281), 2: (0.579, 0.366, 0.241, 0.202, 0.182, 0.168)}


def draw(record: Record) -> dict[str, Figure]:
    with style():
        figures = {"weights": weights(record), "course": course(record), "prompt_length": prompt_length(record), "heads": heads(record)}
        if not record.select(experiment="flow").empty:
            figures["gradient_flow"] = gradient_flow(record)
        if not record.select(experiment="correlated").empty:
            figures["correlated"] = correlated(record)
        if not record.select(experiment="tasks").empty:
            figures["tasks"] = tasks(record)
    return figures


def softmax_heads(record: Record, experiment: str = "isotropic") -> list[int]:
    rows = record.select(experiment=experiment, attention="softmax")
    return sorted(int(H) for H in rows["H"].unique())


def zero_sum_seeds(record: Record, **where) -> np.ndarray:
    """Positions of the seeds whose heads parted into a positive and a negative group of equal weight, as the claim has it; all seeds if none did."""
    parted = np.flatnonzero(record.curve("mu_sum_ratio", **where) < 0.05)
    return parted if len(parted) else np.arange(len(record.seeds))


def heat(ax, matrix: np.ndarray, title: str, limit: float):
    ax.set(xticks=[], yticks=[])
    ax.set_title(title, fontsize=7.5)
    for spine in ax.spines.values():
        spine.set_visible(True)
    return ax.imshow(matrix, cmap="RdBu_r", vmin=-limit, vmax=limit)


def weights(record: Record) -> Figure:
    """KQ_h and OV_h of every head, the first seed whose heads parted, for the softmax layers of two to four heads."""
    chosen = [H for H in softmax_heads(record) if 2 <= H <= 4]
    width = max(chosen)
    fig, axes = plt.subplots(len(chosen), 2 * width, figsize=(7.0, 1.75 * len(chosen)), squeeze=False, gridspec_kw={"width_ratios": [5, 1.6] * width})
    for row, H in zip(axes, chosen, strict=True):
        where = {"experiment": "isotropic", "attention": "softmax", "H": H}
        shown = zero_sum_seeds(record, **where)[0]
        KQ, OV = record.curve("KQ", **where)[shown], record.curve("OV", **where)[shown]
        limits = np.abs(KQ).max(), np.abs(OV).max()
        for h in range(width):
            if h >= H:
                row[2 * h].axis("off")
                row[2 * h + 1].axis("off")
                continue
            image = heat(row[2 * h], KQ[h], f"KQ, head {h + 1}", limits[0])
            image_OV = heat(row[2 * h + 1], OV[h][:, None], "OV", limits[1])
            row[2 * h].axhline(len(OV[h]) - 1.5, color="black", linewidth=0.6, linestyle=":")
            row[2 * h + 1].axhline(len(OV[h]) - 1.5, color="black", linewidth=0.6, linestyle=":")
        row[0].set_ylabel(f"H = {H}, seed {record.seeds[shown]}\n$x$ above, $y$ below")
        fig.colorbar(image, ax=row[2 * H - 2], shrink=0.8, pad=0.03, aspect=12).ax.tick_params(labelsize=6)
        fig.colorbar(image_OV, ax=row[2 * H - 1], shrink=0.8, pad=0.15, aspect=12).ax.tick_params(labelsize=6)
    fig.suptitle("Trained weights, first seed with heads of both signs; columns of KQ: the query's covariates", fontsize=8)
    return fig


def course(record: Record) -> Figure:
    """omega_h and mu_h against the training step."""
    chosen = softmax_heads(record)
    fig, axes = plt.subplots(2, len(chosen), figsize=(7.0, 3.8), sharex=True, sharey="row", squeeze=False)
    for column, H in zip(axes.T, chosen, strict=True):
        where = {"experiment": "isotropic", "attention": "softmax", "H": H}
        steps, bold = record.curve("steps", **where)[0], zero_sum_seeds(record, **where)[0]
        for ax, name, learnt in zip(column, ("curve_omega", "curve_mu"), (0.13, 3.45), strict=True):
            for seed, curve in enumerate(record.curve(name, **where)):
                for h in range(H):
                    ax.plot(steps, curve[:, h], color=HEAD_COLOURS[h % 8], alpha=1 if seed == bold else 0.25, linewidth=1.3 if seed == bold else 0.6)
            for sign in (1, -1) if H > 1 else ():
                reported(ax, sign * learnt, f"$\\pm${learnt:g}: paper, 500 000 steps" if sign == 1 else None)
            ax.axhline(0, color="black", linewidth=0.5)
        column[0].set(xscale="log", title=f"H = {H}")
        column[1].set_xlabel("training step (log)")
    axes[0, 0].set_ylabel("$\\omega_h$, mean diagonal of KQ")
    axes[1, 0].set_ylabel("$\\mu_h$, label entry of OV")
    axes[0, -1].legend(loc="upper left")
    axes[1, -1].legend(loc="upper left")
    fig.supxlabel(
        f"one colour a head; bold: the first seed with heads of both signs, faint: the other {len(record.seeds) - 1} seeds", fontsize=6.5, x=0.99, ha="right"
    )
    return fig


def prompt_length(record: Record) -> Figure:
    """Test error against the number of examples in the prompt: layers by heads; four heads beside other predictors; linear attention."""
    fig, (left, middle, right) = plt.subplots(1, 3, figsize=(7.0, 3.1), sharey=True)
    trained = record.config["L"]
    roles = dict(zip(softmax_heads(record), ("baseline", "method", "baseline2", "baseline3"), strict=False))
    for H, role in roles.items():
        where = {"experiment": "isotropic", "attention": "softmax", "H": H}
        if H == 2:  # seeds end in one of two places, which a mean would hide
            for i, errors in enumerate(record.curve("errors", **where)):
                left.plot(record.curve("lengths", **where)[0], errors, color=colour(role), linewidth=0.8, label="softmax, H = 2, each seed" if i == 0 else None)
        else:
            band(left, record.curve("lengths", **where)[0], record.curve("errors", **where), f"softmax, H = {H}", role, show_n=False)
    for H, values in PAPER_ERRORS.items():
        reported_points(left, PAPER_LENGTHS, values, "authors' notebook" if H == 1 else None)

    lengths = record.curve("lengths", experiment="predictors")[0]
    names = {
        "kernel": ("kernel smoother", "baseline"),
        "gd": ("gradient descent", "baseline2"),
        "debiased_gd": ("debiased GD", "variant2"),
        "ridge": ("ridge (Bayes)", "theory"),
    }
    for name, (label, role) in names.items():
        band(middle, lengths, record.curve(f"errors_{name}", experiment="predictors"), label, role, show_n=False)
    H = min(softmax_heads(record), key=lambda H: abs(H - 4))
    for ax in (middle, right):
        where = {"experiment": "isotropic", "attention": "softmax", "H": H}
        band(ax, lengths, record.curve("errors", **where), f"softmax, H = {H}", "method", show_n=False)
    where = {"experiment": "isotropic", "attention": "linear", "H": 2}
    band(right, lengths, record.curve("errors", **where), f"linear, over {trained}", "baseline", show_n=False)
    band(right, lengths, record.curve("errors_by_length", **where), "linear, over $L$", "baseline3", show_n=False)
    for ax, title in zip((left, middle, right), ("heads", "predictors", "linear attention"), strict=True):
        ax.axvline(trained, color="#7F7F7F", linewidth=0.7, linestyle=":")
        ax.set(xlabel="examples in the prompt $L$", title=title, ylim=(0, 1.25))
        ax.legend(loc="upper right" if ax is not right else "upper center")
    left.set_ylabel("test error (noisy targets)")
    fig.supxlabel(f"dotted: the training length; bands: 95% CI, n = {len(record.seeds)}", fontsize=6.5, x=0.99, ha="right")
    return fig


def heads(record: Record) -> Figure:
    """Test error against the number of heads, and how pure the pattern of the weights is."""
    fig, (left, right) = plt.subplots(1, 2, figsize=TWO_COLUMNS)
    chosen = softmax_heads(record)
    d, L, s2 = (record.config[name] for name in ("d", "L", "s2"))
    for position, H in enumerate(chosen):
        where = {"experiment": "isotropic", "attention": "softmax", "H": H}
        whiskers(left, position, record.curve("error", **where), f"softmax layer (95% CI, n = {len(record.seeds)})" if position == 0 else None, "method")
        for offset, (name, label, role) in enumerate(
            (
                ("diag_ratio", "KQ: diagonal", "method"),
                ("last_ratio", "OV: label entry", "baseline"),
                ("mu_sum_ratio", "OV: $|\\sum\\mu| / \\sum|\\mu|$", "baseline2"),
            )
        ):
            values = record.curve(name, **where)
            impurity = values if name == "mu_sum_ratio" else 1 - values
            if H > 1 or name != "mu_sum_ratio":
                label = f"{'' if name == 'mu_sum_ratio' else '1 - share of '}{label}"
                whiskers(right, position + 0.15 * (offset - 1), impurity, label if position == len(chosen) - 1 else None, role)
    reported_points(left, [0, 1], [PAPER_ERRORS[H][PAPER_LENGTHS.index(40)] for H in (1, 2)], "authors' notebook")
    left.axhline(theory.one_head_minimiser(d, L, s2)[2], color="black", linewidth=0.8, linestyle=":", label="least approximate loss, H = 1")
    left.axhline(theory.many_heads_infimum(d, L, s2), color="black", linewidth=0.8, linestyle="--", label="its infimum, H $\\geq$ 2")
    left.axhline(theory.best_gd_risk(d, L, s2), color=colour("baseline2"), linewidth=0.8, linestyle="-.", label="best step of GD, exact")
    left.set(ylabel=f"test error at $L$ = {L}", ylim=(0.2, 0.56))
    right.set(yscale="log", ylabel="impurity of the pattern (log)")
    for ax in (left, right):
        ax.set_xticks(range(len(chosen)), [str(H) for H in chosen])
        ax.set_xlabel("heads $H$")
        ax.legend(loc="upper right")
    low, high = right.get_ylim()
    right.set_ylim(low, high * 30)
    return fig


def gradient_flow(record: Record) -> Figure:
    """The flow of the approximate loss from a small random start, and the losses at the ends from all starts."""
    chosen = sorted(int(H) for H in record.select(experiment="flow")["H"].unique())
    fig, axes = plt.subplots(1, len(chosen) + 1, figsize=(7.0, 2.7), gridspec_kw={"width_ratios": [1] * len(chosen) + [0.9]})
    for ax, H in zip(axes, chosen, strict=False):
        where = {"experiment": "flow", "H": H}
        times = record.curve("times", **where)[0]
        signs = record.curve("end_both_signs", **where)[:, 0]
        shown = int(signs.argmax())  # the first seed whose heads part into two signs, if any does
        for h in range(H):
            ax.plot(times, record.curve("flow_mu", **where)[shown][:, h], color=HEAD_COLOURS[h], label="$\\mu_h$" if h == 0 else None)
            ax.plot(
                times, 10 * record.curve("flow_omega", **where)[shown][:, h], color=HEAD_COLOURS[h], linestyle="--", label="10 $\\omega_h$" if h == 0 else None
            )
        ax.set(xscale="log", xlabel="time (log)", title=f"flow, H = {H}", ylim=(-8, 9))
        ax.legend(loc="upper left", ncols=2)
    ends = axes[-1]
    d, L, s2 = (record.config[name] for name in ("d", "L", "s2"))
    for position, H in enumerate(chosen):
        losses = record.curve("end_losses", experiment="flow", H=H).ravel()
        offsets = position + np.linspace(-0.25, 0.25, len(losses))
        ends.scatter(offsets, np.sort(losses), s=7, color=colour("method"), linewidth=0)
    ends.axhline(theory.one_head_minimiser(d, L, s2)[2], color="black", linewidth=0.8, linestyle=":", label="one-head minimum")
    ends.axhline(theory.many_heads_infimum(d, L, s2), color="black", linewidth=0.8, linestyle="--", label="infimum, H $\\geq$ 2")
    ends.set_xticks(range(len(chosen)), [str(H) for H in chosen])
    ends.set(xlabel="heads $H$", title="end of every start", ylabel="$\\tilde{L}$", ylim=(0.2, 0.45))
    ends.legend(loc="upper right")
    return fig


def correlated(record: Record) -> Figure:
    """The layer's preconditioner in the eigenbasis of Sigma, each seed, beside that of the best step of gradient descent."""
    rhos = sorted(record.select(experiment="correlated")["rho"].unique())
    fig, axes = plt.subplots(1, 2, figsize=(5.8, 3.0), gridspec_kw={"width_ratios": [1.3, 1]})
    d, L, s2 = (record.config[name] for name in ("d", "L", "s2"))
    for rho, role in zip(rhos, ("method", "baseline3", "variant"), strict=False):
        Gamma = record.curve("preconditioner", experiment="correlated", rho=rho)  # (seeds, d, d)
        values, basis = np.linalg.eigh(single_task(d, s2, rho).Sigma)
        rotated = basis.T @ Gamma @ basis
        parted = zero_sum_seeds(record, experiment="correlated", rho=rho)
        others = [i for i in range(len(rotated)) if i not in parted] or [None]
        for i, curve in enumerate(np.diagonal(rotated, axis1=1, axis2=2)):
            label = f"heads of both signs, $\\rho$ = {rho:g}" if i == parted[0] else f"one sign or swapped, $\\rho$ = {rho:g}" if i == others[0] else None
            axes[0].plot(values, curve, color=colour(role), marker="o", markersize=3, linewidth=1.1, linestyle="-" if i in parted else ":", label=label)
    grid = np.linspace(0.1, values.max() * 1.1, 200)
    axes[0].plot(grid, 1 / ((1 + 1 / L) * grid + (d + d * s2) / L), color="black", linewidth=0.9, linestyle="--", label="best step of GD")
    axes[0].axhline(theory.best_gd_step(np.eye(d), L, s2)[0, 0], color=colour("control"), linewidth=0.8, linestyle=":", label="isotropic covariates")
    axes[0].set(xlabel="eigenvalue of $\\Sigma$", ylabel="eigenvalue of $\\Gamma = \\sum_h \\mu_h KQ_h$", ylim=(0, 3))
    axes[0].legend()
    shown = parted[0]
    image = heat(axes[1], rotated[shown], f"$\\Gamma$, eigenbasis of $\\Sigma$,\n$\\rho$ = {rho:g}, seed {record.seeds[shown]}", np.abs(rotated[shown]).max())
    fig.colorbar(image, ax=axes[1], shrink=0.8)
    return fig


def tasks(record: Record) -> Figure:
    """The weight of every head on the labels of the two tasks, all seeds."""
    chosen = sorted(int(H) for H in record.select(experiment="tasks")["H"].unique())
    seeds = record.seeds[:5]
    fig, axes = plt.subplots(
        len(chosen), len(seeds), figsize=(1.35 * len(seeds) + 0.9, sum(0.28 * H + 0.5 for H in chosen)), squeeze=False, height_ratios=chosen
    )
    services = {H: record.curve("service", experiment="tasks", H=H)[: len(seeds)] for H in chosen}
    limit = max(np.abs(service).max() for service in services.values())
    for row, H in zip(axes, chosen, strict=True):
        for ax, seed, service in zip(row, seeds, services[H], strict=True):
            image = heat(ax, service, f"seed {seed}" if chosen[0] == H else "", limit)
            ax.set_aspect("auto")
            ax.set_xticks([0, 1], ["task 1", "task 2"] if chosen[-1] == H else ["", ""])
        row[0].set_ylabel(f"H = {H}, head")
        row[0].set_yticks(range(H), [str(h + 1) for h in range(H)])
    fig.colorbar(image, ax=axes, shrink=0.8, label="weight on the task's label, $OV$", aspect=25)
    return fig


if __name__ == "__main__":
    draw_figures(__file__)
