"""The shape in which image data sets are handed out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64, UInt8


@dataclass(frozen=True)
class Images:
    """Images with class labels in a training and a test part. The arrays are the caller's own: changing them changes no later load."""

    x_train: UInt8[np.ndarray, "train height width *channels"]
    y_train: Int64[np.ndarray, " train"]
    x_test: UInt8[np.ndarray, "test height width *channels"]
    y_test: Int64[np.ndarray, " test"]
    source: str
    """Which copy was read (``mirror`` or ``original``, see `shared.data.fetch.Found`), or the installed package and version that carries it."""
