"""IMDB reviews, a balanced subset: 5,000 training and 5,000 test reviews, half of them positive; line breaks are written <br />.

Licence: none stated; the home page asks to cite Maas, Daly, Pham, Huang, Ng, Potts (2011). Results are not results on the full set (25,000 + 25,000).

The two copies are different draws from the full set, each from its official part; ``load().source`` says which one was read. ``mirror``: drawn at random.
``original``: of each part and class the 2,500 reviews with the smallest sha256 of their file name.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from shared.data.fetch import Dataset, Original, obtain
from shared.data.texts import LabelledDocuments, read_records, write_records

PER_CLASS = 2500
CLASSES = ("negative", "positive")


def load() -> LabelledDocuments:
    """The reviews; a rating of 7 to 10 counts as positive, one of 1 to 4 as negative, and others do not occur."""
    found = obtain(DATASET)
    train, test = (read_records(found.folder / f"{part}_5000.jsonl.gz") for part in ("train", "test"))
    y_train, y_test = (np.array([record["label"] for record in records], np.int64) for records in (train, test))
    return LabelledDocuments([record["text"] for record in train], y_train, [record["text"] for record in test], y_test, CLASSES, found.source)


def pack(originals: Mapping[str, Path], folder: Path) -> None:
    """Write train_5000.jsonl.gz and test_5000.jsonl.gz (id, rating, label, text).

    The archive holds one file a review: aclImdb/<part>/<pos or neg>/<id>_<rating>.txt.
    """
    records: dict[str, list[tuple[bytes, dict]]] = {f"{part}/{label}": [] for part in ("train", "test") for label in ("pos", "neg")}
    with tarfile.open(originals["aclImdb_v1.tar.gz"]) as archive:
        for member in archive:
            group, _, name = member.name.removeprefix("aclImdb/").rpartition("/")
            if group in records and name.endswith(".txt"):
                number, rating = name.removesuffix(".txt").split("_")
                text = archive.extractfile(member).read().decode("utf-8")
                record = {"id": int(number), "rating": int(rating), "label": int(group.endswith("pos")), "text": text}
                records[group].append((hashlib.sha256(member.name.encode()).digest(), record))
    for part in ("train", "test"):
        chosen = [pair for label in ("pos", "neg") for pair in sorted(records[f"{part}/{label}"], key=lambda pair: pair[0])[:PER_CLASS]]
        write_records(folder / f"{part}_5000.jsonl.gz", [record for _, record in sorted(chosen, key=lambda pair: pair[0])])


DATASET = Dataset(
    name="imdb_subset",
    title="IMDB reviews, balanced subset of 5,000 + 5,000",
    home="https://ai.stanford.edu/~amaas/data/sentiment/",
    licence="none stated; cite the paper",
    citation='A. Maas, R. Daly, P. Pham, D. Huang, A. Ng, C. Potts, "Learning word vectors for sentiment analysis", ACL 2011',
    mirror={
        "train_5000.jsonl.gz": "ffa49020345ac0642eb619484e0c6e4caa3e655c6e1a50b2df971d49a0ba96f6",
        "test_5000.jsonl.gz": "bc7df96008659ee60b9f7f221c1610dc23150aa87236ee4eb4b09b4f10126c66",
    },
    originals=(Original("aclImdb_v1.tar.gz", "md5:7c2ac02c03563afcf9b574c7e56c153a", ("https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",)),),
    pack=pack,
)
