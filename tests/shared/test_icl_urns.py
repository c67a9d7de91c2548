"""Balls and urns: draws, counts and the two Bayesian predictors."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from shared.icl.urns import counts_before, dirichlet_mean, draw_sequences, draw_urns, mixture_mean, urn_posterior
from shared.seeds import jax_key


def test_urns_are_distributions_and_sequences_follow_them():
    urns = draw_urns(jax_key(0, "urns"), n=3, V=4)
    np.testing.assert_allclose(urns.sum(-1), 1, atol=1e-6)
    for urn in urns:
        ids = draw_sequences(jax_key(1, "draws"), urn[None], batch=50, length=2000)
        np.testing.assert_allclose(np.bincount(ids.ravel(), minlength=4) / ids.size, urn, atol=0.01)


def test_each_sequence_keeps_to_one_urn_and_all_urns_are_used():
    ids = np.asarray(draw_sequences(jax_key(0, "draws"), jnp.eye(5), batch=400, length=6))
    assert (ids == ids[:, :1]).all()
    assert np.bincount(ids[:, 0], minlength=5).min() > 50


def test_counts_are_of_what_came_before():
    counts = np.asarray(counts_before(jnp.array([2, 0, 2]), V=3))
    np.testing.assert_array_equal(counts, [[0, 0, 0], [0, 0, 1], [1, 0, 1], [1, 0, 2]])


def test_laplace_s_rule_and_the_uniform_start():
    np.testing.assert_allclose(dirichlet_mean(jnp.array([3, 1])), [4 / 6, 2 / 6])
    np.testing.assert_allclose(dirichlet_mean(jnp.zeros(5, int)), 0.2)


def test_the_dirichlet_mean_is_the_ratio_of_marginal_likelihoods():
    """P(next = v | draws) = P(draws, v) / P(draws), each an integral over a fine grid of coins."""
    theta = (np.arange(100_000) + 0.5) / 100_000
    marginal = lambda heads, tails: np.mean(theta**heads * (1 - theta) ** tails)  # noqa: E731
    np.testing.assert_allclose(dirichlet_mean(jnp.array([5, 2]))[0], marginal(6, 2) / marginal(5, 2), rtol=1e-5)


def test_the_posterior_over_urns_is_bayes_rule_by_hand():
    urns = jnp.array([[0.9, 0.1], [0.4, 0.6]])
    likelihood = np.array([0.9**2 * 0.1, 0.4**2 * 0.6])
    np.testing.assert_allclose(urn_posterior(jnp.array([2, 1]), urns), likelihood / likelihood.sum(), rtol=1e-6)
    np.testing.assert_allclose(mixture_mean(jnp.array([2, 1]), urns), likelihood / likelihood.sum() @ np.asarray(urns), rtol=1e-6)
    np.testing.assert_allclose(urn_posterior(jnp.array([0, 1]), jnp.array([[1.0, 0.0], [0.5, 0.5]])), [0, 1])


def test_with_very_many_urns_the_memoriser_is_the_generaliser():
    urns = draw_urns(jax_key(0, "urns"), n=20_000, V=3)
    for counts in itertools.product((0, 2, 5), repeat=3):
        np.testing.assert_allclose(mixture_mean(jnp.array(counts), urns), dirichlet_mean(jnp.array(counts)), atol=0.02)


def test_double_precision_is_kept_for_long_sequences():
    with jax.enable_x64(True):
        urns = jnp.asarray([[0.2, 0.8], [0.21, 0.79]], jnp.float64)
        posterior = urn_posterior(jnp.array([2000, 8000]), urns)
        assert posterior.dtype == np.float64 and 0.9 < posterior[0] < 1
