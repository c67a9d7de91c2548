"""Every loader on a small made-up mirror and on small made-up originals, and the registry as a whole."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import importlib
import io
import os
import struct
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.data import (
    bundled,
    cacm,
    cifar10,
    cisi,
    cranfield,
    digits,
    imdb_subset,
    mnist,
    multi30k,
    newsgroups20,
    splits,
    stdlib_text,
    tinyshakespeare,
    wikitext2_heldout,
)
from shared.data.fetch import Dataset, Original
from shared.data.registry import all_datasets

rng = np.random.default_rng(0)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def as_original(tmp_path, monkeypatch):
    """Give a module made-up original files, put by hand where a user without a network puts them."""

    def give(module, files: dict[str, bytes]) -> None:
        monkeypatch.setenv("REPRO_CACHE_DIR", str(tmp_path / "cache"))
        monkeypatch.setenv("REPRO_OFFLINE", "1")
        monkeypatch.delenv("REPRO_DATA_DIR", raising=False)
        folder = tmp_path / "cache" / f"{module.DATASET.name}.original"
        folder.mkdir(parents=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        assert set(files) == {original.file for original in module.DATASET.originals}
        originals = tuple(Original(original.file, f"sha256:{sha256(files[original.file])}", original.urls) for original in module.DATASET.originals)
        monkeypatch.setattr(module, "DATASET", dataclasses.replace(module.DATASET, originals=originals))

    return give


@pytest.fixture
def as_mirror(tmp_path, monkeypatch):
    """Give a module a made-up mirror."""

    def give(module, files: dict[str, bytes]) -> None:
        monkeypatch.setenv("REPRO_DATA_DIR", str(tmp_path / "mirror"))
        monkeypatch.setenv("REPRO_OFFLINE", "1")
        folder = tmp_path / "mirror" / module.DATASET.name
        folder.mkdir(parents=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        assert set(files) == set(module.DATASET.mirror)
        monkeypatch.setattr(module, "DATASET", dataclasses.replace(module.DATASET, mirror={name: sha256(content) for name, content in files.items()}))

    return give


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def tar_gz(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def idx_gz(array: np.ndarray) -> bytes:
    return gzip.compress(struct.pack(f">BBBB{array.ndim}i", 0, 0, 8, array.ndim, *array.shape) + array.tobytes())


# --- the registry as a whole


@pytest.mark.parametrize("dataset", all_datasets().values(), ids=lambda dataset: dataset.name)
def test_every_data_set_says_where_it_comes_from_and_under_which_terms(dataset: Dataset):
    module = importlib.import_module(f"shared.data.{dataset.name}")
    assert module.DATASET is dataset and callable(module.load)
    assert "icence" in module.__doc__ and "ite " in module.__doc__
    assert dataset.title and dataset.licence and dataset.citation and dataset.home.startswith("http")
    assert dataset.bundled_with or dataset.mirror or dataset.originals
    assert bool(dataset.originals) == bool(dataset.pack)
    for checksum in dataset.mirror.values():
        assert len(bytes.fromhex(checksum)) == 32
    for original in dataset.originals:
        algorithm, _, checksum = original.checksum.partition(":")
        assert len(bytes.fromhex(checksum)) == {"md5": 16, "sha256": 32}[algorithm]
        assert original.urls and "/" not in original.file


def test_importing_the_modules_loads_no_heavy_framework_and_touches_no_file():
    script = "import sys; from shared.data.registry import names; names(); print(*{'torch', 'jax', 'sklearn', 'pandas', 'PIL', 'requests'} & set(sys.modules))"
    root = Path(mnist.__file__).parents[2]
    environment = {**os.environ, "REPRO_DATA_DIR": "/nowhere", "REPRO_CACHE_DIR": "/nowhere", "PYTHONPATH": str(root)}
    assert subprocess.run([sys.executable, "-c", script], cwd=root, env=environment, capture_output=True, text=True, check=True).stdout.split() == []


# --- MNIST


MNIST_PARTS = {
    "train": (rng.integers(0, 256, (30, 28, 28), np.uint8), np.repeat(np.arange(10, dtype=np.uint8), 3)),
    "test": (np.full((10, 28, 28), 7, np.uint8), np.arange(10, dtype=np.uint8)),
}


def assert_is_mnist(images):
    assert np.array_equal(images.x_train, MNIST_PARTS["train"][0]) and np.array_equal(images.x_test, MNIST_PARTS["test"][0])
    assert np.array_equal(images.y_train, MNIST_PARTS["train"][1]) and np.array_equal(images.y_test, MNIST_PARTS["test"][1])
    assert (images.x_train.dtype, images.y_train.dtype) == (np.uint8, np.int64)


def test_mnist_from_the_original_idx_files(as_original):
    as_original(mnist, {file: idx_gz(MNIST_PARTS[part]["xy".index(array)]) for (part, array), file in mnist.IDX_FILES.items()})
    images = mnist.load()
    assert images.source == "original"
    assert_is_mnist(images)


def test_mnist_from_the_mirror_and_a_caller_may_change_its_arrays(as_mirror):
    as_mirror(mnist, {f"mnist_{part}.npz": npz(x=x, y=y) for part, (x, y) in MNIST_PARTS.items()})
    images = mnist.load()
    assert images.source == "mirror"
    assert_is_mnist(images)
    images.x_train[:] = 0
    images.y_test[:] = 0
    assert_is_mnist(mnist.load())


def test_mnist_first_of_each_class(as_mirror):
    as_mirror(mnist, {f"mnist_{part}.npz": npz(x=x, y=y) for part, (x, y) in MNIST_PARTS.items()})
    images = mnist.load(train_per_class=2)
    assert np.array_equal(images.y_train, np.repeat(np.arange(10), 2)) and len(images.x_test) == 10
    assert np.array_equal(images.x_train, MNIST_PARTS["train"][0].reshape(10, 3, 28, 28)[:, :2].reshape(20, 28, 28))
    with pytest.raises(ValueError, match=r"1\.\.3"):
        mnist.load(train_per_class=4)


def test_idx_parser_refuses_other_files():
    with pytest.raises(ValueError, match="not an idx file"):
        mnist.parse_idx(b"\x00\x00\x0d\x01" + bytes(8))
    with pytest.raises(ValueError):
        mnist.parse_idx(struct.pack(">BBBB1i", 0, 0, 8, 1, 5) + b"four")


# --- CIFAR-10


def test_cifar10_from_the_original_binary_batches(as_original):
    images = rng.integers(0, 256, (60, 32, 32, 3), np.uint8)
    labels = rng.integers(0, 10, 60).astype(np.uint8)
    # Written pixel by pixel, as the home page describes the format: the label, then 1,024 red values row by row, then green, then blue.
    records = [
        bytes([label]) + bytes(image[row, column, c] for c in range(3) for row in range(32) for column in range(32))
        for image, label in zip(images, labels, strict=True)
    ]
    batches = [*cifar10.BATCHES["train"], *cifar10.BATCHES["test"]]
    files = {f"cifar-10-batches-bin/{batch}": b"".join(records[10 * i : 10 * i + 10]) for i, batch in enumerate(batches)}
    as_original(cifar10, {"cifar-10-binary.tar.gz": tar_gz(files)})
    loaded = cifar10.load()
    assert loaded.source == "original"
    assert np.array_equal(loaded.x_train, images[:50]) and np.array_equal(loaded.x_test, images[50:])
    assert np.array_equal(loaded.y_train, labels[:50]) and np.array_equal(loaded.y_test, labels[50:])


def test_cifar10_from_the_mirrors_jpegs(as_mirror):
    colours = rng.integers(0, 256, (20, 3), np.uint8)
    labels = np.tile(np.arange(10, dtype=np.uint8), 2)

    def packed(chosen):
        blobs = []
        for colour in colours[chosen]:
            buffer = io.BytesIO()
            Image.fromarray(np.full((32, 32, 3), colour)).save(buffer, "JPEG", quality=95)
            blobs.append(buffer.getvalue())
        return npz(jpeg=np.frombuffer(b"".join(blobs), np.uint8), offsets=np.cumsum([0, *map(len, blobs)]), y=labels[chosen])

    as_mirror(cifar10, {"cifar10_train_jpeg.npz": packed(np.arange(20)), "cifar10_test_jpeg.npz": packed(np.arange(10))})
    loaded = cifar10.load(train_per_class=1)
    assert loaded.source == "mirror"
    assert loaded.x_train.shape == loaded.x_test.shape == (10, 32, 32, 3)
    assert np.array_equal(loaded.y_train, np.arange(10))
    assert np.abs(loaded.x_test.astype(int) - colours[:10, None, None]).max() <= 5  # JPEG rounds the colours
    loaded.x_train[:] = 0
    assert cifar10.load(train_per_class=1).x_train.any()
    assert len(cifar10.load().x_train) == 20


# --- texts


def test_tinyshakespeare_is_the_same_from_both_copies(as_original, as_mirror):
    text = "".join(f"Speaker {i}:\nline {i}\n\n" for i in range(50))
    as_original(tinyshakespeare, {"input.txt": text.encode()})
    original = tinyshakespeare.load()
    as_mirror(tinyshakespeare, {"input.txt.gz": gzip.compress(text.encode())})
    mirror = tinyshakespeare.load()
    assert (original.source, mirror.source) == ("original", "mirror")
    assert (original.train, original.valid) == (mirror.train, mirror.valid)
    assert original.train + original.valid == text and original.test == ""
    assert len(original.train) == int(0.9 * len(text))


def test_wikitext2_is_the_same_from_both_copies(as_original, as_mirror):
    as_original(wikitext2_heldout, {"valid.txt": b" \n = Lobster <unk> = \n", "test.txt": "é\n".encode()})
    original = wikitext2_heldout.load()
    as_mirror(wikitext2_heldout, {"valid.txt.gz": gzip.compress(b" \n = Lobster <unk> = \n"), "test.txt.gz": gzip.compress("é\n".encode())})
    mirror = wikitext2_heldout.load()
    assert (original.valid, original.test) == (mirror.valid, mirror.test) == (" \n = Lobster <unk> = \n", "é\n")
    assert original.train == mirror.train == ""


def test_multi30k_lines_stay_aligned_over_languages(as_original):
    captions = {"en": "A man.\x85 a hat.\nTwo dogs.\n", "de": "Ein Mann.\nZwei Hunde.\n", "fr": "Un homme.\nDeux chiens.\n"}  # \x85 is no line's end here
    as_original(multi30k, {f"{part}.{language}.gz": gzip.compress(text.encode()) for part in multi30k.PARTS for language, text in captions.items()})
    english, german = multi30k.load("en"), multi30k.load("de")
    assert english.train == english.valid == english.test == ["A man.\x85 a hat.", "Two dogs."]
    assert german.train == ["Ein Mann.", "Zwei Hunde."]
    with pytest.raises(ValueError, match="choose one of en, de, fr"):
        multi30k.load("cs")


def test_newsgroups_from_the_original_archive(as_original):
    posts = {"train/sci.space/9": b"caf\xe9\r\n", "train/alt.atheism/20": b"a20", "train/alt.atheism/100": b"a100", "test/sci.space/7": b"s7"}
    as_original(newsgroups20, {"20news-bydate.tar.gz": tar_gz({f"20news-bydate-{name}": text for name, text in posts.items()})})
    loaded = newsgroups20.load()
    assert (loaded.x_train, loaded.x_test) == (["a100", "a20", "café\r\n"], ["s7"])
    assert (loaded.y_train.tolist(), loaded.y_test.tolist(), loaded.classes) == ([0, 0, 1], [1], ("alt.atheism", "sci.space"))


def test_imdb_subset_from_the_original_archive(as_original, monkeypatch):
    monkeypatch.setattr(imdb_subset, "PER_CLASS", 3)
    reviews = {
        f"aclImdb/{part}/{label}/{i}_{9 if label == 'pos' else 2}.txt": f"{part} {label} {i}"
        for part in ("train", "test")
        for label in ("pos", "neg")
        for i in range(5)
    }
    others = {"aclImdb/train/unsup/0_0.txt": "unlabelled", "aclImdb/train/urls_pos.txt": "http", "aclImdb/README": "read me"}
    as_original(imdb_subset, {"aclImdb_v1.tar.gz": tar_gz({name: text.encode() for name, text in (reviews | others).items()})})
    loaded = imdb_subset.load()
    for part, texts, labels in (("train", loaded.x_train, loaded.y_train), ("test", loaded.x_test, loaded.y_test)):
        assert np.bincount(labels).tolist() == [3, 3]
        assert all(text.split()[:2] == [part, ("neg", "pos")[label]] for text, label in zip(texts, labels, strict=True))
    chosen = {text for text in loaded.x_train if "pos" in text}
    assert chosen == {reviews[name] for name in sorted((name for name in reviews if "train/pos" in name), key=lambda name: sha256(name.encode()))[:3]}


# --- retrieval collections


def test_cranfield_from_the_original_files(as_original):
    documents = (
        "<doc>\n<docno>1</docno>\n<title>wing in a\nslipstream .</title>\n<author>brenckman,m.</author>\n<bib>1958</bib>\n"
        "<text>wing in a\nslipstream .\n  if a &lt; b .</text>\n</doc>\n"
        "<doc>\n<docno>2</docno>\n<title></title>\n<author></author>\n<bib></bib>\n<text></text>\n</doc>\n"
    )
    queries = "<xml>\n<top>\n<num> 4</num>\n<title>\nwhat laws\nhold .\n</title>\n</top>\n</xml>\n"
    as_original(cranfield, {"cran.all.1400.xml": documents.encode(), "cran.qry.xml": queries.encode(), "cranqrel.trec.txt": b"1 0 1 1\n1 0 2 0\n"})
    collection = cranfield.load()
    assert collection.documents == {"1": "wing in a\nslipstream .\n  if a < b .", "2": ""}
    assert collection.titles == {"1": "wing in a\nslipstream .", "2": ""}
    assert collection.queries == {"1": "what laws\nhold ."}
    assert collection.relevant == {"1": {"1"}}  # grade 0 is not relevant


def test_cisi_from_the_original_files(as_original):
    documents = (
        ".I 1\n.T\nTwo\nlines\n.A\nA, B.\n.A \nC, D.\n.W\n   First line.\nSecond.\n.X\n1\t5\t1\n.I 2\n.T \nOther\n.W\nText.\n.K \nkey words\n.X\n2\t5\t2\n"
    )
    queries = ".I 1\n.W\nWhat is it?\n\n.I 2\n.W\nWhy?\n"
    as_original(cisi, {"CISI.ALL": documents.encode(), "CISI.QRY": queries.encode(), "CISI.REL": b"     1      2\t0\t0.000000\n"})
    collection = cisi.load()
    assert collection.documents == {"1": "First line.\nSecond.", "2": "Text."}
    assert collection.titles == {"1": "Two lines", "2": "Other"}
    assert collection.queries == {"1": "What is it?", "2": "Why?"}
    assert collection.relevant == {"1": {"2"}}


def test_cacm_from_the_original_files(as_original):
    pages = {f"CACM-000{i}.html": f"<html>\n<pre>\n\nTitle {i}\n\nfor 1 <= m <= n\n</pre>\n</html>\n".encode() for i in (2, 1)}
    topics = b"<DOC>\n<DOCNO> 1 </DOCNO>\n\n What articles\nexist?\n\n</DOC>\n"
    as_original(cacm, {"cacm.tar.gz": tar_gz(pages), "topics.cacm.txt": topics, "qrels.cacm.txt": b"1 Q0 CACM-2 1\n1 Q0 CACM-0001 1\n"})
    collection = cacm.load()
    assert collection.documents == {"CACM-0001": "Title 1 for 1 <= m <= n", "CACM-0002": "Title 2 for 1 <= m <= n"}
    assert collection.queries == {"1": "What articles exist?"}
    assert collection.relevant == {"1": {"CACM-0001", "CACM-0002"}}


# --- the standard library's text


def test_standard_library_sources_hold_no_tests_and_come_in_the_order_of_their_paths():
    sources = stdlib_text.sources()
    assert list(sources) == sorted(sources)
    assert "argparse.py" in sources and "email/message.py" in sources
    assert not any(part in ("test", "tests", "idle_test", "site-packages") for name in sources for part in name.split("/"))
    assert 8e6 < sum(map(len, sources.values())) < 2e7


def test_every_document_lies_in_exactly_one_part():
    everything = stdlib_text.load("topics", valid_share=0, test_share=0).train
    parts = stdlib_text.load("topics", valid_share=0.2, test_share=0.2)
    assert everything == list(stdlib_text.topics().values())
    assert sorted(parts.train + parts.valid + parts.test) == sorted(everything)
    assert parts.valid and parts.test
    assert parts == stdlib_text.load("topics", valid_share=0.2, test_share=0.2)
    assert parts.source.startswith("Python 3.")
    with pytest.raises(ValueError, match="choose one of sources, docstrings, topics"):
        stdlib_text.load("prose")


def test_docstrings_are_found_wherever_they_are_and_named_by_their_place(tmp_path):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "module.py").write_text(
        '"""Of the module."""\nclass A:\n    """Of A."""\n    def f(self):\n        """Of f."""\n    def silent(self): ...\n'
        'try:\n    import x\nexcept ImportError:\n    async def g():\n        """Of g."""\n        def inner():\n            """Of\n               inner."""\n'
        'def g():\n    """Of a second g."""\n'
    )
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "left_out.py").write_text('"""A test."""')
    assert dict(stdlib_text.read_docstrings(tmp_path)) == {
        "package/module.py:": "Of the module.",
        "package/module.py:A": "Of A.",
        "package/module.py:A.f": "Of f.",
        "package/module.py:g": "Of g.",
        "package/module.py:g.inner": "Of\ninner.",
    }


def test_split_by_content_keeps_equal_documents_together_and_moves_none_when_one_is_added():
    documents = [f"document {i}" for i in range(2000)]
    train, valid, test = splits.split_by_content(documents + documents[:50], 0.1, 0.2)
    assert not set(train) & set(valid) and not set(train) & set(test) and not set(valid) & set(test)
    assert abs(len(test) - 0.2 * 2050) < 4 * np.sqrt(2050 * 0.2 * 0.8)  # four standard deviations
    assert abs(len(valid) - 0.1 * 2050) < 4 * np.sqrt(2050 * 0.1 * 0.9)
    fewer = splits.split_by_content(documents[:1000], 0.1, 0.2)
    for part, smaller in zip((train, valid, test), fewer, strict=True):
        assert part[: len(smaller)] == smaller
    with pytest.raises(ValueError, match="at most 1"):
        splits.split_by_content(documents, 0.6, 0.6)


# --- data that scikit-learn carries


def test_digits_are_split_in_equal_shares_of_every_class():
    images = digits.load(test_share=0.25, seed=3)
    assert images.x_train.shape[1:] == (8, 8) and images.x_train.dtype == np.uint8 and images.x_train.max() == 16
    assert len(images.x_train) + len(images.x_test) == 1797
    share = np.bincount(images.y_test) / (np.bincount(images.y_test) + np.bincount(images.y_train))
    assert np.abs(share - 0.25).max() < 0.005
    again, other = digits.load(test_share=0.25, seed=3), digits.load(test_share=0.25, seed=4)
    assert np.array_equal(images.x_test, again.x_test) and not np.array_equal(images.y_test, other.y_test)


def test_stratified_split_is_a_partition():
    labels = rng.integers(0, 3, 100)
    train, test = splits.stratified_split(labels, 0.3, np.random.default_rng(1))
    assert np.array_equal(np.sort(np.concatenate([train, test])), np.arange(100))
    with pytest.raises(ValueError, match="between 0 and 1"):
        splits.stratified_split(labels, 1.0, np.random.default_rng(1))


@pytest.mark.parametrize(
    ("name", "shape", "classes"), [("breast_cancer", (569, 30), 2), ("iris", (150, 4), 3), ("wine", (178, 13), 3), ("diabetes", (442, 10), 0)]
)
def test_bundled_tables(name, shape, classes):
    table = bundled.load(name)
    assert table.x.shape == shape and len(table.features) == shape[1] and len(table.y) == shape[0]
    assert len(table.classes) == classes and (classes == 0 or set(table.y) == set(range(classes)))
    with pytest.raises(ValueError, match="choose one of"):
        bundled.load("boston")
