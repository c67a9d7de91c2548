"""Test-time regression: sequence layers as regressions on the keys and values that they have seen (Wang, Shi and Fox, 2025)."""
