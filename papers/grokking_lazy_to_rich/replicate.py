"""Grokking as the Transition from Lazy to Rich Training Dynamics (Kumar, Bordelon, Gershman, Pehlevan, 2023), replicated.

What is run: (A-D) the exact closed dynamics of the toy model over laziness alpha, alignment eps and the amount of data, beside its linearisation and kernel
regression with the initial kernel; (finite) the net itself, neuron by neuron, beside the closed dynamics; (concentration) how fast loss curves of different
draws come together as D grows, the premise of the paper's DMFT; (images) an MLP on real digits over scales of its output.
Hardware: two CPU cores; a few minutes for the cpu profile.
The number to reach: none is printed; grokking without regularisation, with a delay that grows with alpha.

    python -m papers.grokking_lazy_to_rich.replicate --profile cpu
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import jax
import numpy as np
from annotated_types import Ge, Gt, Len

from papers.grokking_lazy_to_rich import images, model
from papers.grokking_lazy_to_rich.model import draw_problem
from shared.engine import main
from shared.optim.many import stack_runs, train_many

Count = Annotated[int, Ge(1)]
Several = Annotated[int, Ge(2)]
Positive = Annotated[float, Gt(0)]


@dataclass(frozen=True)
class Config:
    D: Count = 40
    """Input dimension. Paper: 100."""
    ratio: Positive = 5.5
    """P / D, train points over dimensions. Paper: 5.5 (P = 550)."""
    N: Count = 500
    """Hidden neurons. Paper: 500."""
    eta0: Positive = 0.5
    """Step size in units of N / alpha^2. Paper: 0.5."""
    steps: Several = 30_000
    """Gradient steps. Paper: 60 000, and 100 000 for its headline run."""
    points: Several = 90
    """Measurements on the way, evenly spaced on a log axis."""
    test_points: Several = 300
    """Fresh inputs on which the kernel's alignment with the task is measured. Paper: 1000. The test loss itself is exact."""
    alphas: Annotated[tuple[Positive, ...], Len(2)] = (0.125, 0.5, 1.0, 2.0, 8.0)
    """Laziness, at the headline eps. Paper: 1/32 to 32."""
    headline_eps: Positive = 0.25
    """Alignment in the alpha sweep and the data sweep. Paper: 0.25; its headline run, at 0.02, takes longer than there is time for."""
    epsilons: Annotated[tuple[Positive, ...], Len(2)] = (0.25, 0.5, 1.0, 2.0, 4.0)
    """Alignment, at alpha = 1, trained with and without centring."""

    data_D: Count = 20
    """Input dimension of the data sweep."""
    data_ratios: Annotated[tuple[Positive, ...], Len(1)] = (1.0, 2.0, 5.5, 10.0, 20.0, 40.0)
    """P / D of the data sweep, at alpha = 1."""
    data_steps: Several = 20_000
    """Its gradient steps."""

    finite_widths: Annotated[tuple[Count, ...], Len(1)] = (50, 500)
    """Hidden neurons of the nets trained neuron by neuron."""
    finite_alpha: Positive = 1.0
    """Their laziness."""
    finite_steps: Several = 1000
    """Their gradient steps."""

    crowd_dimensions: Annotated[tuple[Count, ...], Len(1)] = (8, 20, 40, 80)
    """Input dimensions at which the spread of loss curves is measured, N = 5 D. The spec's: 20, 40, 80."""
    crowd: Several = 20
    """Independent draws of teacher, data and weights for each dimension and each seed."""
    crowd_steps: Count = 15
    """Gradient steps of each, in units of D: the time that learning takes."""

    images: Literal["digits", "mnist"] = "digits"
    """Real images. Paper: 1000 images of MNIST."""
    images_hidden: Count = 100
    """Width of the MLP. Paper: 200."""
    images_size: Positive = 10.0
    """Size of its initial weights. Paper: 150."""
    images_scales: Annotated[tuple[Positive, ...], Len(2)] = (1.0, 10.0, 50.0, 250.0)
    """Scales of its output. Paper: 0.001 to 0.5, with much larger weights."""
    images_steps: Several = 20_000
    """Steps of AdamW. Paper: 250 000."""
    images_batch: Count = 100
    """Images a step. Paper: 200."""
    images_lr: Positive = 1e-3
    """Step size. Paper: 0.001."""
    images_decay: Annotated[float, Ge(0)] = 0.01
    """Weight decay. Paper: 0.01. Every scale runs without it too."""

    @property
    def P(self) -> int:
        return max(1, round(self.ratio * self.D))


def conditions(config: Config) -> list[dict]:
    headline = {"experiment": "dynamics", "D": config.D, "P": config.P, "alpha": 1.0, "eps": config.headline_eps, "centred": True}
    grid = [headline]
    grid += [headline | {"alpha": alpha} for alpha in config.alphas]  # B
    grid += [headline | {"eps": eps, "centred": centred} for centred in (True, False) for eps in config.epsilons]  # C
    grid += [headline | {"experiment": "data", "D": config.data_D, "P": max(1, round(ratio * config.data_D))} for ratio in config.data_ratios]  # D
    grid += [{"experiment": "finite", "N": N} for N in config.finite_widths]
    grid += [{"experiment": "concentration", "D": D} for D in config.crowd_dimensions]
    grid += [{"experiment": "images", "scale": scale, "decay": decay} for decay in (config.images_decay, 0.0) for scale in config.images_scales]  # E
    return [condition for i, condition in enumerate(grid) if condition not in grid[:i]]  # the sweeps meet in the headline


def run(config: Config, condition: dict, seeds: Sequence[int], device: str) -> list[dict]:
    with jax.default_device(jax.devices({"cpu": "cpu", "cuda": "gpu"}[device])[0]):
        if condition["experiment"] == "images":
            metrics = run_images(config, condition, seeds)
        else:
            experiments = {"dynamics": run_dynamics, "data": run_dynamics, "finite": run_finite, "concentration": run_concentration}
            with jax.enable_x64(True):
                metrics = experiments[condition["experiment"]](config, condition, seeds)
        metrics = {name: np.asarray(values) for name, values in metrics.items()}
    return [{name: values[i] for name, values in metrics.items()} for i in range(len(seeds))]


def log_schedule(steps: int, points: int) -> np.ndarray:
    """Zero, then about so many steps evenly spaced on a log axis, the last included."""
    return np.unique(np.r_[0, np.geomspace(1, steps, points).round().astype(int)])


def run_dynamics(config: Config, condition: dict, seeds: Sequence[int]) -> dict:
    """A-D. The closed dynamics of all seeds in one program, with the two baselines that keep the initial kernel."""
    steps = log_schedule(config.steps if condition["experiment"] == "dynamics" else config.data_steps, config.points)
    knobs = (condition["D"], condition["P"], config.N, condition["alpha"], condition["eps"], config.eta0, condition["centred"], config.test_points)
    problems = stack_runs([draw_problem(seed, *knobs) for seed in seeds])
    _, curves = train_many(model.closed_step, model.measure, steps, problems.start, problems)
    return {"steps": np.tile(steps, (len(seeds), 1))} | curves | baselines(problems, steps)


@jax.jit
def baselines(problems: model.Problem, steps: np.ndarray) -> dict:
    """Test loss of kernel regression with the initial kernel, and both losses of the linearised net at every step; leaves (seeds, ...)."""

    def one_seed(problem):
        def losses(predicted):
            return model.train_loss(predicted, problem), model.test_loss_terms(predicted, problem.beta).sum()

        linear_train, linear_test = jax.vmap(losses)(model.linearised(problem, steps))
        return {"linear_train_loss": linear_train, "linear_test_loss": linear_test, "kernel_test_loss": losses(model.kernel_regression(problem))[1]}

    return jax.vmap(one_seed)(problems)


def network_losses(W: jax.Array, problem: model.Problem) -> dict:
    """Of a net given neuron by neuron: its train loss, and its mean squared error on the test points."""
    f_0 = model.function(problem.origin, problem.alpha, problem.eps)(problem.X_test)
    f = model.network(W, problem.X_test, problem.alpha, problem.eps) - f_0
    return {"train_loss": model.network_loss(W, problem), "sampled_test_loss": ((f - model.teacher(problem.X_test, problem.beta)) ** 2).mean()}


def closed_losses(weights: model.Summary, problem: model.Problem) -> dict:
    """The same of a net given by its two statistics, and the exact test loss."""
    predicted = model.predictor(weights, problem)
    return {
        "train_loss": model.train_loss(predicted, problem),
        "sampled_test_loss": ((predicted(problem.X_test) - model.teacher(problem.X_test, problem.beta)) ** 2).mean(),
        "test_loss": model.test_loss_terms(predicted, problem.beta).sum(),
    }


def run_finite(config: Config, condition: dict, seeds: Sequence[int]) -> dict:
    """Gradient descent on N neurons by autodiff, and the closed dynamics from the same start."""
    steps, N = log_schedule(config.finite_steps, 30), condition["N"]
    knobs = (config.D, config.P, N, config.finite_alpha, config.headline_eps, config.eta0, True, config.test_points)
    problems = stack_runs([draw_problem(seed, *knobs) for seed in seeds])
    W = np.stack([model.initial_weights(seed, N, config.D) for seed in seeds])
    _, net = train_many(model.network_step, network_losses, steps, W, problems)
    _, closed = train_many(model.closed_step, closed_losses, steps, problems.start, problems)
    deviations = [np.abs(net[name] / closed[name] - 1).max(axis=1) for name in net]
    return {
        "steps": np.tile(steps, (len(seeds), 1)),
        "deviation": np.maximum(*deviations),
        "train_loss": net["train_loss"],
        "sampled_test_loss": net["sampled_test_loss"],
        "test_loss": closed["test_loss"],
    }


def run_concentration(config: Config, condition: dict, seeds: Sequence[int]) -> dict:
    """How far apart the loss curves of independent draws lie: the standard deviation over a crowd of log(loss / first loss), averaged over the measured steps.

    Undivided, the loss has the scale of |beta|^4, whose own spread would hide that of the curves.
    """
    D, steps = condition["D"], log_schedule(config.crowd_steps * condition["D"], 20)
    knobs = (D, max(1, round(config.ratio * D)), 5 * D, 1.0, config.headline_eps, config.eta0, True, 2)
    draws = [config.crowd * seed + member for seed in seeds for member in range(config.crowd)]
    problems = stack_runs([draw_problem(draw, *knobs) for draw in draws])
    _, curves = train_many(model.closed_step, closed_losses, steps, problems.start, problems)
    spread = {}
    for name in ("train_loss", "test_loss"):
        logs = np.log(curves[name][:, 1:] / curves[name][:, :1]).reshape(len(seeds), config.crowd, -1)
        spread[f"{name}_spread"] = logs.std(axis=1, ddof=1).mean(axis=1)
    return spread


def run_images(config: Config, condition: dict, seeds: Sequence[int]) -> dict:
    """E. Learning curves of the MLP for one scale of its output."""
    steps = log_schedule(config.images_steps, config.points)
    pictures, states = [], []
    for seed in seeds:
        data = images.load(config.images, seed)
        hidden = [config.images_hidden] * images.HIDDEN_LAYERS[config.images]
        pictures.append(images.Pictures(*data, np.float32(condition["scale"]), np.float32(condition["decay"])))
        states.append(images.initial_state(images.initial_weights(seed, (data[0].shape[1], *hidden, images.CLASSES), config.images_size)))
    step = images.training_step(config.images_lr, config.images_batch)
    _, curves = train_many(step, images.measure, steps, stack_runs(states), stack_runs(pictures))
    return {"steps": np.tile(steps, (len(seeds), 1))} | curves


if __name__ == "__main__":
    main(__file__)
