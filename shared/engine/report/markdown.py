"""The generated blocks of the READMEs, and how numbers, costs and origins are worded there and on the site."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from shared.engine.registry import Paper
from shared.engine.status import VERDICTS, counts, staleness


def replace_block(text: str, name: str, content: str) -> str:
    """``text`` with ``content`` between its two marks ``<!-- name:begin -->`` and ``<!-- name:end -->``; ValueError unless both stand there once, in order."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"expected {begin} and after it {end}, once each")
    return f"{text[: text.index(begin)]}{begin}\n{content.strip()}\n{text[text.index(end) :]}"


def number(value: float, half_width: float = 0.0) -> str:
    """A number with two digits of its uncertainty, or four significant digits where there is none."""
    if half_width > 0 and 1e-3 <= abs(value) + half_width < 1e5:
        return f"{value:.{min(max(1 - math.floor(math.log10(half_width)), 0), 6)}f}"
    return f"{value:.4g}"


def measured(claim: Mapping[str, Any]) -> str:
    """``0.934 [0.912, 0.956], n = 5``; without an interval when one seed gives none; a dash when nothing was measured."""
    mean, low, high, n = claim["mean"], claim["low"], claim["high"], len(claim["values"])
    if mean is None:
        return "–"
    if low is None or high is None:
        return f"{number(mean)}, n = {n}"
    half = (high - low) / 2
    return f"{number(mean, half)} [{number(low, half)}, {number(high, half)}], n = {n}"


def duration(seconds: float) -> str:
    """``42 s``, ``3 min 5 s``, ``1 h 20 min``."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def seed_range(seeds: list[int]) -> str:
    """``0-4`` for a run of seeds, else the list."""
    if len(seeds) > 1 and seeds == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]}-{seeds[-1]}"
    return ", ".join(map(str, seeds))


def cost(origin: Mapping[str, Any]) -> str:
    """What the trials took, where."""
    return f"{duration(origin['wall_seconds'])} of trials, peak {origin['peak_rss_bytes'] / 2**30:.1f} GiB, on {origin['gpu'] or origin['cpu']}"


def origin(profile: str, made: Mapping[str, Any]) -> str:
    """Profile, seeds, date and commit of a record."""
    commit = f"commit {made['commit'][:10]}{' with uncommitted changes' if made['dirty'] else ''}" if made["commit"] else "no commit"
    return f"{profile} profile, seeds {seed_range(made['seeds'])}, {made['date'][:10]}, {commit}"


def cell(text: str) -> str:
    """Plain text for a cell of a Markdown table: one line, nothing of it read as markup."""
    return re.sub(r"([\\`*_\[\]<>|~])", r"\\\1", " ".join(text.split()))


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    header = list(header)
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rows])


def results_block(record: Any, paper: Paper) -> str:
    """The results in a paper's README: each claim with the paper's value, ours, criterion, verdict and scale; then what it cost and where it came from."""
    n = len(record.provenance["seeds"])
    rows = [
        [
            f"{cell(claim['statement'])} ({cell(claim['source'])})",
            cell(claim["reported"]),
            measured(claim).removesuffix(f", n = {n}"),
            f"`{claim['criterion']}`",
            f"**{claim['verdict']}**" + f": {cell(claim['reason'])}" * bool(claim["reason"]),
            claim["scale"],
        ]
        for claim in record.claims
    ]
    claims = table(["claim", "paper", f"ours (95 % CI, {n} seed{'s' * (n != 1)})", "criterion", "verdict", "scale"], rows)
    return f"{claims}\n\n{cost(record.provenance)}; {origin(record.profile, record.provenance)}."


def papers_table(papers: Iterable[Paper], records: Mapping[str, Mapping[str, Any] | None]) -> str:
    """The table of papers in the top README; ``records`` holds each paper's claims and provenance, or None."""
    rows = []
    for paper in papers:
        record = records.get(paper.slug)
        row = [f"[{cell(paper.title)}](papers/{paper.slug}/) ({paper.year})", paper.family.replace("_", " "), paper.framework]
        if record:
            row += [*map(str, counts(record).values()), duration(record["provenance"]["wall_seconds"]), staleness(paper, record)]
        else:
            row += [*["–"] * len(VERDICTS), "–", "none yet"]
        rows.append(row)
    return table(["paper", "family", "framework", *VERDICTS, "cost", "record"], rows)
