"""The data registry: one light module a data set, each with ``DATASET`` (home, licence, citation) and ``load()``. ``python -m shared.data`` lists them."""
