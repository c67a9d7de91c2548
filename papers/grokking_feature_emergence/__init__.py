"""Provable scaling laws of feature emergence from the learning dynamics of grokking (Tian, 2025)."""
