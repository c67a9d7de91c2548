"""The figures, drawn from the record alone."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from papers.grokking_lazy_to_rich.claims import EPS, alpha_table, delay, image_delay, test_loss
from shared.effects import log_log_fit
from shared.engine import Record, chosen, draw_figures
from shared.figures import ROLES, TWO_COLUMNS, band, colour, interval, log_band, style, whiskers

SHADES = plt.get_cmap("viridis")


def log_line(ax, steps: np.ndarray, values: np.ndarray, hue, label: str | None = None, dash="-") -> None:
    """A line of geometric means and its 95 % band from step 1 on; ``values`` is (seeds, steps)."""
    mean, low, high = (10**limit for limit in interval(np.log10(np.maximum(values[:, 1:], 1e-30))))
    ax.plot(steps[1:], mean, color=hue, linestyle=dash, label=label)
    ax.fill_between(steps[1:], low, high, color=hue, alpha=0.2, linewidth=0)


def shade(i: int, count: int):
    """The colour of the i-th of so many settings of a sweep."""
    return SHADES(0.05 + 0.85 * i / (count - 1))


def task_power(record: Record) -> np.ndarray:
    """E y^2 of each seed's teacher, as a column: the exact test loss of the zero function, where f - f_0 starts."""
    return test_loss(chosen(record.trials, experiment="dynamics", alpha=1.0, eps=EPS, centred=True))[:, :1]


def headline(record: Record) -> Figure:
    """Losses of the net, of its linearisation and of kernel regression; and what moves meanwhile: the norm and the kernel's alignment."""
    rows = chosen(record.trials, experiment="dynamics", alpha=1.0, eps=EPS, centred=True)
    steps, n = rows.steps.iloc[0], len(rows)
    fig, (losses, features) = plt.subplots(1, 2, figsize=TWO_COLUMNS)
    power = task_power(record)
    curves = {
        "net, test (exact)": (test_loss(rows), "method"),
        "net, train": (np.stack(rows.train_loss.to_list()), "variant"),
        "linearised, test": (np.stack(rows.linear_test_loss.to_list()), "baseline"),
        "linearised, train": (np.stack(rows.linear_train_loss.to_list()), "variant2"),
    }
    for label, (values, role) in curves.items():
        log_line(losses, steps, values / power, colour(role), label, ROLES[role][2])
    kernel = np.exp(np.log(rows.kernel_test_loss / power[:, 0]).mean())
    losses.axhline(kernel, color="black", linewidth=0.8, linestyle=(0, (2, 2)), label="initial-kernel regression, test")
    losses.set(
        xscale="log",
        yscale="log",
        ylim=(3e-3, 2),
        xlabel="step (log scale)",
        ylabel=r"loss / $E\,y^2$ (log scale)",
        title=rf"$\alpha = 1$, $\epsilon = {EPS:g}$",
    )
    losses.legend()
    band(features, steps[1:], np.stack(rows.alignment.to_list())[:, 1:], "alignment of the kernel (CKA)", "method", show_n=False)
    features.set(xscale="log", xlabel="step (log scale)", ylabel="CKA", title=f"95% CI, n = {n}")
    norm = features.twinx()
    trace = np.stack(rows.trace.to_list())
    band(norm, steps[1:], (trace / trace[:, :1])[:, 1:], r"$\mathrm{tr}\,M$ / initial", "baseline", show_n=False)
    norm.spines["right"].set_visible(True)
    norm.set_ylabel(r"$\mathrm{tr}\,M$ / initial")
    handles = [ax.get_legend_handles_labels() for ax in (features, norm)]
    features.legend(handles[0][0] + handles[1][0], handles[0][1] + handles[1][1], loc="upper left")
    return fig


def loss_terms(record: Record) -> Figure:
    """The three terms of the test loss over training."""
    fig, axes = plt.subplots(1, 2, figsize=TWO_COLUMNS, sharey=True)
    largest = max(record.config["alphas"])
    for ax, alpha in zip(axes, (1.0, largest), strict=True):
        rows = chosen(record.trials, experiment="dynamics", alpha=alpha, eps=EPS, centred=True)
        steps, terms = rows.steps.iloc[0], np.stack(rows.test_terms.to_list()) / task_power(record)[:, :, None]
        for i, (label, role) in enumerate((("variance", "baseline"), ("misalignment", "method"), ("linear power", "baseline2"))):
            log_line(ax, steps, terms[:, :, i], colour(role), label, ROLES[role][2])
        log_line(ax, steps, terms.sum(axis=2), colour("theory"), "sum: test loss")
        ax.set(xscale="log", yscale="log", ylim=(1e-4, 2), xlabel="step (log scale)", title=rf"$\alpha = {alpha:g}$")
    axes[0].set_ylabel(r"term of the test loss / $E\,y^2$ (log scale)")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, title=f"95% CI, n = {len(record.seeds)}")
    return fig


def sweep_panel(ax, record: Record, name: str, centred: bool, values: list[float]) -> None:
    """Test losses, full, and train losses, dotted, over a sweep of ``name`` at the headline's other knob."""
    other = {"alpha": {"eps": EPS}, "eps": {"alpha": 1.0}}[name]
    for i, value in enumerate(values):
        rows = chosen(record.trials, experiment="dynamics", centred=centred, **other, **{name: value})
        hue, power = shade(i, len(values)), task_power(record)
        log_line(ax, rows.steps.iloc[0], test_loss(rows) / power, hue, f"{value:g}")
        log_line(ax, rows.steps.iloc[0], np.stack(rows.train_loss.to_list()) / power, hue, None, ":")
    ax.set(xscale="log", yscale="log", ylim=(1e-3, 8), xlabel="step (log scale)")


def alpha_sweep(record: Record) -> Figure:
    """Loss curves over laziness, and the delay that the claim is about."""
    fig, (curves, gaps) = plt.subplots(1, 2, figsize=TWO_COLUMNS)
    sweep_panel(curves, record, "alpha", True, sorted(record.config["alphas"]))
    curves.set(ylabel=r"loss / $E\,y^2$ (log scale)", title="test (full) and train (dotted)")
    curves.legend(title=rf"$\alpha$ (95% CI, n = {len(record.seeds)})", loc="lower left")
    table = alpha_table(record.trials)
    for alpha, values in table.items():
        whiskers(gaps, np.log2(alpha), values, f"95% CI, n = {len(values)}" if alpha == table.columns[0] else None)
    x = np.log2(table.columns.to_numpy(float))
    slope, offset = np.polyfit(x, table.mean(), 1)
    gaps.plot(x, offset + slope * x, color=colour("theory"), linewidth=0.8, label=f"fit, slope {slope:.2f}")
    gaps.axhline(0, color="#7F7F7F", linewidth=0.6)
    gaps.set_xticks(x, [f"{alpha:g}" for alpha in table.columns])
    gaps.set(
        xlabel=r"$\alpha$ (log scale)", ylabel=r"$\log_{10}$(test step) - $\log_{10}$(train step)", title="delay; a run that never generalises counts its end"
    )
    gaps.legend()
    return fig


def eps_sweep(record: Record) -> Figure:
    """Loss curves over alignment, with and without centring, and where they end."""
    fig, axes = plt.subplots(1, 3, figsize=(7.2, 2.8))
    epsilons = sorted(record.config["epsilons"])
    for ax, centred, title in zip(axes, (True, False), (r"$f - f_0$ trained", r"$f$ trained"), strict=False):
        sweep_panel(ax, record, "eps", centred, epsilons)
        ax.set_title(title)
        rows = chosen(record.trials, experiment="dynamics", alpha=1.0, centred=centred)
        finals = np.stack([test_loss(rows[rows.eps == eps])[:, -1] for eps in epsilons], axis=1)
        log_band(axes[2], epsilons, np.maximum(finals, 1e-9), title, "method" if centred else "variant")
    kernel = np.stack([chosen(record.trials, experiment="dynamics", alpha=1.0, eps=eps, centred=True).kernel_test_loss for eps in epsilons], axis=1)
    log_band(axes[2], epsilons, kernel, "initial-kernel regression", "baseline")
    axes[0].set_ylabel(r"loss / $E\,y^2$ (log scale)")
    axes[0].legend(title=r"$\epsilon$", loc="lower left")
    axes[2].set(xscale="log", yscale="log", ylim=(3e-7, 3), xlabel=r"$\epsilon$ (log scale)", title="final test loss (log scale)")
    axes[2].set_xticks(epsilons, [f"{eps:g}" for eps in epsilons])
    axes[2].set_xticks([], minor=True)
    axes[2].legend(title=f"95% CI, n = {len(record.seeds)}", loc="lower left")
    return fig


def data_sweep(record: Record) -> Figure:
    """The delay, and the final test losses of net and kernel, over the amount of data."""
    rows = chosen(record.trials, experiment="data")
    fig, (gaps, finals) = plt.subplots(1, 2, figsize=TWO_COLUMNS)
    ratios, ends, kernels = [], [], []
    for P, of_P in rows.groupby("P"):
        ratio, curve = P / of_P["D"].iloc[0], test_loss(of_P)
        ratios.append(ratio)
        reached = (curve[:, -1] < 0.3 * curve[:, 0]).all()
        whiskers(gaps, np.log2(ratio), delay(of_P), role="method" if reached else "control")
        ends.append(np.maximum(curve[:, -1] / curve[:, 0], 1e-12))
        kernels.append(np.maximum(of_P.kernel_test_loss / curve[:, 0], 1e-12))
    gaps.axhline(0, color="#7F7F7F", linewidth=0.6)
    gaps.set_xticks(np.log2(ratios), [f"{ratio:g}" for ratio in ratios])
    gaps.set(xlabel="P / D (log scale)", ylabel=r"$\log_{10}$(test step) - $\log_{10}$(train step)", title="delay; grey: a run never generalises")
    log_band(finals, ratios, np.stack(ends, axis=1), "net", "method")
    log_band(finals, ratios, np.stack(kernels, axis=1), "initial-kernel regression", "baseline")
    finals.axhline(0.3, color="#444444", linewidth=0.7, label="generalised: below 0.3")
    finals.set(xscale="log", yscale="log", ylim=(1e-6, 10), xlabel="P / D (log scale)", ylabel="test loss / initial (log scale)", title="at the end")
    finals.set_xticks(ratios, [f"{ratio:g}" for ratio in ratios])
    finals.set_xticks([], minor=True)
    finals.legend(title=f"95% CI, n = {len(record.seeds)}")
    return fig


def exactness(record: Record) -> Figure:
    """The nets trained neuron by neuron on the closed dynamics' lines; and how loss curves concentrate."""
    fig, (nets, spread) = plt.subplots(1, 2, figsize=TWO_COLUMNS)
    seed, N = record.seeds[0], max(record.config["finite_widths"])
    net = record.select(experiment="finite", N=N, seed=seed).iloc[0]
    closed = record.select(experiment="dynamics", alpha=record.config["finite_alpha"], eps=EPS, centred=True, seed=seed).iloc[0]
    until = closed.steps <= net.steps[-1]
    nets.plot(closed.steps[until][1:], closed.train_loss[until][1:], color="black", label="closed dynamics, train")
    nets.plot(net.steps[1:], net.train_loss[1:], color=colour("method"), marker="o", linestyle="none", label=f"net of {N} neurons, train")
    nets.plot(closed.steps[until][1:], closed.test_terms.sum(axis=1)[until][1:], color="black", linestyle="--", label="closed dynamics, exact test")
    worst = record.select(experiment="finite").deviation.max()
    nets.set(xscale="log", yscale="log", xlabel="step (log scale)", ylabel="loss (log scale)", title=f"largest relative deviation: {worst:.0e}")
    nets.legend(title=f"seed {seed}")
    rows = chosen(record.trials, experiment="concentration").reset_index()
    for name, label, role in (("test_loss_spread", "test loss", "method"), ("train_loss_spread", "train loss", "baseline")):
        table = rows.pivot(index="seed", columns="D", values=name)
        D = table.columns.to_numpy(float)
        fit = log_log_fit(D, table.mean().to_numpy())
        log_band(spread, D, table.to_numpy(), f"{label}: fit {fit.slope:.2f}", role)
    spread.set(
        xscale="log", yscale="log", xlabel="D (log scale)", ylabel="std of log(loss / first loss) (log scale)", title="spread of loss curves between draws"
    )
    spread.set_xticks(D, [f"{d:g}" for d in D])
    spread.set_xticks([], minor=True)
    spread.legend(title=f"95% CI, n = {len(table)}")
    return fig


def image_sweep(record: Record) -> Figure:
    """Accuracies on real images over scales of the output, and the delay."""
    fig, (curves, gaps) = plt.subplots(1, 2, figsize=TWO_COLUMNS)
    scales, decay_used = sorted(record.config["images_scales"]), record.config["images_decay"]
    for i, scale in enumerate(scales):
        for decay, shift, role in ((decay_used, -0.1, "method"), (0.0, 0.1, "variant")):
            rows = chosen(record.trials, experiment="images", scale=scale, decay=decay)
            whiskers(gaps, i + shift, image_delay(rows), f"weight decay {decay:g}" if i == 0 else None, role)
        hue = shade(i, len(scales))
        for part, dash in (("test", "-"), ("train", ":")):  # without weight decay
            mean, low, high = interval(np.stack(rows[f"{part}_accuracy"].to_list())[:, 1:])
            curves.plot(rows.steps.iloc[0][1:], mean, color=hue, linestyle=dash, label=f"{scale:g}" if part == "test" else None)
            curves.fill_between(rows.steps.iloc[0][1:], low, high, color=hue, alpha=0.2, linewidth=0)
    curves.set(xscale="log", xlabel="step (log scale)", ylabel="accuracy", title=f"{record.config['images']}, no weight decay: test (full), train (dotted)")
    curves.legend(title=f"output scale\n95% CI, n = {len(record.seeds)}")
    gaps.set_xticks(range(len(scales)), [f"{scale:g}" for scale in scales])
    gaps.set(xlabel="output scale", ylabel=r"$\log_{10}$(test step) - $\log_{10}$(train step)", title="delay between accuracies of 0.9")
    gaps.axhline(0, color="#7F7F7F", linewidth=0.6)
    gaps.legend()
    return fig


def draw(record: Record) -> dict[str, Figure]:
    with style():
        return {
            "headline": headline(record),
            "loss_terms": loss_terms(record),
            "alpha_sweep": alpha_sweep(record),
            "eps_sweep": eps_sweep(record),
            "data_sweep": data_sweep(record),
            "exactness": exactness(record),
            "images": image_sweep(record),
        }


if __name__ == "__main__":
    draw_figures(__file__)
