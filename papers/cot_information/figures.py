"""Figures from the record alone: information of hypotheses, I(eps) by detail (Fig. 2 left), learning (Fig. 2 right), prediction against measurement."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from papers.cot_information.model import enough_examples, information, relative_value, too_few_examples
from shared.engine import Record, draw_figures
from shared.figures import TWO_COLUMNS, band, colour, interval, reported, style

GREY = "#7F7F7F"


def draw(record: Record) -> dict[str, Figure]:
    """All figures by file name."""
    with style():
        return {
            "hypotheses": hypotheses(record),
            "information": information_by_detail(record),
            "examples_needed": examples_needed(record),
            "zero_error": zero_error(record),
            "prediction": prediction(record),
            "detail": value_by_detail(record),
        }


def details(record: Record) -> list[int]:
    """How many states are revealed, ascending."""
    return sorted(record.config["details"])


def shades(record: Record) -> dict[int, tuple]:
    """A colour for each detail, darker with more of the trace."""
    return dict(zip(details(record), plt.cm.viridis_r(np.linspace(0.1, 1, len(details(record)))), strict=True))


def automaton(record: Record, name: str, detail: int) -> np.ndarray:
    """A theoretical curve of the reference automaton, the same for all seeds."""
    return record.curve(name, experiment="automaton", detail=detail)[0]


def draw_step(ax, eps: np.ndarray, value: np.ndarray, **look) -> None:
    """A curve over levels as the step function of eps that it is: value i from the level before to level i, the first one from the left edge."""
    ax.step(np.append(eps[0] / 2, eps), np.append(value[0], value), where="pre", **look)


def hypotheses(record: Record) -> Figure:
    """I(h*, h) against the error of h, with the lower edge I(eps), for the reference automaton and one random linear threshold."""
    first = record.select(experiment="linear", threshold=">=", bits="0, 1").sort_values("seed").iloc[0]
    full = record.select(experiment="automaton", detail=details(record)[-1]).sort_values("seed").iloc[0]
    fig, axes = plt.subplots(1, 2, figsize=(7.0, 3.1))
    for ax, row, title in zip(axes, (full, first), ("automata, reference $h^*$", "linear thresholds, a random $h^*$"), strict=True):
        drawn = (row.pair_risk > 0) & (row.pair_survival > 0)
        ax.scatter(row.pair_risk[drawn], information(row.pair_survival[drawn]), s=7, color=GREY, linewidth=0, label="hypotheses (a sample)")
        infinite = row.pair_risk[(row.pair_risk > 0) & (row.pair_survival == 0)]
        top = ax.get_xaxis_transform()  # x in data, y in shares of the height
        ax.scatter(infinite, np.full(len(infinite), 1.0), s=9, marker="^", color=GREY, linewidth=0, transform=top, clip_on=False, label="of infinite $I$")
        finite = row.survival_at > 0
        draw_step(ax, row["levels"][finite], information(row.survival_at[finite]), color=colour("method"), label="$I(\\epsilon)$")
        eps = np.geomspace(row["levels"][0] / 2, 0.99, 100)
        ax.plot(eps, -np.log1p(-eps), color=colour("baseline"), linestyle="--", label="$-\\log(1-\\epsilon)$, trace tells nothing")
        ax.set(xscale="log", yscale="log", xlabel="error $P[h \\neq h^*]$ on answers, and $\\epsilon$ (log)", title=title)
        ax.tick_params(which="minor", labelbottom=False, labelleft=False)
    axes[0].set_ylabel("$I(h^*, h)$ (nats, log)")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, columnspacing=1.2)
    return fig


def information_by_detail(record: Record) -> Figure:
    """I(eps) against eps, and I(eps)/eps+ against eps+, for every detail of the trace."""
    fig, axes = plt.subplots(1, 2, figsize=TWO_COLUMNS)
    for detail, hue in shades(record).items():
        eps, survival = automaton(record, "levels", detail), automaton(record, "survival_at", detail)
        eps, I = eps[survival > 0], information(survival[survival > 0])
        draw_step(axes[0], eps, I, color=hue)
        axes[1].plot(eps, I / eps, color=hue, label=f"{detail:.0f} state{'s' * (detail != 1)}" if detail else "none (end to end)")
    reported(axes[1], 600, "paper, about")
    axes[0].set(xscale="log", yscale="log", xlabel="error $\\epsilon$ (log)", ylabel="$I(\\epsilon)$ (nats, log)")
    axes[1].set(xscale="log", yscale="log", xlabel="next larger error $\\epsilon_+$ (log)", ylabel="$I(\\epsilon)\\,/\\,\\epsilon_+$ (log)")
    axes[1].legend(loc="center left", bbox_to_anchor=(1, 0.5), title="revealed of the trace", title_fontsize=7)
    return fig


def examples_needed(record: Record) -> Figure:
    """m_emp against eps+ for both rules, with the bounds of Results 1 and 4."""
    count = record.config["states"] ** (2 * record.config["states"]) * len(record.config["accept_sets"])
    delta = record.config["upper_delta"]
    fig, ax = plt.subplots(figsize=(6.0, 3.0))
    for detail, label, role in ((details(record)[-1], "CoT-Cons", "method"), (0, "E2E-Cons", "baseline")):
        eps, survival = automaton(record, "levels", detail), automaton(record, "survival_at", detail)
        needed = record.curve("needed_at", experiment="automaton", detail=detail)
        band(ax, eps, needed, label, role)
        finite = survival > 0
        rate = information(survival[finite])
        ax.plot(eps[finite], enough_examples(count, delta, rate), color=colour(role), linestyle=":", linewidth=1, label="enough, Result 1")
        ax.plot(eps[finite], np.maximum(1, too_few_examples(record.config["lower_delta"], rate)), color=colour(role), linewidth=0.7, label="too few, Result 4")
    ax.set(xscale="log", yscale="log", xlabel="next larger error $\\epsilon_+$ (log)", ylabel="examples $m$ (log)")
    ax.set_title("all consistent automata have error $\\leq \\epsilon$")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), title=f"$\\delta$ = {delta} (enough), {record.config['lower_delta']} (too few)", title_fontsize=7)
    return fig


def zero_error(record: Record) -> Figure:
    """P(zero error) against m with its union bounds, and the expected error of a random consistent automaton."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.0, 3.0))
    for detail, label, role in ((details(record)[-1], "full trace", "method"), (0, "answers only", "baseline")):
        sizes = automaton(record, "sizes", detail)
        needed = record.select(experiment="automaton", detail=detail).needed.to_numpy(float)
        at_least, at_most = automaton(record, "failure_at_least", detail), automaton(record, "failure_at_most", detail)
        left.fill_between(sizes, 1 - at_most, 1 - at_least, color=colour(role), alpha=0.15, linewidth=0, label=f"{label}: between exact bounds")
        left.plot(sizes, [(needed <= m).mean() for m in sizes], color=colour(role), drawstyle="steps-post", label=f"{label}: share of {len(needed)} seeds")
        curve = record.curve("consistent_error", experiment="automaton", detail=detail)
        mean, low, high = interval(curve)
        shown = mean > 0
        right.plot(sizes[shown], mean[shown], color=colour(role), label=f"{label} (95% CI, n = {len(curve)})")
        right.fill_between(sizes[shown], np.maximum(low[shown], 1e-7), high[shown], color=colour(role), alpha=0.2, linewidth=0)
    left.set(xscale="log", xlabel="examples $m$ (log)", ylabel="P(all consistent $h$ have zero error)")
    right.set(xscale="log", yscale="log", xlabel="examples $m$ (log)", ylabel="error of a random consistent $h$ (log)", ylim=(1e-6, 1))
    left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=2, columnspacing=0.8, fontsize=6.5)
    right.legend(loc="upper right")
    return fig


def prediction(record: Record) -> Figure:
    """Measured against predicted value of a trace across targets; and the distribution of the predicted value, also for targets like the reference."""
    fig, axes = plt.subplots(1, 3, figsize=(7.0, 2.7))
    families = {
        "linear thresholds": (record.select(experiment="linear", threshold=">=", bits="0, 1"), "method"),
        "automata": (record.select(experiment="random automata"), "baseline2"),
    }
    for ax, (title, (rows, role)) in zip(axes[:2], families.items(), strict=True):
        eps_plus, survival, cot, e2e = (np.concatenate(rows[name].to_list()) for name in ("eps_plus", "survival", "needed_cot", "needed_e2e"))
        finite = survival > 0
        predicted, gain = relative_value(survival[finite], eps_plus[finite]), (e2e / cot)[finite]
        ax.scatter(predicted, gain, s=6, color=colour(role), alpha=0.5, linewidth=0)
        ends = np.array([min(predicted.min(), gain.min()), max(predicted.max(), gain.max())])
        ax.plot(ends, ends, color="#444444", linewidth=0.7, linestyle="--", label="equal")
        ax.set(xscale="log", yscale="log", xlabel="$I(0)\\,/\\,\\epsilon_+$ (log)", title=f"{title}, {len(cot)} random $h^*$")
        ax.legend(loc="upper left")
    axes[0].set_ylabel("measured gain $m_{E2E}\\,/\\,m_{CoT}$ (log)")

    share = np.linspace(0, 1, 101)
    for threshold, bits, dash in ((">=", "0, 1", "-"), (">", "0, 1", "--"), (">=", "-1, 1", ":")):
        inverse = record.curve("inverse_value", experiment="census", threshold=threshold, bits=bits)[0][::-1]
        label = f"linear, all $h^*$, {'≥' if threshold == '>=' else '>'}, bits {bits}"
        axes[2].plot(1 / inverse[inverse > 0], share[inverse > 0], color=colour("method"), linestyle=dash, label=label)
    rows, _ = families["automata"]
    values = [np.concatenate(rows[name].to_list()) for name in ("survival", "eps_plus")]
    value = relative_value(*values)
    like_reference = values[1] == record.select(experiment="automaton").eps_plus.iloc[0]
    for chosen, label, dash in (
        (value, f"automata, {len(value)} random $h^*$", "-"),
        (value[like_reference], "those with the reference's $\\epsilon_+$", "--"),
    ):
        axes[2].plot(np.sort(chosen), (np.arange(len(chosen)) + 1) / len(chosen), color=colour("baseline2"), linestyle=dash, label=label)
    reported(axes[2], 6, "paper: linear 6, its automaton 600", horizontal=False)
    reported(axes[2], 600, None, horizontal=False)
    axes[2].set(xscale="log", xlabel="$I(0)\\,/\\,\\epsilon_+$ (log)", ylabel="share of targets below", title="distribution", ylim=(0, 1.75))
    axes[2].set_yticks([0, 0.25, 0.5, 0.75, 1])
    axes[2].legend(loc="upper left", fontsize=6, frameon=True, framealpha=1, edgecolor="none", borderpad=0.1)
    return fig


def value_by_detail(record: Record) -> Figure:
    """Predicted and measured value of the trace against how many of its states are revealed."""
    fig, ax = plt.subplots(figsize=(4.2, 2.7))
    shown = details(record)
    predicted = [
        relative_value(*(record.select(experiment="automaton", detail=r)[name].astype(float).iloc[0] for name in ("survival", "eps_plus"))) for r in shown
    ]
    e2e = record.select(experiment="automaton", detail=0).set_index("seed").needed.astype(float)
    gains = [e2e / record.select(experiment="automaton", detail=r).needed.mean() for r in shown]
    mean, low, high = np.array([interval(gain) for gain in gains]).T
    ax.plot(shown, predicted, color=colour("theory"), label="predicted, $I(0)\\,/\\,\\epsilon_+$")
    error = [mean - low, high - mean]
    ax.errorbar(shown, mean, error, color=colour("method"), marker="o", capsize=2.5, linestyle="none", label=f"measured (95% CI, n = {len(e2e)})")
    ax.axhspan(100, 1000, color=GREY, alpha=0.12, linewidth=0, label="paper, measured, full trace")
    reported(ax, 600, "paper, predicted, full trace")
    ax.set(yscale="log", xlabel="revealed states of the trace", ylabel="value of one example (log)", ylim=(0.7, 5e3))
    ax.legend(loc="lower right")
    return fig


if __name__ == "__main__":
    draw_figures(__file__)
