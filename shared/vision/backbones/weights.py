"""Weights on disk: a safetensors file in float16, and a card (json) beside it that says what they are, how they came about, and the sha256 of the file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from shared.vision.backbones.recipes import split_name

COMMITTED = Path(__file__).parent / "weights"
COUNTER = "num_batches_tracked"  # a batch norm's count of steps; unused with a fixed momentum


def cache() -> Path:
    """Where weights trained on this machine lie."""
    from shared.data.fetch import cache_folder

    return cache_folder() / "backbones"


def find(name: str) -> Path:
    """The file of a backbone's weights: committed with this package, or trained on this machine."""
    recipe, seed = split_name(name)
    places = [folder / f"{recipe}-{seed}.safetensors" for folder in (COMMITTED, cache())]
    for path in places:
        if path.exists():
            return path
    raise FileNotFoundError(
        f"no weights of {name}: looked for {' and '.join(map(str, places))}. Train them with `python -m shared.vision.backbones {recipe} --seed {seed}`."
    )


def save(path: Path, module: nn.Module, card: dict) -> dict:
    """Write the weights and then the card, each under a temporary name first. Returns the card with the weights' sha256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    halves = {name: value.detach().half().contiguous() for name, value in module.state_dict().items() if COUNTER not in name}
    if not all(value.isfinite().all() for value in halves.values()):
        raise FloatingPointError("a weight is not finite in float16")
    replace(path, lambda partial: save_file(halves, partial))
    card = card | {"weights": {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size, "format": "safetensors, float16"}}
    replace(path.with_suffix(".json"), lambda partial: partial.write_text(json.dumps(card, indent=1) + "\n"))
    return card


def read(path: Path) -> tuple[dict[str, Tensor], dict]:
    """The weights in float32 and their card; raises if the card names another file."""
    card = json.loads(path.with_suffix(".json").read_text())
    if hashlib.sha256(path.read_bytes()).hexdigest() != card["weights"]["sha256"]:
        raise ValueError(f"{path} is not the file that its card names: it is damaged, or was changed by hand")
    return {name: value.float() for name, value in load_file(path).items()}, card


def replace(path: Path, write: Callable[[Path], object]) -> None:
    """``write`` a file beside ``path``, then put it in its place by one rename."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        write(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def fill(module: nn.Module, weights: dict[str, Tensor]) -> None:
    """Put the weights in; every parameter and statistic must be there."""
    result = module.load_state_dict(weights, strict=False)
    missing = [name for name in result.missing_keys if COUNTER not in name]
    if missing or result.unexpected_keys:
        raise ValueError(f"the weights do not fit: missing {missing}, left over {list(result.unexpected_keys)}")


def store_state(path: Path, state: dict) -> None:
    """A training run's state, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace(path, lambda partial: torch.save(state, partial))
