"""The commands about all papers: ``python -m shared.engine <command> --help``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from shared.engine.main import exit_codes
from shared.engine.registry import ROOT, all_slugs, load_paper


def _chosen(slugs: list[str]) -> list[str]:
    """The given slugs, each of which must exist, or all."""
    return [load_paper(slug).slug for slug in slugs] or all_slugs()


def status(arguments) -> int:
    from shared.engine.status import print_status, write_table

    if arguments.write:
        write_table(ROOT / "README.md")
    print_status(_chosen(arguments.slugs))
    return 0


def figures(arguments) -> int:
    from shared.engine.main import redraw

    slugs = _chosen(arguments.slugs)
    for slug in slugs:
        if not arguments.slugs and not any((load_paper(slug).folder / "records").glob("*.json")):
            print(f"{slug}: no record yet")
            continue
        print(f"{slug}: {', '.join(path.name for path in redraw(slug))}")
    return 0


def verify(arguments) -> int:
    from shared.engine.verify import verify_paper

    agreed = [verify_paper(slug, arguments.profile, arguments.seeds) for slug in _chosen(arguments.slugs)]
    return 0 if all(agreed) else 1


def report(arguments) -> int:
    from shared.engine.report import build_site

    build_site(ROOT, arguments.out)
    print(f"open {arguments.out / 'index.html'}")
    return 0


def cite(arguments) -> int:
    from shared.engine.cite import print_citations

    print_citations(_chosen(arguments.slugs))
    return 0


def bench(arguments) -> int:
    from shared.engine.bench import run_benches

    run_benches(arguments.slugs, arguments.repeats)
    return 0


def new(arguments) -> int:
    from shared.engine.new import scaffold

    for path in scaffold(arguments.slug, arguments.title):
        print(path.relative_to(ROOT))
    return 0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m shared.engine", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    def command(function, text: str, slugs: bool = True) -> argparse.ArgumentParser:
        added = commands.add_parser(function.__name__, help=text.replace("%", "%%"), description=text)
        added.set_defaults(function=function)
        if slugs:
            added.add_argument("slugs", nargs="*", metavar="paper", help="papers by slug; all when none is given")
        return added

    command(status, "The table of papers: record fresh or stale, verdicts, cost.").add_argument(
        "--write", action="store_true", help="also write the table into README.md"
    )
    command(figures, "Redraw figures from the committed records; nothing is trained.")
    checked = command(verify, "Run a record's profile on fresh seeds and hold it against the record (95 % prediction interval of each claim's mean).")
    checked.add_argument("--profile", default="cpu", help="whose record to challenge (default cpu)")
    checked.add_argument("--seeds", default="", help="the fresh range, e.g. 100:105 (default: as many as the record, from 1000 on)")
    site = command(report, "Build the browsable site of all papers.", slugs=False)
    site.add_argument("--out", type=Path, default=ROOT / "site", help="folder (default site/)")
    command(cite, "BibTeX of a paper and of its replication, and the replication's CITATION.cff.")
    timed = command(bench, "Time the runner ('engine') and each paper's hot loop against a plain version of the same work.")
    timed.add_argument("--repeats", type=int, default=5, help="timed repetitions of each (default 5)")
    created = command(new, "Scaffold a paper folder that keeps the contract but for the science.", slugs=False)
    created.add_argument("slug")
    created.add_argument("--title", default="", help="the paper's title")

    with exit_codes():
        arguments = parser.parse_args(argv)
        return arguments.function(arguments)


if __name__ == "__main__":
    sys.exit(main())
