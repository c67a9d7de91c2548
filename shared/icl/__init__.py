"""What studies of in-context learning share: streams of synthetic tasks drawn inside a compiled program, and the predictors that are optimal on them."""
