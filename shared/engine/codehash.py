"""A hash of the science code that a run imports: replicate.py and, transitively, all that it imports from this repository, but for the engine.

Syntax trees are hashed, so comments, docstrings and layout do not count; nor do claims.py and figures.py, which replicate.py does not import.
"""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path

from shared.engine.errors import RequestError
from shared.engine.registry import ROOT

_ENGINE = "shared.engine"


def _file(module: str) -> Path | None:
    """The source file of a module of this repository, or None for one that is not here."""
    if module.split(".")[0] not in ("papers", "shared"):
        return None
    path = ROOT.joinpath(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _imports(tree: ast.Module, module: str, is_package: bool) -> set[str]:
    """Names of the modules that a syntax tree may import, at its top or inside functions."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")
                parents = parents[: len(parents) - node.level + is_package]
                base = ".".join([*parents, *([node.module] if node.module else [])])
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return names


class _WithoutDocstrings(ast.NodeTransformer):
    """Drops every statement that is only a string: docstrings of modules, classes, functions and fields."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        return None if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str) else node


def _with_parents(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def sources(slug: str) -> dict[str, Path]:
    """Module name -> file, for all that counts towards the code hash of a paper."""
    found: dict[str, Path] = {}
    waiting = _with_parents(f"papers.{slug}.replicate")
    while waiting:
        module = waiting.pop()
        if module in found or module == _ENGINE or module.startswith(_ENGINE + "."):
            continue
        path = _file(module)
        if path is None:
            continue
        found[module] = path
        for name in _imports(_parse(path), module, path.name == "__init__.py"):
            waiting += _with_parents(name)
    return found


def _parse(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise RequestError(f"{path.relative_to(ROOT)}, line {error.lineno}: {error.msg}") from None


def code_hash(slug: str) -> str:
    """The hash, 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for module, path in sorted(sources(slug).items()):
        tree = _WithoutDocstrings().visit(_parse(path))
        digest.update(f"{module}\n{ast.unparse(tree)}\n".encode())
    return digest.hexdigest()[:16]
