"""The papers of this repository: their paper.toml files, read and checked, and where each thing lies."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from shared.engine.errors import RequestError, did_you_mean
from shared.engine.statistics import parse_criterion

ROOT = Path(__file__).resolve().parents[2]
PAPERS = ROOT / "papers"
FIGURES = ROOT / "figures"
RUNS = Path(os.environ.get("REPRO_RUNS_DIR") or ROOT / "runs").absolute()

Family = Literal[
    "in_context_learning",
    "learning_theory",
    "sets_and_algorithms",
    "optimisation",
    "continual_learning",
    "vision",
    "decisions",
    "fine_tuning",
    "reasoning",
]
ProfileName = Literal["smoke", "cpu", "gpu", "paper"]
Scale = Literal["paper", "reduced", "proxy"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Code(_Strict):
    """The paper's official code; an empty url says that none was found."""

    url: str = ""
    licence: str = ""


class Profile(_Strict):
    """A named scale: how many seeds, how many CPU threads a trial gets, and overrides of the paper's Config."""

    seeds: int = Field(default=1, ge=1)
    threads: int = Field(default=1, ge=1)
    jobs: int | None = Field(default=None, ge=1)
    config: dict[str, Any] = {}


class Claim(_Strict):
    """One statement of the paper, with the criterion that the measured interval is held against."""

    id: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    statement: str
    source: str
    reported: str
    metric: str
    criterion: str
    scale: dict[ProfileName, Scale]
    interval: Literal["t", "bootstrap"] = "t"

    @field_validator("criterion")
    @classmethod
    def _readable(cls, text: str) -> str:
        parse_criterion(text)
        return text

    @field_validator("scale", mode="before")
    @classmethod
    def _one_for_all(cls, scale: Any) -> Any:
        return {"cpu": scale, "gpu": scale, "paper": scale} if isinstance(scale, str) else scale

    def scale_at(self, profile: str) -> str:
        """What a profile's run is, beside the paper's: ``paper``, ``reduced`` or ``proxy``."""
        if profile in self.scale:
            return self.scale[profile]
        return "paper" if profile == "paper" else "reduced"


class Paper(_Strict):
    """A paper's metadata, profiles and claims."""

    slug: str
    title: str
    authors: list[str] = Field(min_length=1)
    year: int = Field(ge=1600, le=2100)
    venue: str = ""
    arxiv: str = ""
    doi: str = ""
    code: Code = Code()
    family: Family
    tags: list[str] = []
    framework: Literal["jax", "torch", "sklearn", "numpy"]
    extras: list[str] = []
    datasets: list[str] = []
    profiles: dict[ProfileName, Profile]
    claims: list[Claim] = Field(min_length=1)

    @model_validator(mode="after")
    def _whole(self) -> Paper:
        ids = [claim.id for claim in self.claims]
        doubles = sorted({i for i in ids if ids.count(i) > 1})
        if doubles:
            raise ValueError(f"claim id given twice: {', '.join(doubles)}")
        missing = {"smoke", "cpu"} - set(self.profiles)
        if missing:
            raise ValueError(f"profile missing: {', '.join(sorted(missing))}")
        return self

    @property
    def folder(self) -> Path:
        return PAPERS / self.slug

    @property
    def runs(self) -> Path:
        """Where this paper's trials and run records go."""
        return RUNS / self.slug

    def record_path(self, profile: str) -> Path:
        """The committed record of a profile."""
        return self.folder / "records" / f"{profile}.json"

    def profile(self, name: str) -> Profile:
        if name not in self.profiles:
            raise RequestError(f"{self.slug} has no profile {name!r}{did_you_mean(name, self.profiles)}; profiles stand in papers/{self.slug}/paper.toml")
        return self.profiles[name]


def all_slugs() -> list[str]:
    """The slugs of all papers: every folder of papers/ that holds a paper.toml."""
    return sorted(path.parent.name for path in PAPERS.glob("*/paper.toml"))


def load_paper(slug: str) -> Paper:
    """The checked paper.toml of a slug; RequestError names every fault in it at once."""
    path = PAPERS / slug / "paper.toml"
    if not path.is_file():
        raise RequestError(f"no paper {slug!r}{did_you_mean(slug, all_slugs())}")
    where = f"papers/{slug}/paper.toml"
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"{where} is not valid TOML: {error}") from None
    if "slug" in content:
        raise RequestError(f"{where}: slug is the folder's name and is not given in the file")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", slug):
        raise RequestError(f"folder papers/{slug}: a slug is lower-case letters, digits and underscores")
    try:
        return Paper(slug=slug, **content)
    except ValidationError as error:
        faults = [f"  {'.'.join(map(str, fault['loc'])) or 'file'}: {fault['msg']}" for fault in error.errors()]
        raise RequestError("\n".join([f"{where} has {len(faults)} fault(s):", *faults])) from None
