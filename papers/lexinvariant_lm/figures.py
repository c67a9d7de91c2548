"""The figures, drawn from the record alone."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from shared.engine import Record, draw_figures
from shared.figures import TWO_COLUMNS, band, criterion, reported, style, whiskers

SHADES = {"method": "variant", "baseline": "variant2"}
NETWORKS = {0.0: ("standard", "baseline"), 1.0: ("lexinvariant", "method")}


def lm(record: Record, name: str, random_share: float, text: str = "english") -> np.ndarray:
    return record.curve(name, experiment="lm", text=text, random_share=random_share)


def smoothed(curves: np.ndarray, window: int = 5) -> np.ndarray:
    """Running mean along positions, shorter at both ends."""
    weights = np.ones(window)
    return np.stack([np.convolve(curve, weights, "same") / np.convolve(np.ones_like(curve), weights, "same") for curve in curves])


def loss_by_position(record: Record) -> Figure:
    """Losses of both networks and of counting, and the ratio of perplexities, by the length of the context."""
    texts = list(dict.fromkeys(record.select(experiment="lm").text))
    fig, axes = plt.subplots(1, len(texts) + 1, figsize=TWO_COLUMNS)
    for ax, text in zip(axes, texts, strict=False):
        positions = np.arange(1, lm(record, "loss", 1.0, text).shape[1] + 1)
        for name, role in (("unigram", "control"), ("bigram", "baseline2")):
            counted = record.curve(f"loss_{name}", experiment="adaptive", text=text)
            band(ax, positions, smoothed(counted), f"adaptive {name}s", role, show_n=False)
        for share, (label, role) in NETWORKS.items():
            band(ax, positions, smoothed(lm(record, "loss", share, text)), label, role, show_n=False)
        band(ax, positions, smoothed(lm(record, "loss_cipher", 0.0, text)), "standard, enciphered", "variant2", show_n=False)
        ax.set(xscale="log", xlabel="symbols read (log scale)", ylabel="loss (nats per character)", title=f"held-out {text}, running mean of 5")
    handles = axes[0].get_legend_handles_labels()
    for text, role in zip(texts, ("method", "variant"), strict=False):
        ratio = np.exp(smoothed(lm(record, "loss", 1.0, text) - lm(record, "loss", 0.0, text)))
        band(axes[-1], np.arange(1, ratio.shape[1] + 1), ratio, text, role)
    axes[-1].set(xscale="log", xlabel="symbols read (log scale)", ylabel="perplexity ratio", ylim=(0.9, 1.3 * ratio.max()), title="lexinvariant / standard")
    criterion(axes[-1], None, 2, label="claimed at the end: below 2")
    axes[-1].legend(loc="upper right")
    fig.legend(*handles, loc="outside lower center", ncols=5, title=f"95% CI, n = {len(record.seeds)}")
    return fig


def training(record: Record) -> Figure:
    """Loss on training text over the steps: the lexinvariant model learns late."""
    fig, ax = plt.subplots(figsize=(3.5, 2.6))
    for share, (label, role) in NETWORKS.items():
        band(ax, lm(record, "steps", share)[0], lm(record, "training_loss", share), label, role)
    counted = record.curve("loss_unigram", experiment="adaptive", text="english").mean()
    ax.axhline(counted, color="#7F7F7F", linewidth=0.8, label="adaptive unigrams, held-out text")
    ax.set(xlabel="step", ylabel="loss (nats per character)")
    ax.legend()
    return fig


def deciphering(record: Record) -> Figure:
    """Share of letters read rightly by the length of the enciphered prompt."""
    fig, ax = plt.subplots(figsize=(4.2, 2.8))
    lengths = record.config["probe_contexts"]
    readings = {
        "probe_accuracy": ("probe, where the symbol last occurred", "method"),
        "probe_accuracy_end": ("probe, behind the last symbol", "variant"),
        "probe_accuracy_shuffled": ("probe trained on shuffled labels", "control"),
        "frequency_accuracy": ("matching frequencies", "baseline"),
        "em_accuracy": ("bigrams and EM", "baseline2"),
    }
    for name, (label, role) in readings.items():
        band(ax, lengths, lm(record, name, 1.0), label, role, marker=True, show_n=False)
    reported(ax, 0.996, "paper, longest prompts")
    ax.set_xscale("log", base=2)
    ax.set_xticks(lengths, lengths)
    ax.set(xlabel="symbols of cipher text (log scale)", ylabel="letters read rightly", ylim=(0, 1.03))
    fig.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2, title=f"95% CI, n = {len(record.seeds)}")
    return fig


def reasoning(record: Record) -> Figure:
    """Accuracy on LookUp and Permutation by the number of examples: the best of all symbols, and of the letters alone."""
    fig, axes = plt.subplots(1, 2, figsize=(6.6, 3.4), sharey=True)
    shots = record.config["shots"]
    chances = {"lookup_accuracy": ("LookUp", "pairs"), "permutation_accuracy": ("Permutation", "examples")}
    for ax, (name, (title, unit)) in zip(axes, chances.items(), strict=True):
        for share, (label, role) in NETWORKS.items():
            for shift, suffix, among, shade in ((-0.21, "", "all symbols", role), (0.07, "_letters", "letters", SHADES[role])):
                for i, values in enumerate(lm(record, name + suffix, share).T):
                    whiskers(ax, i + shift + (0.14 if share else 0), values, f"{label}, best of {among}" if i == 0 else None, shade)
        ax.axhline(1 / 26, color="#7F7F7F", linestyle=(0, (1, 1)), linewidth=0.9, label="chance among letters, 1/26")
        ax.set_xticks(range(len(shots)), shots)
        ax.set(xlabel=f"{unit} in the prompt", title=title)
    axes[0].set(ylabel="answer symbols predicted rightly", ylim=(0, None))
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, title=f"95% CI, n = {len(record.seeds)}")
    return fig


def ideal_predictor(record: Record) -> Figure:
    """Excess loss of the ideal lexinvariant predictor, with the slopes of the theorem's bound and of log(V!)/T."""
    fig, ax = plt.subplots(figsize=(3.5, 2.8))
    lengths, excess = record.curve("lengths", experiment="ideal")[0], record.curve("excess", experiment="ideal")
    band(ax, lengths, excess, "ideal predictor", "method", marker=True)
    at = lengths[len(lengths) // 2], excess.mean(axis=0)[len(lengths) // 2]
    for slope, dash in ((-0.25, (0, (2, 2))), (-1, (0, (5, 2)))):
        ax.plot(lengths, at[1] * (lengths / at[0]) ** slope, color="#555555", linewidth=0.9, linestyle=dash, label=f"slope {slope:g}")
    ax.set(xscale="log", yscale="log", xlabel="T (log scale)", ylabel="excess loss (nats per symbol, log scale)")
    ax.legend()
    return fig


def draw(record: Record) -> dict[str, Figure]:
    with style():
        drawings = (loss_by_position, training, deciphering, reasoning, ideal_predictor)
        return {drawing.__name__: drawing(record) for drawing in drawings}


if __name__ == "__main__":
    draw_figures(__file__)
