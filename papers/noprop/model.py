"""NoProp in discrete time (DT), in continuous time (CT) and as flow matching (FM), and the same networks trained by back-propagation.

A label y has an embedding u_y, row y of W_embed (C, m). Time runs from noise to label: z_0 ~ N(0, I), and abar_t grows with t. Block t sees the raw image
x and a noised embedding z_{t-1} and learns to say which class it came from; it never sees another block. Only at inference do the blocks meet, as
the steps of a reverse diffusion. Shapes: T blocks, B images, C classes, m embedding dimensions. The networks are in blocks.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from papers.noprop.blocks import Blocks, Streams, TimeBlock

# ---------------------------------------------------------------------------------------------------- the noising process and its posterior


def cosine_abar(T: int, s: float = 0.008, low: float = 1e-3, high: float = 0.999) -> Tensor:
    """abar_t = cos^2(((1 - t/T) + s) / (1 + s) pi/2) for t = 0..T, clipped to [low, high]: (T + 1,).

    The paper says "cosine"; this discretisation and the clip are ours. Unclipped, SNR(T) = 6250 and block T alone would steer W_embed.
    """
    t = torch.arange(T + 1, dtype=torch.float64)
    return torch.cos(((1 - t / T) + s) / (1 + s) * math.pi / 2).square().clamp(low, high)


def snr(abar: Tensor) -> Tensor:
    """SNR(t) = abar_t / (1 - abar_t)."""
    return abar / (1 - abar)


def posterior_coefficients(abar: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """a_t, b_t, c_t of q(z_t | z_{t-1}, u) = N(a_t u + b_t z_{t-1}, c_t I) for t = 1..T, each (T,); alpha_{t-1} = abar_{t-1} / abar_t."""
    before, after = abar[:-1], abar[1:]
    alpha = before / after
    a = after.sqrt() * (1 - alpha) / (1 - before)
    b = alpha.sqrt() * (1 - after) / (1 - before)
    c = (1 - after) * (1 - alpha) / (1 - before)
    return a, b, c


def noised(u: Tensor, abar: Tensor, eps: Tensor) -> Tensor:
    """z_t ~ q(z_t | y) = N(sqrt(abar_t) u_y, (1 - abar_t) I)."""
    return abar.sqrt() * u + (1 - abar).sqrt() * eps


def kl_to_prior(abar_0: Tensor, u: Tensor) -> Tensor:
    """KL(q(z_0 | y) || N(0, I)) for embeddings (..., m) -> (...)."""
    m = u.shape[-1]
    return 0.5 * (m * (1 - abar_0) + abar_0 * u.square().sum(-1) - m - m * torch.log(1 - abar_0))


def normal(streams: Streams, like: Tensor) -> Tensor:
    """Standard normal draws of the shape (T, ...) of ``like``, block t's from its own stream."""
    return torch.stack([torch.randn(like.shape[1:], generator=stream, device=like.device, dtype=like.dtype) for stream in streams])


def prior(stream: Generator, x: Tensor, m: int) -> Tensor:
    """z_0 ~ N(0, I), one for each image of x: (B, m)."""
    return torch.randn(len(x), m, generator=stream, device=x.device, dtype=x.dtype)


# ------------------------------------------------------------------------------------------------------------------- labels and their embeddings


def prototypes(x: Tensor, y: Tensor, n_classes: int) -> Tensor:
    """The medoid of every class: its image with the smallest median distance to the others of the class, flattened, (C, m)."""
    rows = []
    for label in range(n_classes):
        images = x[y == label].flatten(1)
        others = ~torch.eye(len(images), dtype=torch.bool, device=x.device)
        distances = torch.cdist(images, images)[others].view(len(images), -1)
        rows.append(images[distances.median(dim=1).values.argmin()])
    return torch.stack(rows)


class Readout(nn.Module):
    """What all blocks share: the class embeddings W_embed (C, m) and theta_out, the linear map from z_T to class logits.

    theta_out begins as the linear part of -||z - u_c||^2 / (2 s^2), with s^2 a tenth of the mean squared distance between two embeddings. The paper is silent
    on it. NoProp does as well from random weights; back-propagation through the sampler does not: it then sends several classes to one embedding and stays
    there (about half the digits right, on validation data, at every step size tried). The baseline gets the start that it needs, and so does everyone else.
    """

    def __init__(self, W_embed: Tensor, learned: bool):
        super().__init__()
        self.W_embed = nn.Parameter(W_embed.clone(), requires_grad=learned)
        n_classes, self.m = W_embed.shape
        precision = 10 * n_classes * (n_classes - 1) / torch.cdist(W_embed, W_embed).square().sum()
        self.out = nn.Linear(self.m, n_classes, device=W_embed.device)
        self.out.weight.data = precision * W_embed
        self.out.bias.data = -precision / 2 * W_embed.square().sum(dim=1)

    def logits(self, z: Tensor) -> Tensor:
        """(..., m) -> (..., C)."""
        return self.out(z)

    def nll(self, z: Tensor, y: Tensor) -> Tensor:
        """-log p(y | z), averaged over the batch: z (..., B, m), y (..., B) -> (...)."""
        return F.cross_entropy(self.logits(z).flatten(0, -2), y.flatten(), reduction="none").view(y.shape).mean(-1)

    def nearest(self, z: Tensor) -> Tensor:
        """The class whose embedding is nearest: (B, m) -> (B,)."""
        return torch.cdist(z, self.W_embed).argmin(-1)


# ------------------------------------------------------------------------------------------------------------------------------ discrete time


class DiscreteChain(nn.Module):
    """T blocks, and two ways to train them: each alone (NoProp-DT), or all at once by back-propagation through the sampler (baseline B1).

    ``which`` names the blocks held here, a part of 1..T: a worker that trains block 4 alone holds [4].
    """

    def __init__(self, readout: Readout, blocks: Blocks, which: Sequence[int], T: int, eta: float):
        super().__init__()
        self.readout, self.blocks, self.T = readout, blocks, T
        abar = cosine_abar(T)
        a, b, c = posterior_coefficients(abar)
        self.coefficients = [tuple(map(float, step)) for step in zip(a, b, c, strict=True)]
        t, device = torch.tensor(which), readout.W_embed.device
        for name, constant in {
            "abar_0": abar[0],
            "abar_T": abar[T],
            "abar_before": abar[t - 1, None, None],  # abar_{t-1}, the noise in block t's input: (T, 1, 1)
            "weight": T / 2 * eta * (snr(abar)[t] - snr(abar)[t - 1]),  # (T,)
        }.items():
            self.register_buffer(name, constant.float().to(device))

    def u_hat(self, class_probabilities: Tensor) -> Tensor:
        """The block's estimate of u_y: a convex combination of the class embeddings, (..., C) -> (..., m)."""
        return class_probabilities @ self.readout.W_embed

    def noprop_losses(self, x: Tensor, y: Tensor, streams: Streams) -> Tensor:
        """The NoProp-DT loss of every block held, each on a batch of its own: x (T, B, channels, H, W), y (T, B) -> (T,).

        L_t = E[-log p(y | z_T)] + KL(q(z_0 | y) || p(z_0)) + T/2 eta (SNR(t) - SNR(t-1)) E||u_hat_t(z_{t-1}, x) - u_y||^2
        """
        u = self.readout.W_embed[y]  # (T, B, m)
        z_before = noised(u, self.abar_before, normal(streams, u))
        z_T = noised(u, self.abar_T, normal(streams, u))
        u_hat = self.u_hat(self.blocks(z_before, x, streams).softmax(-1))
        error = (u_hat - u).square().sum(-1).mean(-1)
        return self.readout.nll(z_T, y) + kl_to_prior(self.abar_0, u).mean(-1) + self.weight * error

    def noprop_loss(self, x: Tensor, y: Tensor, streams: Streams) -> Tensor:
        """Sum over the blocks held: a block's gradient is that of its own loss, whoever else is in the sum."""
        return self.noprop_losses(x, y, streams).sum()

    def sample(self, x: Tensor, stream: Generator, noise: bool = True) -> tuple[list[Tensor], list[Tensor]]:
        """Run the chain on images (B, channels, H, W): class probabilities of the blocks, T of (B, C), and z_0..z_T, each (B, m).

        z_0 ~ N(0, I);  z_t = a_t u_hat_t(z_{t-1}, x) + b_t z_{t-1} + sqrt(c_t) eps.  Without ``noise`` the last term is dropped.
        """
        features = self.blocks.features(x[None], [stream] * self.T)  # (T, B, width): no block's view of x depends on z
        probabilities, z = [], [prior(stream, x, self.readout.m)]
        for head, own_features, (a, b, c) in zip(self.blocks.heads(), features, self.coefficients, strict=True):
            probabilities.append(head(z[-1], own_features, stream).softmax(-1))
            mean = a * self.u_hat(probabilities[-1]) + b * z[-1]
            z.append(mean + math.sqrt(c) * normal([stream], mean[None])[0] if noise else mean)
        return probabilities, z

    def backprop_loss(self, x: Tensor, y: Tensor, streams: Streams) -> Tensor:
        """B1: cross-entropy of the sampler's last state, back-propagated through all T blocks: x (1, B, channels, H, W), y (1, B)."""
        return self.readout.nll(self.sample(x[0], streams[0])[1][-1], y[0])

    def predict(self, x: Tensor, stream: Generator, noise: bool = True) -> Tensor:
        return self.readout.logits(self.sample(x, stream, noise)[1][-1]).argmax(-1)


# ---------------------------------------------------------------------------------------------------------------------------- continuous time


class NoiseSchedule(nn.Module):
    """abar_t = sigmoid(-gamma(t)), gamma(t) = gamma_0 + (gamma_1 - gamma_0) (1 - gbar(t)), with gbar rising from gbar(0) = 0 to gbar(1) = 1.

    gbar is a normalised monotone net with positive weights; gamma_0 < gamma_1 are learned as well. SNR(t) = exp(-gamma(t)).
    """

    def __init__(self, stream: Generator, gamma_0: float, gamma_1: float, width: int = 16):
        super().__init__()
        device = stream.device
        self.gamma_0 = nn.Parameter(torch.tensor(gamma_0, device=device))
        self.log_range = nn.Parameter(torch.tensor(math.log(gamma_1 - gamma_0), device=device))
        self.slope, self.offset, self.height = (
            nn.Parameter(torch.randn(width, generator=stream, device=device) * scale + shift) for scale, shift in ((0.5, 1.0), (1.0, 0.0), (0.5, 0.0))
        )

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """gamma(t) and gamma'(t), each of the shape of t (B,)."""
        slope, height = F.softplus(self.slope), F.softplus(self.height)

        def net(time: Tensor) -> tuple[Tensor, Tensor]:
            step = torch.sigmoid(slope * time[:, None] + self.offset)  # (B, width)
            return (height * step).sum(-1), (height * slope * step * (1 - step)).sum(-1)

        (g, rate), (ends, _) = net(t), net(t.new_tensor([0.0, 1.0]))
        gbar, gbar_rate = (g - ends[0]) / (ends[1] - ends[0]), rate / (ends[1] - ends[0])
        gamma_range = self.log_range.exp()
        return self.gamma_0 + gamma_range * (1 - gbar), -gamma_range * gbar_rate


def deterministic_step(z: Tensor, u_hat: Tensor, abar_t: Tensor, abar_s: Tensor) -> Tensor:
    """From t to s > t along the probability flow, taking u_hat for the clean embedding: the noise estimate is kept, its share shrinks."""
    eps = (z - abar_t.sqrt() * u_hat) / (1 - abar_t).sqrt()
    return noised(u_hat, abar_s, eps)


class NoPropCT(nn.Module):
    """One block conditioned on t in [0, 1], a learned noise schedule, and no simulation in training."""

    def __init__(self, readout: Readout, block: TimeBlock, schedule: NoiseSchedule, eta: float, steps: int):
        super().__init__()
        self.readout, self.block, self.schedule, self.eta, self.steps = readout, block, schedule, eta, steps

    def u_hat(self, z: Tensor, features: Tensor, t: Tensor) -> Tensor:
        return self.block(z, features, t).softmax(-1) @ self.readout.W_embed

    def loss(self, x: Tensor, y: Tensor, streams: Streams) -> Tensor:
        """E[-log p(y | z_1)] + KL + eta/2 E[SNR'(t) ||u_hat(z_t, x, t) - u_y||^2], t ~ U(0, 1), SNR' = -gamma' exp(-gamma)."""
        (x,), (y,), (stream,) = x, y, streams
        u = self.readout.W_embed[y]  # (B, m)
        t = torch.rand(len(y), generator=stream, device=u.device)
        gamma, gamma_rate = self.schedule(t)
        abar_0, abar_1 = torch.sigmoid(-self.schedule(t.new_tensor([0.0, 1.0]))[0])
        eps, eps_1 = normal([stream, stream], torch.stack([u, u]))
        u_hat = self.u_hat(noised(u, torch.sigmoid(-gamma)[:, None], eps), self.block.features(x, stream), t)
        snr_rate = -gamma_rate * torch.exp(-gamma)
        error = (snr_rate * (u_hat - u).square().sum(-1)).mean()
        return self.readout.nll(noised(u, abar_1, eps_1), y) + kl_to_prior(abar_0, u).mean() + self.eta / 2 * error

    def predict(self, x: Tensor, stream: Generator) -> Tensor:
        features, z = self.block.features(x, stream), prior(stream, x, self.readout.m)
        times = torch.linspace(0, 1, self.steps + 1, device=x.device)
        abar = torch.sigmoid(-self.schedule(times)[0])
        for i in range(self.steps):
            z = deterministic_step(z, self.u_hat(z, features, times[i].expand(len(x))), abar[i], abar[i + 1])
        return self.readout.logits(z).argmax(-1)


def euler(velocity: TimeBlock, z: Tensor, features: Tensor, steps: int) -> Tensor:
    """dz/dt = velocity(z, x, t) from t = 0 to 1 in equal steps, (B, m) -> (B, m)."""
    for i in range(steps):
        z = z + velocity(z, features, z.new_full((len(z),), i / steps)) / steps
    return z


class NoPropFM(nn.Module):
    """Flow matching: the block learns the velocity of straight lines from noise to embedding."""

    def __init__(self, readout: Readout, block: TimeBlock, steps: int):
        super().__init__()
        self.readout, self.block, self.steps = readout, block, steps

    def loss(self, x: Tensor, y: Tensor, streams: Streams) -> Tensor:
        """E||v(z_t, x, t) - (u_y - z_0)||^2, z_t = t u_y + (1 - t) z_0; learned embeddings add the anchor -log p(y | z_t + (1 - t) v)."""
        (x,), (y,), (stream,) = x, y, streams
        u = self.readout.W_embed[y]  # (B, m)
        t = torch.rand(len(y), generator=stream, device=u.device)
        z_0 = prior(stream, x, self.readout.m)
        z_t = t[:, None] * u + (1 - t[:, None]) * z_0
        v = self.block(z_t, self.block.features(x, stream), t)
        loss = (v - (u - z_0)).square().sum(-1).mean()
        return loss + self.readout.nll(z_t + (1 - t[:, None]) * v, y) if self.readout.W_embed.requires_grad else loss

    def predict(self, x: Tensor, stream: Generator) -> Tensor:
        z_0 = prior(stream, x, self.readout.m)
        return self.readout.nearest(euler(self.block, z_0, self.block.features(x, stream), self.steps))


class NeuralODE(nn.Module):
    """B3: the network of flow matching, trained by back-propagating the cross-entropy of z_1 through every Euler step (stands for the adjoint method)."""

    def __init__(self, readout: Readout, block: TimeBlock, steps: int):
        super().__init__()
        self.readout, self.block, self.steps = readout, block, steps

    def z_1(self, x: Tensor, stream: Generator) -> Tensor:
        return euler(self.block, prior(stream, x, self.readout.m), self.block.features(x, stream), self.steps)

    def loss(self, x: Tensor, y: Tensor, streams: Streams) -> Tensor:
        return self.readout.nll(self.z_1(x[0], streams[0]), y[0])

    def predict(self, x: Tensor, stream: Generator) -> Tensor:
        return self.readout.logits(self.z_1(x, stream)).argmax(-1)
