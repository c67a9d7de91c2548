"""How to cite: BibTeX and CITATION.cff, for a paper and for its replication here."""

from __future__ import annotations

import json
import re
import tomllib
import unicodedata

from shared.engine.registry import ROOT, Paper, load_paper

PUBLISHERS = "The maintainers of this repository"
# BibTeX counts braces even behind a backslash, so they are named and not escaped.
_NAMED = {"\\": "backslash", "{": "braceleft", "}": "braceright", "~": "asciitilde", "^": "asciicircum"}
_TEX = {c: f"\\text{name}{{}}" for c, name in _NAMED.items()} | {c: "\\" + c for c in "$&%#_"}
_JOURNAL = re.compile(r"journal|transactions|letters|review|\b(TPAMI|TMLR|JMLR|PNAS|npj|Nature|Neurocomputing|Neural (Computation|Networks))\b", re.IGNORECASE)
_UNPUBLISHED = re.compile(r"^$|preprint|arxiv|not confirmed|report|book|unpublished", re.IGNORECASE)


def tex(text: str) -> str:
    """``text`` with TeX's special characters escaped; letters beyond ASCII stay as UTF-8."""
    return "".join(_TEX.get(character, character) for character in text)


def links(paper: Paper) -> dict[str, str]:
    """Name -> address of the paper and of its official code, as far as they are known."""
    found = {
        "arXiv": f"https://arxiv.org/abs/{paper.arxiv}" if paper.arxiv else "",
        "DOI": f"https://doi.org/{paper.doi}" if paper.doi else "",
        "official code": paper.code.url,
    }
    return {name: url for name, url in found.items() if url}


def repository_url() -> str:
    """The address of this repository, when pyproject.toml gives one under project.urls.repository."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {name.lower(): url for name, url in project.get("urls", {}).items()}.get("repository", "")


def _split(name: str) -> tuple[str, str]:
    """Given and family names; small particles (van, de, ...) belong to the family name, and one word alone is a family name."""
    words = name.split()
    first = len(words) - 1
    while first > 1 and words[first - 1].islower():
        first -= 1
    return " ".join(words[:first]), " ".join(words[first:])


def _is_group(name: str) -> bool:
    return bool(re.search(r"\b(team|group|consortium|collaboration|contributors|lab)\b| and |,", name, re.IGNORECASE))


def _kind(paper: Paper) -> tuple[str, str, str]:
    """Type of entry in BibTeX, its field for the venue, and the type in CITATION.cff."""
    if "thesis" in paper.venue.lower():
        return "phdthesis", "school", "thesis"
    if _UNPUBLISHED.search(paper.venue):
        return "misc", "howpublished", "article"
    return ("article", "journal", "article") if _JOURNAL.search(paper.venue) else ("inproceedings", "booktitle", "conference-paper")


def _entry(kind: str, key: str, fields: dict[str, str]) -> str:
    width = max(map(len, fields))
    lines = [f"  {name:{width}} = {{{value}}}," for name, value in fields.items() if value]
    return "\n".join([f"@{kind}{{{key},", *lines, "}"])


def bibtex(paper: Paper) -> str:
    """The entry of the paper itself. Identifiers and addresses are verbatim fields, all else is escaped."""
    kind, venue, _ = _kind(paper)
    word = next((w for w in re.findall(r"[^\W\d_]+", paper.title) if len(w) > 3), "paper")
    key = re.sub(r"[^a-z0-9]", "", unicodedata.normalize("NFKD", f"{_split(paper.authors[0])[1]}{paper.year}{word}".lower()))
    fields = {
        "title": f"{{{tex(paper.title)}}}",
        "author": " and ".join(f"{{{tex(name)}}}" if _is_group(name) else tex(name) for name in paper.authors),
        "year": str(paper.year),
        venue: tex(paper.venue),
        "doi": paper.doi,
        "eprint": paper.arxiv,
        "archivePrefix": "arXiv" * bool(paper.arxiv),
    }
    return _entry(kind, key, fields)


def bibtex_replication(paper: Paper, repository: str = "") -> str:
    """The entry of the replication in this repository."""
    fields = {
        "title": f"{{Replication of {tex(paper.title)}}}",
        "author": f"{{{PUBLISHERS}}}",
        "howpublished": tex(f"papers/{paper.slug}"),
        "note": tex(f"Replicates {paper.authors[0]}{' et al.' * (len(paper.authors) > 1)} ({paper.year})"),
        "url": repository,
    }
    return _entry("misc", f"replication_{paper.slug}", fields)


def citation_cff(paper: Paper, repository: str = "") -> str:
    """CITATION.cff (1.2.0) of the replication's folder, with the paper as its reference. A JSON string is a YAML string, so each value is quoted as JSON."""

    def quote(text: str) -> str:
        return json.dumps(text, ensure_ascii=False)

    def person(name: str) -> str:
        given, family = _split(name)
        if _is_group(name) or not given:
            return f"name: {quote(name)}"
        return f"family-names: {quote(family)}\n        given-names: {quote(given)}"

    kind = _kind(paper)[2]
    lines = [
        "cff-version: 1.2.0",
        'message: "If you use this replication, please cite it together with the paper that it replicates."',
        "type: software",
        f"title: {quote('Replication of ' + paper.title)}",
        "authors:",
        f"  - name: {quote(PUBLISHERS)}",
        *([f"repository-code: {quote(repository)}"] if repository else []),
        "references:",
        f"  - type: {kind}",
        f"    title: {quote(paper.title)}",
        "    authors:",
        *(f"      - {person(name)}" for name in paper.authors),
        f"    year: {paper.year}",
    ]
    if kind == "conference-paper":
        lines += ["    conference:", f"      name: {quote(paper.venue)}"]
    elif kind == "thesis":
        lines += ["    institution:", f"      name: {quote(paper.venue)}"]
    elif paper.venue:
        lines += [f"    journal: {quote(paper.venue)}"]
    if paper.doi:
        lines += [f"    doi: {quote(paper.doi)}"]
    if paper.arxiv:
        lines += ["    identifiers:", "      - type: other", f"        value: {quote('arXiv:' + paper.arxiv)}"]
    lines += [f"    url: {quote(url)}" for name, url in links(paper).items() if name != "official code"][:1]
    return "\n".join(lines) + "\n"


def citation(paper: Paper, repository: str = "") -> str:
    """All of it, for the command line: the paper, the replication, and CITATION.cff."""
    parts = {
        "The paper (BibTeX)": bibtex(paper),
        "This replication (BibTeX)": bibtex_replication(paper, repository),
        "CITATION.cff": citation_cff(paper, repository),
    }
    return "\n\n".join(f"# {name}\n{text}" for name, text in parts.items())


def print_citations(slugs: list[str]) -> None:
    """The citations of these papers, for the command line."""
    print("\n\n".join(citation(load_paper(slug), repository_url()) for slug in slugs))
