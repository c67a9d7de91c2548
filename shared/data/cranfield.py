"""Cranfield: 1,400 abstracts on aerodynamics, 225 queries, 1,612 relevant pairs. A document's text begins with its title; documents 471 and 995 are empty.

Licence: none stated, free for research. Cite Cleverdon (1967). The grades of the original judgements (1 to 4, -1 for not relevant) are lost in this version.
The mirror's copy and the download are equal.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from shared.data.fetch import Dataset, Original
from shared.data.retrieval import Collection, load_collection, write_collection

HOST = "https://raw.githubusercontent.com/oussbenk/cranfield-trec-dataset/1208e6edfb6cb2527b2c44398d3d8fefd3249144/"


def load() -> Collection:
    """The collection; document ids "1" to "1400", query ids "1" to "225" in the order of the queries (not the numbers printed with them)."""
    return load_collection(DATASET)


def pack(originals: Mapping[str, Path], folder: Path) -> None:
    """Write the collection from its two XML-like files and the judgements (query 0 document grade)."""
    documents = [
        {"id": fields["docno"], **{field: fields[field] for field in ("title", "author", "bib", "text")}}
        for fields in elements(originals["cran.all.1400.xml"].read_text(encoding="utf-8"), "doc")
    ]
    queries = [
        {"id": str(number), "original_number": fields["num"], "text": fields["title"]}
        for number, fields in enumerate(elements(originals["cran.qry.xml"].read_text(encoding="utf-8"), "top"), start=1)
    ]
    lines = (line.split() for line in originals["cranqrel.trec.txt"].read_text().splitlines())
    write_collection(folder, documents, queries, ((query, document, grade) for query, _, document, grade in lines))


def elements(text: str, name: str) -> Iterator[dict[str, str]]:
    """The fields of every element ``name``. The files are no valid XML, so this reads the plain pattern that they follow."""
    for body in re.findall(rf"<{name}>(.*?)</{name}>", text, flags=re.DOTALL):
        yield {field: html.unescape(content).strip() for field, content in re.findall(r"<(\w+)>(.*?)</\1>", body, flags=re.DOTALL)}


DATASET = Dataset(
    name="cranfield",
    title="Cranfield retrieval collection",
    home="http://ir.dcs.gla.ac.uk/resources/test_collections/cran/",
    licence="none stated; free for research",
    citation='C. Cleverdon, "The Cranfield tests on index language devices", Aslib Proceedings 19(6), 1967',
    mirror={
        "docs.jsonl.gz": "1550ecf6afe10fcb470d98fa3da75bc01b5e72e2576bf149035eae8fbc9fd8cb",
        "queries.jsonl.gz": "8160ceafb2dcdc267d310e527936a1f70fef07baf2797512e60189e0e9c60cef",
        "qrels.tsv": "5173be468bc89d0e07eeb372ff6cef07bfb1175b9f4d7f01a170f376c9e27ece",
    },
    originals=tuple(
        Original(file, f"sha256:{checksum}", (HOST + file,))
        for file, checksum in {
            "cran.all.1400.xml": "369eb64e59d855b62463832f1338f471cede578571ee7fb33e3592a2a138ff47",
            "cran.qry.xml": "b609a59e980857ba59d098f33433822a5c200bcf6836a320babf2b1a5e7545eb",
            "cranqrel.trec.txt": "98a13b4913d61a02690725aee7ac4f6a1979c13fc9088ad9b4a81be58b1a6f11",
        }.items()
    ),
    pack=pack,
)
