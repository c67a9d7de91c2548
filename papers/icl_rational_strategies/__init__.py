"""In-Context Learning Strategies Emerge Rationally (Wurgaft et al., 2025): when a Transformer memorises its tasks and when it generalises."""
