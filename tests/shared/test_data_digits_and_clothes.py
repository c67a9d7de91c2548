"""Fashion-MNIST and USPS on small made-up mirrors and originals, and on the real copies where they are at hand."""

from __future__ import annotations

import bz2
import dataclasses
import gzip
import hashlib
import io
import struct

import numpy as np
import pytest

from shared.data import fashion_mnist, mnist, usps
from shared.data.fetch import DataUnavailable, Original

rng = np.random.default_rng(0)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def idx_gz(array: np.ndarray) -> bytes:
    return gzip.compress(struct.pack(f">BBBB{array.ndim}i", 0, 0, 8, array.ndim, *array.shape) + array.tobytes())


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Put made-up files where a user's mirror, or a user without a network, would have the real ones."""

    def give(module, files: dict[str, bytes], original: bool) -> None:
        monkeypatch.setenv("REPRO_CACHE_DIR", str(tmp_path / "cache"))
        monkeypatch.setenv("REPRO_DATA_DIR", str(tmp_path / "mirror"))
        monkeypatch.setenv("REPRO_OFFLINE", "1")
        name = module.DATASET.name
        folder = tmp_path / "cache" / f"{name}.original" if original else tmp_path / "mirror" / name
        folder.mkdir(parents=True)
        for file, content in files.items():
            (folder / file).write_bytes(content)
        if original:
            assert set(files) == {each.file for each in module.DATASET.originals}
            changes = {"originals": tuple(Original(file, f"sha256:{sha256(content)}", ("http://nowhere",)) for file, content in files.items())}
        else:
            assert set(files) == set(module.DATASET.mirror)
            changes = {"mirror": {file: sha256(content) for file, content in files.items()}}
        monkeypatch.setattr(module, "DATASET", dataclasses.replace(module.DATASET, **changes))

    return give


def pictures(n: int) -> np.ndarray:
    return rng.integers(0, 256, (n, 28, 28), np.uint8)


def test_fashion_from_the_original_idx_files(place):
    x, y = {"train": pictures(20), "test": pictures(10)}, {"train": np.repeat(np.arange(10, dtype=np.uint8), 2), "test": np.arange(10, dtype=np.uint8)}
    place(fashion_mnist, {file: idx_gz({"x": x, "y": y}[array][part]) for (part, array), file in mnist.IDX_FILES.items()}, original=True)
    images = fashion_mnist.load(train_per_class=1)
    assert images.source == "original"
    assert np.array_equal(images.x_train, x["train"][::2])
    assert np.array_equal(images.x_test, x["test"])
    assert np.array_equal(images.y_test, np.arange(10))


def test_fashion_from_the_mirror_joins_the_sprite_to_the_training_images(place):
    x = {part: pictures(10) for part in ("train", "sprite", "test")}
    y = np.arange(10, dtype=np.uint8)
    labels = {"y_train": y, "y_sprite": y[::-1], "y_test": y}
    place(fashion_mnist, {"fashion_mnist_subset.npz": npz(**{f"x_{part}": images for part, images in x.items()}, **labels)}, original=False)
    images = fashion_mnist.load()
    assert images.source == "mirror"
    assert np.array_equal(images.x_train, np.concatenate([x["train"], x["sprite"]]))
    assert np.array_equal(images.y_train, [*range(10), *reversed(range(10))])
    images.x_train[:] = 0
    assert fashion_mnist.load().x_train.any()


def usps_lines(values: np.ndarray, digits: np.ndarray) -> bytes:
    rows = zip(values.reshape(len(values), -1), digits, strict=True)
    return bz2.compress("".join(f"{d + 1} {' '.join(f'{i + 1}:{v:g}' for i, v in enumerate(row) if v)}\n" for row, d in rows).encode())


def test_usps_from_the_original_and_from_the_mirror_are_equal(place):
    values = {part: np.round(rng.uniform(-1, 1, (10, 16, 16)), 3) for part in ("train", "test")}
    values["train"][0, 0, :3] = [-1, 0, 1]
    digits = np.arange(10)
    place(usps, {file: usps_lines(values[part], digits) for part, file in usps.FILES.items()}, original=True)
    original = usps.load()
    thousandths = {f"x_{part}": np.round(1000 * value).astype(np.int16) for part, value in values.items()}
    place(usps, {"usps_16x16.npz": npz(**thousandths, y_train=digits.astype(np.uint8), y_test=digits.astype(np.uint8))}, original=False)
    copy = usps.load()
    assert (original.source, copy.source) == ("original", "mirror")
    assert copy.x_train[0, 0, :3].tolist() == [0, 128, 255]
    assert np.array_equal(original.x_train, copy.x_train) and np.array_equal(original.x_test, copy.x_test)
    assert np.array_equal(original.y_train, copy.y_train) and np.array_equal(original.y_train, digits)


def test_the_real_copies_have_the_documented_counts():
    try:
        clothes, digits = fashion_mnist.load(), usps.load()
    except DataUnavailable:
        pytest.skip("the data sets are not on this machine")
    counts = (1_900, 1_000) if clothes.source == "mirror" else (60_000, 10_000)
    assert (len(clothes.x_train), len(clothes.x_test)) == counts
    assert np.bincount(digits.y_train).tolist() == [1194, 1005, 731, 658, 652, 556, 664, 645, 542, 644]
    assert np.bincount(digits.y_test).tolist() == [359, 264, 198, 166, 200, 160, 170, 147, 166, 177]
    assert digits.x_train.max() == 255
