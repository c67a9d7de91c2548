"""Provable pretraining: a latent-variable model fitted without labels makes the labels pay for a small head only (Ge, Tang, Fan and Jin, ICLR 2024)."""
