"""Intervals and verdicts on values with known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from shared.engine.statistics import confidence_interval, judge, parse_criterion, prediction_interval


@pytest.mark.parametrize(
    ("criterion", "low", "high", "verdict"),
    [
        ("> 0", 0.1, 0.2, "reproduced"),
        ("> 0", 0.0, 0.2, "inconclusive"),
        (">= 0", 0.0, 0.2, "reproduced"),
        ("> 0", -0.2, 0.0, "contradicted"),
        (">= 0", -0.2, 0.0, "inconclusive"),
        ("> 0", -0.1, 0.1, "inconclusive"),
        ("< 1e-2", -5, 0.009, "reproduced"),
        ("< 1", 1, 2, "contradicted"),
        ("<= 1", 1, 1, "reproduced"),
        ("in [0.7, 1.4]", 0.7, 1.4, "reproduced"),
        ("in [0.7, 1.4]", 0.6, 1.0, "inconclusive"),
        ("in [0.7, 1.4]", 1.41, 2.0, "contradicted"),
        ("in [-1, 1]", -3, -1.5, "contradicted"),
        ("> 0", -math.inf, math.inf, "inconclusive"),
    ],
)
def test_verdict_follows_from_interval_and_criterion(criterion, low, high, verdict):
    assert judge(low, high, parse_criterion(criterion)) == verdict


@given(st.sampled_from([">", ">=", "<", "<="]), st.integers(-3, 3), st.integers(-4, 4), st.integers(0, 3))
def test_verdict_equals_a_check_of_every_point_of_the_interval(sign, bound, low, width):
    points = np.linspace(low, low + width, 13)
    holds = {">": points > bound, ">=": points >= bound, "<": points < bound, "<=": points <= bound}[sign]
    expected = "reproduced" if holds.all() else "inconclusive" if holds.any() else "contradicted"
    assert judge(low, low + width, parse_criterion(f"{sign} {bound}")) == expected


@pytest.mark.parametrize("text", ["", "0", "> ", "= 3", "in [1 2]", "in [2, 1]", "> 0 or so", "in (0, 1)"])
def test_a_criterion_of_another_form_is_refused(text):
    with pytest.raises(ValueError, match="criterion"):
        parse_criterion(text)


def test_t_interval_is_scipys():
    values = [0.3, 0.5, 0.1, 0.9]
    expected = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert confidence_interval(values)[1:] == pytest.approx(expected)


def test_t_interval_covers_the_mean_in_95_of_100_samples():
    rng = np.random.default_rng(0)
    covered = [low <= 1.0 <= high for low, high in (confidence_interval(rng.normal(1.0, 2.0, 5))[1:] for _ in range(2000))]
    assert 0.935 < np.mean(covered) < 0.965


def test_bootstrap_takes_ten_values_and_falls_back_to_t_below():
    few, many = np.linspace(0, 1, 9), np.linspace(0, 1, 12)
    assert confidence_interval(few, "bootstrap") == confidence_interval(few, "t")
    assert confidence_interval(many, "bootstrap") != confidence_interval(many, "t")
    assert confidence_interval(many, "bootstrap") == confidence_interval(many, "bootstrap")


def test_equal_values_have_width_zero_and_one_value_has_no_interval():
    assert confidence_interval([0.1, 0.1, 0.1]) == (0.1, 0.1, 0.1)
    assert confidence_interval([0.4]) == (0.4, -math.inf, math.inf)


@pytest.mark.parametrize("values", [[], [0.1, math.nan], [math.inf, 0.0]])
def test_values_without_a_mean_are_refused(values):
    with pytest.raises(ValueError, match="finite"):
        confidence_interval(values)


def test_prediction_interval_holds_new_means_in_95_of_100_cases():
    rng = np.random.default_rng(1)
    inside = []
    for _ in range(2000):
        low, high = prediction_interval(rng.normal(size=5), 3)
        inside.append(low <= rng.normal(size=3).mean() <= high)
    assert 0.935 < np.mean(inside) < 0.965
