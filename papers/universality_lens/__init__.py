"""The Universality Lens: regret of Bayesian mixtures and the weight of hypotheses (Feder, Urbanke, Fogel, 2025)."""
