"""CIFAR-10: 50,000 training and 10,000 test photographs of 10 classes, 32x32 RGB.

Licence: none stated; the home page asks to cite Krizhevsky (2009).

There are two copies, and they differ; ``load().source`` says which one was read. ``original`` holds the exact pixels in the official order. ``mirror`` holds
the same images compressed as JPEG (quality 75, chroma halved), in another order (interleaved by class): expect a slightly lower accuracy, and never compare it
with the original image by image.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np

from shared.data.fetch import Dataset, Original, obtain
from shared.data.images import Images
from shared.data.splits import first_of_each_class

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BATCHES = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}


def load(train_per_class: int | None = None, test_per_class: int | None = None) -> Images:
    """CIFAR-10, or its first so many images of every class (which is also much faster to decode). Shapes (n, 32, 32, 3), uint8; labels int64."""
    found = obtain(DATASET)
    read = read_exact if found.source == "original" else read_jpeg
    x_train, y_train = read(found.folder, "train", train_per_class)
    x_test, y_test = read(found.folder, "test", test_per_class)
    return Images(x_train.copy(), y_train.copy(), x_test.copy(), y_test.copy(), found.source)


@lru_cache(maxsize=2)
def read_exact(folder: Path, part: str, per_class: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels as packed from the original; kept, because a process runs many trials on the same data."""
    with np.load(folder / f"cifar10_{part}.npz", allow_pickle=False) as arrays:
        labels = arrays["y"].astype(np.int64)
        chosen = first_of_each_class(labels, per_class)
        return arrays["x"][chosen], labels[chosen]


@lru_cache(maxsize=2)
def read_jpeg(folder: Path, part: str, per_class: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of the mirror's copy: JPEG files joined end to end, image i in bytes ``offsets[i]:offsets[i + 1]``. All 60,000 take some 5 seconds."""
    from PIL import Image

    with np.load(folder / f"cifar10_{part}_jpeg.npz", allow_pickle=False) as arrays:
        jpeg, offsets, labels = arrays["jpeg"].tobytes(), arrays["offsets"], arrays["y"].astype(np.int64)
    chosen = first_of_each_class(labels, per_class)
    images = np.empty((len(chosen), 32, 32, 3), np.uint8)
    for place, i in enumerate(chosen):
        images[place] = np.asarray(Image.open(io.BytesIO(jpeg[offsets[i] : offsets[i + 1]])))
    return images, labels[chosen]


def pack(originals: Mapping[str, Path], folder: Path) -> None:
    """Write cifar10_train.npz and cifar10_test.npz (x uint8 (n, 32, 32, 3), y uint8 (n,)) from the binary version, which holds no pickles."""
    with tarfile.open(originals["cifar-10-binary.tar.gz"]) as archive:
        for part, batches in BATCHES.items():
            records = b"".join(archive.extractfile(f"cifar-10-batches-bin/{batch}").read() for batch in batches)
            images, labels = parse_records(records)
            np.savez_compressed(folder / f"cifar10_{part}.npz", x=images, y=labels)


def parse_records(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 32, 32, 3) and labels (n,) of a binary batch: for each image 1 byte of label, then the red, green and blue planes, row by row."""
    records = np.frombuffer(content, np.uint8).reshape(-1, 1 + 3 * 32 * 32)
    return np.ascontiguousarray(records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), records[:, 0].copy()


DATASET = Dataset(
    name="cifar10",
    title="CIFAR-10 photographs",
    home="https://www.cs.toronto.edu/~kriz/cifar.html",
    licence="none stated; cite the report",
    citation='A. Krizhevsky, "Learning multiple layers of features from tiny images", technical report, University of Toronto, 2009',
    mirror={
        "cifar10_train_jpeg.npz": "b390ad83543f62fbd2692480c0001a60147cdda0b24ef1c7e4879ddb7b7053b2",
        "cifar10_test_jpeg.npz": "47f1153a983ace9a65b3ff5b10c315003b0791da2ec47708dbe7b08605ba2afc",
    },
    originals=(Original("cifar-10-binary.tar.gz", "md5:c32a1d4ab5d03f1284b67883e8d87530", ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",)),),
    pack=pack,
)
