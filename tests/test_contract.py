"""Every paper folder keeps the contract: metadata, claims, a smoke run that is a function of its seeds, figures from the record alone."""

from __future__ import annotations

import importlib
import re

import matplotlib
import numpy as np
import pytest

from shared.engine.config import build_config
from shared.engine.launch import execute
from shared.engine.main import figure_folder, science
from shared.engine.records import Record, claim_functions, evaluate_claims
from shared.engine.registry import ROOT, all_slugs, load_paper
from shared.engine.report.markdown import replace_block, results_block
from shared.engine.trials import Result, check_conditions, list_trials

matplotlib.use("Agg")
SLUGS = all_slugs()
RECORDED = [slug for slug in SLUGS if (ROOT / "papers" / slug / "records" / "cpu.json").is_file()]
MEASURED_TIME = re.compile(r"(^|_)(seconds|ms|per_second)(_|$)")


@pytest.mark.parametrize("slug", SLUGS)
def test_metadata_profiles_conditions_and_claims_are_valid(slug):
    paper = load_paper(slug)
    replicate = science(slug, "replicate")
    claim_functions(paper, science(slug, "claims"))
    for name, profile in paper.profiles.items():
        config = build_config(replicate.Config, profile.config, f"{slug}, profile {name}")
        check_conditions(replicate.conditions(config))
    for name in paper.datasets:
        importlib.import_module(f"shared.data.{name}")


@pytest.mark.parametrize("slug", SLUGS)
def test_the_readme_is_short_and_holds_the_results_block(slug):
    text = (ROOT / "papers" / slug / "README.md").read_text(encoding="utf-8")
    by_hand = replace_block(text, "results", "")
    assert len(by_hand.splitlines()) <= 62


def rows_of(slug: str, seeds: tuple[int, ...]) -> list[dict]:
    """All rows of the smoke profile on these seeds, but for what is a measured time."""
    paper = load_paper(slug)
    profile = paper.profile("smoke")
    replicate = science(slug, "replicate")
    config = build_config(replicate.Config, profile.config, "smoke")
    trials = list_trials(slug, config, replicate.conditions(config), seeds, replicate.run, "cpu", profile.threads, "")
    rows = []
    for trial in trials:
        outcome = execute(trial)
        assert isinstance(outcome, Result), f"{trial.label}: {outcome.details}"
        rows += [{name: value for name, value in row.items() if not MEASURED_TIME.search(name)} for row in outcome.rows]
    return rows


def same(one: list[dict], other: list[dict]) -> bool:
    return all(set(a) == set(b) and all(np.array_equal(a[name], b[name]) for name in a) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("slug", SLUGS)
def test_a_smoke_run_is_a_function_of_its_seed(slug):
    first = rows_of(slug, (0,))
    assert same(first, rows_of(slug, (0,)))
    assert not same(first, rows_of(slug, (1,)))


@pytest.mark.parametrize("slug", RECORDED)
def test_the_record_is_what_its_trials_say(slug):
    paper = load_paper(slug)
    record = Record.load(paper.record_path("cpu"))
    assert len(record.seeds) >= 3
    assert record.provenance["dirty"] is False
    assert record.provenance["commit"]
    again = evaluate_claims(paper, claim_functions(paper, science(slug, "claims")), record.trials, "cpu", complete=True)
    for stored, computed in zip(record.claims, again, strict=True):
        assert (stored["id"], stored["criterion"], stored["verdict"]) == (computed["id"], computed["criterion"], computed["verdict"])
        for part in ("values", "low", "high"):
            if computed[part] is None:  # not run
                assert stored[part] is None
            else:
                assert stored[part] == pytest.approx(computed[part], rel=1e-9, abs=1e-12)
    readme = (paper.folder / "README.md").read_text(encoding="utf-8")
    assert readme == replace_block(readme, "results", results_block(record, paper)), "the README's results block is not the record's; redraw it by --record"


@pytest.mark.parametrize("slug", RECORDED)
def test_figures_come_from_the_record_alone(slug, monkeypatch):
    def forbidden(*_, **__):
        raise AssertionError("a figure must not train or load data")

    monkeypatch.setattr(science(slug, "replicate"), "run", forbidden)
    monkeypatch.setenv("REPRO_OFFLINE", "1")
    monkeypatch.setenv("REPRO_DATA_DIR", str(ROOT / "nothing here"))
    monkeypatch.setenv("REPRO_CACHE_DIR", str(ROOT / "nothing here"))
    paper = load_paper(slug)
    drawn = science(slug, "figures").draw(Record.load(paper.record_path("cpu")))
    folder = figure_folder(slug, "cpu")
    assert drawn
    assert {f"{name}.png" for name in drawn} == {path.name for path in folder.glob("*.png")}
    assert all(path.stat().st_size <= 100_000 for path in folder.iterdir() if path.is_file())
    for figure in drawn.values():
        matplotlib.pyplot.close(figure)
