"""Figures, from the record alone: accuracies, curves, memory, and what happens along the chain.

python -m papers.noprop.figures
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from shared.engine import Record, draw_figures
from shared.figures import ONE_COLUMN, TWO_COLUMNS, band, colour, reported_points, style, whiskers

METHODS = {  # name, role
    "noprop-dt": ("NoProp-DT", "method"),
    "backprop": ("back-propagation through the chain (B1)", "baseline"),
    "noprop-ct": ("NoProp-CT", "variant"),
    "noprop-fm": ("NoProp-FM", "variant2"),
    "neural-ode": ("neural ODE by back-propagation (B3)", "baseline2"),
}
PAPER = {  # test accuracies of the main table; those of back-propagation and of DT but for prototypes are quoted from memory
    "mnist": {
        ("noprop-dt", "one-hot"): 0.9947,
        ("noprop-dt", "learned"): 0.9949,
        ("noprop-dt", "prototype"): 0.9954,
        ("backprop", "prototype"): 0.9944,
        ("noprop-ct", "one-hot"): 0.9717,
    },
    "cifar10": {
        ("noprop-dt", "one-hot"): 0.7925,
        ("noprop-dt", "learned"): 0.7912,
        ("noprop-dt", "prototype"): 0.8054,
        ("backprop", "prototype"): 0.7958,
        ("noprop-ct", "one-hot"): 0.6654,
    },
}
NEAREST = {"digits": "mnist"}


def draw(record: Record) -> dict[str, Figure]:
    dataset = next(iter(record.config["epochs"]))
    with style():
        return {
            "accuracy": draw_accuracy(record, dataset),
            "curves": draw_curves(record, dataset),
            "memory": draw_memory(record),
            "chain": draw_chain(record, dataset),
            "images": draw_images(record, dataset),
        }


def draw_accuracy(record: Record, dataset: str) -> Figure:
    """Left: every method and embedding, beside the paper's value on the nearest data set. Right: the two paired differences that are judged."""
    fig, (left, right) = plt.subplots(1, 2, figsize=TWO_COLUMNS, width_ratios=(1.5, 1))
    rows = record.select(part="accuracy", dataset=dataset)
    pairs = [(m, e) for m in METHODS for e in ("one-hot", "learned", "prototype") if ((rows["method"] == m) & (rows["embedding"] == e)).any()]
    paper = PAPER[NEAREST.get(dataset, dataset)]
    for position, (method, embedding) in enumerate(reversed(pairs)):
        values = record.curve("accuracy", part="accuracy", dataset=dataset, method=method, embedding=embedding)
        whiskers(left, position, 100 * values, role=METHODS[method][1], horizontal=True)
        if (method, embedding) in paper:
            first = not left.get_legend_handles_labels()[0]
            reported_points(left, [100 * paper[method, embedding]], [position], f"paper, {NEAREST.get(dataset, dataset).upper()}" if first else None)
    short = {"backprop": "back-propagation (B1)", "neural-ode": "neural ODE (B3)"}
    left.set_yticks(range(len(pairs)), [f"{short.get(method, METHODS[method][0])}, {embedding}" for method, embedding in reversed(pairs)])
    left.set(xlabel=f"test accuracy on {dataset} (%), 95% CI, n = {len(record.seeds)}")
    left.legend(loc="lower left")
    judged = [("dt-matches-backprop", "DT $-$ B1"), ("dt-beats-ct", "DT $-$ CT")]
    for position, (claim_id, _) in enumerate(judged):
        whiskers(right, position, record.claim(claim_id)["values"], role="method")
    right.axhline(-0.02, xmax=0.5, color=colour("control"), linewidth=0.8, linestyle="--", label="criterion ($-0.02$ and $0$)")
    right.axhline(0, xmin=0.5, color=colour("control"), linewidth=0.8, linestyle="--")
    right.set_xticks(range(len(judged)), [label for _, label in judged])
    right.set(xlim=(-0.5, 1.5), ylabel="difference in test accuracy", title="paired over seeds")
    right.legend(loc="center left")
    return fig


def draw_curves(record: Record, dataset: str) -> Figure:
    """Test accuracy against passes over the data and against the operations they cost, one-hot embeddings."""
    fig, axes = plt.subplots(1, 2, figsize=TWO_COLUMNS, sharey=True)
    rows = record.select(part="accuracy", dataset=dataset, embedding="one-hot")
    for method, (label, role) in METHODS.items():
        if not (rows["method"] == method).any():
            continue
        where = {"part": "accuracy", "dataset": dataset, "method": method, "embedding": "one-hot"}
        epochs, curve = record.curve("curve_epochs", **where)[0], 100 * record.curve("curve", **where)
        band(axes[0], epochs, curve, label, role, marker=True, show_n=False)
        # flow matching trains the network of CT by one evaluation a step, as CT does
        costed = "noprop-ct" if method == "noprop-fm" else method
        flops = record.curve("flops_per_image", part="cost", method=costed, size="profile")[0]
        band(axes[1], epochs * flops / 1e6, curve, label, role, marker=True, show_n=False)
    axes[0].set(xlabel="passes over the training images", ylabel=f"test accuracy on {dataset} (%)", ylim=(0, 102))
    axes[1].set(xlabel="training cost, Mflop per training image", xscale="log")
    axes[0].legend(title=f"one-hot; bands: 95% CI, n = {len(record.seeds)}", title_fontsize=7, loc="lower right")
    return fig


def draw_memory(record: Record) -> Figure:
    """Bytes kept for the backward pass of a training step, in this profile's network and in the paper's on CIFAR-10."""
    fig, axes = plt.subplots(1, 2, figsize=TWO_COLUMNS)
    methods = ("noprop-dt", "backprop", "noprop-ct", "neural-ode")
    for ax, size, title in zip(axes, ("profile", "paper"), ("this profile's network", "the paper's network on CIFAR-10"), strict=True):
        saved, parameters = (
            np.array([record.curve(name, part="cost", method=m, size=size)[0] for m in methods]) / 2**20 for name in ("saved_bytes", "parameter_bytes")
        )
        ax.bar(range(4), saved, color=[colour(METHODS[m][1]) for m in methods], width=0.6)
        ax.scatter(range(4), parameters, marker="_", s=180, color="black", label="parameters held (not in the bars)")
        for i, value in enumerate(saved):
            ax.annotate(f"{value:.3g}", (i, value), (0, 2), textcoords="offset points", ha="center", fontsize=7)
        ax.set_xticks(range(4), ["DT,\none block", "B1", "CT", "B3"])
        ax.set(title=title, ylabel="MiB kept for the backward pass", ylim=(0, 1.25 * max(saved.max(), parameters.max())))
    axes[0].legend(loc="upper right")
    return fig


def draw_chain(record: Record, dataset: str) -> Figure:
    """Left: what each block and each state of a NoProp-DT chain knows. Right: the sampler with and without its noise, against the number of blocks."""
    fig, (left, right) = plt.subplots(1, 2, figsize=TWO_COLUMNS, width_ratios=(1.3, 1))
    where = {"part": "accuracy", "dataset": dataset, "method": "noprop-dt", "embedding": "one-hot"}
    T = record.config["T"]
    t = np.arange(1, T + 1)
    blind = record.curve("accuracy_of_block", part="blind", dataset=dataset)
    band(left, t, 100 * record.curve("accuracy_of_block", **where), r"block $t$ in the chain", "method", marker=True, show_n=False)
    band(left, t, 100 * record.curve("accuracy_of_block_from_noise", **where), r"block $t$ on $z \sim N(0, I)$", "variant2", marker=True, show_n=False)
    band(left, np.arange(T + 1), 100 * record.curve("accuracy_of_state", **where), r"$\theta_{out}$ on $z_t$", "variant", marker=True, show_n=False)
    band(left, t, 100 * blind, "block $t$, trained without image", "control", marker=True, show_n=False)
    left.set(xlabel="$t$", ylabel=f"test accuracy on {dataset} (%)", ylim=(0, 102))
    left.legend(loc="lower left", bbox_to_anchor=(0, 0.45), title=f"bands: 95% CI, n = {len(record.seeds)}", title_fontsize=7)
    depths = {T: where} | {other: {"part": "depth", "dataset": dataset, "T": other} for other in record.config["other_T"]}
    for shift, name, label, role in ((-0.15, "accuracy", "sampler with noise", "method"), (0.15, "accuracy_without_noise", "without noise", "baseline3")):
        for i, depth in enumerate(sorted(depths)):
            whiskers(right, i + shift, 100 * record.curve(name, **depths[depth]), label if i == 0 else None, role)
    right.set_xticks(range(len(depths)), sorted(depths))
    right.set(xlabel="blocks $T$", xlim=(-0.6, len(depths) - 0.4))
    right.margins(y=0.2)
    right.legend(loc="lower left")
    return fig


def draw_images(record: Record, dataset: str) -> Figure:
    """Class probabilities of the blocks along the chain, for the test images of the first seed that the blocks are least sure of."""
    where = {"part": "accuracy", "dataset": dataset, "method": "noprop-dt", "embedding": "one-hot"}
    images, labels, probabilities = (record.curve(f"shown_{name}", **where)[0] for name in ("images", "labels", "probabilities"))
    fig, axes = plt.subplots(2, len(images), figsize=(TWO_COLUMNS[0], ONE_COLUMN[1]), height_ratios=(1, 1.5))
    for column, (image, label, along) in enumerate(zip(images, labels, probabilities, strict=True)):
        picture = (image - image.min()) / (image.max() - image.min())
        axes[0, column].imshow(picture.transpose(1, 2, 0).squeeze(), cmap="gray_r")
        axes[0, column].axis("off")
        axes[0, column].set_title(f"true class {label}")
        heat = axes[1, column].imshow(along.T, cmap="Blues", vmin=0, vmax=1, aspect="auto", extent=(0.5, len(along) + 0.5, 9.5, -0.5))
        axes[1, column].set(xlabel="block $t$", yticks=range(0, 10, 3))
    axes[1, 0].set_ylabel("class")
    fig.colorbar(heat, ax=axes[1].tolist(), label="probability")
    return fig


if __name__ == "__main__":
    draw_figures(__file__)
