"""Networks for small images: the CIFAR ResNets, the four-layer convolutional net of few-shot learning, and a small vision transformer.

Each has ``features(x)``, what a linear classifier sees, of ``n_features`` units, and ``forward(x) = head(features(x))``. Images are (batch, channels, height,
width).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Network(nn.Module):
    """A feature extractor with a linear head."""

    n_features: int
    head: nn.Linear

    def features(self, x: Tensor) -> Tensor:
        """(batch, n_features)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Class scores (batch, classes)."""
        return self.head(self.features(x))


def _conv3(n_in: int, n_out: int, stride: int = 1) -> nn.Conv2d:
    layer = nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


class _Shortcut(nn.Module):
    """Parameter-free: every second pixel, new channels zero (option A of He et al. 2016, Section 4.2)."""

    def __init__(self, n_in: int, n_out: int, stride: int):
        super().__init__()
        self.added, self.stride = n_out - n_in, stride

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.added))


class BasicBlock(nn.Module):
    """conv-BN-ReLU-conv-BN plus a shortcut, then ReLU (He et al. 2016, Fig. 5 left)."""

    def __init__(self, n_in: int, n_out: int, stride: int, projection: bool):
        super().__init__()
        self.conv1, self.norm1 = _conv3(n_in, n_out, stride), nn.BatchNorm2d(n_out)
        self.conv2, self.norm2 = _conv3(n_out, n_out), nn.BatchNorm2d(n_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or n_in != n_out:
            self.shortcut = (
                nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out)) if projection else _Shortcut(n_in, n_out, stride)
            )

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(h)) + self.shortcut(x))


class ResNet(Network):
    """A residual network with a 3x3 stem and no max-pooling, as used on 32x32 images.

    Parameters
    ----------
    blocks, widths : residual blocks and channels of each stage; the first stage keeps the resolution, each later one halves it.
    projection : 1x1 convolutions where a shortcut changes shape (ResNet-18, -34), else the parameter-free shortcut (ResNet-8, -20).
    """

    def __init__(self, blocks: Sequence[int], widths: Sequence[int], classes: int, channels: int = 3, projection: bool = False):
        super().__init__()
        self.stem, self.norm = _conv3(channels, widths[0]), nn.BatchNorm2d(widths[0])
        stages, n_in = [], widths[0]
        for stage, (count, width) in enumerate(zip(blocks, widths, strict=True)):
            for index in range(count):
                stages.append(BasicBlock(n_in, width, 2 if stage and not index else 1, projection))
                n_in = width
        self.blocks = nn.Sequential(*stages)
        self.n_features = n_in
        self.head = nn.Linear(n_in, classes)

    def features(self, x: Tensor) -> Tensor:
        """(batch, n_features), averaged over the last map."""
        return self.blocks(F.relu(self.norm(self.stem(x)))).mean((2, 3))


def resnet8(classes: int, channels: int = 3) -> ResNet:
    """Three blocks, 16-32-64 channels, 0.08 M parameters."""
    return ResNet((1, 1, 1), (16, 32, 64), classes, channels)


def resnet20(classes: int, channels: int = 3) -> ResNet:
    """Nine blocks, 16-32-64 channels, 0.27 M parameters (He et al. 2016, Table 6)."""
    return ResNet((3, 3, 3), (16, 32, 64), classes, channels)


def resnet18(classes: int, channels: int = 3) -> ResNet:
    """ResNet-18 with the CIFAR stem, 11.2 M parameters."""
    return ResNet((2, 2, 2, 2), (64, 128, 256, 512), classes, channels, projection=True)


def resnet34(classes: int, channels: int = 3) -> ResNet:
    """ResNet-34 with the CIFAR stem, 21.3 M parameters."""
    return ResNet((3, 4, 6, 3), (64, 128, 256, 512), classes, channels, projection=True)


class Conv4(Network):
    """Four times conv3x3-BN-ReLU-maxpool2 (Vinyals et al. 2016); 28x28 -> ``width`` features, 0.11 M parameters at width 64."""

    def __init__(self, classes: int, channels: int = 1, width: int = 64):
        super().__init__()
        layers: list[nn.Module] = []
        for n_in in (channels, width, width, width):
            layers += [_conv3(n_in, width), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]
        self.layers = nn.Sequential(*layers)
        self.n_features = width
        self.head = nn.Linear(width, classes)

    def features(self, x: Tensor) -> Tensor:
        return self.layers(x).mean((2, 3))


class _Layer(nn.Module):
    """Pre-norm transformer layer: x + attention(norm x), then x + MLP(norm x)."""

    def __init__(self, width: int, heads: int, ratio: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, ratio * width), nn.Linear(ratio * width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # each (batch, heads, tokens, width / heads)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, width))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class ViT(Network):
    """Vision transformer (Dosovitskiy et al. 2021) with a class token and learned positions; the features are the normed class token."""

    def __init__(self, classes: int, side: int, patch: int, width: int, depth: int, heads: int, channels: int = 1, ratio: int = 2):
        super().__init__()
        if side % patch:
            raise ValueError(f"patches of {patch} do not tile images of {side}")
        self.embed = nn.Conv2d(channels, width, patch, patch)
        self.cls = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.positions = nn.Parameter(torch.randn(1, (side // patch) ** 2 + 1, width) * 0.02)
        self.layers = nn.Sequential(*(_Layer(width, heads, ratio) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.n_features = width
        self.head = nn.Linear(width, classes)

    def tokens(self, x: Tensor) -> Tensor:
        """Normed tokens of the last layer, class token first: (batch, 1 + patches, width)."""
        patches = self.embed(x).flatten(2).transpose(1, 2)
        h = torch.cat([self.cls.expand(len(x), -1, -1), patches], dim=1) + self.positions
        return self.norm(self.layers(h))

    def features(self, x: Tensor) -> Tensor:
        return self.tokens(x)[:, 0]


def vit28(classes: int) -> ViT:
    """28x28 grey images, 16 patches of 7x7, width 96, depth 6: 0.45 M parameters."""
    return ViT(classes, side=28, patch=7, width=96, depth=6, heads=3)


def vit32(classes: int) -> ViT:
    """32x32 colour images, 64 patches of 4x4, width 192, depth 6: 2.7 M parameters."""
    return ViT(classes, side=32, patch=4, width=192, depth=6, heads=3, channels=3, ratio=4)
