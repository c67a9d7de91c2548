"""Digits: 1,797 handwritten digits, 8x8 grey with values 0..16, 10 classes. Always there: scikit-learn carries them.

Licence: CC BY 4.0 (UCI). Cite Alpaydin and Kaynak (1998). These are the test part of the UCI set and have no official split: ``load`` makes a fixed one.
"""

from __future__ import annotations

import numpy as np

from shared.data.fetch import Dataset
from shared.data.images import Images
from shared.data.splits import stratified_split
from shared.seeds import numpy_rng


def load(test_share: float = 0.2, seed: int = 0) -> Images:
    """The digits, split at random in equal shares of every class; ``seed`` chooses the split. Shapes (n, 8, 8), uint8, values 0..16; labels int64."""
    import sklearn
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x, y = x.reshape(-1, 8, 8).astype(np.uint8), y.astype(np.int64)
    train, test = stratified_split(y, test_share, numpy_rng(seed, "digits split"))
    return Images(x[train], y[train], x[test], y[test], f"scikit-learn {sklearn.__version__}")


DATASET = Dataset(
    name="digits",
    title="Optical recognition of handwritten digits, 8x8",
    home="https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
    licence="CC BY 4.0",
    citation="E. Alpaydin, C. Kaynak, Optical recognition of handwritten digits, UCI Machine Learning Repository, 1998",
    bundled_with="scikit-learn",
)
