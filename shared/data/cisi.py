"""CISI: 1,460 abstracts on library science, 112 queries (76 of them judged), 3,114 relevant pairs.

Licence: none stated, free for research. Cite Fox (1983). The mirror's copy and the download are equal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from shared.data.fetch import Dataset, Original
from shared.data.retrieval import Collection, load_collection, write_collection

HOST = "https://raw.githubusercontent.com/Shakiba-Alipour/Information-Retrieval-on-CISI/7a23c34602e8949d795bb1835004546e00d1d1ba/"
FIELDS = {".T": "title", ".A": "author", ".W": "text", ".B": "bib", ".X": "links", ".K": "keywords", ".C": "codes"}


def load() -> Collection:
    """The collection; document ids "1" to "1460", query ids "1" to "112"."""
    return load_collection(DATASET)


def pack(originals: Mapping[str, Path], folder: Path) -> None:
    """Write the collection from CISI.ALL, CISI.QRY and CISI.REL (query, document and two fields without meaning)."""
    documents = [
        {"id": fields["id"], "title": fields["title"].replace("\n", " "), "author": fields.get("author", "").replace("\n", "; "), "text": fields["text"]}
        for fields in smart_records(read(originals["CISI.ALL"]))
    ]
    queries = [{"id": fields["id"], "text": fields["text"]} for fields in smart_records(read(originals["CISI.QRY"]))]
    write_collection(folder, documents, queries, ((line.split()[0], line.split()[1], "1") for line in read(originals["CISI.REL"]).splitlines() if line.strip()))


def read(path: Path) -> str:
    return path.read_text(encoding="latin-1")


def smart_records(text: str) -> Iterator[dict[str, str]]:
    """The records of a file in the format of the SMART system: ``.I number`` begins one, ``.T``, ``.A``, ``.W`` and so on alone in a line begin its fields."""
    record: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith(".I "):
            if record:
                yield finished(record)
            record = {"id": [line.removeprefix(".I ")]}
        elif line.strip() in FIELDS:
            lines = record.setdefault(FIELDS[line.strip()], [])  # a field that comes twice (several authors) is joined
        else:
            lines.append(line)
    if record:
        yield finished(record)


def finished(record: dict[str, list[str]]) -> dict[str, str]:
    return {field: "\n".join(lines).strip() for field, lines in record.items()}


DATASET = Dataset(
    name="cisi",
    title="CISI retrieval collection",
    home="http://ir.dcs.gla.ac.uk/resources/test_collections/cisi/",
    licence="none stated; free for research",
    citation='E. Fox, "Characterization of two new experimental collections in computer and information science", Cornell University TR 83-561, 1983',
    mirror={
        "docs.jsonl.gz": "ab1f40f8b1cb707f11eaca33e55353e708ca2c7323209a524327c6a17101d498",
        "queries.jsonl.gz": "5bc5741b5b5fa7608590312bf39c331f386ab0dfdf656c3ff052093fc41b7934",
        "qrels.tsv": "1474ee282a602fad47488fba02282d241f09c3755b5c201fcda0293b3572fce5",
    },
    originals=tuple(
        Original(file, f"sha256:{checksum}", (HOST + file,))
        for file, checksum in {
            "CISI.ALL": "c13934ad921234b571e7b424af3461fe39dccb16757cb21954b3aea5250d072e",
            "CISI.QRY": "b72de0e0cb8aa5c93ac988e5be0400cc18949d0a94913a248783a37dd97d5470",
            "CISI.REL": "f7396c92586c61953ccb7ae99ad8d3ac749ac3b989041fc93a9e311568f58997",
        }.items()
    ),
    pack=pack,
)
