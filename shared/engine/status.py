"""Which papers have a record, whether it is fresh, what it says, and what it cost. Reads files only; imports no paper."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from shared.engine.codehash import code_hash
from shared.engine.registry import Paper, all_slugs, load_paper

VERDICTS = ("reproduced", "contradicted", "inconclusive", "not run")


def read_summary(paper: Paper, profile: str) -> dict[str, Any] | None:
    """Claims and provenance of a committed record without its trials, or None."""
    path = paper.record_path(profile)
    if not path.is_file():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    return {"claims": content["claims"], "provenance": content["provenance"], "profile": profile}


def staleness(paper: Paper, record: dict[str, Any]) -> str:
    """``fresh``, or what has changed since the record was made."""
    made = record["provenance"]
    if made["code_hash"] != code_hash(paper.slug):
        return "stale: code"
    if made["overrides"] != paper.profile(record["profile"]).config:
        return "stale: profile"
    criteria = {claim["id"]: claim["criterion"] for claim in record["claims"]}
    if criteria != {claim.id: claim.criterion for claim in paper.claims}:
        return "stale: claims"
    return "fresh"


def counts(record: dict[str, Any]) -> dict[str, int]:
    """Verdict -> number of claims."""
    found = Counter(claim["verdict"] for claim in record["claims"])
    return {verdict: found.get(verdict, 0) for verdict in VERDICTS}


def print_status(slugs: list[str]) -> None:
    """One line a record, and the totals."""
    total: Counter = Counter()
    width = max([len(slug) for slug in slugs] + [5])
    print(f"{'paper':<{width}}  profile  {'record':<14}  repr contr incon  not run   seconds  seeds  date")
    for slug in slugs:
        paper = load_paper(slug)
        records = [record for name in paper.profiles if (record := read_summary(paper, name))]
        if not records:
            print(f"{slug:<{width}}  -        no record")
        for record in records:
            found = counts(record)
            if record is records[0]:
                total.update(found)
            made = record["provenance"]
            print(
                f"{slug:<{width}}  {record['profile']:<7}  {staleness(paper, record):<14}  "
                + f"{found['reproduced']:>4} {found['contradicted']:>5} {found['inconclusive']:>5}  {found['not run']:>7}  "
                + f"{made['wall_seconds']:>8.0f}  {len(made['seeds']):>5}  {made['date'][:10]}"
            )
    print(f"{len(slugs)} papers; claims: " + ", ".join(f"{total[verdict]} {verdict}" for verdict in VERDICTS))


def write_table(readme: Path) -> None:
    """Renew the table of papers in the README."""
    from shared.engine.report.markdown import papers_table, replace_block
    from shared.engine.trials import write_atomically

    papers = [load_paper(slug) for slug in all_slugs()]
    records = {paper.slug: read_summary(paper, "cpu") for paper in papers}
    write_atomically(readme, replace_block(readme.read_text(encoding="utf-8"), "papers", papers_table(papers, records)).encode())
