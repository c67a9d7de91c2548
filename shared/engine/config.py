"""The two layers of a run's settings, profile then flags, and the command line that is made from a paper's Config."""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from shared.engine.errors import RequestError, did_you_mean
from shared.engine.registry import Paper


@dataclasses.dataclass(frozen=True)
class Options:
    """How to run; what is run stands in the config."""

    profile: str = "auto"
    """smoke, cpu, gpu or paper; auto takes gpu when a GPU is visible, else cpu."""
    seeds: str = ""
    """A count (5 means seeds 0 to 4) or a range (100:110, its end left out). Empty: the profile's."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto takes the GPU for the gpu and paper profiles when one is visible."""
    jobs: str = "auto"
    """Trials side by side: a number, or auto for the machine's cores (one on a GPU). Results do not depend on it."""
    launcher: Literal["local", "ray"] = "local"
    """local runs on this machine; ray on a Ray cluster (extra: ray)."""
    address: str = ""
    """Address of a running Ray cluster; empty starts one on this machine."""
    gpus_per_trial: float = 1.0
    """Share of a GPU that a trial reserves under ray with --device cuda; 0.25 packs four trials on one."""
    force: bool = False
    """Run every trial anew, also those in the cache."""
    record: bool = False
    """Promote the run to the committed records/<profile>.json and redraw README block and figures."""
    list_trials: bool = False
    """Say what is cached and what would run, then stop."""
    only: tuple[str, ...] = ()
    """Run only the conditions that match, e.g. --only model=pointer n=10."""
    tensorboard: Path | None = None
    """Also export the run for TensorBoard into this folder (extra: tensorboard)."""


def build_config(config_type: type, values: dict[str, Any], where: str):
    """A Config from given values, checked against its annotations; RequestError names every unknown or ill-typed field."""
    fields = {field.name for field in dataclasses.fields(config_type)}
    unknown = [f"{where}: Config has no field {name!r}{did_you_mean(name, fields)}" for name in values if name not in fields]
    if unknown:
        raise RequestError("\n".join(unknown))
    try:
        return TypeAdapter(config_type).validate_python(values)
    except ValidationError as error:
        raise RequestError("\n".join(f"{where}: {'.'.join(map(str, f['loc']))}: {f['msg']}, got {f['input']!r}" for f in error.errors())) from None


def parse_seeds(text: str, default: int) -> tuple[int, ...]:
    """``5`` -> 0..4, ``100:105`` -> 100..104, empty -> 0..default-1."""
    if not text:
        return tuple(range(default))
    if match := re.fullmatch(r"(\d+)(?::(\d+))?", text.strip()):
        first, last = (0, int(match[1])) if match[2] is None else (int(match[1]), int(match[2]))
        if first < last:
            return tuple(range(first, last))
    raise RequestError(f"--seeds {text!r}: give a count such as 5, or a range such as 100:110 with its end above its start")


def parse_jobs(text: str) -> int | None:
    """None for auto."""
    if text == "auto":
        return None
    if not text.isdigit() or int(text) < 1:
        raise RequestError(f"--jobs {text!r}: give a number of 1 or more, or auto")
    return int(text)


def chosen_profile(argv: Sequence[str]) -> str:
    """The value of --profile alone: it decides the defaults that the other flags override."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--profile", nargs="?", default="auto")
    return first.parse_known_args(argv)[0].profile or "auto"


def parse(paper: Paper, config_type: type, profile: str, argv: Sequence[str], description: str):
    """Options and Config of a command line. Exits with code 2 and a message of its own on a flag that does not exist or fit."""
    import tyro

    base = build_config(config_type, paper.profile(profile).config, f"papers/{paper.slug}/paper.toml, profiles.{profile}.config")
    request_type = dataclasses.make_dataclass(
        "Request", [("config", config_type, dataclasses.field(default=base))], bases=(Options,), frozen=True, namespace={"__doc__": description}
    )
    request = tyro.cli(
        request_type,
        args=list(argv),
        prog=f"python -m papers.{paper.slug}.replicate",
        description=description,
        default=request_type(profile=profile),
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    config = build_config(config_type, dataclasses.asdict(request.config), "command line")
    return request, config


def as_json(config) -> dict[str, Any]:
    """A Config as plain JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(config), default=str))
