"""The two entry points of a paper: ``main`` behind replicate.py and ``draw_figures`` behind figures.py."""

from __future__ import annotations

import importlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from shared.engine.errors import RequestError, TrialsFailed
from shared.engine.registry import FIGURES, ROOT, Paper, load_paper


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turn the engine's errors into one message on stderr and an exit code: 2 for a bad request, 1 for a failed trial, 130 for an interruption."""
    try:
        yield
    except RequestError as error:
        sys.exit(_say(f"error: {error}", 2))
    except TrialsFailed as error:
        sys.exit(_say(f"error: {error}", 1))
    except BrokenPipeError:  # whoever read the output has seen enough (| head)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the interpreter's last flush complains
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(_say("interrupted; finished trials are kept, and the same command goes on from there", 130))


def _say(message: str, code: int) -> int:
    print(message, file=sys.stderr)
    return code


def main(file: str, argv: Sequence[str] | None = None) -> NoReturn:
    """Replicate the paper of the replicate.py that calls this, as the command line says."""
    with exit_codes():
        run_paper(Path(file).resolve().parent.name, sys.argv[1:] if argv is None else argv)
        sys.exit(0)


def science(slug: str, name: str):
    """Import ``papers.<slug>.<name>``; RequestError when a package that it needs is not installed."""
    try:
        return importlib.import_module(f"papers.{slug}.{name}")
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] in ("papers", "shared"):
            raise RequestError(f"papers/{slug}: module {error.name} does not exist") from None
        raise RequestError(f"papers/{slug} needs the package {error.name!r}, which is not installed; run it by nox -s {slug}") from None


def gpu_visible(framework: str) -> bool:
    """Whether the paper's framework sees a CUDA device. A cheap look first: asking a framework means importing it."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if hidden or not (Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists() or sys.platform == "win32"):
        return False
    if framework == "jax":
        import jax

        return any(device.platform == "gpu" for device in jax.devices())
    import torch

    return torch.cuda.is_available()


def resolve_profile(paper: Paper, name: str) -> str:
    """``auto`` becomes gpu where a GPU is visible and the paper has that profile, else cpu."""
    if name != "auto":
        paper.profile(name)
        return name
    return "gpu" if "gpu" in paper.profiles and gpu_visible(paper.framework) else "cpu"


def resolve_device(paper: Paper, device: str, profile: str) -> str:
    """``cpu`` or ``cuda``; RequestError when a GPU is asked for and none is visible."""
    if device == "auto":
        return "cuda" if profile in ("gpu", "paper") and gpu_visible(paper.framework) else "cpu"
    if device == "cuda" and not gpu_visible(paper.framework):
        raise RequestError(f"--device cuda: {paper.framework} sees no CUDA device here; use --device cpu, or install a CUDA build (extra: cuda)")
    return device


def run_paper(slug: str, argv: Sequence[str]):
    """Everything that a run does, from the command line to the record, which is returned."""
    from shared.engine import config as settings
    from shared.engine.codehash import code_hash
    from shared.engine.launch import limit_threads
    from shared.engine.records import claim_functions
    from shared.engine.trials import Store, check_conditions, list_trials, write_atomically

    paper = load_paper(slug)
    profile_name = resolve_profile(paper, settings.chosen_profile(argv))
    profile = paper.profile(profile_name)
    environment = limit_threads(profile.threads, "cuda" if profile_name in ("gpu", "paper") else "cpu")
    replicate = science(slug, "replicate")
    options, config = settings.parse(paper, replicate.Config, profile_name, argv, replicate.__doc__ or paper.title)
    functions = claim_functions(paper, science(slug, "claims"))
    device = resolve_device(paper, options.device, profile_name)
    environment |= limit_threads(profile.threads, device)
    seeds = settings.parse_seeds(options.seeds, profile.seeds)
    jobs = settings.parse_jobs(options.jobs) or profile.jobs or (1 if device == "cuda" else max(1, _cores() // profile.threads))

    given = profile.config
    standard = settings.build_config(replicate.Config, given, f"profile {profile_name}")
    all_conditions = check_conditions(replicate.conditions(config))
    chosen = matching(all_conditions, options.only)
    if options.record:
        refuse_record(profile_name, len(seeds), config != standard, len(chosen) < len(all_conditions))
    trials = list_trials(slug, config, chosen, seeds, replicate.run, device, profile.threads, code_hash(slug))
    store = Store(paper.runs / "trials")
    results = {} if options.force else {trial.key: result for trial in trials if (result := store.read(trial)) is not None}
    waiting = [trial for trial in trials if trial.key not in results]

    usual = settings.as_json(standard)
    shown = [f"{name}={value}{' (flag)' if value != usual[name] else ''}" for name, value in settings.as_json(config).items()]
    print(f"{paper.title} ({paper.year})")
    print(f"profile {profile_name} on {device}: {len(chosen)} conditions x {len(seeds)} seeds; {len(results)} trials cached, {len(waiting)} to run")
    print(f"config  {'  '.join(shown)}")
    for reason, count in _reasons(store, waiting, options.force).items():
        print(f"  {count} to run: {reason}")
    if options.list_trials:
        for trial in trials:
            print(f"  {'cached' if trial.key in results else 'to run'}  {trial.key}  {trial.label}")
        return None

    # Claims the place before hours of work are spent on what cannot be kept.
    write_atomically(paper.runs / ".writable", b"")
    started = time.perf_counter()
    failures = run_trials(waiting, results, store, options, jobs, environment)
    elapsed = time.perf_counter() - started
    whole = len(results) == len(trials) and len(chosen) == len(all_conditions) and profile_name != "smoke"
    record = make_record(paper, functions, profile_name, trials, results, whole, given, elapsed)
    path = paper.runs / f"{profile_name}.json"
    record.save(path)
    if options.tensorboard is not None:
        from shared.engine.tensorboard import export

        export(record, [name for condition in chosen for name in condition], options.tensorboard)
    print_claims(record)
    cost = record.provenance
    print(f"cost: {cost['wall_seconds']:.1f} s in trials ({cost['cpu_seconds']:.1f} s CPU, {cost['peak_rss_bytes'] / 2**20:.0f} MiB), {elapsed:.1f} s now")
    print(f"record: {_short(path)}")
    if failures:
        log = paper.runs / "failures.txt"
        write_atomically(log, "\n\n".join(f"{trial.label}\n{failure.details}" for trial, failure in failures).encode())
        shown = [f"  {trial.label}: {failure.message}" for trial, failure in failures[:10]]
        more = [f"  and {len(failures) - 10} more"] if len(failures) > 10 else []
        raise TrialsFailed("\n".join([f"{len(failures)} of {len(trials)} trials failed (tracebacks in {_short(log)}):", *shown, *more]))
    if options.record:
        promote(paper, record)
    else:
        print(f"figures of this run: python -m papers.{slug}.figures --run {profile_name}")
    return record


def refuse_record(profile: str, n_seeds: int, config_changed: bool, part: bool) -> None:
    """RequestError for a run that is no evidence: a record is a whole profile as it stands, on at least three seeds."""
    if profile == "smoke":
        raise RequestError("--record: the smoke profile is for tests and is never recorded")
    if config_changed:
        raise RequestError("--record: a record is the profile as it stands; put the change into paper.toml instead of --config flags")
    if part:
        raise RequestError("--record: a record holds all conditions; leave out --only")
    if n_seeds < 3:
        raise RequestError("--record: a record needs at least 3 seeds")


def matching(conditions: list[dict], only: Sequence[str]) -> list[dict]:
    """The conditions that have every ``name=value`` of --only; values of one name are alternatives."""
    wanted: dict[str, set[str]] = {}
    for text in only:
        name, sign, value = text.partition("=")
        known = {str(condition[name]) for condition in conditions if name in condition}
        if not sign:
            raise RequestError(f"--only {text!r}: write it as condition=value")
        if not known:
            raise RequestError(f"--only {text!r}: no condition has {name!r}; there are {', '.join(sorted({n for c in conditions for n in c}))}")
        if value not in known:
            raise RequestError(f"--only {text!r}: {name} takes {', '.join(sorted(known))}")
        wanted.setdefault(name, set()).add(value)
    chosen = [condition for condition in conditions if all(name in condition and str(condition[name]) in values for name, values in wanted.items())]
    if not chosen:
        raise RequestError(f"--only {' '.join(only)}: no condition has all of these together")
    return chosen


def run_trials(waiting: list, results: dict, store, options, jobs: int, environment: dict[str, str]) -> list[tuple]:
    """Run what is not cached, keep each result as it comes, and return the failures."""
    from tqdm import tqdm

    from shared.engine.launch import Failure, run_local, run_ray

    if options.launcher == "ray":
        outcomes = run_ray(waiting, options.address, environment, options.gpus_per_trial) if waiting else iter(())
    else:
        outcomes = run_local(waiting, jobs)
    failures = []
    live = sys.stderr.isatty()
    with tqdm(total=len(waiting), unit="trial", disable=not (live and waiting), dynamic_ncols=True) as bar, _ticking(bar):
        for count, (trial, outcome) in enumerate(outcomes, 1):
            if isinstance(outcome, Failure):
                failures.append((trial, outcome))
                note = f"FAILED {trial.label}: {outcome.message}"
            else:
                store.write(trial, outcome)
                results[trial.key] = outcome
                note = f"{trial.label}: {_last_metric(outcome.rows[-1])} ({outcome.wall_seconds:.1f} s)"
            bar.set_postfix_str(note[:70], refresh=False)
            bar.update()
            if not live:
                print(f"  [{count}/{len(waiting)}] {note}", flush=True)
    return failures


@contextmanager
def _ticking(bar) -> Iterator[None]:
    """Keep the elapsed time of a bar moving while one long trial runs."""
    done = threading.Event()

    def tick() -> None:
        while not done.wait(1.0):
            bar.refresh()

    ticker = threading.Thread(target=tick, daemon=True)
    if not bar.disable:
        ticker.start()
    try:
        yield
    finally:
        done.set()
        if ticker.is_alive():
            ticker.join()


def make_record(
    paper: Paper, functions: dict[str, Callable], profile: str, trials: list, results: dict, whole: bool, overrides: dict[str, Any], elapsed: float
):
    """Judge the claims on what there is and gather the record. In a run that is not ``whole``, a claim that cannot be computed is not run."""
    from shared.engine.records import Record, evaluate_claims, provenance, tidy

    table = tidy(trials, results)
    claims = evaluate_claims(paper, functions, table, profile, whole)
    return Record(paper.slug, profile, claims, table, provenance(paper, trials, results, overrides, elapsed))


def promote(paper: Paper, record) -> None:
    """Make a run the committed record of its profile, with its figures and the README's results block."""
    from shared.engine.report.markdown import replace_block, results_block
    from shared.engine.trials import write_atomically

    path = paper.record_path(record.profile)
    record.save(path)
    print(f"recorded: {_short(path)}{' (made from uncommitted code: the record says dirty)' if record.provenance['dirty'] else ''}")
    readme = paper.folder / "README.md"
    if readme.is_file():
        main_record = type(record).load(paper.record_path("cpu")) if paper.record_path("cpu").is_file() else record
        text = readme.read_text(encoding="utf-8")
        write_atomically(readme, replace_block(text, "results", results_block(main_record, paper)).encode())
    save_figures(paper, record, figure_folder(paper.slug, record.profile))


def figure_folder(slug: str, profile: str) -> Path:
    """Where the figures of a committed record go: the cpu record's in figures/<slug>/, others' one folder down."""
    return FIGURES / slug if profile == "cpu" else FIGURES / slug / profile


def print_claims(record) -> None:
    """The claims table: the paper's value, ours with its interval, verdict, scale."""
    width = max(len(claim["id"]) for claim in record.claims)
    print()
    for claim in record.claims:
        print(f"{claim['id']:<{width}}  {claim['verdict']:<12}  {_interval(claim):<32}  wanted {claim['criterion']:<16} scale {claim['scale']}")
        print(f"{'':<{width}}  paper: {claim['reported']}" + (f"   [{claim['reason']}]" if claim["reason"] else ""))
    print()


def _interval(claim: dict[str, Any]) -> str:
    if claim["mean"] is None:
        return "-"
    if claim["low"] is None:
        return f"{claim['mean']:.4g} (one seed)"
    return f"{claim['mean']:.4g} [{claim['low']:.4g}, {claim['high']:.4g}] n={len(claim['values'])}"


def _reasons(store, waiting: list, force: bool) -> dict[str, int]:
    counts: dict[str, int] = {}
    for trial in waiting:
        reason = "--force" if force else store.why_to_run(trial)
        counts[reason] = counts.get(reason, 0) + 1
    return counts


def _last_metric(row: dict[str, Any]) -> str:
    scalars = [f"{name}={value:.4g}" for name, value in row.items() if isinstance(value, (int, float))]
    return scalars[-1] if scalars else "done"


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(ROOT))
    except ValueError:
        return str(path)


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def draw_figures(file: str, argv: Sequence[str] | None = None) -> NoReturn:
    """Draw the figures of the figures.py that calls this: of every committed record, or with ``--run PROFILE`` of the latest run of that profile."""
    import argparse

    with exit_codes():
        slug = Path(file).resolve().parent.name
        parser = argparse.ArgumentParser(prog=f"python -m papers.{slug}.figures", description="Redraw a paper's figures from its record; nothing is trained.")
        parser.add_argument("--run", metavar="PROFILE", help="draw the latest run of this profile into runs/<paper>/figures/ instead of the committed records")
        arguments = parser.parse_args(sys.argv[1:] if argv is None else argv)
        for path in redraw(slug, arguments.run):
            print(_short(path))
        sys.exit(0)


def redraw(slug: str, run: str | None = None) -> list[Path]:
    """Figures of the committed records of a paper, or of its latest run of a profile; returns the files written."""
    from shared.engine.records import Record

    paper = load_paper(slug)
    if run is not None:
        profile = resolve_profile(paper, run)
        return save_figures(paper, Record.load(paper.runs / f"{profile}.json"), paper.runs / "figures" / profile)
    profiles = [name for name in paper.profiles if paper.record_path(name).is_file()]
    if not profiles:
        raise RequestError(f"{slug} has no committed record; make one by nox -s {slug} -- --record, or draw a run with --run cpu")
    return [path for name in profiles for path in save_figures(paper, Record.load(paper.record_path(name)), figure_folder(slug, name))]


def save_figures(paper: Paper, record, folder: Path, formats: Sequence[str] = ("png",)) -> list[Path]:
    """Draw a record's figures into a folder; an unchanged record gives unchanged files."""
    import io

    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from shared.engine.trials import write_atomically

    written = []
    with plt.rc_context({"svg.hashsalt": "replication", "savefig.dpi": 160}):
        try:
            figures = science(paper.slug, "figures").draw(record)
        except (KeyError, ValueError, IndexError) as error:
            wanted = f"record of profile {record.profile} with seeds {record.seeds}"
            raise RequestError(f"papers/{paper.slug}/figures.py cannot draw this {wanted}: {type(error).__name__}: {error}; draw a complete run") from error
        for name, figure in figures.items():
            for suffix in formats:
                buffer = io.BytesIO()
                figure.savefig(buffer, format=suffix, metadata={"Software": None} if suffix == "png" else {"Date": None})
                path = folder / f"{name}.{suffix}"
                write_atomically(path, small_png(buffer) if suffix == "png" else buffer.getvalue())
                written.append(path)
            plt.close(figure)
    return written


def small_png(buffer) -> bytes:
    """The picture with a palette of 256 colours, which halves the file and is not seen in a plot."""
    import io

    from PIL import Image

    small = io.BytesIO()
    Image.open(buffer).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()
