"""Pointer Networks (Vinyals, Fortunato and Jaitly, NIPS 2015)."""
