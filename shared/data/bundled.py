"""The small tables that scikit-learn carries: breast_cancer, iris, wine (classification) and diabetes (regression). Always there, no download.

Licences: breast_cancer, iris and wine CC BY 4.0 (UCI); diabetes: none stated, published with Efron, Hastie, Johnstone, Tibshirani (2004).
Cite W. Street, W. Wolberg, O. Mangasarian (1993); R. Fisher (1936); M. Forina et al., PARVUS (1988); B. Efron et al. (2004).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Shaped

from shared.data.fetch import Dataset

TABLES = ("breast_cancer", "diabetes", "iris", "wine")


@dataclass(frozen=True)
class Table:
    """A data table without an official split (`shared.data.splits` makes one)."""

    x: Float64[np.ndarray, "n features"]
    y: Shaped[np.ndarray, " n"]
    """Class (int64), or the value to predict (float64) for diabetes."""
    features: tuple[str, ...]
    classes: tuple[str, ...]
    """Empty for regression."""
    source: str


def load(table: str) -> Table:
    """One of `TABLES`, in its own units: nothing is scaled."""
    if table not in TABLES:
        raise ValueError(f"no table {table!r}: choose one of {', '.join(TABLES)}")
    import sklearn
    from sklearn import datasets

    unscaled = {"scaled": False} if table == "diabetes" else {}
    bunch = getattr(datasets, f"load_{table}")(**unscaled)
    regression = table == "diabetes"
    return Table(
        x=np.array(bunch.data, np.float64),
        y=np.array(bunch.target, np.float64 if regression else np.int64),
        features=tuple(map(str, bunch.feature_names)),
        classes=() if regression else tuple(map(str, bunch.target_names)),
        source=f"scikit-learn {sklearn.__version__}",
    )


DATASET = Dataset(
    name="bundled",
    title="Tables carried by scikit-learn: breast_cancer, diabetes, iris, wine",
    home="https://scikit-learn.org/stable/datasets/toy_dataset.html",
    licence="CC BY 4.0 (diabetes: none stated)",
    citation="W. Street et al. 1993 (breast_cancer); B. Efron et al. 2004 (diabetes); R. Fisher 1936 (iris); M. Forina et al. 1988 (wine)",
    bundled_with="scikit-learn",
)
