"""The figures, drawn from the record alone."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from papers.pac_invariant_representations.claims import FLOOR, at_32, mean_curves, soft
from shared.effects import log_log_fit
from shared.engine import Record, chosen, draw_figures
from shared.figures import ROLES, TWO_COLUMNS, band, colour, interval, log_band, style, whiskers

PREDICTORS = {"erm": "ERM, all features", "invariant": "invariant subset", "parents": "parents of Y (oracle)", "irm": "IRMv1"}
PREDICTOR_ROLES = dict(zip(PREDICTORS, ("baseline", "method", "theory", "baseline2"), strict=True))


def dimensions(record: Record) -> list[int]:
    return sorted(int(m) for m in soft(record.trials).m.unique())


def shades(count: int):
    return plt.get_cmap("viridis")(np.linspace(0.05, 0.9, count))


def line(ax, x, values, hue, label: str | None = None, dash="-") -> None:
    """Mean over seeds and its 95 % band; ``values`` is (seeds, x). The lower limit stays on a log axis."""
    mean, low, high = interval(np.asarray(values, float))
    ax.plot(x, mean, color=hue, linestyle=dash, marker="o", markersize=2.5, label=label)
    ax.fill_between(x, np.maximum(low, FLOOR / 2), high, color=hue, alpha=0.18, linewidth=0)


def log_axes(ax, ns, ylabel: str, title: str, **settings) -> None:
    ax.set(xscale="log", yscale="log", xlabel="training interventions n (log scale)", ylabel=ylabel, title=title, **settings)
    ax.set_xticks(ns, [f"{n:g}" for n in ns])
    ax.set_xticks([], minor=True)


def learning_curves(record: Record) -> Figure:
    """nu_max against n: for every dimension with the finite-class bound; and for m = 8 between its exact bounds, with the fit and a line of slope -1."""
    fig, (sweep, one) = plt.subplots(1, 2, figsize=(7.0, 3.1), sharey=True)
    sizes = dimensions(record)
    for m, hue in zip(sizes, shades(len(sizes)), strict=True):
        rows = soft(record.trials, m=m)
        ns = rows.ns.iloc[0]
        line(sweep, ns, mean_curves(rows) + FLOOR, hue, f"m = {m}")
        sweep.plot(ns, rows.bound.iloc[0], color=hue, linewidth=0.8, linestyle=":")
    sweep.plot([], [], color="black", linewidth=0.8, linestyle=":", label=r"bound $(\ln|H| + \ln 20)/n$")
    log_axes(sweep, ns, r"$\nu_{max}$ + 0.001 (log scale)", f"all subsets of m features; 95% CI, n = {len(rows)}", ylim=(8e-4, 12))
    sweep.legend()
    m = record.config["m"]
    rows = soft(record.trials, m=m)
    for name, label, role in (("expected_upper", "union bound, exact", "baseline"), ("expected_lower", "best single one, exact", "baseline2")):
        line(one, ns, np.stack(rows[name].to_list()) + FLOOR, colour(role), label, ROLES[role][2])
    curves = mean_curves(rows) + FLOOR
    line(one, ns, curves, colour("method"), f"measured, m = {m}")
    line(one, ns, mean_curves(rows, "nu_max_risk") + FLOOR, colour("variant"), "measured, excess risk (b)", ROLES["variant"][2])
    late = ns >= 4
    if late.sum() > 2:
        fit = log_log_fit(ns[late], curves.mean().to_numpy()[late])
        slope, low, high = fit.interval()
        one.plot(ns[late], fit.predict(ns[late]), color="black", linewidth=0.9, label=f"fit, slope {slope:.2f} [{low:.2f}, {high:.2f}]")
        one.plot(ns[late], 1.6 * fit.predict(16) * (ns[late] / 16.0) ** -1, color="#7F7F7F", linewidth=0.8, linestyle="--", label="slope -1")
    log_axes(one, ns, "", "between the exact bounds on its expectation")
    one.legend()
    return fig


def survivors(record: Record) -> Figure:
    """Representations that are left, and patterns of violation that the class shows, over n."""
    fig, (left, seen) = plt.subplots(1, 2, figsize=TWO_COLUMNS, sharey=True)
    sizes = dimensions(record)
    for m, hue in zip(sizes, shades(len(sizes)), strict=True):
        rows = soft(record.trials, m=m)
        ns = rows.ns.iloc[0]
        line(left, ns, np.stack(rows.survivors.to_list()), hue, f"m = {m}")
        line(seen, ns, np.stack(rows.patterns.to_list()), hue, f"m = {m}")
        for ax in (left, seen):
            ax.axhline(2**m - 1, color=hue, linewidth=0.6, linestyle=":")
    log_axes(left, ns, "number (log scale)", "representations consistent with n interventions", ylim=(0.3, 2 ** (sizes[-1] + 1)))
    log_axes(seen, ns, "", r"different patterns of violation; dotted: $2^m - 1$")
    left.legend(title=f"95% CI, n = {len(rows)}", loc="lower left", ncols=2, bbox_to_anchor=(0, -0.01))
    return fig


def dimension_and_sites(record: Record) -> Figure:
    """nu_max at n = 32 over the number of features, of sites, and the kind of intervention."""
    fig, axes = plt.subplots(1, 3, figsize=(7.2, 2.7), sharey=True, width_ratios=(3, 2.5, 2.5))
    largest = max(record.config["ns"])

    def worst(rows, metric="nu_max"):
        return at_32(rows, metric) if largest >= 32 else mean_curves(rows, metric).iloc[:, -1]

    for ax, name, values in ((axes[0], "m", dimensions(record)), (axes[1], "sites", sorted(record.config["site_counts"]))):
        for metric, shift, role, label in (("nu_max", -0.08, "method", "distance (a)"), ("nu_max_risk", 0.08, "variant", "excess risk (b)")):
            for value in values:
                rows = soft(record.trials, m=value) if name == "m" else soft(record.trials, m=record.config["m"], sites=value)
                whiskers(ax, value + shift, worst(rows, metric), label if value == values[0] else None, role)
        ax.set_xticks(values)
    for i, kind in enumerate(record.config["kinds"]):
        for metric, shift, role in (("nu_max", -0.08, "method"), ("nu_max_risk", 0.08, "variant")):
            rows = chosen(record.trials, experiment="pac", kind=kind, m=record.config["m"], sites=record.config["sites"])
            whiskers(axes[2], i + shift, worst(rows, metric), None, role)
    wider = [m for m in dimensions(record) if m in record.config["dimensions"]][1:]
    for m in wider:
        rows = chosen(record.trials, experiment="ambient", m=m)
        whiskers(axes[0], m + 0.24, worst(rows), "(a), fixed core" if m == wider[0] else None, "baseline2")
    axes[2].set_xticks(range(len(record.config["kinds"])), record.config["kinds"])
    axes[0].set(xlabel="features m (two sites)", ylabel=rf"$\nu_{{max}}$ at n = {min(largest, 32)}", title=f"95% CI, n = {len(record.seeds)}", ylim=(0, None))
    axes[1].set(xlabel=f"sites (m = {record.config['m']})", title="more sites")
    axes[2].set(xlabel="what an intervention changes", title="kinds, two sites")
    axes[0].legend()
    return fig


def out_of_distribution(record: Record) -> Figure:
    """Distribution of risk over interventions, averaged over SEMs; and the 95 % quantile of each SEM against ERM's."""
    rows = chosen(record.trials, experiment="ood")
    fig, axes = plt.subplots(1, 3, figsize=(7.4, 2.8))
    levels = np.linspace(0, 1, 101)
    for ax, law, title in ((axes[0], "training_law", "interventions of the training law"), (axes[1], "strong", "3 times stronger")):
        for name, label in PREDICTORS.items():
            curves = np.log(np.stack(rows[f"{law}_{name}_quantiles"].to_list()))
            mean, low, high = (np.exp(limit) for limit in interval(curves))
            role = PREDICTOR_ROLES[name]
            ax.plot(levels[:-1], mean[:-1], color=colour(role), linestyle=ROLES[role][2], label=label)
            ax.fill_between(levels[:-1], low[:-1], high[:-1], color=colour(role), alpha=0.12, linewidth=0)
        ax.set(yscale="log", xlabel="quantile over interventions", title=title)
    axes[0].set_ylabel("risk / Var(Y), geometric mean (log scale)")
    top = max(axes[0].get_ylim()[1], axes[1].get_ylim()[1])
    for ax in axes[:2]:
        ax.set_ylim(axes[0].get_ylim()[0], top)
    axes[0].legend(title=f"95% CI, n = {len(rows)}")
    worst = rows[[f"strong_{name}_q95" for name in PREDICTORS]].to_numpy(float)
    for i, name in enumerate(PREDICTORS):
        if name in ("invariant", "irm"):
            role = PREDICTOR_ROLES[name]
            axes[2].scatter(worst[:, 0], worst[:, i], s=10, marker=ROLES[role][1], color=colour(role), alpha=0.7, linewidth=0, label=PREDICTORS[name])
    limits = [worst.min() * 0.8, worst.max() * 1.2]
    axes[2].plot(limits, limits, color="#7F7F7F", linewidth=0.7)
    axes[2].set(xscale="log", yscale="log", xlabel="ERM (log scale)", ylabel="predictor (log scale)", title="95% quantile of each SEM")
    axes[2].legend()
    return fig


def finite_samples(record: Record) -> Figure:
    """Worst violation and survivors over the samples N; and the error of an estimated optimum beside its exact expectation."""
    rows = chosen(record.trials, experiment="finite").reset_index()
    N = np.array(sorted(rows["N"].unique()), float)

    def table(name):
        return rows.pivot(index="seed", columns="N", values=name).to_numpy(float)

    fig, (violation, left, error) = plt.subplots(1, 3, figsize=(7.2, 2.7))
    cases = (
        ("nu_max", r"certified at $\epsilon'$, violated at $2\epsilon'$", "method"),
        ("nu_max_same_level", r"both at $\epsilon'$", "variant"),
        ("nu_max_no_slack", r"both at $\epsilon$", "baseline"),
    )
    for name, label, role in cases:
        band(violation, N, table(name), label, role, marker=True, show_n=False)
        band(left, N, table(f"{name}_survivors"), label, role, marker=True, show_n=False)
    violation.set(xscale="log", xlabel="samples N (log scale)", ylabel=r"$\nu_{max}$", title=f"{record.config['train']} environments", ylim=(0, None))
    violation.legend(title=f"95% CI, n = {len(record.seeds)}")
    left.set(xscale="log", xlabel="samples N (log scale)", title=f"certified subsets of {2 ** record.config['m'] - 1}", ylim=(0, None))
    log_band(error, N, table("rms_error"), "measured", "method")
    log_band(error, N, table("rms_expected"), "exact expectation", "baseline")
    middle = np.exp(np.log(table("rms_expected")[:, -1]).mean())
    error.plot(N, middle * (N / N[-1]) ** -0.5, color="black", linewidth=0.8, label="slope -1/2")
    error.set(xscale="log", yscale="log", xlabel="samples N (log scale)", title=r"rms of $\|\hat w - w\|$ (log scale)")
    error.legend()
    return fig


def latent_and_unfaithful(record: Record) -> Figure:
    """The curves of the latent model, and of cancelling paths beside paths that do not cancel, each with the finite-class bound."""
    fig, (latent, unfaithful) = plt.subplots(1, 2, figsize=TWO_COLUMNS, sharey=True)
    rows = chosen(record.trials, experiment="latent")
    ns = rows.ns.iloc[0]
    line(latent, ns, mean_curves(rows) + FLOOR, colour("method"), f"measured (95% CI, n = {len(rows)})")
    latent.plot(ns, rows.bound.iloc[0], color="black", linewidth=0.8, linestyle=":", label="bound")
    log_axes(latent, ns, r"$\nu_{max}$ + 0.001 (log scale)", f"Z = M X + noise: {record.config['latent_p']} coordinates of {record.config['latent_m']}")
    latent.legend()
    for cancel, label, role in ((True, "paths cancel: unfaithful", "method"), (False, "paths add", "baseline")):
        rows = chosen(record.trials, experiment="unfaithful", cancel=cancel)
        line(unfaithful, ns, mean_curves(rows) + FLOOR, colour(role), label, ROLES[role][2])
    unfaithful.plot(ns, rows.bound.iloc[0], color="black", linewidth=0.8, linestyle=":", label="bound")
    log_axes(unfaithful, ns, "", "two paths from a parent of Y")
    unfaithful.legend()
    return fig


def linear_representations(record: Record) -> Figure:
    """The worst violation among consistent linear representations, by the way they were found."""
    trials = chosen(record.trials, experiment="linear")
    ranks = sorted(int(r) for r in trials.r.unique())
    fig, axes = plt.subplots(1, len(ranks), figsize=(3.4 * len(ranks), 2.8), sharey=True, squeeze=False)
    for ax, r in zip(axes[0], ranks, strict=True):
        rows = trials[trials.r == r]
        ns = rows.ns.iloc[0]
        for name, label, role in (
            ("deceptive", "searched: passes, fails elsewhere", "method"),
            ("random", f"random, {record.config['linear_random']}", "baseline"),
            ("invariant", "searched: most invariant", "baseline2"),
        ):
            line(ax, ns, np.stack(rows[f"nu_{name}"].to_list()) + FLOOR, colour(role), label, ROLES[role][2])
        worst = np.stack([np.stack(rows[f"nu_{name}"].to_list()) for name in ("deceptive", "random", "invariant")]).max(axis=0).mean(axis=0) + FLOOR
        ax.plot(ns, 1.5 * worst[0] * (ns / ns[0]) ** -1.0, color="black", linewidth=0.8, label="slope -1")
        log_axes(ax, ns, r"$\nu_{max}$ + 0.001 (log scale)" if r == ranks[0] else "", f"rank {r}; 95% CI, n = {len(rows)}")
        ax.legend()
    return fig


def draw(record: Record) -> dict[str, Figure]:
    with style():
        return {
            "learning_curves": learning_curves(record),
            "survivors": survivors(record),
            "dimension_and_sites": dimension_and_sites(record),
            "out_of_distribution": out_of_distribution(record),
            "finite_samples": finite_samples(record),
            "latent_and_unfaithful": latent_and_unfaithful(record),
            "linear_representations": linear_representations(record),
        }


if __name__ == "__main__":
    draw_figures(__file__)
