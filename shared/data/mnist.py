"""MNIST: 60,000 training and 10,000 test images of handwritten digits, 28x28 grey, 10 classes.

Licence: no licence text with the original; mirrors commonly state CC BY-SA 3.0. Cite LeCun, Bottou, Bengio, Haffner (1998). The mirror's copy and the original
are equal, pixel for pixel and in the same order.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np

from shared.data.fetch import Dataset, Original, obtain
from shared.data.images import Images
from shared.data.splits import first_of_each_class

IDX_FILES = {  # (part, array of the packed file) -> idx file of the original
    ("train", "x"): "train-images-idx3-ubyte.gz",
    ("train", "y"): "train-labels-idx1-ubyte.gz",
    ("test", "x"): "t10k-images-idx3-ubyte.gz",
    ("test", "y"): "t10k-labels-idx1-ubyte.gz",
}
HOSTS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")


def load(train_per_class: int | None = None, test_per_class: int | None = None) -> Images:
    """MNIST, or its first so many images of every class. Shapes (n, 28, 28), uint8, 0 = background; labels int64."""
    found = obtain(DATASET)
    x_train, y_train = read(found.folder / "mnist_train.npz")
    x_test, y_test = read(found.folder / "mnist_test.npz")
    train, test = first_of_each_class(y_train, train_per_class), first_of_each_class(y_test, test_per_class)
    return Images(x_train[train], y_train[train], x_test[test], y_test[test], found.source)


@lru_cache(maxsize=2)
def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of a packed file; kept, because a process runs many trials on the same data."""
    with np.load(path, allow_pickle=False) as arrays:
        return arrays["x"], arrays["y"].astype(np.int64)


def pack(originals: Mapping[str, Path], folder: Path) -> None:
    """Write mnist_train.npz and mnist_test.npz (x uint8 (n, 28, 28), y uint8 (n,)) from the four idx files."""
    for part in ("train", "test"):
        arrays = {array: parse_idx(gzip.decompress(originals[IDX_FILES[part, array]].read_bytes())) for array in ("x", "y")}
        np.savez_compressed(folder / f"mnist_{part}.npz", **arrays)


def parse_idx(content: bytes) -> np.ndarray:
    """The array in an idx file of bytes: two zero bytes, type 8, number of dimensions, each dimension as a big-endian int32, then the values."""
    if content[:3] != b"\x00\x00\x08":
        raise ValueError("not an idx file of unsigned bytes")
    dimensions = content[3]
    shape = np.frombuffer(content, ">i4", count=dimensions, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


DATASET = Dataset(
    name="mnist",
    title="MNIST handwritten digits",
    home="https://yann.lecun.org/exdb/mnist/",
    licence="not stated by its authors; commonly given as CC BY-SA 3.0",
    citation='Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document recognition", Proc. IEEE 86(11), 1998',
    mirror={
        "mnist_train.npz": "11bf48d67d8e90b9d940549ce9565b4921ad2ec150e4491e0c670aeb165169a9",
        "mnist_test.npz": "3ba302235efdc3e7e4e84db9ce6a6d6cbc9dd1162d4e79dd0b6a606afc745423",
    },
    originals=tuple(
        Original(file, checksum, tuple(host + file for host in HOSTS))
        for file, checksum in {
            "train-images-idx3-ubyte.gz": "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "md5:d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "md5:9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "md5:ec29112dd5afa0611ce80d1b7f02629c",
        }.items()
    ),
    pack=pack,
)
