"""CACM: 3,204 titles and abstracts of the Communications of the ACM, 64 queries (52 of them judged), 796 relevant pairs.

Licence: none stated, free for research. Cite Fox (1983). A document's text is title, abstract, authors and keywords run together, with the numbers of its
citation links at the end as in the source. The mirror's copy and the download are equal but for ten documents that the mirror cuts at a "<" of their text.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Mapping
from pathlib import Path

from shared.data.fetch import Dataset, Original
from shared.data.retrieval import Collection, load_collection, write_collection

HOST = "https://raw.githubusercontent.com/castorini/anserini-data/1f371c251e3dce2036bf88b1f30e6fbf00ab9381/CACM/"


def load() -> Collection:
    """The collection; document ids "CACM-0001" to "CACM-3204", query ids "1" to "64"."""
    return load_collection(DATASET)


def pack(originals: Mapping[str, Path], folder: Path) -> None:
    """Write the collection from the archive of one HTML file a document, the TREC-like topics, and the judgements (query Q0 document grade)."""
    with tarfile.open(originals["cacm.tar.gz"]) as archive:
        pages = {Path(member.name).stem: archive.extractfile(member).read().decode("latin-1") for member in archive if member.name.endswith(".html")}
    documents = [{"id": name, "text": plain(page)} for name, page in sorted(pages.items())]
    topics = originals["topics.cacm.txt"].read_text(encoding="latin-1")
    queries = [{"id": number, "text": plain(text)} for number, text in re.findall(r"<DOC>\s*<DOCNO>\s*(\d+)\s*</DOCNO>(.*?)</DOC>", topics, flags=re.DOTALL)]
    lines = (line.split() for line in originals["qrels.cacm.txt"].read_text().splitlines())
    judgements = ((query, f"CACM-{int(document.removeprefix('CACM-')):04d}", grade) for query, _, document, grade in lines)  # some lack the leading zeros
    write_collection(folder, documents, queries, judgements)


def plain(markup: str) -> str:
    """The text without tags, each run of white space one space."""
    return " ".join(re.sub(r"</?(html|pre)>", " ", markup).split())


DATASET = Dataset(
    name="cacm",
    title="CACM retrieval collection",
    home="http://ir.dcs.gla.ac.uk/resources/test_collections/cacm/",
    licence="none stated; free for research",
    citation='E. Fox, "Characterization of two new experimental collections in computer and information science", Cornell University TR 83-561, 1983',
    mirror={
        "docs.jsonl.gz": "b5c61da2408777cb736ed2629836d636444e75de67ba1673fbfcc8c7ff6dd324",
        "queries.jsonl.gz": "7af3d248cca0f1270a8100ba05a41e62e4fe988f222fe3e6f02fb2c8c3e83447",
        "qrels.tsv": "d7b703b866418a739aa8fe196e0d28fd14deca52b10ee1ba6aecc8ec5ad318bb",
    },
    originals=(
        Original("cacm.tar.gz", "sha256:4e318d8920a384dfe11f81410abdc19d96a0e23e5fb7832c385be75c7cb75bf9", (HOST + "corpus/raw/cacm.tar.gz",)),
        Original("topics.cacm.txt", "sha256:1dc7b94fbf4adeb0c49be44fc6d7802ddc7bc4ad1b869013af10d09b44019799", (HOST + "topics.cacm.txt",)),
        Original("qrels.cacm.txt", "sha256:359f77ee6aab89333745a7f25f56370268a493abe1baff76979ad37a4d5428ef", (HOST + "qrels.cacm.txt",)),
    ),
    pack=pack,
)
