"""Benchmarks: the runner's own overhead, and the hot loops of papers and shared packages against a plain version of the same work, timed in turns."""

from __future__ import annotations

import importlib
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from shared.engine.errors import RequestError
from shared.engine.launch import limit_threads
from shared.engine.main import science
from shared.engine.registry import PAPERS, ROOT, all_slugs, load_paper
from shared.engine.status import read_summary
from shared.engine.trials import Result, Store, Trial, check_rows


def run_benches(names: list[str], repeats: int) -> None:
    """Time the named papers, shared packages (``lms``), and the runner under the name ``engine``; everything when no name is given."""
    if repeats < 1:
        raise RequestError("--repeats: 1 or more")
    packages = sorted(path.parent.name for path in (ROOT / "shared").glob("*/bench.py"))
    packages.remove("engine")  # this file
    chosen = names or ["engine", *packages, *(slug for slug in all_slugs() if (PAPERS / slug / "bench.py").is_file())]
    for name in chosen:
        if name == "engine":
            bench_engine(repeats)
        elif name in packages:
            limit_threads(os.cpu_count() or 1, "cpu")
            print_cases(name, importlib.import_module(f"shared.{name}.bench").cases(), repeats)
        else:
            bench_paper(name, repeats)


def bench_paper(slug: str, repeats: int) -> None:
    """Say what all its figures cost when the record was made, then time every case of a paper's bench.py."""
    record = read_summary(load_paper(slug), "cpu")
    if record:
        made = record["provenance"]
        print(f"{slug}: all figures: {made['wall_seconds']:.0f} s of trials on {made['cpu']} (the cpu record)", flush=True)
    if importlib.util.find_spec(f"papers.{slug}.bench") is None:
        raise RequestError(f"papers/{slug} has no bench.py")
    limit_threads(os.cpu_count() or 1, "cpu")
    print_cases(slug, science(slug, "bench").cases(), repeats)


def print_cases(owner: str, cases: dict[str, tuple[Callable[[], object], Callable[[], object]]], repeats: int) -> None:
    """Median seconds of ours and of the plain version, and their ratio."""
    for name, (ours, plain) in cases.items():
        first, second = timed_in_turns(ours, plain, repeats)
        ratio = statistics.median(second) / statistics.median(first)
        print(f"{owner}: {name}: ours {_spread(first)}, plain {_spread(second)}, plain/ours {ratio:.2f}", flush=True)


def timed_in_turns(ours: Callable[[], object], plain: Callable[[], object], repeats: int) -> tuple[list[float], list[float]]:
    """Seconds of both over ``repeats`` rounds, after a first call that is not counted. They take turns, so that a slow spell of the machine hits both."""
    times: tuple[list[float], list[float]] = ([], [])
    for round_number in range(repeats + 1):
        for call, kept in zip((ours, plain), times, strict=True):
            started = time.perf_counter()
            call()
            if round_number:
                kept.append(time.perf_counter() - started)
    return times


def _spread(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1e3:.3g} ms ({min(seconds) * 1e3:.3g}-{max(seconds) * 1e3:.3g})"


def bench_engine(repeats: int) -> None:
    """The runner's overhead per trial in-process (target 5 ms) and the start-up of a wholly cached run (target 3 s)."""
    trials = [Trial("none", {"width": 64}, {"n": n}, (0,), "cpu", 1, "0") for n in range(100)]
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        seconds = []
        for _ in range(repeats):
            started = time.perf_counter()
            for trial in trials:
                store.write(trial, Result(check_rows([{"loss": 0.5, "accuracy": 0.9}], trial), 0.0, 0.0, 0))
                store.read(trial)
            seconds.append((time.perf_counter() - started) / len(trials))
    print(f"engine: a trial kept and read back: {_spread(seconds)} (target 5 ms)")
    slug = next((slug for slug in all_slugs() if (PAPERS / slug / "records").is_dir()), None)
    if slug is None:
        return
    command = [sys.executable, "-m", f"papers.{slug}.replicate", "--profile", "smoke"]
    if subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode:
        print(f"engine: the smoke run of {slug} fails here, so that its start-up is not timed")
        return
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
        seconds.append(time.perf_counter() - started)
    print(f"engine: a cached run of {slug} from start to record: {_spread(seconds)} (target 3000 ms)")
