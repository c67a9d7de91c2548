"""The pages of the site, as Markdown for zensical with the tables in HTML. Whatever comes from a paper's files is escaped where it enters."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path, PurePosixPath
from typing import Any, get_args

from shared.engine.cite import bibtex, bibtex_replication, links, repository_url
from shared.engine.registry import Family, Paper, Scale
from shared.engine.report.forest import strip
from shared.engine.report.markdown import cost, duration, measured, origin, seed_range
from shared.engine.status import VERDICTS, counts

SYMBOLS = dict(zip(VERDICTS, "✓✗~–", strict=True))
READ_LAST = ("replicate.py", "claims.py", "figures.py", "bench.py")
FRAMEWORKS = get_args(Paper.model_fields["framework"].annotation)

Records = dict[str, dict[str, Any]]  # profile -> claims, provenance, state
Papers = list[tuple[Paper, Records]]


def _page(title: str, *parts: str, searchable: bool = True) -> str:
    """A page's source. The theme puts titles into HTML as they are, so they are escaped here."""
    head = {"title": escape(title), "hide": ["navigation", "toc"], "search": {"exclude": not searchable}}
    return "---\n" + json.dumps(head) + "\n---\n\n" + "\n\n".join(part for part in parts if part) + "\n"


def _link(address: str, text: str) -> str:
    return f'<a href="{escape(address)}">{escape(text)}</a>'


def _words(name: str) -> str:
    return name.replace("_", " ")


def _hue(verdict: str) -> str:
    """The style class of a verdict's colours."""
    return "v-" + verdict.replace(" ", "-")


def _verdict(verdict: str) -> str:
    return f'<span class="verdict {_hue(verdict)}"><b aria-hidden="true">{SYMBOLS[verdict]}</b> {verdict}</span>'


def _table(kind: str, header: Iterable[str], rows: Iterable[tuple[str, Iterable[str]]]) -> str:
    """An HTML table; a row is its attributes and its cells. Cells know their column's name, which stands beside them on a phone."""
    names = list(header)
    head = " ".join(f"<th>{escape(name)}</th>" for name in names)
    body = ""
    for attributes, cells in rows:
        # Blanks between cells: the search index is the text without its tags.
        body += f"<tr{attributes}>" + " ".join(f'<td data-label="{escape(name)}">{cell}</td>' for name, cell in zip(names, cells, strict=True)) + "</tr>\n"
    return f'<div class="report"><table class="{kind}"><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>'


def _authors(paper: Paper) -> str:
    return escape(", ".join(paper.authors) if len(paper.authors) <= 3 else f"{paper.authors[0]} et al.")


def _where(paper: Paper) -> str:
    """Venue and year, the year once."""
    return paper.venue if str(paper.year) in paper.venue else ", ".join(filter(None, [paper.venue, str(paper.year)]))


def _unmeasured(paper: Paper) -> list[dict[str, Any]]:
    """The claims of a paper without a record, in a record's form."""
    nothing = {"verdict": "not run", "reason": "no record yet", "mean": None, "low": None, "high": None, "values": [], "seeds": []}
    return [claim.model_dump() | nothing | {"scale": claim.scale_at("cpu")} for claim in paper.claims]


def _all_claims(paper: Paper, records: Records) -> list[tuple[str, dict[str, Any]]]:
    """Every judged claim of a paper with its profile."""
    return [(profile, claim) for profile, record in records.items() for claim in record["claims"]] or [("", claim) for claim in _unmeasured(paper)]


def _filter_keys(paper: Paper, claims: Iterable[Mapping[str, Any]]) -> str:
    """What report.js filters a row by: family, framework, and the pairs of verdict and scale in it."""
    pairs = sorted({f"{claim['verdict']}|{claim['scale']}" for claim in claims})
    return f' data-family="{paper.family}" data-framework="{paper.framework}" data-claims="{";".join(pairs)}"'


def _filters(what: str) -> str:
    """The form above a table; its state lives in the address."""

    def choice(name: str, values: Iterable[str]) -> str:
        options = "".join(f'<option value="{value}">{_words(value)}</option>' for value in values)
        return f'<label>{name}<select name="{name}"><option value="">any</option>{options}</select></label>'

    choices = choice("family", get_args(Family)) + choice("framework", FRAMEWORKS) + choice("verdict", VERDICTS) + choice("scale", get_args(Scale))
    text = '<label>contains<input name="text" type="search" placeholder="words of a row"></label>'
    return f'<form class="filters" data-what="{what}">{choices}{text}<button type="reset">clear</button><output></output></form>'


def front_page(papers: Papers, description: str) -> str:
    """The totals and the table of papers."""
    total = dict.fromkeys(VERDICTS, 0)
    rows = []
    for paper, records in papers:
        record = next(iter(records.values()), {"claims": _unmeasured(paper)})
        found = counts(record)
        total = {verdict: n + found[verdict] for verdict, n in total.items()}
        made = record.get("provenance")
        name = f"{_link(f'papers/{paper.slug}.html', paper.title)} <small>{_authors(paper)}, {escape(_where(paper))}</small>"
        numbers = [f'<span class="count {_hue(verdict)}" data-count="{n}">{n}</span>' for verdict, n in found.items()]
        origin_cells = [duration(made["wall_seconds"]), f"{record['state']}<small>{made['date'][:10]}</small>"] if made else ["–", "none yet"]
        claims = [claim for _, claim in _all_claims(paper, records)]
        rows.append((_filter_keys(paper, claims), [name, _words(paper.family), paper.framework, *numbers, *origin_cells]))
    tiles = "".join(
        f'<a class="tile {_hue(verdict)}" href="claims.html#verdict={verdict.replace(" ", "+")}"><b>{n}</b> {SYMBOLS[verdict]} {verdict}</a>'
        for verdict, n in total.items()
    )
    bar = "".join(f'<i class="{_hue(verdict)}" style="flex-grow:{n}"></i>' for verdict, n in total.items() if n)
    table = _table("papers", ["paper", "family", "framework", *VERDICTS, "cost", "record"], rows)
    says = f"{len(papers)} papers, {sum(total.values())} claims. {description}"
    summary = f'<div class="summary"><p>{escape(says)}</p><div class="tiles">{tiles}</div><div class="bar">{bar}</div></div>'
    return _page("Papers", "# Papers", summary, _filters("papers"), table)


LEGEND = (
    '<p class="legend">Each strip has an axis of its own. <span class="key accepted"></span> what the criterion accepts; '
    '<span class="key interval"></span> our 95 % confidence interval over seeds, with its mean (<b>●</b> reproduced, <b>✗</b> contradicted, '
    "<b>○</b> inconclusive); small dots: single seeds; <b>◇</b> the paper's value, where it is a single number.</p>"
)


def _claims_table(rows: Iterable[tuple[str, str, str, Mapping[str, Any]]]) -> str:
    """A forest of claims; a row is its attributes, what stands above the statement, the profile, and the claim."""
    cells = []
    for attributes, above, profile, claim in rows:
        reason = f"<small>{escape(claim['reason'])}</small>" if claim["reason"] else ""
        statement = f"{above}{escape(claim['statement'])} <small>{escape(claim['source'])} · {escape(claim['metric'])}</small>"
        ours = f"{escape(measured(claim))}{strip(claim)}"
        scale = f"{claim['scale']} <small>{profile}</small>"
        criterion = f"<code>{escape(claim['criterion'])}</code>"
        cells.append((attributes, [statement, escape(claim["reported"]), ours, criterion, _verdict(claim["verdict"]) + reason, scale]))
    return _table("claims", ["claim", "paper", "ours (95 % CI)", "criterion", "verdict", "scale"], cells)


def claims_page(papers: Papers) -> str:
    """The forest of all claims. Not searchable: each claim is found on its paper's page."""
    rows = []
    for paper, records in papers:
        for profile, claim in _all_claims(paper, records):
            above = f'<span class="of">{_link(f"papers/{paper.slug}.html", paper.title)}</span> '
            rows.append((_filter_keys(paper, [claim]), above, profile, claim))
    return _page("All claims", "# All claims", LEGEND, _filters("claims"), _claims_table(rows), searchable=False)


def paper_page(root: Path, paper: Paper, records: Records) -> str:
    """One paper: what it is, its claims, figures, the folder's README, and how to run, what it cost, where it came from, how to cite."""
    code = f'<a href="../code/{paper.slug}.html">the code of this replication</a>'
    official = f" ({escape(paper.code.licence)})" if paper.code.licence else ""
    addresses = " · ".join([_link(url, name) + official * (name == "official code") for name, url in links(paper).items()] + [code])
    facts = " · ".join([_link(f"../index.html#family={paper.family}", _words(paper.family)), paper.framework, *map(escape, paper.tags)])
    head = f'<div class="head"><p>{escape(", ".join(paper.authors))}<br>\n{escape(_where(paper))}</p><p>{addresses}</p><p>{facts}</p></div>'
    parts = [head, "## Claims"]
    for profile, record in records.items() or {"": {"claims": _unmeasured(paper)}}.items():
        if profile:
            path = f"../records/{paper.slug}/{profile}.json"
            said = f"{origin(profile, record['provenance'])}, record {record['state']}. {cost(record['provenance'])}."
            parts.append(f'<p class="origin">{escape(said)} {_link(path, "The record")} holds every trial.</p>')
        parts.append(_claims_table(("", "", profile, claim) for claim in record["claims"]))
    parts += [LEGEND if records else "", _figures(root, paper), _readme(root, paper), "## Commands", f"```bash\n{_commands(paper)}\n```"]
    if records:
        parts += ["## Provenance", *(_provenance(profile, record["provenance"]) for profile, record in records.items())]
    parts += ["## Citing it", f"```bibtex\n{bibtex(paper)}\n\n{bibtex_replication(paper, repository_url())}\n```"]
    return _page(paper.title, f"# {_as_text(paper.title)}", *parts)


def _as_text(text: str) -> str:
    """Plain text inside Markdown: nothing of it is markup."""
    return re.sub(r"([\\`*_{}\[\]()#+.!|~^$-])", r"\\\1", escape(text, quote=False))


def _figures(root: Path, paper: Paper) -> str:
    folder = root / "figures" / paper.slug
    shown = ""
    for path in sorted(folder.glob("*.png")) + sorted(folder.glob("*/*.png")):
        inside = path.relative_to(folder).as_posix()
        name = _words(inside.removesuffix(".png"))
        address = escape(f"../figures/{paper.slug}/{inside}")
        shown += f'<figure><a href="{address}"><img src="{address}" alt="{escape(name)}" loading="lazy"></a><figcaption>{escape(name)}</figcaption></figure>\n'
    drawn = f'<p class="origin">Drawn from the record by {_link(f"../code/{paper.slug}.html#figurespy", "figures.py")}.</p>'
    return f'## Figures\n\n{drawn}\n\n<div class="figures">\n{shown}</div>' if shown else ""


def _readme(root: Path, paper: Paper) -> str:
    """The folder's README, its links led to where things lie on the site; without what the page has already: title, results, own figures, how to cite."""
    path = paper.folder / "README.md"
    if not path.is_file():
        return ""
    text = re.sub(r"\A\s*# .*\n", "", path.read_text(encoding="utf-8"))
    text = re.sub(r"<!-- results:begin -->.*<!-- results:end -->", "", text, flags=re.DOTALL)
    text = re.sub(r"^## How to cite\n.*?(?=^## |\Z)", "", text, flags=re.DOTALL | re.MULTILINE)

    def led(match: re.Match) -> str:
        picture, label, target = match.groups()
        if re.match(r"[a-z]+:|#", target):
            return match[0]
        place = (paper.folder / target).resolve()
        if not place.exists() or not place.is_relative_to(root.resolve()):
            return label
        parts = PurePosixPath(place.relative_to(root.resolve())).parts
        if picture and parts[:2] == ("figures", paper.slug):
            return ""
        if parts[0] == "figures" and place.suffix == ".png":
            return f"{picture}[{label}](../{'/'.join(parts)})"
        if parts[0] == "papers" and "records" in parts and place.is_file():
            return f"[{label}](../records/{parts[1]}/{parts[-1]})"
        if parts[0] == "papers" and place.suffix in (".py", ".toml"):
            return f"[{label}](../code/{parts[1]}.html#{_anchor(parts[-1])})"
        if parts[0] == "papers" and len(parts) > 1 and parts[2:] in ((), ("README.md",)):
            return f"[{label}]({parts[1]}.html)"
        return label

    text = re.sub(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", led, text).strip()
    text = text if text.startswith("## ") else f"## The replication\n\n{text}"
    # GitHub starts a list right below a paragraph, Python-Markdown wants a blank line between them.
    return re.sub(r"^((?![-*] |\d+\. )\S.*)\n(?=[-*] |\d+\. )", r"\1\n\n", text, flags=re.MULTILINE)


def _commands(paper: Paper) -> str:
    lines = {"nox -s env": "once: the environment", f"nox -s {paper.slug}": "gpu profile when a GPU is visible, else cpu"}
    lines |= {f"nox -s {paper.slug} -- --profile {name}": f"{profile.seeds} seed{'s' * (profile.seeds != 1)}" for name, profile in paper.profiles.items()}
    lines |= {f"nox -s {paper.slug} -- --help": "every knob", f"nox -s verify -- {paper.slug}": "fresh seeds, held against the record"}
    width = max(map(len, lines))
    return "\n".join(f"{command:<{width}}  # {what}" for command, what in lines.items())


def _provenance(profile: str, made: Mapping[str, Any]) -> str:
    times = f"{duration(made['wall_seconds'])} over all trials, {duration(made['elapsed_seconds'])} elapsed, {duration(made['cpu_seconds'])} of CPU"
    facts = {
        "profile": f"{profile}, seeds {seed_range(made['seeds'])}",
        "date": made["date"],
        "commit": f"{made['commit'] or 'none'}{' (with uncommitted changes)' if made['dirty'] else ''}, code hash {made['code_hash']}",
        "time": f"{times}, peak memory {made['peak_rss_bytes'] / 2**30:.2f} GiB",
        "machine": f"{made['gpu'] or made['cpu']} ({made['device']}), {made['platform']}",
        "software": ", ".join([f"Python {made['python']}", *(f"{name} {version}" for name, version in made["packages"].items())]),
        "config": ", ".join(f"{name} = {value}" for name, value in made["config"].items()),
    }
    rows = "".join(f"<dt>{name}</dt><dd>{escape(fact)}</dd>" for name, fact in facts.items())
    return f'<dl class="facts">{rows}</dl>'


def _anchor(file_name: str) -> str:
    """The id that the toc extension gives to a heading that is a file's name."""
    return re.sub(r"[^\w-]", "", file_name).lower()


def code_page(root: Path, paper: Paper) -> str:
    """The folder's sources in reading order: the method, then the run, claims and figures; last the tests and paper.toml."""
    order = {"model.py": -1} | {name: i for i, name in enumerate(READ_LAST, start=1)}
    files = sorted((path for path in paper.folder.glob("*.py") if path.name != "__init__.py"), key=lambda path: (order.get(path.name, 0), path.name))
    files += [path for path in (root / "tests" / "papers" / f"test_{paper.slug}.py", paper.folder / "paper.toml") if path.is_file()]
    fence = "~" * 12
    parts = [f"## {path.name}\n\n{fence}{path.suffix[1:].replace('py', 'python')}\n{path.read_text(encoding='utf-8').rstrip()}\n{fence}" for path in files]
    names = " · ".join(_link(f"#{_anchor(path.name)}", path.name) for path in files)
    top = f'<p class="origin">The code of {_link(f"../papers/{paper.slug}.html", paper.title)}, in reading order: {names}</p>'
    return _page(f"Code: {paper.title}", f"# Code: {_as_text(paper.title)}", top, *parts, searchable=False)
