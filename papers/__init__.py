"""The replications, one self-contained folder a paper."""
