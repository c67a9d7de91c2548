"""Augmentation, networks and training on images with known answers."""

from __future__ import annotations

import pytest
import torch

from shared.vision import augment, networks, training


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int = 6, channels: int = 3, side: int = 8) -> torch.Tensor:
    return torch.rand(n, channels, side, side, generator=generator(1))


def test_shift_only_moves_and_reaches_every_offset():
    x = torch.zeros(500, 1, 9, 9)
    x[:, :, 4, 4] = 1
    moved = augment.shift(x, 2, generator())
    assert torch.equal(moved.sum((1, 2, 3)), torch.ones(500))
    places = {tuple(place) for place in moved[:, 0].nonzero()[:, 1:].tolist()}
    assert places == {(row, column) for row in range(2, 7) for column in range(2, 7)}


def test_flip_mirrors_about_half_and_only_left_to_right():
    x = images(400)
    flipped = augment.flip(x, generator())
    mirrored = (flipped == x.flip(-1)).flatten(1).all(1)
    same = (flipped == x).flatten(1).all(1)
    assert (mirrored | same).all()
    assert 0.4 < mirrored.float().mean() < 0.6


def test_cutout_zeroes_a_square_that_may_hang_over_the_border():
    holes = (augment.cutout(torch.ones(300, 1, 8, 8), 4, generator()) == 0).sum((1, 2, 3))
    assert holes.max() == 16
    assert holes.min() >= 4
    assert (augment.cutout(images() + 0.1, 4, generator()) == 0).any(1, keepdim=True).sum() * 3 == (augment.cutout(images() + 0.1, 4, generator()) == 0).sum()


def test_colour_keeps_the_range_and_strength_zero_keeps_the_image():
    x = images()
    assert torch.allclose(augment.colour(x, 0.0, generator(), p=1.0), x, atol=1e-6)
    changed = augment.colour(x, 0.8, generator(), p=1.0)
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert not torch.allclose(changed, x)
    grey = augment.greyscale(x, generator(), p=1.0)
    assert torch.allclose(grey[:, 0], grey[:, 2])


def test_a_crop_of_the_whole_image_is_the_image():
    x = images()
    assert torch.allclose(augment.resized_crop(x, 1.0, generator()), x, atol=1e-5)
    assert not torch.allclose(augment.resized_crop(x, 0.3, generator()), x, atol=1e-2)


def test_two_views_differ_and_come_again_from_the_same_seed():
    first, second = augment.two_views(images(), generator())
    again, _ = augment.two_views(images(), generator())
    assert not torch.allclose(first, second)
    assert torch.equal(first, again)


@pytest.mark.parametrize(
    ("network", "shape", "parameters"),
    [
        (lambda: networks.resnet8(10), (2, 3, 32, 32), 75_290),
        (lambda: networks.resnet20(10), (2, 3, 32, 32), 269_722),
        (lambda: networks.resnet18(10), (2, 3, 32, 32), 11_173_962),
        (lambda: networks.resnet34(10), (1, 3, 32, 32), 21_282_122),
        (lambda: networks.Conv4(5), (2, 1, 28, 28), None),
        (lambda: networks.vit28(5), (2, 1, 28, 28), None),
        (lambda: networks.vit32(5), (2, 3, 32, 32), None),
    ],
)
def test_networks_have_the_documented_size_and_shapes(network, shape, parameters):
    built = network().eval()
    x = torch.rand(shape)
    assert built.features(x).shape == (shape[0], built.n_features)
    assert torch.allclose(built(x), built.head(built.features(x)))
    count = sum(p.numel() for p in built.parameters())
    assert parameters is None or count == parameters


def test_shortcut_passes_every_second_pixel_and_pads_channels_with_zeros():
    block = networks.BasicBlock(4, 8, stride=2, projection=False)
    x = images(2, 4)
    assert torch.equal(block.shortcut(x)[:, :4], x[:, :, ::2, ::2])
    assert (block.shortcut(x)[:, 4:] == 0).all()


def test_vit_layer_equals_torchs_own():
    layer = networks._Layer(16, 4, 2)
    own = torch.nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
    pairs = {
        "self_attn.in_proj_weight": layer.qkv.weight,
        "self_attn.in_proj_bias": layer.qkv.bias,
        "self_attn.out_proj.weight": layer.out.weight,
        "self_attn.out_proj.bias": layer.out.bias,
        "linear1.weight": layer.up.weight,
        "linear1.bias": layer.up.bias,
        "linear2.weight": layer.down.weight,
        "linear2.bias": layer.down.bias,
        "norm1.weight": layer.norm1.weight,
        "norm1.bias": layer.norm1.bias,
        "norm2.weight": layer.norm2.weight,
        "norm2.bias": layer.norm2.bias,
    }
    own.load_state_dict(pairs)
    x = torch.randn(3, 5, 16, generator=generator())
    assert torch.allclose(layer(x), own(x), atol=1e-5)


def test_vit_knows_where_a_patch_stands():
    built = networks.vit28(3).eval()
    x = torch.rand(1, 1, 28, 28, generator=generator())
    assert not torch.allclose(built.features(x), built.features(x.roll(7, dims=-1)), atol=1e-4)


def test_an_epoch_visits_every_example_once_and_cosine_ends_at_zero():
    rows = torch.cat(list(training.batches(10, 3, generator(), drop_last=False)))
    assert sorted(rows.tolist()) == list(range(10))
    assert sum(map(len, training.batches(10, 3, generator()))) == 9
    assert [len(rows) for rows in training.batches(2, 3, generator())] == [2]
    assert training.cosine(0, 10) == 1
    assert training.cosine(10, 10) == pytest.approx(0, abs=1e-12)
    assert training.cosine(1, 10, warm_up=4) == 0.5


def test_fit_learns_bright_from_dark_and_the_same_seed_gives_the_same_weights():
    y = torch.arange(64) % 2
    x = torch.rand(64, 1, 28, 28, generator=generator()) * 0.5 + y.view(-1, 1, 1, 1) * 0.5

    def trained():
        torch.manual_seed(0)
        built = networks.Conv4(2, width=4)
        optimizer = torch.optim.SGD(built.parameters(), lr=0.1, momentum=0.9)
        training.fit(built, x, y, optimizer, epochs=4, batch=16, generator=generator(3), augment=lambda images, g: augment.shift(images, 2, g))
        return built

    first = trained()
    assert training.accuracy(first, x, y) == 1.0
    assert training.frozen_features(first, x).shape == (64, 4)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), trained().parameters(), strict=True))
