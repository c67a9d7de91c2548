"""The networks of the paper's appendix figure: T separate blocks held in stacked tensors, and the one block that continuous time conditions on t.

Every parameter of ``Blocks`` carries a leading axis T, so that T blocks that know nothing of each other run as one batched product or one grouped
convolution. A random number is always drawn from a stream that belongs to one block: what block t draws does not depend on which others are there.
Shapes: T blocks, B images, C classes, m the dimension of a label embedding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.func import functional_call

Streams = Sequence[Generator]
Image = tuple[int, int, int]  # channels, height, width


def uniform(streams: Streams, shape: tuple[int, ...], bound: float) -> nn.Parameter:
    """(T, *shape): block t's entries are uniform in [-bound, bound], drawn from its own stream."""
    return nn.Parameter(torch.stack([torch.rand(shape, generator=stream, device=stream.device) for stream in streams]).mul_(2 * bound).sub_(bound))


class Linear(nn.Module):
    """T affine maps, (T, B, n_in) -> (T, B, n_out)."""

    def __init__(self, streams: Streams, n_in: int, n_out: int):
        super().__init__()
        self.weight = uniform(streams, (n_in, n_out), n_in**-0.5)
        self.bias = uniform(streams, (1, n_out), n_in**-0.5)

    def forward(self, h: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, h, self.weight)


class NormedLinear(nn.Module):
    """T linear maps, each followed by batch normalisation over its block's own batch, (T, B, n_in) -> (T, B, n_out).

    The maps have no bias: the normalisation would subtract it, and Adam would drive it about by rounding errors alone.
    """

    def __init__(self, streams: Streams, n_in: int, n_out: int):
        super().__init__()
        self.map = uniform(streams, (n_in, n_out), n_in**-0.5)
        shape, device = (len(streams), n_out), streams[0].device
        self.weight = nn.Parameter(torch.ones(shape, device=device))
        self.bias = nn.Parameter(torch.zeros(shape, device=device))
        self.register_buffer("mean", torch.zeros(shape, device=device))
        self.register_buffer("variance", torch.ones(shape, device=device))

    def forward(self, h: Tensor) -> Tensor:
        h = (h @ self.map).transpose(0, 1)  # (B, T, n_out)
        state = (tensor.view(-1) for tensor in (self.mean, self.variance, self.weight, self.bias))
        normed = F.batch_norm(h.flatten(1), *state, training=self.training)  # block and unit together are the channel
        return normed.view(h.shape).transpose(0, 1)


class Conv(nn.Module):
    """T convolutions 3x3 as one grouped convolution, (B, T n_in, H, W) -> (B, T n_out, H, W); images (B, n_in, H, W) are read by all blocks."""

    def __init__(self, streams: Streams, n_in: int, n_out: int):
        super().__init__()
        self.weight = uniform(streams, (n_out, n_in, 3, 3), (9 * n_in) ** -0.5)
        self.bias = uniform(streams, (n_out,), (9 * n_in) ** -0.5)

    def forward(self, h: Tensor) -> Tensor:
        h = F.conv2d(h, self.weight.flatten(0, 1), self.bias.flatten(), padding=1, groups=h.shape[1] // self.weight.shape[2])
        return h.contiguous(memory_format=torch.channels_last)  # else one grey image, whose layout is ambiguous, makes all that follows slow


def dropout(h: Tensor, p: float, streams: Streams) -> Tensor:
    """Dropout on (B, T n, H, W); the channels of block t are kept or dropped by its own stream."""
    shape = (len(h), *h.shape[2:], h.shape[1] // len(streams))  # channels last, as they lie in memory
    uniform_draws = torch.cat([torch.rand(shape, generator=stream, device=h.device) for stream in streams], dim=-1)
    return h / (1 - p) * (uniform_draws >= p).permute(0, 3, 1, 2)


class ImagePath(nn.Module):
    """conv-ReLU-pool-drop, conv-ReLU-drop, conv-ReLU-pool-drop, FC, batch norm."""

    def __init__(self, streams: Streams, image: Image, channels: Sequence[int], width: int, p: float):
        super().__init__()
        self.p = p
        self.convs = nn.ModuleList(Conv(streams, n_in, n_out) for n_in, n_out in zip((image[0], *channels), channels, strict=False))
        self.fc = NormedLinear(streams, channels[-1] * (image[1] // 4) * (image[2] // 4), width)

    def forward(self, x: Tensor, streams: Streams | None) -> Tensor:
        """(T, B, channels, H, W), or (1, B, ...) for images shared by all blocks, -> (T, B, width)."""
        h = x.transpose(0, 1).flatten(1, 2).contiguous(memory_format=torch.channels_last)
        for pool, conv in zip((True, False, True), self.convs, strict=True):
            h = F.relu(conv(h))
            h = F.max_pool2d(h, 2) if pool else h
            h = dropout(h, self.p, streams) if self.training else h
        return self.fc(h.unflatten(1, (len(self.fc.map), -1)).flatten(2).transpose(0, 1))


class LabelPath(nn.Module):
    """FC-BN-ReLU, then FC-BN-ReLU-FC-BN with a skip: (T, B, m) -> (T, B, width)."""

    def __init__(self, streams: Streams, m: int, width: int):
        super().__init__()
        self.enter, self.inner, self.outer = (NormedLinear(streams, n_in, width) for n_in in (m, width, width))

    def forward(self, z: Tensor) -> Tensor:
        h = F.relu(self.enter(z))
        return h + self.outer(F.relu(self.inner(h)))


class Head(nn.Module):
    """The part of a block that sees the noised label: z (T, B, m) and image features (T, B, width) -> class logits (T, B, C).

    When m equals the size of the image (prototype embeddings), z is an image itself and is read by a convolutional path, as x is.
    """

    def __init__(self, streams: Streams, image: Image, m: int, n_classes: int, channels: Sequence[int], width: int, p: float):
        super().__init__()
        self.z_image = image if m == math.prod(image) else None
        self.label_path = ImagePath(streams, image, channels, width, p) if self.z_image else LabelPath(streams, m, width)
        self.fuse = nn.ModuleList(NormedLinear(streams, n_in, width) for n_in in (2 * width, width))
        self.logits = Linear(streams, width, n_classes)

    def forward(self, z: Tensor, features: Tensor, streams: Streams | None) -> Tensor:
        label = self.label_path(z.unflatten(-1, self.z_image), streams) if self.z_image else self.label_path(z)
        h = torch.cat([features, label], dim=-1)
        for layer in self.fuse:
            h = F.relu(layer(h))
        return self.logits(h)


class Blocks(nn.Module):
    """The T blocks of discrete time. ``streams``, one a block, are for their initial weights."""

    def __init__(self, streams: Streams, image: Image, m: int, n_classes: int, channels: Sequence[int], width: int, p: float):
        super().__init__()
        self.features = ImagePath(streams, image, channels, width, p)
        self.head = Head(streams, image, m, n_classes, channels, width, p)

    def forward(self, z: Tensor, x: Tensor, streams: Streams | None = None) -> Tensor:
        """z (T, B, m), x (T, B, channels, H, W) -> logits (T, B, C). ``streams`` feed dropout while training, one a block."""
        return self.head(z, self.features(x, streams), streams)

    def heads(self) -> list[Callable[[Tensor, Tensor, Generator], Tensor]]:
        """Each block's head alone, (z (B, m), features (B, width), stream) -> logits (B, C), on views of the stacked tensors.

        What is learned, or counted by a batch norm, through a view is learned or counted here.
        """
        names, tensors = zip(*self.head.named_parameters(), *self.head.named_buffers(), strict=True)

        def alone(own: tuple[Tensor, ...]) -> Callable[[Tensor, Tensor, Generator], Tensor]:
            state = dict(zip(names, own, strict=True))
            return lambda z, features, stream: functional_call(self.head, state, (z[None], features[None], [stream]))[0]

        return [alone(own) for own in zip(*(tensor.split(1) for tensor in tensors), strict=True)]


def time_features(t: Tensor, n: int = 64) -> Tensor:
    """Sinusoids of a time in [0, 1] at n/2 geometrically spaced frequencies, (B,) -> (B, n)."""
    angles = 1000 * t[:, None] * torch.exp(torch.arange(n // 2, device=t.device) * (-math.log(10_000) / (n // 2 - 1)))
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


class TimeBlock(nn.Module):
    """The block of continuous time and flow matching, conditioned on t. Its image features do not depend on t and are computed once per image."""

    def __init__(self, stream: Generator, image: Image, m: int, n_out: int, channels: Sequence[int], width: int, p: float):
        super().__init__()
        self.image_path = ImagePath([stream], image, channels, width, p)
        self.label, self.time = Linear([stream], m, width), Linear([stream], 64, width)
        self.fuse = nn.ModuleList(Linear([stream], n_in, width) for n_in in (3 * width, width))
        self.out = Linear([stream], width, n_out)

    def features(self, x: Tensor, stream: Generator | None = None) -> Tensor:
        """x (B, channels, H, W) -> (B, width)."""
        return F.relu(self.image_path(x[None], [stream]))[0]

    def forward(self, z: Tensor, features: Tensor, t: Tensor) -> Tensor:
        """z (B, m), features (B, width), t (B,) in [0, 1] -> (B, n_out)."""
        h = torch.cat([features[None], F.relu(self.label(z[None])), F.relu(self.time(time_features(t)[None]))], dim=-1)
        for layer in self.fuse:
            h = F.relu(layer(h))
        return self.out(h)[0]
