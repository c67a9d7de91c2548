"""NoProp: the diffusion's algebra, the independence of the blocks, the memory count, and a small run from end to end."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from papers.noprop import claims
from papers.noprop.blocks import Blocks, ImagePath, Linear, TimeBlock, dropout, time_features
from papers.noprop.memory import saved_bytes, training_flops
from papers.noprop.model import (
    DiscreteChain,
    NeuralODE,
    NoiseSchedule,
    NoPropCT,
    NoPropFM,
    Readout,
    cosine_abar,
    deterministic_step,
    euler,
    kl_to_prior,
    noised,
    posterior_coefficients,
    prototypes,
    snr,
)
from papers.noprop.replicate import Config, conditions, largest_difference, run, train_in_order
from papers.noprop.training import Data, accuracy, train
from shared.engine import NotRun

IMAGE, N_CLASSES = (1, 8, 8), 10
SMALL = {"channels": (2, 3, 4), "width": 6}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def generators(which, offset: int = 0) -> list[torch.Generator]:
    return [generator(offset + t) for t in which]


def chain(which, T: int, W_embed: torch.Tensor | None = None, learned: bool = False, p: float = 0.2, image=IMAGE, **size) -> DiscreteChain:
    W_embed = torch.eye(N_CLASSES) if W_embed is None else W_embed
    blocks = Blocks(generators(which), image, W_embed.shape[1], len(W_embed), p=p, **{**SMALL, **size})
    return DiscreteChain(Readout(W_embed, learned), blocks, which, T, eta=0.1)


def batch(T: int, n: int = 16, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and labels, a batch for each of T blocks."""
    return torch.randn(T, n, *IMAGE, generator=generator(seed)), torch.randint(N_CLASSES, (T, n), generator=generator(seed + 1))


# -------------------------------------------------------------------------------------------------------------------------------- the diffusion


def test_coefficients_of_a_worked_example():
    a, b, c = posterior_coefficients(torch.tensor([0.05, 0.3, 0.7, 0.95], dtype=torch.float64))
    expected = [[0.4804584, 0.3008145, 0.6140351], [0.6829878, 0.2805659, 0.2448980], [0.8549820, 0.1430659, 0.0438596]]
    np.testing.assert_allclose(torch.stack([a, b, c], dim=1), expected, atol=1e-7)


def test_snr_of_a_worked_example():
    np.testing.assert_allclose(snr(torch.tensor([0.05, 0.3, 0.7, 0.95], dtype=torch.float64)).diff(), [0.3759398, 1.9047619, 16.6666667], rtol=1e-6)


@pytest.mark.parametrize("T", [1, 2, 10, 20])
def test_with_the_true_embedding_the_chain_keeps_the_marginals(T):
    abar = cosine_abar(T)
    a, b, c = posterior_coefficients(abar)
    np.testing.assert_allclose(a + b * abar[:-1].sqrt(), abar[1:].sqrt(), atol=1e-14)
    np.testing.assert_allclose(b**2 * (1 - abar[:-1]) + c, 1 - abar[1:], atol=1e-14)
    assert (c > 0).all()


def test_coefficients_are_the_posterior_by_bayes_rule():
    """q(z_t | z_{t-1}, u) is proportional to q(z_t | u) q(z_{t-1} | z_t), with z_{t-1} = sqrt(alpha) z_t + sqrt(1 - alpha) eps: completed square."""
    abar = cosine_abar(5)
    for (before, after), a, b, c in zip(itertools.pairwise(abar), *posterior_coefficients(abar), strict=True):
        alpha = before / after
        precision = 1 / (1 - after) + alpha / (1 - alpha)
        np.testing.assert_allclose([a, b, c], [after.sqrt() / (1 - after) / precision, alpha.sqrt() / (1 - alpha) / precision, 1 / precision], rtol=1e-12)


def test_noise_falls_with_t_and_every_block_has_a_positive_weight():
    model = chain(range(1, 11), T=10)
    abar = cosine_abar(10)
    assert (abar.diff() > 0).all() and abar[0] == 1e-3 and abar[-1] == 0.999
    assert math.isclose(abar[5], math.cos((0.5 + 0.008) / 1.008 * math.pi / 2) ** 2)
    assert (model.weight > 0).all()
    np.testing.assert_allclose(model.weight.sum(), 10 / 2 * 0.1 * (snr(abar)[-1] - snr(abar)[0]), rtol=1e-5)


def test_a_block_trains_on_the_noise_level_that_it_meets_at_inference():
    """Block 1 reads z_0, and what block t leaves is what block t + 1 was trained on."""
    model = chain([3, 1], T=4)
    np.testing.assert_allclose(model.abar_before.flatten(), cosine_abar(4)[[2, 0]], rtol=1e-6)
    assert model.abar_T == pytest.approx(0.999) and model.abar_0 == pytest.approx(1e-3)


def test_noised_has_the_stated_mean_and_variance():
    u, abar = torch.tensor([3.0, -1.0]), torch.tensor(0.64)
    z = noised(u.expand(200_000, 2), abar, torch.randn(200_000, 2, generator=generator(0)))
    np.testing.assert_allclose(z.mean(0), [2.4, -0.8], atol=0.01)
    np.testing.assert_allclose(z.var(0), [0.36, 0.36], atol=0.01)


def test_kl_is_that_of_two_gaussians():
    u, abar = torch.randn(7, 5, generator=generator(0)), torch.tensor(0.3)
    q = torch.distributions.Normal(abar.sqrt() * u, (1 - abar).sqrt())
    oracle = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum(-1)
    torch.testing.assert_close(kl_to_prior(abar, u), oracle)


# --------------------------------------------------------------------------------------------------------------------- embeddings and the readout


def test_prototype_is_the_medoid_by_median_distance():
    x, y = torch.randn(40, *IMAGE, generator=generator(0)), torch.arange(40) % 2
    for label, row in enumerate(prototypes(x, y, 2)):
        images = [image.flatten().numpy() for image in x[y == label]]
        medians = [sorted(np.linalg.norm(one - other) for j, other in enumerate(images) if j != i)[(len(images) - 2) // 2] for i, one in enumerate(images)]
        np.testing.assert_array_equal(row, images[int(np.argmin(medians))])


def test_prototype_pays_no_heed_to_outliers():
    """On a line, 0 1 2 3 and 100 101 102: the mean distance would choose 3, the median chooses 1 (or 2, as near)."""
    line = torch.tensor([0.0, 1.0, 2.0, 3.0, 100.0, 101.0, 102.0])[:, None, None, None]
    assert prototypes(line, torch.zeros(7, dtype=torch.long), 1).item() in (1.0, 2.0)


def test_readout_begins_as_the_nearest_embedding_and_its_loss_is_cross_entropy():
    readout = Readout(torch.randn(5, 8, generator=generator(0)), learned=True)
    z, y = torch.randn(3, 20, 8, generator=generator(1)), torch.randint(5, (3, 20), generator=generator(2))
    assert (readout.logits(z).argmax(-1) == torch.stack([readout.nearest(part) for part in z])).all()
    oracle = torch.stack([F.cross_entropy(readout.out(part), labels) for part, labels in zip(z, y, strict=True)])
    torch.testing.assert_close(readout.nll(z, y), oracle)


def test_u_hat_is_a_convex_combination_of_the_embeddings():
    model = chain([1], T=2)
    x, _ = batch(1)
    u_hat = model.u_hat(model.blocks(torch.randn(1, 16, N_CLASSES), x, generators([1])).softmax(-1))
    assert (u_hat >= 0).all()
    torch.testing.assert_close(u_hat.sum(-1), torch.ones(1, 16))
    W_embed = torch.randn(N_CLASSES, 3, generator=generator(5))
    corner = chain([1], T=2, W_embed=W_embed).u_hat(F.one_hot(torch.arange(N_CLASSES), N_CLASSES).float())
    torch.testing.assert_close(corner, W_embed)


class Oracle(nn.Module):
    """Blocks that know the label: certain of it whatever they read."""

    def __init__(self, y: torch.Tensor, T: int):
        super().__init__()
        self.y, self.T = y, T

    def features(self, x, streams):
        return torch.zeros(self.T, x.shape[1], 1)

    def heads(self):
        return [lambda z, features, stream: 100.0 * F.one_hot(self.y, N_CLASSES).float()] * self.T


@pytest.mark.parametrize("noise", [True, False])
def test_with_oracle_blocks_only_theta_out_has_to_learn(noise):
    _, y = batch(1, n=400)
    model = chain(range(1, 11), T=10)
    nn.init.zeros_(model.readout.out.weight), nn.init.zeros_(model.readout.out.bias)
    optimiser = torch.optim.Adam(model.readout.parameters(), lr=0.05)
    for step in range(30):
        optimiser.zero_grad()
        u = model.readout.W_embed[y]
        model.readout.nll(noised(u, model.abar_T, torch.randn(u.shape, generator=generator(step))), y).mean().backward()
        optimiser.step()
    model.blocks = Oracle(y[0], T=10)
    assert (model.predict(torch.zeros(400, *IMAGE), generator(0), noise=noise) == y[0]).all()


def test_sampler_with_oracle_blocks_ends_in_q_of_z_T():
    _, y = batch(1, n=20_000)
    model = chain(range(1, 4), T=3)
    model.blocks = Oracle(y[0], T=3)
    states = model.sample(torch.zeros(20_000, *IMAGE), generator(3))[1]
    for z, abar in list(zip(states, cosine_abar(3), strict=True))[1:]:
        residual = z - abar.sqrt().float() * F.one_hot(y[0], N_CLASSES)
        # z_0 ~ N(0, I) in place of q(z_0 | y): the chain starts without sqrt(abar_0) u_y, the gap that the KL term stands for
        assert residual.mean().abs() < 0.01 and residual.var().item() == pytest.approx(1 - abar.item(), rel=0.05)


# --------------------------------------------------------------------------------------------------------------------------- blocks, stacked and not


@pytest.mark.parametrize("W_embed", [torch.eye(N_CLASSES), torch.randn(N_CLASSES, 64)], ids=["one-hot", "prototype"])
def test_a_stack_of_blocks_is_the_blocks_one_by_one(W_embed):
    x, _ = batch(3)
    z = torch.randn(3, 16, W_embed.shape[1])
    together = chain([1, 2, 3], 3, W_embed).blocks
    logits = together(z, x, generators([1, 2, 3], 50))
    for t in (1, 2, 3):
        alone = chain([t], 3, W_embed).blocks
        torch.testing.assert_close(logits[t - 1], alone(z[t - 1 : t], x[t - 1 : t], generators([t], 50))[0])
        for name, buffer in alone.named_buffers():
            torch.testing.assert_close(together.get_buffer(name)[t - 1], buffer[0])


def test_the_blocks_of_a_chain_are_the_stacked_blocks_on_shared_images():
    blocks = chain([1, 2, 3], 3, p=0.0).blocks
    x, z = torch.randn(16, *IMAGE), torch.randn(3, 16, N_CLASSES)
    streams = generators([1, 2, 3])
    before = {name: buffer.clone() for name, buffer in blocks.named_buffers()}
    stacked = blocks(z, x.expand(3, *x.shape), streams)
    after_stacked = {name: buffer.clone() for name, buffer in blocks.named_buffers()}
    for name, buffer in blocks.named_buffers():
        buffer.copy_(before[name])
    features = blocks.features(x[None], streams)
    one_by_one = torch.stack([head(z[i], features[i], streams[i]) for i, head in enumerate(blocks.heads())])
    torch.testing.assert_close(one_by_one, stacked)
    for name, buffer in blocks.named_buffers():  # batch norm counts through a view as through the stack
        torch.testing.assert_close(buffer, after_stacked[name])
        assert not torch.equal(buffer, before[name])


def test_a_block_is_the_network_of_the_appendix():
    """Against torch's own layers, in evaluation mode, with unequal batch-norm statistics."""
    blocks = chain([1], 1, p=0.5).blocks.eval()
    for tensor in [*blocks.parameters(), *blocks.buffers()]:
        tensor.data.add_(0.3 * torch.rand(tensor.shape, generator=generator(tensor.numel())))
    x, z = torch.randn(5, *IMAGE), torch.randn(5, N_CLASSES)

    def normed(layer, h):
        h = h @ layer.map[0]
        return (h - layer.mean[0]) / (layer.variance[0] + 1e-5).sqrt() * layer.weight[0] + layer.bias[0]

    h = x
    for i, conv in enumerate(blocks.features.convs):
        h = F.relu(F.conv2d(h, conv.weight[0], conv.bias[0], padding=1))
        h = h if i == 1 else F.max_pool2d(h, 2)
    features, path = normed(blocks.features.fc, h.flatten(1)), blocks.head.label_path
    label = F.relu(normed(path.enter, z))
    label = label + normed(path.outer, F.relu(normed(path.inner, label)))
    h = torch.cat([features, label], dim=1)
    for layer in blocks.head.fuse:
        h = F.relu(normed(layer, h))
    torch.testing.assert_close(blocks(z[None], x[None])[0], h @ blocks.head.logits.weight[0] + blocks.head.logits.bias[0, 0])


def test_dropout_drops_a_share_p_and_keeps_the_mean():
    dropped = dropout(torch.ones(500, 6, 4, 4), 0.2, generators([0, 1]))
    assert set(dropped.unique().tolist()) == {0.0, 1.25}
    assert (dropped == 0).float().mean().item() == pytest.approx(0.2, abs=0.01)


def test_dropout_of_a_block_draws_from_its_stream_alone():
    path = ImagePath(generators([0, 1]), IMAGE, (2, 3, 4), 6, p=0.2)
    x = torch.randn(2, 16, *IMAGE)
    one, same, other = (path(x, [generator(7), generator(seed)]) for seed in (8, 8, 9))
    torch.testing.assert_close(one, same)
    torch.testing.assert_close(one[0], other[0])
    assert not torch.allclose(one[1], other[1])


# ------------------------------------------------------------------------------------------------------------------------------- independence


def test_loss_of_a_block_has_no_gradient_on_another():
    model = chain([1, 2, 3], 3)
    losses = model.noprop_losses(*batch(3), generators([1, 2, 3]))
    parameters = dict(model.blocks.named_parameters())
    gradients = torch.autograd.grad(losses[1], parameters.values())
    for name, gradient in zip(parameters, gradients, strict=True):
        assert (gradient[[0, 2]] == 0).all(), name
    assert all(gradient[1].abs().max() > 0 for gradient in gradients)


def test_back_propagation_reaches_every_block():
    model = chain([1, 2, 3], 3)
    gradients = torch.autograd.grad(model.backprop_loss(*batch(1), generators([0])), model.blocks.parameters())
    assert all((gradient.flatten(1).abs().max(dim=1).values > 0).all() for gradient in gradients)


def test_gradient_of_back_propagation_is_that_of_finite_differences():
    """Through every path of the chain: through z as a block's input and through b_t z past the block."""
    model = chain([1, 2, 3], 3).double().eval()
    x, y = batch(1)
    parameters = [p for p in model.parameters() if p.requires_grad]
    direction = [torch.randn(p.shape, generator=generator(i), dtype=p.dtype) for i, p in enumerate(parameters)]

    def loss_at(step: float) -> torch.Tensor:
        for p, d in zip(parameters, direction, strict=True):
            p.data.add_(d, alpha=step)
        loss = model.backprop_loss(x.double(), y, generators([0]))
        for p, d in zip(parameters, direction, strict=True):
            p.data.sub_(d, alpha=step)
        return loss

    gradients = torch.autograd.grad(loss_at(0.0), parameters)
    slope = sum(float((g * d).sum()) for g, d in zip(gradients, direction, strict=True))
    assert slope == pytest.approx((loss_at(1e-6) - loss_at(-1e-6)).item() / 2e-6, rel=1e-4)


def test_a_blocks_loss_is_the_formula():
    """By hand from the same draws, one block, learned embeddings."""
    W_embed = torch.randn(N_CLASSES, 4, generator=generator(3))
    model = chain([2], 3, W_embed, learned=True).eval()
    x, y = batch(1)
    loss = model.noprop_losses(x, y, generators([0], 9))[0]
    draws = generator(9)
    u, abar = W_embed[y[0]], cosine_abar(3).float()
    z_before = abar[1].sqrt() * u + (1 - abar[1]).sqrt() * torch.randn(u.shape, generator=draws)
    z_T = abar[3].sqrt() * u + (1 - abar[3]).sqrt() * torch.randn(u.shape, generator=draws)
    u_hat = model.blocks(z_before[None], x)[0].softmax(-1) @ W_embed
    weight = 3 / 2 * 0.1 * (abar[2] / (1 - abar[2]) - abar[1] / (1 - abar[1]))
    kl = (0.5 * (4 * (1 - abar[0]) + abar[0] * (u**2).sum(-1) - 4 - 4 * (1 - abar[0]).log())).mean()
    torch.testing.assert_close(loss, F.cross_entropy(model.readout.out(z_T), y[0]) + kl + weight * ((u_hat - u) ** 2).sum(-1).mean())


def small_data(n: int = 48) -> Data:
    (x,), (y,) = batch(1, n)
    return Data(x, y, x, y)


def test_training_order_is_nothing_to_the_blocks_unless_embeddings_are_learned():
    config = Config(T=3, channels=(2, 3, 4), width=6, batch=16, order_epochs=2)
    data = small_data().first_in_double_precision(48)

    def trained(embedding, shares):
        return train_in_order(config, embedding, data, shares, 0, "cpu")

    up, down = trained("one-hot", [[1], [2], [3]]), trained("one-hot", [[3], [2], [1]])
    assert all(torch.equal(up[key], down[key]) for key in up)
    together, untrained = trained("one-hot", [[1, 2, 3]]), train_in_order(replace(config, order_epochs=0), "one-hot", data, [[1, 2, 3]], 0, "cpu")
    assert largest_difference(up, together) < 1e-6 < 1e-2 < largest_difference(up, untrained)
    up, down = trained("learned", [[1], [2], [3]]), trained("learned", [[3], [2], [1]])
    assert largest_difference(up, down) > 1e-4


def test_every_stream_shuffles_all_images_for_itself():
    data, seen = small_data(), []
    model = nn.Linear(1, 1)

    def loss(x, y, streams):
        seen.append(x.flatten(2).sum(-1))
        return model.weight.sum()

    train(loss, model, torch.optim.SGD(model.parameters(), lr=0.0), data, generators([0, 1]), 16)
    first, second = torch.cat(seen, dim=1)
    assert not torch.equal(first, second)
    for order in (first, second):
        torch.testing.assert_close(order.sort().values, data.x.flatten(1).sum(-1).sort().values)


# ---------------------------------------------------------------------------------------------------------------- continuous time, flow matching


@pytest.mark.parametrize("seed", range(5))
def test_gamma_falls_between_its_ends_and_its_slope_is_the_derivative(seed):
    schedule, draws = NoiseSchedule(generator(0), -3.0, 4.0, width=3).double(), generator(seed)
    for parameter in (schedule.slope, schedule.height):  # training may take them anywhere
        parameter.data = 3 * torch.randn(parameter.shape, generator=draws, dtype=torch.float64)
    t = torch.linspace(0, 1, 101, dtype=torch.float64, requires_grad=True)
    gamma, slope = schedule(t)
    torch.testing.assert_close(gamma[[0, -1]], torch.tensor([4.0, -3.0], dtype=torch.float64), atol=1e-6, rtol=0)
    assert (gamma.diff() < 0).all()
    torch.testing.assert_close(torch.autograd.grad(gamma.sum(), t, retain_graph=True)[0], slope)
    snr_rate = torch.autograd.grad(snr(torch.sigmoid(-gamma)).sum(), t)[0]
    torch.testing.assert_close(snr_rate, -slope * torch.exp(-gamma))
    assert (snr_rate > 0).all()


def test_deterministic_step_with_the_true_embedding_stays_on_the_line():
    u, eps = torch.randn(6, 4, dtype=torch.float64), torch.randn(6, 4, dtype=torch.float64)
    abar_t, abar_s = torch.tensor(0.2, dtype=torch.float64), torch.tensor(0.9, dtype=torch.float64)
    torch.testing.assert_close(deterministic_step(noised(u, abar_t, eps), u, abar_t, abar_s), noised(u, abar_s, eps))


def time_block(n_out: int) -> TimeBlock:
    return TimeBlock(generator(0), IMAGE, N_CLASSES, n_out, p=0.2, **SMALL)


def test_continuous_loss_is_the_formula():
    model = NoPropCT(Readout(torch.eye(N_CLASSES), False), time_block(N_CLASSES), NoiseSchedule(generator(1), -2.0, 3.0), eta=0.7, steps=5).eval()
    x, y = batch(1)
    loss = model.loss(x, y, generators([0], 9))
    draws, u = generator(9), torch.eye(N_CLASSES)[y[0]]
    t = torch.rand(16, generator=draws).requires_grad_()
    eps, eps_1 = (torch.randn(u.shape, generator=draws) for _ in range(2))
    abar = 1 / (1 + model.schedule(t)[0].exp())
    (snr_rate,) = torch.autograd.grad((abar / (1 - abar)).sum(), t, retain_graph=True)
    z = abar.sqrt()[:, None] * u + (1 - abar).sqrt()[:, None] * eps
    u_hat = model.block(z, model.block.features(x[0]), t).softmax(-1)
    abar_1, abar_0 = 1 / (1 + math.exp(-2.0)), 1 / (1 + math.exp(3.0))
    z_1 = math.sqrt(abar_1) * u + math.sqrt(1 - abar_1) * eps_1
    error = 0.7 / 2 * (snr_rate * ((u_hat - u) ** 2).sum(-1)).mean()
    torch.testing.assert_close(loss, F.cross_entropy(model.readout.out(z_1), y[0]) + kl_to_prior(torch.tensor(abar_0), u).mean() + error)


def test_flow_matching_loss_is_the_formula_and_the_anchor_comes_with_learned_embeddings():
    x, y = batch(1)
    for learned in (False, True):
        model = NoPropFM(Readout(torch.eye(N_CLASSES), learned), time_block(N_CLASSES), steps=5).eval()
        loss = model.loss(x, y, generators([0], 9))
        draws, u = generator(9), torch.eye(N_CLASSES)[y[0]]
        t, z_0 = torch.rand(16, 1, generator=draws), torch.randn(u.shape, generator=draws)
        z_t = t * u + (1 - t) * z_0
        v = model.block(z_t, model.block.features(x[0]), t[:, 0])
        expected = ((v - u + z_0) ** 2).sum(-1).mean()
        torch.testing.assert_close(loss, expected + F.cross_entropy(model.readout.out(z_t + (1 - t) * v), y[0]) if learned else expected)


class TrueVelocity(nn.Module):
    """The straight line from the z_0 it is given to u_y."""

    def __init__(self, u: torch.Tensor):
        super().__init__()
        self.u = u

    def features(self, x, stream=None):
        return x

    def forward(self, z, features, t):
        return (self.u - z) / (1 - t[:, None])


@pytest.mark.parametrize("steps", [1, 7])
def test_euler_on_the_true_velocity_lands_on_the_embedding(steps):
    y, truth, readout = torch.arange(N_CLASSES), TrueVelocity(torch.eye(N_CLASSES)), Readout(torch.eye(N_CLASSES), False)
    for model in (NoPropFM(readout, truth, steps), NeuralODE(readout, truth, steps)):
        assert (model.predict(torch.zeros(N_CLASSES, *IMAGE), generator(0)) == y).all()
        torch.testing.assert_close(euler(truth, torch.randn(N_CLASSES, N_CLASSES), None, steps), torch.eye(N_CLASSES))


def test_euler_takes_a_constant_velocity_once():
    z, v = torch.randn(5, 3), torch.randn(5, 3)
    torch.testing.assert_close(euler(lambda z, features, t: v, z, None, 9), z + v)


def test_continuous_sampler_with_an_oracle_ends_at_the_label():
    y = torch.arange(N_CLASSES)
    model = NoPropCT(Readout(torch.eye(N_CLASSES), False), TrueVelocity(torch.eye(N_CLASSES)), NoiseSchedule(generator(1), -6.0, 6.0), 1.0, steps=5)
    model.u_hat = lambda z, features, t: torch.eye(N_CLASSES)
    assert (model.predict(torch.zeros(N_CLASSES, *IMAGE), generator(0)) == y).all()


def test_time_features_tell_times_apart_and_begin_at_zero_phase():
    features = time_features(torch.tensor([0.0, 0.5, 1.0]))
    assert features.shape == (3, 64)
    np.testing.assert_allclose(features[0], [0.0] * 32 + [1.0] * 32)
    np.testing.assert_allclose(features[1, 31], math.sin(0.05), atol=1e-6)  # slowest: 1000 t / 10000
    assert torch.cdist(features, features)[~torch.eye(3, dtype=torch.bool)].min() > 1


# -------------------------------------------------------------------------------------------------------------------------------- memory, run


def test_saved_bytes_of_a_small_network_are_those_counted_by_hand():
    first, second = Linear([generator(0)], 4, 8), Linear([generator(1)], 8, 3)
    x = torch.randn(1, 16, 4)
    parameters = [*first.parameters(), *second.parameters()]
    # kept: x for the first map's weight; the ReLU's output, for itself and for the second map at once; the squares' input. Weights are not counted.
    by_hand = 4 * (16 * 4 + 16 * 8 + 16 * 3)
    assert saved_bytes(lambda: second(F.relu(first(x))).square().sum(), parameters) == by_hand
    assert saved_bytes(lambda: second(F.relu(first(x))).square().sum(), []) == by_hand + 4 * 8 * 3  # the first map's weight is kept only for a gradient of x
    # a view is its storage, and is not counted beside it
    assert saved_bytes(lambda: (lambda h: second(h).sum() + h.flatten().square().sum())(F.relu(first(x))), parameters) == 4 * (16 * 4 + 16 * 8)
    assert training_flops(lambda: second(F.relu(first(x))).square().sum()) == 2 * 16 * (4 * 8 * 2 + 8 * 3 * 3)


@pytest.mark.parametrize("which", [[1], [1, 2, 3]])
def test_memory_is_the_same_with_and_without_a_device(which):
    counts = {}
    for device in ("cpu", "meta"):
        model = chain(which, len(which)).to(device)
        x, y = torch.zeros(1, 8, *IMAGE, device=device), torch.zeros(1, 8, dtype=torch.long, device=device)
        loss = model.noprop_loss if len(which) == 1 else model.backprop_loss
        counts[device] = saved_bytes(lambda loss=loss, x=x, y=y: loss(x, y, generators([0])), [*model.parameters(), *model.buffers()])
    assert counts["cpu"] == counts["meta"] > 0


def test_memory_of_back_propagation_grows_with_every_block():
    def count(T):
        model, (x, y) = chain(range(1, T + 1), T), batch(1)
        return saved_bytes(lambda: model.backprop_loss(x, y, generators([0])), [*model.parameters(), *model.buffers()])

    one, two, three = count(1), count(2), count(3)
    assert three - two == two - one > 0.9 * (one - 16 * 64 * 4)


def test_claims_pair_the_methods_by_seed_and_divide_the_right_way():
    rows = [
        {"part": "cost", "size": size, "method": m, "seed": 0, "saved_bytes": b}
        for size in ("profile", "paper")
        for m, b in (("noprop-dt", 1), ("backprop", 4))
    ]
    for seed, (dt, bp, ct) in enumerate([(0.9, 0.8, 0.5), (0.6, 0.7, 0.2)]):
        values = {"noprop-dt": dt, "backprop": bp, "noprop-ct": ct}
        rows += [{"part": "accuracy", "dataset": "digits", "method": m, "embedding": "one-hot", "seed": seed, "accuracy": a} for m, a in values.items()]
        rows += [{"part": "accuracy", "dataset": "digits", "method": "noprop-dt", "embedding": "prototype", "seed": seed, "accuracy": 0.0}]
    trials = pd.DataFrame(rows[::-1])
    np.testing.assert_allclose(claims.discrete_minus_backprop(trials).sort_index(), [0.1, -0.1])
    np.testing.assert_allclose(claims.discrete_minus_continuous(trials).sort_index(), [0.4, 0.4])
    np.testing.assert_allclose(claims.share_of_reported_accuracy(trials).sort_index(), [0.9 / 0.9954, 0.6 / 0.9954])
    np.testing.assert_allclose(claims.memory_ratio(trials), [0.25])
    with pytest.raises(NotRun):
        claims.discrete_minus_backprop(trials[trials["method"] != "backprop"])


def test_accuracy_counts_over_all_batches():
    x = torch.arange(4500.0)[:, None]
    y = (torch.arange(4500) % 3 == 0).long()
    predict = lambda images: torch.stack([(images[:, 0] % 3 == 0).long(), torch.zeros(len(images), dtype=torch.long)])  # noqa: E731
    np.testing.assert_allclose(accuracy(predict, x, y), [1.0, 2 / 3], rtol=1e-6)


def test_a_small_run_gives_a_row_for_every_condition():
    tiny = {"train_images": 64, "T": 2, "other_T": (1,), "channels": (2, 2, 2), "width": 8, "sampler_steps": 3, "ode_steps": 2}
    config = Config(epochs={"digits": 2}, batch=32, evaluations=2, blind_epochs=2, order_epochs=1, **tiny)
    for condition in conditions(config):
        (row,) = run(config, condition, (1000,), "cpu")
        assert all(np.isfinite(value).all() for value in row.values() if not isinstance(value, str))
        if condition["part"] == "accuracy":
            assert row["curve"].shape == row["curve_epochs"].shape == (2,) and 0 <= row["accuracy"] <= 1
        if condition["part"] == "order":
            assert row["order_difference"] == 0 < row["order_difference_learned"]
    one, two = (run(config, conditions(config)[0], (seed,), "cpu")[0] for seed in (1000, 1001))
    assert one["accuracy"] != two["accuracy"] or not np.array_equal(one["shown_probabilities"], two["shown_probabilities"])
    np.testing.assert_array_equal(one["shown_probabilities"], run(config, conditions(config)[0], (1000,), "cpu")[0]["shown_probabilities"])
