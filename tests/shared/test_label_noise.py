"""Label noise has the rate that it says and touches nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from shared.data.label_noise import CIFAR10_CONFUSIONS, asymmetric, symmetric

truth = np.repeat(np.arange(10), 2000)


def test_symmetric_noise_draws_from_all_classes_so_that_nine_tenths_of_it_is_wrong():
    noisy = symmetric(truth, 0.4, 10, np.random.default_rng(0))
    wrong = noisy != truth
    assert wrong.mean() == pytest.approx(0.36, abs=0.01)
    for label in range(10):
        assert wrong[truth == label].mean() == pytest.approx(0.36, abs=0.04)
    assert np.bincount(noisy[wrong], minlength=10).min() > 550
    assert (truth == np.repeat(np.arange(10), 2000)).all()


def test_asymmetric_noise_flips_five_classes_at_once_and_no_other():
    noisy = asymmetric(truth, 0.4, CIFAR10_CONFUSIONS, np.random.default_rng(0))
    for label in range(10):
        own = noisy[truth == label]
        if label in CIFAR10_CONFUSIONS:
            assert np.bincount(own, minlength=10)[CIFAR10_CONFUSIONS[label]] == 800
            assert (own == label).sum() == 1200
        else:
            assert (own == label).all()


def test_rate_zero_changes_nothing_and_impossible_rates_are_refused():
    rng = np.random.default_rng(0)
    assert (symmetric(truth, 0.0, 10, rng) == truth).all()
    with pytest.raises(ValueError, match="rate"):
        symmetric(truth, 1.1, 10, rng)
    with pytest.raises(ValueError, match="rate"):
        asymmetric(truth, -0.1, {0: 1}, rng)
