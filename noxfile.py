"""One command a paper: ``nox -s <paper>``. ``nox -l`` lists them all; plain ``nox`` runs lint and tests."""

from __future__ import annotations

import contextlib
import hashlib
import sys
import tomllib
from pathlib import Path

import nox

nox.needs_version = ">=2026.8.10"
nox.options.default_venv_backend = "venv"
nox.options.error_on_external_run = True

HERE = Path(__file__).parent
PROJECT = nox.project.load_toml(HERE / "pyproject.toml")
ENGINE = ("-m", "shared.engine")


def environment(session: nox.Session) -> Path:
    """The folder of the one environment that every session runs in."""
    return session.cache_dir.parent / "env"


def python(session: nox.Session) -> str:
    return str(environment(session) / ("Scripts" if sys.platform == "win32" else "bin") / "python")


@contextlib.contextmanager
def one_at_a_time(folder: Path):
    """Two sessions side by side must not install into the environment at once."""
    with (folder / ".install.lock").open("w") as lock:
        if sys.platform != "win32":
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def ensure(session: nox.Session, *groups: str) -> None:
    """Install dependency groups of pyproject.toml into the environment, unless a stamp says that they stand as wanted."""
    folder = environment(session)
    known = PROJECT["dependency-groups"]
    for group in groups:
        if group not in known:
            session.error(f"no group {group!r} in pyproject.toml; there are {', '.join(known)}")
        wanted = nox.project.dependency_groups(PROJECT, group)
        digest = hashlib.sha256("\n".join([*wanted, sys.version]).encode()).hexdigest()
        stamp = folder / f".installed-{group}"
        with one_at_a_time(folder):
            if stamp.is_file() and stamp.read_text() == digest:
                continue
            stamp.unlink(missing_ok=True)
            session.run(python(session), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted, external=True)
            stamp.write_text(digest)


def run(session: nox.Session, *arguments: str) -> None:
    session.run(python(session), *arguments, external=True)


@nox.session(reuse_venv=True, default=False)
def env(session: nox.Session) -> None:
    """Build the one environment that all sessions run in."""
    ensure(session, "run")  # never the arguments: nox hands those of the session that requires this one


@nox.session(venv_backend="none", requires=["env"], default=False)
def extras(session: nox.Session) -> None:
    """Add extras to the environment: `-- ray report cuda`."""
    ensure(session, *session.posargs)


def register(slug: str) -> None:
    """A session for the paper in papers/<slug>; a paper.toml that cannot be read is reported when it is run, not here."""
    try:
        paper = tomllib.loads((HERE / "papers" / slug / "paper.toml").read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        paper = {}
    tags = [tag for tag in ["paper", paper.get("family")] if tag]

    def replicate(session: nox.Session) -> None:
        ensure(session, *(str(extra) for extra in paper.get("extras", [])))
        run(session, "-m", f"papers.{slug}.replicate", *session.posargs)
        if not {"-h", "--help", "--list-trials", "--record"} & set(session.posargs):
            run(session, "-m", f"papers.{slug}.figures", "--run", profile(session.posargs))

    replicate.__doc__ = str(paper.get("title", "paper.toml cannot be read"))
    nox.session(name=slug, venv_backend="none", requires=["env"], default=False, tags=tags)(replicate)


def profile(arguments: list[str]) -> str:
    """The profile that the arguments of a paper's session name."""
    for index, argument in enumerate(arguments):
        if argument.startswith("--profile="):
            return argument.partition("=")[2]
        if argument == "--profile" and index + 1 < len(arguments):
            return arguments[index + 1]
    return "auto"


for toml in sorted((HERE / "papers").glob("*/paper.toml")):
    register(toml.parent.name)


@nox.session(venv_backend="none", requires=["env"])
def lint(session: nox.Session) -> None:
    """Style and formatting (ruff)."""
    ensure(session, "lint")
    run(session, "-m", "ruff", "check", ".")
    run(session, "-m", "ruff", "format", "--check", ".")


@nox.session(venv_backend="none", requires=["env"])
def tests(session: nox.Session) -> None:
    """All tests, on two processes; `-- tests/papers/test_<slug>.py` for one file."""
    ensure(session, "lint", "test")
    session.run(python(session), "-m", "pytest", "-n", "2", *session.posargs, external=True, env={"OMP_NUM_THREADS": "1", "NPROC": "1"})


def about_all(name: str, text: str, *groups: str):
    """A session that hands its arguments to the engine's command of the same name."""

    def command(session: nox.Session) -> None:
        ensure(session, *groups)
        run(session, *ENGINE, name, *session.posargs)

    command.__doc__ = text
    nox.session(name=name, venv_backend="none", requires=["env"], default=False)(command)


about_all("status", "The table of papers: record fresh or stale, verdicts, cost.")
about_all("figures", "Redraw figures from the committed records: `-- <paper>...`, or all.")
about_all("verify", "Challenge a record with fresh seeds: `-- <paper> [--seeds 100:105]`.")
about_all("report", "Build the browsable site of all papers in site/.", "report")
about_all("cite", "BibTeX and CITATION.cff of a paper and of its replication: `-- <paper>`.")
about_all("bench", "Time the runner, the shared training loops and the papers' hot loops: `-- [engine] [lms] [<paper>...]`.")
about_all("new", "Scaffold a paper folder: `-- <slug> --title '...'`.")


def trains(name: str, module: str, text: str) -> None:
    """A session that retrains pre-trained models of the shared folder."""

    def command(session: nox.Session) -> None:
        run(session, "-m", module, *session.posargs)

    command.__doc__ = text
    nox.session(name=name, venv_backend="none", requires=["env"], default=False)(command)


trains("lms", "shared.lms.train", "Pre-train a small language model: `-- dec-xs [--seed 0] [--commit]`.")
trains("backbones", "shared.vision.backbones", "Train a small image network: `-- conv4 [--seed 0] [--commit]`.")
