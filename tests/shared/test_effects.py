"""Slopes, matched comparisons and standardised differences."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from shared.effects import first_crossing, log_log_fit, log_log_slope, matched_difference, standardised_difference
from shared.engine import NotRun, chosen
from shared.seeds import numpy_rng


def test_a_power_law_gives_its_exponent_whatever_its_constant():
    x = np.array([10, 20, 50, 100])
    assert log_log_slope(x, 3 * x**-0.5) == pytest.approx(-0.5)
    np.testing.assert_allclose(log_log_slope(x, np.stack([x**1.5, 7.0 * x**3])), [1.5, 3.0])


def test_the_slope_is_that_of_polyfit_on_logarithms():
    rng = numpy_rng(0, "noise")
    x, y = rng.uniform(1, 9, 12), rng.uniform(1, 9, 12)
    slope, intercept = np.polyfit(np.log(x), np.log(y), 1)
    fit = log_log_fit(x, y)
    assert (fit.slope, fit.intercept) == pytest.approx((slope, intercept))
    assert log_log_slope(x, y) == pytest.approx(slope)
    np.testing.assert_allclose(fit.predict(x), np.exp(intercept) * x**slope)


def test_the_interval_of_a_slope_covers_the_truth_as_often_as_it_says():
    x = np.geomspace(10, 1000, 8)
    rng = numpy_rng(1, "noise")
    fits = [log_log_fit(x, x**-0.7 * np.exp(0.2 * rng.standard_normal(len(x)))) for _ in range(400)]
    covered = np.mean([low <= -0.7 <= high for _, low, high in (fit.interval() for fit in fits)])
    assert 0.91 < covered < 0.985


def test_two_points_have_a_slope_and_no_error():
    assert log_log_fit([1, 10], [1, 100]).interval() == (pytest.approx(2), -np.inf, np.inf)


@pytest.mark.parametrize(("x", "y"), [([1, 2], [0, 1]), ([1, 1], [1, 2]), ([1, 2], [1, 2, 3]), ([1, 2], [1, np.nan]), ([-1, 2], [1, 2])])
def test_what_has_no_slope_is_refused(x, y):
    with pytest.raises(ValueError):
        log_log_slope(x, y)


def trials():
    return pd.DataFrame({"method": ["a", "a", "b", "b"], "seed": [0, 1, 1, 0], "accuracy": [0.9, 0.8, 0.5, 0.7]})


def test_differences_are_taken_between_rows_of_the_same_seed():
    found = matched_difference(trials(), "accuracy", {"method": "a"}, {"method": "b"})
    assert found.to_dict() == pytest.approx({0: 0.2, 1: 0.3})


def test_unmatched_seeds_and_ambiguous_conditions_are_refused():
    with pytest.raises(ValueError, match="nothing to match"):
        matched_difference(trials().iloc[:3], "accuracy", {"method": "a"}, {"method": "b"})
    with pytest.raises(ValueError, match="want one for each"):
        matched_difference(trials(), "accuracy", {}, {"method": "b"})


def test_hedges_g_is_in_pooled_standard_deviations():
    a, b = np.array([2.0, 3.0, 4.0]), np.array([0.0, 1.0, 2.0])
    g, low, high = standardised_difference(a, b)
    assert g == pytest.approx(2 * (1 - 3 / 15))
    assert low < g < high and standardised_difference(b, a)[0] == pytest.approx(-g)
    with pytest.raises(ValueError, match="constant"):
        standardised_difference([1, 1], [2, 2])


def test_the_interval_of_g_covers_the_true_effect():
    rng = numpy_rng(2, "samples")
    intervals = [standardised_difference(0.8 + rng.standard_normal(8), rng.standard_normal(8)) for _ in range(300)]
    assert 0.9 < np.mean([low <= 0.8 <= high for _, low, high in intervals]) < 0.99


def test_the_rows_of_a_condition_come_by_seed_and_a_missing_condition_is_not_run():
    found = chosen(trials(), method="b")
    assert found.accuracy.to_dict() == {0: 0.7, 1: 0.5} and list(found.index) == [0, 1]
    for absent in ({"method": "c"}, {"noise": 0.1}):
        with pytest.raises(NotRun, match="no trials with"):
            chosen(trials(), **absent)


def test_a_curve_first_reaches_a_level_between_its_points():
    x = [1.0, 2.0, 4.0, 8.0]
    assert first_crossing(x, [0.0, 0.5, 1.0, 0.0], 0.75) == pytest.approx(3.0)
    assert first_crossing(x, [1.0, 0.5, 0.1, 1.0], 0.3, falling=True) == pytest.approx(3.0)
    assert first_crossing(x, [0.0, 0.5, 1.0, 0.0], 0.5) == 2.0  # on a point
    assert first_crossing(x, [0.9, 0.1, 1.0, 1.0], 0.8) == 1.0  # from the start
    assert first_crossing(x, [0.0, 0.1, 0.2, 0.3], 0.8) is None
