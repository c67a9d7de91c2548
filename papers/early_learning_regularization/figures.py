"""Figures from the record alone, after the paper's Figs. 1, 2, A.1, C.1, D.1 and H.1."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from shared.engine import Record, draw_figures
from shared.figures import band, reported, style, whiskers

REGULARISERS = [("ce", 0.0, "cross-entropy", "baseline"), ("elr", 3.0, "ELR", "method")]
KL = [(1.0, "baseline2"), (5.0, "baseline3"), (10.0, "variant2")]


def draw(record: Record) -> dict[str, Figure]:
    with style():
        figures = {"linear": linear(record), "coefficients": coefficients(record), "kl": kl(record), "targets": targets(record), "table": table(record)}
        figures |= {f"digits_{schedule}": phases(record, "digits", beta=0.7, schedule=schedule) for schedule in ("constant", "decay")}
        if "photographs" in set(record.trials["part"]):
            figures["photographs"] = phases(record, "photographs")
        return figures


def linear(record: Record) -> Figure:
    """Fig. A.1: what the linear model answers on rightly and wrongly labelled points over time."""
    radius = min(record.config["linear_radii"])
    figure, axes = plt.subplots(2, 3, figsize=(7, 3.8), sharex=True, sharey=True)
    for row, (name, lam, title, _) in zip(axes, REGULARISERS, strict=True):
        of = {"part": "linear", "loss": name, "lam": lam, "radius": radius}
        steps = record.curve("steps", **of)[0] + 1
        panels(row, steps, lambda metric, of=of: record.curve(metric, **of), title, record)
    for ax in axes[1]:
        ax.set_xlabel("step + 1 (log scale, base 10)")
    axes[0, 0].set_xscale("log")
    outside(axes[0, 0], axes[0, 1], figure)
    return figure


def outside(first, second, figure: Figure) -> None:
    """One legend under all panels, where it hides no curve."""
    entries = {label: handle for ax in (first, second) for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=len(entries))


def phases(record: Record, part: str, **condition) -> Figure:
    """Fig. 1: the same over epochs of a deep network at 40 % noise."""
    figure, axes = plt.subplots(2, 3, figsize=(7, 3.8), sharex=True, sharey=True)
    for row, (name, lam, title, _) in zip(axes, REGULARISERS, strict=True):
        of = {"part": part, "loss": name, "lam": lam, "noise": 0.4, **condition}
        curves = record.curve("test_accuracy", **of)
        epochs = record.curve("epochs", **of)[0] if part == "digits" else np.arange(1, curves.shape[1] + 1)
        panels(row, epochs, lambda metric, of=of: record.curve(metric, **of), title, record)
        reported(row[1], {"ce": 0.87, "elr": 0.03}[name], "paper, memorised")
    outside(axes[0, 0], axes[0, 1], figure)
    for ax in axes[1]:
        ax.set_xlabel("epoch (40% of labels redrawn,\n36% wrong)")
    return figure


def panels(row, x, curve, title: str, record: Record) -> None:
    """Rightly labelled examples, wrongly labelled examples, test accuracy."""
    right, wrong, memorised = curve("right_correct"), curve("wrong_correct"), curve("wrong_memorised")
    band(row[0], x, right, "correct", "method", show_n=False)
    band(row[0], x, 1 - right, "incorrect", "control", show_n=False)
    band(row[1], x, wrong, "correct", "method", show_n=False)
    band(row[1], x, memorised, "memorised", "baseline", show_n=False)
    if not np.allclose(1 - wrong - memorised, 0, atol=1e-5):
        band(row[1], x, 1 - wrong - memorised, "other", "control", show_n=False)
    band(row[2], x, curve("test_accuracy"), "test accuracy", "theory", show_n=False)
    for ax, what in zip(row, ("clean labels", "wrong labels", "test set"), strict=True):
        ax.set_title(f"{title}: {what}")
        ax.set_ylim(-0.03, 1.03)
    row[0].set_ylabel(f"share (95% CI, n = {len(record.seeds)})")


def coefficients(record: Record) -> Figure:
    """Fig. 2, linear model: root mean square of the coefficients |kappa| by which rightly and wrongly labelled points pull through cross-entropy.

    Under ELR the wrong ones keep theirs, near 2: what they add to the gradient is cancelled by the regulariser's own term, which is not drawn.
    """
    radius = min(record.config["linear_radii"])
    figure, axes = plt.subplots(1, 2, figsize=(7, 2.6), sharey=True)
    for ax, (name, lam, title, _) in zip(axes, REGULARISERS, strict=True):
        of = {"part": "linear", "loss": name, "lam": lam, "radius": radius}
        steps = record.curve("steps", **of)[0] + 1
        band(ax, steps, record.curve("kappa_right", **of), "clean labels", "method")
        band(ax, steps, record.curve("kappa_wrong", **of), "wrong labels", "baseline")
        ax.set_xscale("log")
        ax.set_title(title if name == "ce" else f"{title}, its cross-entropy term alone")
        ax.set_xlabel("step + 1 (log scale, base 10)")
        ax.legend()
    axes[0].set_ylabel("rms of tanh(θ·x) − ε")
    return figure


def kl(record: Record) -> Figure:
    """Fig. C.1: a KL term towards the same targets delays memorisation, at three strengths, under both schedules of the step size."""
    figure, axes = plt.subplots(2, 2, figsize=(7, 5), sharex=True, sharey="row")
    for column, (schedule, title) in enumerate({"constant": "constant rate", "decay": "the paper's step decay"}.items()):
        for ax, metric in zip(axes[:, column], ("wrong_memorised", "test_accuracy"), strict=True):
            for name, lam, label, role in REGULARISERS + [("kl", lam, f"KL, λ = {lam:g}", role) for lam, role in KL]:
                of = {"part": "digits", "loss": name, "lam": lam, "beta": 0.7, "noise": 0.4, "schedule": schedule}
                band(ax, record.curve("epochs", **of)[0], record.curve(metric, **of), label, role, show_n=False)
            ax.set_ylim(0, 1.02)
        axes[0, column].set_title(title)
        axes[1, column].set_xlabel("epoch (digits, 40% symmetric noise)")
    axes[0, 0].set_ylabel(f"wrong labels memorised\n(share, 95% CI, n = {len(record.seeds)})")
    axes[1, 0].set_ylabel(f"test accuracy\n(95% CI, n = {len(record.seeds)})")
    outside(axes[0, 0], axes[0, 1], figure)
    return figure


def targets(record: Record) -> Figure:
    """Fig. D.1: accuracy of the running targets themselves, used in the loss (ELR) or only kept (cross-entropy)."""
    figure, axes = plt.subplots(1, 2, figsize=(7, 2.6), sharey=True)
    for ax, (schedule, title) in zip(axes, {"constant": "constant rate", "decay": "the paper's step decay"}.items(), strict=True):
        for name, lam, label, role in REGULARISERS:
            of = {"part": "digits", "loss": name, "lam": lam, "beta": 0.7, "noise": 0.4, "schedule": schedule}
            band(ax, record.curve("epochs", **of)[0], record.curve("target_accuracy", **of), f"targets under {label}", role, show_n=False)
        ax.set_title(title)
        ax.set_ylim(0, 1.02)
        ax.set_xlabel("epoch (digits, 40% symmetric noise)")
    axes[0].set_ylabel(f"true labels among the targets\n(share, 95% CI, n = {len(record.seeds)})")
    outside(axes[0], axes[1], figure)
    return figure


def table(record: Record) -> Figure:
    """Table 1's comparison on the digits: last-epoch test accuracy by noise rate, with step decay, and at 60 % noise without averaging (Fig. H.1)."""
    figure, ax = plt.subplots(figsize=(6.5, 2.8))
    labels = []
    constant = [(0.2, "ce", 0.0, 0.7), (0.2, "elr", 3.0, 0.7), (0.4, "ce", 0.0, 0.7), (0.4, "gce", 0.0, 0.7), (0.4, "elr", 3.0, 0.7)]
    constant += [(0.6, "ce", 0.0, 0.7), (0.6, "elr", 3.0, 0.0), (0.6, "elr", 3.0, 0.7)]
    rows = [(*row, "constant") for row in constant] + [(0.4, "ce", 0.0, 0.7, "decay"), (0.4, "elr", 3.0, 0.7, "decay")]
    for position, (noise, name, lam, beta, schedule) in enumerate(rows):
        accuracy = record.curve("test_accuracy", part="digits", loss=name, lam=lam, beta=beta, noise=noise, schedule=schedule)[:, -1]
        whiskers(ax, position, accuracy, role={"ce": "baseline", "gce": "baseline2", "elr": "method" if beta else "variant"}[name])
        labels.append(f"{noise:.0%}\n{name.upper()}" + ("\nβ = 0" if not beta else "") + ("\ndecay" if schedule == "decay" else ""))
    ax.set_xticks(range(len(rows)), labels)
    ax.set_ylabel(f"test accuracy, last epoch (95% CI, n = {len(record.seeds)})")
    return figure


if __name__ == "__main__":
    draw_figures(__file__)
