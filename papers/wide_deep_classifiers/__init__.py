"""Wide and deep networks as classifiers: 1-nearest neighbour, majority vote, or singular kernels that reach the Bayes rate."""
