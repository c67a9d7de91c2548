"""Does a fresh run agree with the committed record? The mean of every claim on new seeds must fall into the record's prediction interval."""

from __future__ import annotations

import math

from shared.engine.errors import RequestError
from shared.engine.main import run_paper
from shared.engine.records import Record
from shared.engine.registry import load_paper
from shared.engine.statistics import prediction_interval

FIRST_FRESH_SEED = 1000


def verify_paper(slug: str, profile: str, seeds: str = "") -> bool:
    """Run the profile on fresh seeds and print, claim by claim, whether it agrees. True when all do."""
    paper = load_paper(slug)
    record = Record.load(paper.record_path(profile))
    seeds = seeds or f"{FIRST_FRESH_SEED}:{FIRST_FRESH_SEED + len(record.seeds)}"
    device = record.provenance["device"]
    fresh = run_paper(slug, ["--profile", profile, "--seeds", seeds, "--device", device])
    shared_seeds = sorted(set(record.seeds) & set(fresh.seeds))
    if shared_seeds:
        raise RequestError(f"verify: seeds {shared_seeds} are in the record already; give a fresh range with --seeds")
    agreed = [_agrees(record.claim(claim["id"]), claim) for claim in fresh.claims]
    print(f"{slug}: {sum(agreed)} of {len(agreed)} claims agree with the record on seeds {seeds}")
    return all(agreed)


def _agrees(recorded: dict, fresh: dict) -> bool:
    if "not run" in (recorded["verdict"], fresh["verdict"]):
        agrees = recorded["verdict"] == fresh["verdict"]
        print(f"  {'agrees ' if agrees else 'DIFFERS'}  {recorded['id']}: record {recorded['verdict']}, fresh {fresh['verdict']}")
        return agrees
    low, high = prediction_interval(recorded["values"], len(fresh["values"]))
    slack = 1e-9 * max(1.0, abs(recorded["mean"]))
    agrees = low - slack <= fresh["mean"] <= high + slack
    shown = "any value" if math.isinf(low) else f"[{low:.4g}, {high:.4g}]"
    print(f"  {'agrees ' if agrees else 'DIFFERS'}  {recorded['id']}: fresh mean {fresh['mean']:.4g}, record predicts {shown}")
    return agrees
