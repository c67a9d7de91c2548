"""The browsable site: every paper and every claim, made from the papers' folders and their committed records.

zensical (dependency group "report") lays out and indexes the pages that are written in ``pages``. The site loads nothing from the network and works from file://.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from shared.engine.errors import RequestError
from shared.engine.registry import Paper, all_slugs, load_paper
from shared.engine.report.pages import Records, claims_page, code_page, front_page, paper_page
from shared.engine.status import read_summary, staleness

ASSETS = Path(__file__).parent / "assets"


def build_site(root: Path, out: Path) -> None:
    """Build the site of the repository at ``root`` into ``out``, which is replaced if it holds an earlier site."""
    if importlib.util.find_spec("zensical") is None:
        raise RequestError("the report needs zensical: `nox -s report` brings it, or pip install --group report")
    if out.exists() and any(out.iterdir()) and not (out / "data.json").is_file():
        raise RequestError(f"{out} holds something else than an earlier report; choose another folder or empty it")
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    papers = [(paper, _records(paper)) for paper in map(load_paper, all_slugs())]
    with tempfile.TemporaryDirectory() as work:
        docs = Path(work) / "docs"
        _write(docs / "index.md", front_page(papers, project["description"]))
        _write(docs / "claims.md", claims_page(papers))
        _write(docs / "data.json", json.dumps([paper.model_dump(exclude={"profiles"}) | {"records": records} for paper, records in papers]))
        for paper, records in papers:
            _write(docs / "papers" / f"{paper.slug}.md", paper_page(root, paper, records))
            _write(docs / "code" / f"{paper.slug}.md", code_page(root, paper))
            for folder, pattern, target in ((root / "figures" / paper.slug, "**/*.png", "figures"), (paper.folder / "records", "*", "records")):
                for path in folder.glob(pattern):
                    copy = docs / target / paper.slug / path.relative_to(folder)
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, copy)
        shutil.copytree(ASSETS, docs / "assets", ignore=shutil.ignore_patterns("theme"))
        built = _zensical(Path(work))
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(built, out)


def _records(paper: Paper) -> Records:
    """The committed records and whether they are fresh, the cpu profile first: it is the one that stands for the paper."""
    names = sorted(paper.profiles, key=lambda name: name != "cpu")
    return {name: record | {"state": staleness(paper, record)} for name in names if (record := read_summary(paper, name))}


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _zensical(work: Path) -> Path:
    """Run zensical on ``work``/docs; the folder of the built site."""
    config = {
        "site_name": "Paper replications",
        "docs_dir": "docs",
        "site_dir": "site",
        "use_directory_urls": False,
        "theme": {
            "font": False,
            "language": "en",
            "custom_dir": str(ASSETS / "theme"),
            "features": ["navigation.tabs", "search.highlight", "content.code.copy"],
        },
        # search.js, which "offline" adds, is how the index is read from file://
        "plugins": ["search", "offline"],
        "nav": [{"Papers": "index.md"}, {"All claims": "claims.md"}],
        "extra_css": ["assets/report.css"],
        "extra_javascript": ["assets/report.js"],
        # Not among them: emoji and magiclink, which point at addresses on the network.
        "markdown_extensions": ["tables", "footnotes", {"toc": {"permalink": True}}, "pymdownx.highlight", "pymdownx.superfences"],
    }
    _write(work / "mkdocs.yml", json.dumps(config))  # JSON is YAML
    command = [sys.executable, "-m", "zensical", "build", "--config-file", str(work / "mkdocs.yml")]
    done = subprocess.run(command, cwd=work, capture_output=True, text=True)
    if done.returncode or not (work / "site" / "index.html").is_file():
        raise RequestError(f"zensical failed:\n{done.stdout}{done.stderr}")
    if "No issues found" not in done.stdout + done.stderr:
        print(done.stdout + done.stderr, file=sys.stderr)
    for name in ("404.html", "sitemap.xml"):  # they need to know the site's address
        (work / "site" / name).unlink(missing_ok=True)
    return work / "site"
