"""In-context learning of Boolean functions: Bhattamishra, Patel, Blunsom and Kanade (2023)."""
