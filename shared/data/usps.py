"""USPS: 7,291 training and 2,007 test images of digits from envelopes, 16x16 grey, 10 classes of unequal size.

Licence: none stated; in wide use for research. Cite Hull (1994). The mirror's copy and the original hold the same values in the same order; here they are
rounded to 8 bits.
"""

from __future__ import annotations

import bz2
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np

from shared.data.fetch import Dataset, Original, obtain
from shared.data.images import Images
from shared.data.splits import first_of_each_class

FILES = {"train": "usps.bz2", "test": "usps.t.bz2"}


def load(train_per_class: int | None = None, test_per_class: int | None = None) -> Images:
    """USPS, or its first so many images of every class. Shapes (n, 16, 16), uint8, 0 = background; labels int64."""
    found = obtain(DATASET)
    arrays = read(found.folder / "usps_16x16.npz")
    train, test = first_of_each_class(arrays["y_train"], train_per_class), first_of_each_class(arrays["y_test"], test_per_class)
    return Images(arrays["x_train"][train], arrays["y_train"][train], arrays["x_test"][test], arrays["y_test"][test], found.source)


@lru_cache(maxsize=2)
def read(path: Path) -> dict[str, np.ndarray]:
    """Images in 8 bits and labels; kept, because a process runs many trials on the same data."""
    with np.load(path, allow_pickle=False) as arrays:
        images = {f"x_{part}": np.round((arrays[f"x_{part}"].astype(np.float64) + 1000) * 255 / 2000).astype(np.uint8) for part in FILES}
        return images | {f"y_{part}": arrays[f"y_{part}"].astype(np.int64) for part in FILES}


def pack(originals: Mapping[str, Path], folder: Path) -> None:
    """Write usps_16x16.npz (x int16 (n, 16, 16), the value in [-1, 1] times 1000; y uint8, the digit) from the two files."""
    arrays = {}
    for part, file in FILES.items():
        arrays[f"x_{part}"], arrays[f"y_{part}"] = parse(bz2.decompress(originals[file].read_bytes()).decode())
    np.savez_compressed(folder / "usps_16x16.npz", **arrays)


def parse(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Images and digits from lines ``label 1:value 2:value ...``; label 1 is the digit 0. A value that is left out is 0."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    x, y = np.zeros((len(lines), 256), np.int16), np.empty(len(lines), np.uint8)
    for row, (label, *pairs) in enumerate(lines):
        y[row] = int(label) - 1
        for pair in pairs:
            place, _, value = pair.partition(":")
            x[row, int(place) - 1] = round(1000 * float(value))
    return x.reshape(-1, 16, 16), y


DATASET = Dataset(
    name="usps",
    title="USPS handwritten digits, 16x16",
    home="https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass.html#usps",
    licence="none stated",
    citation='J. Hull, "A database for handwritten text recognition research", IEEE Transactions on Pattern Analysis and Machine Intelligence 16(5), 1994',
    mirror={"usps_16x16.npz": "cacab83962eeeffa0a35d888c14098592cd3501b387ec70f384975fd3d75cb4c"},
    originals=tuple(
        Original(file, checksum, (f"https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass/{file}",))
        for file, checksum in {"usps.bz2": "md5:ec16c51db3855ca6c91edd34d0e9b197", "usps.t.bz2": "md5:8ea070ee2aca1ac39742fdd1ef5ed118"}.items()
    ),
    pack=pack,
)
