"""20 Newsgroups, split by date: 11,314 training and 7,532 test posts of 20 groups, with their headers.

Licence: none stated. Cite Lang (1995). Headers, footers and quotations give the group away; a paper that wants them removed does it itself. The mirror's copy
and the original are equal.
"""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from shared.data.fetch import Dataset, Original, obtain
from shared.data.texts import LabelledDocuments, read_records, write_records


def load() -> LabelledDocuments:
    """The posts in the order of group and number; the classes are the names of the groups in alphabetical order."""
    found = obtain(DATASET)
    train, test = (read_records(found.folder / f"{part}.jsonl.gz") for part in ("train", "test"))
    classes = sorted({record["label"] for record in train})
    y_train, y_test = (np.array([classes.index(record["label"]) for record in records], np.int64) for records in (train, test))
    return LabelledDocuments([record["text"] for record in train], y_train, [record["text"] for record in test], y_test, tuple(classes), found.source)


def pack(originals: Mapping[str, Path], folder: Path) -> None:
    """Write train.jsonl.gz and test.jsonl.gz (id, label, text) from the archive, one file a post: 20news-bydate-<part>/<group>/<number>, in Latin-1."""
    records: dict[str, list[dict]] = {"train": [], "test": []}
    with tarfile.open(originals["20news-bydate.tar.gz"]) as archive:
        for member in archive:
            if member.isfile():
                part, group, number = member.name.removeprefix("./").split("/")
                text = archive.extractfile(member).read().decode("latin-1")
                records[part.removeprefix("20news-bydate-")].append({"id": number, "label": group, "text": text})
    for part, posts in records.items():
        write_records(folder / f"{part}.jsonl.gz", sorted(posts, key=lambda post: (post["label"], post["id"])))


DATASET = Dataset(
    name="newsgroups20",
    title="20 Newsgroups, split by date",
    home="http://qwone.com/~jason/20Newsgroups/",
    licence="none stated",
    citation='K. Lang, "NewsWeeder: learning to filter netnews", ICML 1995',
    mirror={
        "train.jsonl.gz": "29aacd6bf474f850d81dafefa11a1a8dcf7fc2a7946e357d70342b854c7ca037",
        "test.jsonl.gz": "b083b0ec1d9b9927f77280f83445f65fed3743db9744581236cb38240e533e9d",
    },
    originals=(
        Original(
            "20news-bydate.tar.gz",
            "sha256:8f1b2514ca22a5ade8fbb9cfa5727df95fa587f4c87b786e15c759fa66d95610",
            ("https://ndownloader.figshare.com/files/5975967", "http://qwone.com/~jason/20Newsgroups/20news-bydate.tar.gz"),
        ),
    ),
    pack=pack,
)
