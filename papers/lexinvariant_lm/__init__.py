"""Lexinvariant Language Models (Huang et al., 2023)."""
