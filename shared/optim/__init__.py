"""Training loops and optimisers that more than one paper uses."""
