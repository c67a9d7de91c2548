"""Just read twice: closing the recall gap for recurrent language models (Arora et al., 2024)."""
