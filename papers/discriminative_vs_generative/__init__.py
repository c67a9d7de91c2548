"""Discriminative against generative classifiers: naive Bayes and logistic regression on Gaussian mixtures and on frozen features (Zheng et al., ICML 2023)."""
