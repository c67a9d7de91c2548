"""The report on a made-up repository of four papers, one of each verdict: README blocks, pages, links, and nothing loaded from the network."""

from __future__ import annotations

import contextlib
import json
import re
import struct
import zlib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pandas as pd
import pytest

from shared.engine import cite, codehash, registry
from shared.engine.errors import RequestError
from shared.engine.records import Record
from shared.engine.registry import load_paper
from shared.engine.report import build_site
from shared.engine.report.forest import reported_number, strip, ticks
from shared.engine.report.markdown import duration, measured, number, papers_table, replace_block, results_block
from shared.engine.statistics import confidence_interval, judge, parse_criterion
from shared.engine.status import read_summary

HOSTILE = "<script>alert('x')</script> & \"Sets\" of *many* `[sorts]`"
# slug: title, family, framework, [(claim id, criterion, values, reported, scale)]; None has no record at all.
PAPERS = {
    "pointer_networks": ("Pointer Networks", "sets_and_algorithms", "jax", [("gap", "> 0", [0.31, 0.35, 0.33], "0.337 (n = 50)", "reduced")]),
    "flat_sharpness": (HOSTILE, "optimisation", "torch", [("slope", "in [-0.6, -0.4]", [-0.2, -0.21, -0.19], "slope -0.5", "proxy")]),
    "noisy_labels": (
        "Noisy Labels",
        "vision",
        "torch",
        [("gain", ">= 0.02", [0.01, 0.05, 0.02], "72.6% vs 38.9%", "reduced"), ("one", "< 1.5", [1.2], "1.1", "paper")],
    ),
    "not_recorded": ("Not Recorded", "reasoning", "numpy", [("speed", "> 2", None, "qualitative", "reduced")]),
}


def png(width: int = 40, height: int = 30) -> bytes:
    """A grey picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + b"\xbb" * width for _ in range(height))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


def judged(claim_id: str, criterion: str, values: list[float] | None, reported: str, scale: str) -> dict:
    """A claim as a record holds it."""
    mean, low, high = confidence_interval(values) if values else (None, None, None)
    measured_twice = bool(values) and len(values) > 1
    return {
        "id": claim_id,
        "statement": f"The {claim_id} of a <i>b</i> | c_d is as said.",
        "source": "Table 1",
        "reported": reported,
        "metric": f"difference of {claim_id} per seed",
        "criterion": criterion,
        "scale": scale,
        "verdict": judge(low, high, parse_criterion(criterion)) if values else "not run",
        "reason": "" if measured_twice else "one seed gives no interval" if values else "needs the paper's data",
        "seeds": list(range(len(values or []))),
        "values": values or [],
        "mean": mean,
        "low": low if measured_twice else None,
        "high": high if measured_twice else None,
        "interval": "t",
    }


def provenance(code_hash: str) -> dict:
    return {
        "wall_seconds": 185.2,
        "elapsed_seconds": 97.0,
        "cpu_seconds": 180.1,
        "peak_rss_bytes": 1.4 * 2**30,
        "commit": "0123456789abcdef",
        "dirty": False,
        "code_hash": code_hash,
        "date": "2026-11-20T19:00:00+00:00",
        "python": "3.11.2",
        "packages": {"numpy": "2.4.6"},
        "platform": "Linux",
        "cpu": "A CPU",
        "gpu": None,
        "device": "cpu",
        "config": {"hidden": 64, "rate": 0.001},
        "overrides": {},
        "seeds": [0, 1, 2],
    }


@contextlib.contextmanager
def repository(root: Path):
    """A small repository at ``root``, which the engine takes for its own."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (registry, codehash, cite):
            patch.setattr(module, "ROOT", root)
        patch.setattr(registry, "PAPERS", root / "papers")
        (root / "pyproject.toml").parent.mkdir(parents=True, exist_ok=True)
        (root / "pyproject.toml").write_text('[project]\nname = "replication"\ndescription = "A made-up repository."\n')
        for slug, (title, family, framework, claims) in PAPERS.items():
            folder, figures = root / "papers" / slug, root / "figures" / slug
            (folder / "records").mkdir(parents=True)
            figures.mkdir(parents=True)
            lines = [
                f"title = {json.dumps(title)}",
                'authors = ["Ada B. Lovelace", "Émile Borel"]',
                "year = 2023",
                'venue = "ICML 2023"',
                'arxiv = "2301.00001"',
            ]
            lines += [f'family = "{family}"', f'framework = "{framework}"', "[profiles.smoke]", "[profiles.cpu]", "seeds = 3", "[profiles.gpu]", "seeds = 5"]
            for claim_id, criterion, values, reported, scale in claims:
                entry = judged(claim_id, criterion, values, reported, scale)
                lines += [
                    "[[claims]]",
                    *(f"{key} = {json.dumps(entry[key])}" for key in ("id", "statement", "source", "reported", "metric", "criterion", "scale")),
                ]
            (folder / "paper.toml").write_text("\n".join(lines))
            (folder / "replicate.py").write_text('"""Run."""\n\nSTEPS = 3  # </code><script>alert(1)</script>\n')
            (folder / "figures.py").write_text('"""Figures."""\n')
            (folder / "model.py").write_text('"""Model."""\n\nTEXT = """\n```\n~~~\n"""\n')
            (folder / "README.md").write_text(
                f"# {title}\n\n## What the paper shows\n\nA zebra among horses; see [the model](model.py), [a plot](../../figures/{slug}/gain.png), "
                "[gone](nowhere.py), [its neighbour](../pointer_networks/).\nIn two parts:\n- first\n- second\n\n"
                "## Findings\n\n<!-- results:begin -->\nold\n<!-- results:end -->\n"
            )
            if claims[0][2] is not None:
                made = provenance(codehash.code_hash(slug) if slug != "noisy_labels" else "0" * 16)
                trials = pd.DataFrame({"seed": [0, 1, 2], "curve": [np.zeros(3, np.float32)] * 3})
                Record(slug, "cpu", [judged(*claim) for claim in claims], trials, made).save(folder / "records" / "cpu.json")
                (figures / "gain_over_steps.png").write_bytes(png())
                (figures / "gain.png").write_bytes(png())
        gpu = Record(
            "pointer_networks", "gpu", [judged("gap", "> 0", [0.4, 0.41], "0.337 (n = 50)", "paper")], pd.DataFrame({"seed": [0, 1]}), provenance("0" * 16)
        )
        gpu.save(root / "papers" / "pointer_networks" / "records" / "gpu.json")
        yield


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("zensical", reason="zensical is not installed (dependency group report)")
    root = tmp_path_factory.mktemp("repository")
    with repository(root):
        build_site(root, root / "site")
        yield root / "site"


class Page(HTMLParser):
    """What a page links to, loads, names, and says."""

    def __init__(self, path: Path):
        super().__init__()
        self.links, self.loads, self.ids, self.text, self.scripts = [], [], set(), [], 0
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids.add(found.get("id"))
        self.scripts += tag == "script"
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        if tag in ("script", "img", "iframe", "source") and found.get("src"):
            self.loads.append(found["src"])
        if tag == "link" and found.get("rel") in ("stylesheet", "icon", "preload", "preconnect"):
            self.loads.append(found["href"])

    def handle_data(self, data):
        self.text.append(data)


def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html")}


def test_every_internal_link_and_load_resolves(site):
    found = pages(site)
    assert len(found) == 2 + 2 * len(PAPERS)
    for path, page in found.items():
        for address in page.links + page.loads:
            parts = urlsplit(address)
            if parts.scheme in ("http", "https"):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.is_file(), f"{path.name}: {address}"
            fragment = unquote(parts.fragment)
            if fragment and "=" not in fragment:
                assert fragment in found[target].ids, f"{path.name}: {address}"


def test_nothing_is_loaded_from_the_network(site):
    for path, page in pages(site).items():
        assert not [address for address in page.loads if address.startswith(("http", "//"))], path
    for path in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", path.read_text(encoding="utf-8")), path


def test_titles_and_texts_are_escaped_everywhere(site):
    found = pages(site)
    least = min(page.scripts for page in found.values())
    for path, page in found.items():
        text = path.read_text(encoding="utf-8")
        assert "<script>alert" not in text, path
        assert page.scripts == least, path
    page = "".join(found[site / "papers" / "flat_sharpness.html"].text)
    assert HOSTILE in page and "a <i>b</i> | c_d" in page


def test_a_paper_page_says_it_all(site):
    page = "".join(pages(site)[site / "papers" / "pointer_networks.html"].text)
    for said in (
        "Émile Borel",
        "0.330 [0.280, 0.380], n = 3",
        "0.337 (n = 50)",
        "> 0",
        "reproduced",
        "reduced",
        "Table 1",
        "3 min 5 s",
        "zebra",
        "--profile gpu",
        "hidden = 64",
    ):
        assert said in page, said
    assert "@inproceedings{lovelace2023pointer" in page and "@misc{replication_pointer_networks" in page
    assert "gpu profile, seeds 0-2" in page and "record stale: code" in page and "record fresh" in page
    assert "old" not in page.split("Findings")[1].split("Commands")[0]
    assert "no record yet" in "".join(pages(site)[site / "papers" / "not_recorded.html"].text)


def test_links_of_a_readme_lead_into_the_site(site):
    links = pages(site)[site / "papers" / "noisy_labels.html"].links
    assert {"../code/noisy_labels.html#modelpy", "../figures/noisy_labels/gain.png", "pointer_networks.html"} <= set(links)
    assert not [link for link in links if "nowhere" in link]


def test_a_list_right_below_its_paragraph_is_a_list(site):
    assert re.search(r"In two parts:</p>\s*<ul>\s*<li>first</li>", (site / "papers" / "noisy_labels.html").read_text())


def test_the_code_page_shows_the_files_as_they_are(site):
    page = "".join(pages(site)[site / "code" / "noisy_labels.html"].text)
    assert "STEPS = 3  # </code><script>alert(1)</script>" in page
    assert page.index("model.py") < page.index("replicate.py") < page.index("paper.toml")


def test_the_machine_readable_index_holds_papers_and_records(site):
    data = json.loads((site / "data.json").read_text())
    assert [paper["slug"] for paper in data] == sorted(PAPERS)
    assert {claim["verdict"] for paper in data for record in paper["records"].values() for claim in record["claims"]} == {
        "reproduced",
        "contradicted",
        "inconclusive",
    }


def test_only_an_earlier_site_is_replaced(site, tmp_path):
    (tmp_path / "precious.txt").write_text("keep")
    with pytest.raises(RequestError, match="something else"):
        build_site(site.parent, tmp_path)
    assert (tmp_path / "precious.txt").exists()
    build_site(site.parent, site)
    assert (site / "index.html").is_file()


def test_without_zensical_the_remedy_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RequestError, match="--group report"):
        build_site(tmp_path, tmp_path / "site")


def test_results_block(tmp_path):
    with repository(tmp_path):
        paper = load_paper("noisy_labels")
        block = results_block(Record.load(paper.record_path("cpu")), paper)
        rows = block.splitlines()
        assert rows[0] == "| claim | paper | ours (95 % CI, 3 seeds) | criterion | verdict | scale |"
        assert rows[2].startswith(
            r"| The gain of a \<i\>b\</i\> \| c\_d is as said. (Table 1) | 72.6% vs 38.9% | 0.027 [-0.025, 0.078] | `>= 0.02` | **inconclusive** | reduced |"
        )
        assert "1.2, n = 1 |" in rows[3] and "one seed gives no interval" in rows[3]
        assert rows[-1] == "3 min 5 s of trials, peak 1.4 GiB, on A CPU; cpu profile, seeds 0-2, 2026-11-20, commit 0123456789."
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows[:4]}) == 1


def test_papers_table(tmp_path):
    with repository(tmp_path):
        papers = [load_paper(slug) for slug in PAPERS]
        rows = papers_table(papers, {paper.slug: read_summary(paper, "cpu") for paper in papers}).splitlines()
    assert rows[0] == "| paper | family | framework | reproduced | contradicted | inconclusive | not run | cost | record |"
    assert rows[2] == "| [Pointer Networks](papers/pointer_networks/) (2023) | sets and algorithms | jax | 1 | 0 | 0 | 0 | 3 min 5 s | fresh |"
    assert rows[4].endswith("| vision | torch | 0 | 0 | 2 | 0 | 3 min 5 s | stale: code |")
    assert rows[5].endswith("| reasoning | numpy | – | – | – | – | – | none yet |")


def test_replace_block_touches_nothing_else_and_is_idempotent():
    text = "a\n<!-- results:begin -->\nold\n<!-- results:end -->\nb\n"
    once = replace_block(text, "results", "new \\1 line")
    assert once == "a\n<!-- results:begin -->\nnew \\1 line\n<!-- results:end -->\nb\n"
    assert replace_block(once, "results", "new \\1 line") == once
    for bad in ("no marks", "<!-- results:end --><!-- results:begin -->", text + text):
        with pytest.raises(ValueError, match="results:begin"):
            replace_block(bad, "results", "x")


def test_numbers_carry_two_digits_of_their_uncertainty():
    assert [number(*pair) for pair in [(0.93412, 0.0213), (12.345, 2.2), (1234.5, 250), (3.14159, 0), (1e-9, 1e-10), (0.5, 1e-12)]] == [
        "0.934", "12.3", "1234", "3.142", "1e-09", "0.500000"
    ]  # fmt: skip
    assert measured({"mean": None, "low": None, "high": None, "values": []}) == "–"
    assert measured({"mean": 1.0, "low": 1.0, "high": 1.0, "values": [1.0, 1.0]}) == "1 [1, 1], n = 2"
    assert [duration(s) for s in (0.42, 42.4, 185, 4800)] == ["0.42 s", "42 s", "3 min 5 s", "1 h 20 min"]


def test_the_papers_value_is_marked_only_where_it_is_one_number():
    assert [reported_number(text) for text in ("0.99", "about 0.35", "2.1x (1.8-2.8x over settings)", "-1e-3", "0.5 (n = 5)")] == [0.99, 0.35, 2.1, -1e-3, 0.5]
    assert not any(map(reported_number, ("72.6% vs 38.9%", "92%", "slope -0.5", "1.7 and 1.5 on ViT-B", "qualitative", "9 of 10 tasks", "")))


def places(svg: str) -> dict[str, list[float]]:
    """Where the marks of a strip stand, left to right."""
    rect = re.search(r'class="accepted" x="([\d.]+)" y="1" width="([\d.]+)"', svg)
    interval = re.search(r'class="interval" d="M([\d.]+) \d+H([\d.]+)"', svg)
    return {
        "accepted": [float(rect[1]), float(rect[1]) + float(rect[2])],
        "limits": [float(x) for x in re.findall(r'class="limit" d="M([\d.]+)', svg)],
        "interval": [float(interval[1]), float(interval[2])] if interval else [],
        "paper": [float(x) for x in re.findall(r'class="paper" d="M([\d.]+)', svg)],
    }


def test_a_strip_shows_the_interval_on_the_right_side_of_its_criterion():
    for slug, (*_, claims) in PAPERS.items():
        for claim in claims:
            entry = judged(*claim)
            if entry["low"] is None:
                continue
            at = places(strip(entry))
            inside = at["accepted"][0] <= at["interval"][0] and at["interval"][1] <= at["accepted"][1]
            outside = at["interval"][1] < at["accepted"][0] or at["interval"][0] > at["accepted"][1]
            assert {"reproduced": inside, "contradicted": outside, "inconclusive": not inside and not outside}[entry["verdict"]], slug
    at = places(strip(judged("a", "in [0, 1]", [0.2, 0.4], "0.9", "paper")))
    assert at["limits"] == pytest.approx(at["accepted"]) and at["accepted"][0] < at["paper"][0] < at["accepted"][1]


def test_a_paper_value_far_away_does_not_squeeze_the_strip():
    near, far = (places(strip(judged("a", "> 0", [0.2, 0.4], reported, "paper"))) for reported in ("words", "1000"))
    assert near["interval"] == far["interval"] and len(far["paper"]) == 2 and far["paper"][0] > far["interval"][1]


def test_degenerate_strips_are_drawn_and_an_unmeasured_claim_is_not():
    for values in ([0.0, 0.0], [5.0], [1e-12, 2e-12], [1e9, 1e9]):
        svg = strip(judged("a", "> 0", values, "0", "paper"))
        assert not re.search(r"\b(nan|inf)\b", svg)
    assert strip(judged("a", "> 0", None, "0", "paper")) == ""
    assert ticks(0, 1) == [0.0, 1.0] and ticks(0.7, 1.3) == pytest.approx([0.8, 1.0, 1.2]) and ticks(-0.37, 12.1) == [0.0, 10.0]
