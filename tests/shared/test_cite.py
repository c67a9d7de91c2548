"""BibTeX and CITATION.cff: specials escaped, braces balanced, types by venue, YAML that reads back."""

from __future__ import annotations

import re

import pytest

from shared.engine.cite import bibtex, bibtex_replication, citation, citation_cff, tex
from shared.engine.registry import Paper

HOSTILE = r'100% of A_B & "C" #1: a \ b, x}, {{y, $y^2$ ~ <i>z</i>: Ünïcödé'
CFF_KEYS = {"cff-version", "message", "type", "title", "authors", "repository-code", "references"}
CFF_REFERENCE_KEYS = {"type", "title", "authors", "year", "conference", "institution", "journal", "doi", "identifiers", "url"}


def paper(**changes) -> Paper:
    base = {
        "slug": "some_paper",
        "title": "Some Paper on Sets",
        "authors": ["Ada van der Berg", "Émile Noël"],
        "year": 2023,
        "family": "vision",
        "framework": "torch",
        "profiles": {"smoke": {}, "cpu": {}},
        "claims": [{"id": "a", "statement": "s", "source": "t", "reported": "r", "metric": "m", "criterion": "> 0", "scale": "reduced"}],
    }
    return Paper(**(base | changes))


def fields(entry: str) -> dict[str, str]:
    return dict(re.findall(r"^  (\w+) += \{(.*)\},$", entry, flags=re.MULTILINE))


def balanced(text: str) -> bool:
    depth = 0
    for character in text:
        depth += (character == "{") - (character == "}")
        if depth < 0:
            return False
    return depth == 0


def test_tex_escapes_every_special_once():
    assert (
        tex("a_b & 5% #1 $x^2$ ~ {y} \\") == r"a\_b \& 5\% \#1 \$x\textasciicircum{}2\$ \textasciitilde{} \textbraceleft{}y\textbraceright{} \textbackslash{}"
    )


@pytest.mark.parametrize("entry", [bibtex, bibtex_replication])
def test_hostile_titles_give_balanced_entries_without_bare_specials(entry):
    text = entry(paper(title=HOSTILE, venue="Conf & Co 2023"))
    assert balanced(text)
    assert not re.search(r"(?<!\\)[%&#$]", text)
    assert text.count("\n@") == 0 and text.startswith("@") and text.endswith("}")


@pytest.mark.parametrize(
    ("venue", "kind", "field"),
    [
        ("NeurIPS 2023", "inproceedings", "booktitle"),
        ("Journal of Statistical Mechanics", "article", "journal"),
        ("IEEE TPAMI 46(8)", "article", "journal"),
        ("PhD thesis, TTI-Chicago", "phdthesis", "school"),
        ("arXiv preprint", "misc", "howpublished"),
        ("", "misc", None),
    ],
)
def test_the_venue_decides_the_type(venue, kind, field):
    entry = bibtex(paper(venue=venue))
    assert entry.startswith(f"@{kind}{{vanderberg2023some,")
    assert field is None or fields(entry)[field] == venue


def test_identifiers_are_verbatim_and_absent_ones_leave_no_field():
    found = fields(bibtex(paper(doi="10.1000/a_b", arxiv="2301.00001")))
    assert found["doi"] == "10.1000/a_b" and found["eprint"] == "2301.00001" and found["archivePrefix"] == "arXiv"
    assert not {"doi", "eprint", "archivePrefix"} & set(fields(bibtex(paper())))


def test_a_group_is_one_name():
    assert fields(bibtex(paper(authors=["Qwen Team", "A B"])))["author"] == "{Qwen Team} and A B"


def test_cff_reads_back_as_yaml_with_the_schemas_keys():
    yaml = pytest.importorskip("yaml")
    for venue in ("", "ICML 2023", "Journal of X", "PhD thesis, Y"):
        given = paper(title=HOSTILE, venue=venue, doi="10.1000/a_b", arxiv="2301.00001", authors=["Ada van der Berg", "Qwen Team", "Madonna"])
        read = yaml.safe_load(citation_cff(given, "https://example.org/r"))
        assert set(read) <= CFF_KEYS and {"cff-version", "message", "title", "authors"} <= set(read)
        assert read["title"] == f"Replication of {HOSTILE}" and read["repository-code"] == "https://example.org/r"
        (reference,) = read["references"]
        assert set(reference) <= CFF_REFERENCE_KEYS and reference["title"] == HOSTILE and reference["year"] == 2023
        assert reference["authors"] == [{"family-names": "van der Berg", "given-names": "Ada"}, {"name": "Qwen Team"}, {"name": "Madonna"}]
        assert reference["identifiers"] == [{"type": "other", "value": "arXiv:2301.00001"}]


def test_no_repository_no_field():
    assert "repository-code" not in citation_cff(paper()) and "url" not in fields(bibtex_replication(paper()))


def test_the_command_line_text_holds_all_three():
    text = citation(paper())
    assert text.count("\n@") == 2 and "cff-version: 1.2.0" in text
