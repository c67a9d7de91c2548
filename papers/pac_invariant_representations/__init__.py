"""PAC Generalization via Invariant Representations (Parulekar, Shanmugam and Shakkottai, 2022)."""
