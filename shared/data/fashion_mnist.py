"""Fashion-MNIST: 28x28 grey pictures of articles of clothing, 10 classes.

Licence: MIT, copyright 2017 Zalando SE. Cite Xiao, Rasul, Vollgraf (2017).

There are two copies, and they differ; ``load().source`` says which one was read. ``original`` holds all 60,000 training and 10,000 test images. ``mirror`` is a
part: 1,900 training images (1,000 drawn at random from the training set, and the 900 of the picture in the home repository, of which it is not known which set
they come from) and 1,000 test images, not the same number of every class. Report results on it as such.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np

from shared.data.fetch import Dataset, Original, obtain
from shared.data.images import Images
from shared.data.mnist import IDX_FILES, parse_idx
from shared.data.splits import first_of_each_class

CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


def load(train_per_class: int | None = None, test_per_class: int | None = None) -> Images:
    """Fashion-MNIST, or its first so many images of every class. Shapes (n, 28, 28), uint8, 0 = background; labels int64."""
    found = obtain(DATASET)
    read = read_whole if found.source == "original" else read_part
    x_train, y_train, x_test, y_test = read(found.folder)
    train, test = first_of_each_class(y_train, train_per_class), first_of_each_class(y_test, test_per_class)
    return Images(x_train[train], y_train[train], x_test[test], y_test[test], found.source)


@lru_cache(maxsize=2)
def read_whole(folder: Path) -> tuple[np.ndarray, ...]:
    """Training images and labels, test images and labels, as packed from the original; kept, because a process runs many trials on the same data."""
    with np.load(folder / "fashion_mnist.npz", allow_pickle=False) as arrays:
        return arrays["x_train"], arrays["y_train"].astype(np.int64), arrays["x_test"], arrays["y_test"].astype(np.int64)


@lru_cache(maxsize=2)
def read_part(folder: Path) -> tuple[np.ndarray, ...]:
    """The same of the mirror's part; the 900 images of the picture come after the 1,000 others."""
    with np.load(folder / "fashion_mnist_subset.npz", allow_pickle=False) as arrays:
        x_train = np.concatenate([arrays["x_train"], arrays["x_sprite"]])
        y_train = np.concatenate([arrays["y_train"], arrays["y_sprite"]]).astype(np.int64)
        return x_train, y_train, arrays["x_test"], arrays["y_test"].astype(np.int64)


def pack(originals: Mapping[str, Path], folder: Path) -> None:
    """Write fashion_mnist.npz from the four idx files, which are named and made like MNIST's."""
    arrays = {f"{array}_{part}": parse_idx(gzip.decompress(originals[file].read_bytes())) for (part, array), file in IDX_FILES.items()}
    np.savez_compressed(folder / "fashion_mnist.npz", **arrays)


DATASET = Dataset(
    name="fashion_mnist",
    title="Fashion-MNIST articles of clothing",
    home="https://github.com/zalandoresearch/fashion-mnist",
    licence="MIT",
    citation='H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms", arXiv 1708.07747, 2017',
    mirror={"fashion_mnist_subset.npz": "10914cd1dd8dab32495b8261139100f72988c39f6911601c44f32d01581e2fdb"},
    originals=tuple(
        Original(file, checksum, (f"https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/{file}",))
        for file, checksum in {
            "train-images-idx3-ubyte.gz": "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "md5:25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "md5:bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "md5:bb300cfdad3c16e7a12a480ee83cd310",
        }.items()
    ),
    pack=pack,
)
