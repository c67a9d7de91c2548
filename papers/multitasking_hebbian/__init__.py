"""Parallel learning by multitasking neural networks (Agliari, Alessandrelli, Barra, Ricci-Tersenghi, 2023)."""
