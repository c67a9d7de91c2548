"""Exact learning of permutations by ensembles of two-layer networks in the kernel regime (Giapitzakis, Back de Luca and Fountoulakis, 2025)."""
