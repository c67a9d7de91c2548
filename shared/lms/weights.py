"""Weights on disk: one safetensors file in float16 with the model's shape in its header, and a card (json) beside it that says how it came about."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from shared.lms.committed import SHA256
from shared.lms.config import ModelConfig, split_name

PACKAGE = Path(__file__).parent
COMMITTED = PACKAGE / "weights"


def full_name(name: str) -> str:
    """``dec-xs`` -> ``dec-xs-0``: a name without a seed means seed 0."""
    family, size, text, seed = split_name(name)
    return "-".join([family, size, *(["py"] if text == "py" else []), str(seed)])


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def register() -> None:
    """Write the checksums of all files of this package into ``committed.py``."""
    files = sorted([*COMMITTED.glob("*.safetensors"), *(PACKAGE / "tokenizers").glob("*.json")])
    lines = "".join(f'    "{path.relative_to(PACKAGE).as_posix()}": "{sha256_of(path)}",\n' for path in files)
    index = PACKAGE / "committed.py"
    text = index.read_text().partition("SHA256 = ")[0] + f"SHA256 = {{\n{lines}}}\n"
    replace(index, lambda partial: partial.write_text(text))


def checked(path: Path) -> Path:
    """The path of a file of this package, once its checksum is found right."""
    name = path.relative_to(PACKAGE).as_posix()
    if SHA256.get(name) != sha256_of(path):
        raise ValueError(f"{name} is not the file that committed.py names: it is damaged, or was changed without `register`")
    return path


def save(path: Path, config: ModelConfig, weights: dict[str, np.ndarray], card: dict) -> None:
    """Write the weights and then the card, each under a temporary name first, so that nobody ever reads half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    halves = {name: np.asarray(value, np.float16) for name, value in weights.items()}
    replace(path, lambda partial: save_file(halves, partial, metadata={"config": json.dumps(dataclasses.asdict(config))}))
    replace(path.with_suffix(".json"), lambda partial: partial.write_text(json.dumps(card, indent=1) + "\n"))


def replace(path: Path, write) -> None:
    """``write`` a file beside ``path``, then put it in its place by one rename."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        write(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read(path: Path) -> tuple[ModelConfig, dict[str, np.ndarray], dict]:
    """Shape, float32 weights by flat name, and card ({} if there is none)."""
    with safe_open(path, framework="numpy") as file:
        fields = json.loads(file.metadata()["config"])
        weights = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}  # noqa: SIM118 (not a dictionary)
    config = ModelConfig(**{name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()})
    card = path.with_suffix(".json")
    return config, weights, json.loads(card.read_text()) if card.exists() else {}


def find(name: str) -> Path:
    """The file of a model's name: committed with this package, or trained on this machine into the cache."""
    from shared.data.fetch import cache_folder

    wanted = f"{full_name(name)}.safetensors"
    places = [COMMITTED / wanted, cache_folder() / "lms" / wanted]
    for path in places:
        if path.exists():
            return checked(path) if path.parent == COMMITTED else path
    raise FileNotFoundError(f"no weights of {name}: looked for {' and '.join(map(str, places))}. Train them with `python -m shared.lms.train {name}`.")
