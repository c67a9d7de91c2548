"""The shape in which retrieval test collections are handed out, and their packed form (docs.jsonl.gz, queries.jsonl.gz, qrels.tsv)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from shared.data.fetch import Dataset, obtain
from shared.data.texts import read_records, write_records


@dataclass(frozen=True)
class Collection:
    """Documents, queries, and which documents people judged relevant to which query."""

    documents: dict[str, str]
    """Text by document id."""
    titles: dict[str, str]
    """Title by document id; empty strings where the collection does not tell titles apart."""
    queries: dict[str, str]
    """Text by query id; some collections have queries that nobody judged."""
    relevant: dict[str, set[str]]
    """Ids of the relevant documents by query id; only queries that have one."""
    source: str
    """Which copy was read (see `shared.data.fetch.Found`)."""


def load_collection(dataset: Dataset) -> Collection:
    """Read a packed collection; a judgement with grade 0 means not relevant."""
    found = obtain(dataset)
    documents = read_records(found.folder / "docs.jsonl.gz")
    relevant: dict[str, set[str]] = {}
    for line in (found.folder / "qrels.tsv").read_text().splitlines():
        query, document, grade = line.split("\t")
        if int(grade) > 0:
            relevant.setdefault(query, set()).add(document)
    return Collection(
        documents={record["id"]: record["text"] for record in documents},
        titles={record["id"]: record.get("title", "") for record in documents},
        queries={record["id"]: record["text"] for record in read_records(found.folder / "queries.jsonl.gz")},
        relevant=relevant,
        source=found.source,
    )


def write_collection(folder: Path, documents: Iterable[dict], queries: Iterable[dict], judgements: Iterable[tuple[str, str, str]]) -> None:
    """Write a collection in its packed form; judgements are (query, document, grade)."""
    write_records(folder / "docs.jsonl.gz", documents)
    write_records(folder / "queries.jsonl.gz", queries)
    (folder / "qrels.tsv").write_text("".join("\t".join(judgement) + "\n" for judgement in judgements))
