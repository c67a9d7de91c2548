"""LLMs are Bayesian, in expectation, not in realization (Chlon et al., 2025)."""
