"""Text that every Python carries: the standard library's sources, its docstrings, and the topics of ``help()``. Always there, no download.

Licence: PSF licence version 2. Cite the Python Software Foundation. The text depends on the version of Python (and a little on what a distribution leaves out),
so ``load().source`` names the version; numbers measured on it compare only within one version.

    load("sources")      # modules without tests, about 12 MB
    load("docstrings")   # of modules, classes and functions, about 2 MB
    load("topics")       # the chapters of the language reference that help() shows, 0.5 MB
"""

from __future__ import annotations

import ast
import platform
import sysconfig
import tokenize
from functools import lru_cache
from pathlib import Path

from shared.data.fetch import Dataset
from shared.data.splits import split_by_content
from shared.data.texts import Documents

LEFT_OUT_FOLDERS = {"test", "tests", "idle_test", "site-packages", "dist-packages", "pydoc_data", "_bundled", "__pycache__"}
LEFT_OUT_PREFIX = "_sysconfigdata"
"""Written when Python was built, different on every machine."""


def load(corpus: str = "sources", valid_share: float = 0.05, test_share: float = 0.05) -> Documents:
    """The documents of a corpus in the order of their names, split by the hash of their content: ``sources``, ``docstrings`` or ``topics``."""
    corpora = {"sources": sources, "docstrings": docstrings, "topics": topics}
    if corpus not in corpora:
        raise ValueError(f"no corpus {corpus!r}: choose one of {', '.join(corpora)}")
    train, valid, test = split_by_content(list(corpora[corpus]().values()), valid_share, test_share)
    return Documents(train, valid, test, f"Python {platform.python_version()}")


def sources() -> dict[str, str]:
    """The text of every module by its path (``email/message.py``), in the order of the paths; tests, empty files and installed packages left out."""
    return dict(read_sources(Path(sysconfig.get_path("stdlib"))))


def docstrings() -> dict[str, str]:
    """Every docstring by path and name (``email/message.py:Message.get``), in the order of the sources. Of several under one name the first counts."""
    return dict(read_docstrings(Path(sysconfig.get_path("stdlib"))))


def topics() -> dict[str, str]:
    """The chapters that ``help("TOPIC")`` shows, by topic, in alphabetical order."""
    from pydoc_data.topics import topics

    return dict(sorted(topics.items()))


@lru_cache(maxsize=1)
def read_sources(root: Path) -> tuple[tuple[str, str], ...]:
    """(path, text) of every module below ``root``; kept, because a process runs many trials on the same data."""
    read = []
    for path in root.rglob("*.py"):
        inner = path.relative_to(root)
        if LEFT_OUT_FOLDERS.isdisjoint(inner.parts) and not path.name.startswith(LEFT_OUT_PREFIX):
            with tokenize.open(path) as file:  # heeds the file's own declaration of its encoding
                text = file.read()
            if text.strip():
                read.append((inner.as_posix(), text))
    return tuple(sorted(read))


@lru_cache(maxsize=1)
def read_docstrings(root: Path) -> tuple[tuple[str, str], ...]:
    """(path:name, docstring) of every module, class and function below ``root``."""
    found: dict[str, str] = {}
    for path, text in read_sources(root):
        for name, node in definitions(ast.parse(text), ""):
            docstring = ast.get_docstring(node)
            if docstring:
                found.setdefault(f"{path}:{name}", docstring)
    return tuple(found.items())


def definitions(node: ast.AST, name: str):
    """The module and its classes and functions, each with its dotted name, in the order of the text."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        yield name, node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from definitions(child, f"{name}.{child.name}" if name else child.name)
        elif isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):  # a definition may hide in an if, a try or a match
            yield from definitions(child, name)


DATASET = Dataset(
    name="stdlib_text",
    title="Sources, docstrings and help topics of the Python standard library",
    home="https://docs.python.org/3/",
    licence="PSF licence version 2",
    citation="Python Software Foundation, The Python standard library, https://docs.python.org/3/library/",
    bundled_with="Python",
)
