"""The arrows of the design, the one environment, and the house rules that a program can see."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def imported(path: Path) -> set[str]:
    """Modules that a file imports, absolute names."""
    names = set()
    package = ".".join(path.relative_to(ROOT).with_suffix("").parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = f"{package}.{node.module or ''}".rstrip(".") if node.level else node.module or ""
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return names


def test_no_paper_imports_another():
    for path in (ROOT / "papers").glob("*/**/*.py"):
        own = path.relative_to(ROOT / "papers").parts[0]
        others = {name.split(".")[1] for name in imported(path) if name.startswith("papers.")} - {own}
        assert not others, f"{path.relative_to(ROOT)} imports {others}"


def test_shared_never_imports_papers_and_its_wings_do_not_meet():
    for path in (ROOT / "shared").rglob("*.py"):
        names = imported(path)
        where = path.relative_to(ROOT)
        assert not any(name.split(".")[0] == "papers" for name in names), where
        engine = (ROOT / "shared" / "engine") in path.parents
        ours = {name for name in names if name.startswith("shared.")}
        crossing = {name for name in ours if name.startswith("shared.engine") != engine and name != "shared.engine"}
        assert not crossing, f"{where} imports {crossing}"


def test_subject_packages_have_thin_front_doors():
    """A package's __init__ counts for every module below it, so code in it would make caches of unrelated papers stale."""
    for path in (ROOT / "shared").rglob("__init__.py"):
        if (ROOT / "shared" / "engine") in path.parents:
            continue
        body = ast.parse(path.read_text(encoding="utf-8")).body
        assert all(isinstance(node, ast.Expr) for node in body), path.relative_to(ROOT)


def test_environment_yml_lists_what_pyproject_pins():
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    conda = set(re.findall(r"^      - (\S+)$", (ROOT / "environment.yml").read_text(), re.M))
    assert set(groups["run"]) <= conda
    assert all("==" in requirement for requirement in groups["run"])


def test_listing_sessions_imports_no_framework():
    code = "import runpy, sys; runpy.run_path('noxfile.py'); print([m for m in ('torch', 'jax', 'numpy', 'pandas', 'pydantic') if m in sys.modules])"
    try:
        import nox  # noqa: F401
    except ImportError:
        top = {name.split(".")[0] for name in imported(ROOT / "noxfile.py")}
        assert top <= {*sys.stdlib_module_names, "nox", ""}
        return
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


@pytest.mark.parametrize("pattern", [r"/home/\w+/", r"/Users/\w+/", r"/work/"])
def test_no_path_of_a_machine_stands_in_the_repository(pattern):
    for path in [*ROOT.glob("papers/**/*.*"), *ROOT.glob("shared/**/*.*"), *ROOT.glob("*.*")]:
        if path.suffix in (".py", ".md", ".toml", ".json", ".yml", ".cff") and "runs" not in path.parts:
            assert not re.search(pattern, path.read_text(encoding="utf-8")), path.relative_to(ROOT)


def test_arguments_of_a_session_do_not_reach_the_environments():
    """nox hands a session's arguments to the sessions that it requires as well: `env` must not read them."""
    tree = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))
    (env,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "env"]
    assert "posargs" not in {node.attr for node in ast.walk(env) if isinstance(node, ast.Attribute)}
