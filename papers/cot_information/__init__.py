"""CoT information: what one chain of thought tells about a hypothesis, by exact enumeration (Altabaa, Montasser and Lafferty, 2025)."""
