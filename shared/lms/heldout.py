"""Texts that no model of this package may ever be pre-trained on, and the check that none was.

They are the papers' evaluation sets: sentence classification (SST, MR, CR, MPQA), GLUE tasks, FPB, R8, grade-school mathematics, the test parts of IMDB,
20 Newsgroups and WikiText-2, the last tenth of tiny Shakespeare, half B of AG News, abusive tweets, and the queries of the retrieval collections.
A text counts as found when its first 30 normalised words (all of a shorter one) stand in a training document; texts of fewer than 8 words are not looked for,
since phrases such as "not bad" are anybody's.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from shared.lms.corpora import clean_post

SHORTEST, LONGEST = 8, 30


@dataclass(frozen=True)
class HeldOut:
    """Files of ``$REPRO_DATA_DIR`` and the fields (names of a jsonl, column numbers of a tsv or csv) that hold the texts."""

    pattern: str
    fields: tuple[str | int, ...]


HELD_OUT = {
    "sst": HeldOut("sentence_classification/sst*_*.jsonl.gz", ("text",)),
    "mr": HeldOut("sentence_classification/mr.jsonl.gz", ("text",)),
    "cr": HeldOut("sentence_classification/cr.jsonl.gz", ("text",)),
    "mpqa": HeldOut("sentence_classification/mpqa.jsonl.gz", ("text",)),
    "trec_test": HeldOut("sentence_classification/trec6_test.jsonl.gz", ("text",)),
    "fpb": HeldOut("financial_phrasebank/*.jsonl.gz", ("text",)),
    "r8": HeldOut("reuters_r8/*.jsonl.gz", ("text",)),
    "mrpc": HeldOut("mrpc/*.txt.gz", (3, 4)),
    "rte": HeldOut("rte/*.tsv.gz", (1, 2)),
    "cola": HeldOut("cola/*.tsv.gz", (3,)),
    "gsm8k": HeldOut("gsm8k/*.jsonl.gz", ("question", "answer")),
    "math_word_problems": HeldOut("math_word_problems/*.jsonl.gz", ("question", "body", "Body", "Question", "input")),
    "imdb_test": HeldOut("imdb_subset/test_5000.jsonl.gz", ("text",)),
    "newsgroups_test": HeldOut("newsgroups20/test.jsonl.gz", ("text",)),
    "wikitext_test": HeldOut("wikitext2_heldout/test.txt.gz", (0,)),
    "shakespeare_end": HeldOut("tinyshakespeare/input.txt.gz", (0,)),
    "ag_news_b": HeldOut("ag_news/test.csv.gz", (2,)),
    "tweets": HeldOut("toxic_tweets_davidson/*.csv.gz", (6,)),
    "queries": HeldOut("c*/queries.jsonl.gz", ("text",)),
}


def half(text: str) -> str:
    """The half, "A" or "B", that a text belongs to for ever: by its sha256 modulo 1,000."""
    return "A" if int(hashlib.sha256(text.encode()).hexdigest(), 16) % 1000 < 500 else "B"


def held_out_texts(root: Path, names: Iterable[str] = tuple(HELD_OUT)) -> dict[str, list[str]]:
    """All texts that are to be found below ``root``, by the name of their set; a set whose files are not there is missing."""
    found = {}
    for name, places in ((name, HELD_OUT[name]) for name in names):
        texts = [text for path in sorted(root.glob(places.pattern)) for text in read_texts(path, places.fields)]
        if name == "ag_news_b":
            texts = [text for text in texts if half(text) == "B"]
        if name == "newsgroups_test":
            texts = [clean_post(text) for text in texts]
        if name == "shakespeare_end":
            whole = "\n".join(texts)
            texts = whole[int(0.9 * len(whole)) + 200 :].split("\n\n")[1:]
        if texts:
            found[name] = texts
    return found


def read_texts(path: Path, fields: tuple[str | int, ...]) -> Iterator[str]:
    """The texts in the named fields; of running text, its lines."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        if path.name.endswith(".jsonl.gz"):
            for record in map(json.loads, file):
                yield from (record[field] for field in fields if field in record)
        elif path.parent.name in ("wikitext2_heldout", "tinyshakespeare"):
            yield from file.read().split("\n")
        else:
            tabs = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if not path.name.endswith(".csv.gz") else {}
            for row in csv.reader(file, **tabs):
                yield from (row[field] for field in fields if field < len(row))


def words(text: str) -> list[str]:
    """Lower-case runs of letters and digits."""
    return re.findall(r"[^\W_]+", text.lower())


def hits(documents: Iterable[str], held_out: Iterable[str]) -> list[str]:
    """The held-out texts whose (first 30) words stand one after another in a document."""
    wanted: dict[int, list[tuple[list[str], str]]] = defaultdict(list)
    for text in held_out:
        beginning = words(text)[:LONGEST]
        if len(beginning) >= SHORTEST:
            wanted[hash(tuple(beginning[:SHORTEST]))].append((beginning, text))
    found = []
    for document in documents:
        sequence = words(document)
        for i, start in enumerate(zip(*(sequence[k:] for k in range(SHORTEST)), strict=False)):
            for beginning, text in wanted.get(hash(start), ()):
                if sequence[i : i + len(beginning)] == beginning:
                    found.append(text)
    return found


def check(documents: list[str]) -> dict:
    """For a card: how many held-out texts of which sets were looked for in the documents, which sets were not at hand, and what was found."""
    mirror = os.environ.get("REPRO_DATA_DIR")
    sets = held_out_texts(Path(mirror).expanduser()) if mirror else {}
    found = hits(documents, [text for texts in sets.values() for text in texts])
    return {"texts": {name: len(texts) for name, texts in sets.items()}, "not_at_hand": [name for name in HELD_OUT if name not in sets], "found": found}
