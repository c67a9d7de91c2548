"""Kernels of infinitely wide networks against slow integrals, finite networks, arithmetic of many digits and torch."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from shared.kernels import (
    Cosines,
    cosines,
    dual_by_quadrature,
    erf_dual,
    gram,
    log_power_kernel,
    nngp,
    ntk,
    polynomial_dual,
    power_dual,
    relu_dual,
    relu_network_kernel,
    sine_dual,
)

CUBIC = (0.0, 0.5, 0.0, 0.5)
DUALS = [polynomial_dual(CUBIC), polynomial_dual((0.2, 0.0, 0.8)), power_dual(2), sine_dual(2.676), erf_dual(), relu_dual()]
RNG = np.random.default_rng(0)


def sphere(n: int, d: int) -> np.ndarray:
    x = RNG.standard_normal((n, d))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize("dual", DUALS, ids=lambda d: d.name)
@pytest.mark.parametrize("rho", [-0.7, 0.0, 0.3, 0.95])
def test_dual_is_the_gaussian_integral_of_its_activation(dual, rho):
    tolerance = 5e-3 if dual.name == "relu" else 1e-9  # quadrature of a kink
    assert dual.value(np.array(rho)) == pytest.approx(dual_by_quadrature(dual.activation, rho), abs=tolerance)


@pytest.mark.parametrize("dual", DUALS, ids=lambda d: d.name)
def test_dual_is_one_at_one_and_its_derivative_is_the_slope(dual):
    assert dual.value(np.array(1.0)) == pytest.approx(1.0, abs=1e-14)
    rho, h = np.linspace(-0.9, 0.9, 7), 1e-6
    assert dual.derivative(rho) == pytest.approx((dual.value(rho + h) - dual.value(rho - h)) / (2 * h), abs=1e-8)


@pytest.mark.parametrize("dual", DUALS, ids=lambda d: d.name)
def test_complement_joins_the_value_where_nothing_cancels_and_keeps_its_slope_at_one(dual):
    t = np.array([0.003, 0.0049, 0.0051, 0.1, 0.3, 0.5])
    assert dual.complement(t) == pytest.approx(1 - dual.value(1 - t), rel=1e-11)
    tiny = np.array([1e-300, 1e-30, 1e-14])
    assert dual.complement(tiny) / tiny == pytest.approx(dual.derivative(np.array(1.0)) * np.ones(3), rel=1e-6)


def test_pairs_closer_than_the_last_digit_of_rho_stay_apart():
    t0 = Fraction(1, 10**18)
    rho, exact = 1 - t0, t0
    for _ in range(20):
        rho = (rho**3 + rho) / 2
        rho = rho.limit_denominator(10**60)
        exact = 1 - rho
    ours = nngp(Cosines(np.array([1.0]), np.array([1e-18])), polynomial_dual(CUBIC), 20)
    assert ours.t[0] == pytest.approx(float(exact), rel=1e-9)
    angle = 1e-9
    pair = np.array([[1.0, 0.0], [math.cos(angle), math.sin(angle)]])
    assert cosines(pair, pair).t[0, 1] == pytest.approx(angle**2 / 2, rel=1e-6)


def test_kernel_far_from_the_diagonal_keeps_its_relative_precision():
    """phi^'(0)^L rho is 1e-31 after a hundred layers and must not be rounded away."""
    s = nngp(Cosines(np.array([1e-3]), np.array([1 - 1e-3])), polynomial_dual(CUBIC), 100)
    assert s.rho[0] == pytest.approx(1e-3 * 0.5**100, rel=1e-5)


def test_deep_ntk_of_close_and_of_nearly_orthogonal_pairs_keeps_its_digits():
    """ReLU's slope at an angle of 1e-9 is 1 - angle / pi, which 1 - rho = 0 would not show; an odd dual's kernel is proportional to a tiny rho."""
    angle, depth = 1e-9, 1000
    close = Cosines(np.array([1.0]), np.array([angle**2 / 2]))
    lost = 1 - ntk(close, relu_dual(), depth)[0] / (depth + 1)
    assert lost == pytest.approx(angle / np.pi * depth / 2, rel=1e-3)
    far = ntk(Cosines(np.array([1e-14]), np.array([1.0])), polynomial_dual(CUBIC), 3)
    assert far[0] == pytest.approx(1e-14 * 0.5**3 * 4, rel=1e-9)


def test_power_kernel_ranks_in_logarithms_what_underflows():
    s = cosines(sphere(3, 4), sphere(50, 4))
    assert np.exp(log_power_kernel(s, 2, 3)) == pytest.approx(nngp(s, power_dual(2), 3).rho, rel=1e-9)
    assert (nngp(s, power_dual(2), 40).rho == 0).all()
    assert (log_power_kernel(s, 2, 40).argmax(1) == np.abs(s.rho).argmax(1)).all()


def test_relu_kernels_in_closed_form():
    """One hidden layer: NTK = arc-cosine of degree 1 + rho arc-cosine of degree 0 (Cho and Saul); deep: K / (L + 1) -> 1/4."""
    X, Y = RNG.standard_normal((4, 6)), RNG.standard_normal((5, 6))
    norms = np.linalg.norm(X, axis=1)[:, None] * np.linalg.norm(Y, axis=1)
    theta = np.arccos(X @ Y.T / norms)
    one = norms * (np.sin(theta) + (np.pi - theta) * np.cos(theta)) / np.pi
    zero = (np.pi - theta) / np.pi
    assert relu_network_kernel(X, Y, kind="nngp") == pytest.approx(one, rel=1e-10)
    assert relu_network_kernel(X, Y) == pytest.approx(one + X @ Y.T * zero, rel=1e-10)
    rho = np.array([0.0, 0.5, 0.9])
    assert ntk(Cosines(rho, 1 - rho), relu_dual(), 10_000) / 10_001 == pytest.approx([0.2504, 0.2505, 0.2507], abs=1e-4)


@pytest.mark.parametrize("dual", [sine_dual(1.0), relu_dual()], ids=lambda d: d.name)
def test_ntk_is_the_jacobian_gram_matrix_of_wide_networks(dual):
    """Two hidden layers in NTK parametrisation, gradients by hand through both and the readout, the mean over forty networks within 4 standard errors."""
    width, x, phi, h = 1000, sphere(3, 5), dual.activation, 1e-5
    grams = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        W1, W2, v = rng.standard_normal((width, 5)), rng.standard_normal((width, width)), rng.standard_normal(width)
        z1 = x @ W1.T
        z2 = phi(z1) @ W2.T / math.sqrt(width)
        back2, back1 = ((phi(z + h) - phi(z - h)) / (2 * h) for z in (z2, z1))
        back2 = v * back2 / math.sqrt(width)
        back1 = back2 @ W2 / math.sqrt(width) * back1
        layers = [(phi(z2) / math.sqrt(width), np.ones((3, 1))), (phi(z1) / math.sqrt(width), back2), (x, back1)]
        grams.append(sum((a @ a.T) * (b @ b.T) for a, b in layers))
    error = np.std(grams, axis=0) / math.sqrt(len(grams))
    assert error.max() < 0.06
    assert (np.abs(np.mean(grams, axis=0) - ntk(cosines(x, x), dual, 2)) < 4 * error).all()


@pytest.mark.parametrize("dual", DUALS, ids=lambda d: d.name)
def test_torch_gives_the_same(dual):
    x, y = sphere(4, 3), sphere(6, 3)
    ours, theirs = cosines(x, y), cosines(torch.from_numpy(x), torch.from_numpy(y))
    assert ntk(theirs, dual, 5).numpy() == pytest.approx(ntk(ours, dual, 5), rel=1e-10)
    assert nngp(theirs, dual, 5).t.numpy() == pytest.approx(nngp(ours, dual, 5).t, rel=1e-10)


def test_gram_in_blocks_is_the_whole_gram():
    X, Y = sphere(11, 3), sphere(7, 3)
    seen = []
    blocks = gram(lambda a, b: seen.append(len(a)) or relu_network_kernel(a, b), X, Y, rows=4)
    assert seen == [4, 4, 3]
    assert blocks == pytest.approx(relu_network_kernel(X, Y), rel=1e-12)
    tensors = gram(lambda a, b: a @ b.T, torch.from_numpy(X), torch.from_numpy(Y), rows=4)
    assert tensors.numpy() == pytest.approx(X @ Y.T, rel=1e-12)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="sum to 1"):
        polynomial_dual((0.5, 0.6))
    with pytest.raises(ValueError, match="'ntk' or 'nngp'"):
        relu_network_kernel(np.ones((1, 2)), np.ones((1, 2)), kind="rbf")
