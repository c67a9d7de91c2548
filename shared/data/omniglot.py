"""Omniglot: 1,623 handwritten characters of 50 alphabets, each drawn once by 20 people; 30 alphabets are the background set, 20 the evaluation set. Here 28x28.

Licence: MIT, copyright 2015 Brenden Lake. Cite Lake, Salakhutdinov, Tenenbaum (2015).

There are two copies. ``original``: the 105x105 drawings, reduced here (bicubic, then ink where the result is darker than half). ``mirror``: reduced by somebody
else; some 99 % of the pixels agree.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64, UInt8

from shared.data.fetch import Dataset, Original, obtain

PARTS = {"images_background.zip": False, "images_evaluation.zip": True}  # file of the original -> whether it is the evaluation set
DRAWERS = 20


@dataclass(frozen=True)
class Characters:
    """Drawings of characters, each with its character, alphabet and drawer. The arrays are the caller's own."""

    x: UInt8[np.ndarray, "n 28 28"]
    """1 = ink, 0 = paper."""
    character: Int64[np.ndarray, " n"]
    """Index in ``character_names``."""
    alphabet: Int64[np.ndarray, " n"]
    """Index in ``alphabet_names``."""
    drawer: Int64[np.ndarray, " n"]
    """1..20. The same number is the same person within an alphabet, not between alphabets."""
    character_names: tuple[str, ...]
    """``alphabet/character``, in alphabetical order."""
    alphabet_names: tuple[str, ...]
    evaluation: Bool[np.ndarray, " alphabets"]
    """Whether the alphabet belongs to the evaluation set (20 alphabets) or to the background set (30)."""
    source: str

    def only(self, alphabets: np.ndarray) -> Characters:
        """The drawings of some alphabets (indices in ``alphabet_names``); characters and alphabets keep their indices."""
        return self.of(np.isin(self.alphabet, alphabets))

    def of(self, rows: np.ndarray) -> Characters:
        """Some of the drawings, given by a mask or by indices."""
        arrays = (array[rows] for array in (self.x, self.character, self.alphabet, self.drawer))
        return Characters(*arrays, self.character_names, self.alphabet_names, self.evaluation, self.source)


def load() -> Characters:
    """All 32,460 drawings, in the order of their characters and, within one, of their drawers."""
    found = obtain(DATASET)
    arrays = read(found.folder / "omniglot_28x28.npz")
    return Characters(
        x=arrays["x"].copy(),
        character=arrays["y"].astype(np.int64),
        alphabet=arrays["alphabet"].astype(np.int64),
        drawer=arrays["drawer"].astype(np.int64),
        character_names=tuple(map(str, arrays["character_names"])),
        alphabet_names=tuple(map(str, arrays["alphabet_names"])),
        evaluation=arrays["alphabet_is_evaluation"].copy(),
        source=found.source,
    )


@lru_cache(maxsize=2)
def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of the packed file; kept, because a process runs many trials on the same data."""
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def pack(originals: Mapping[str, Path], folder: Path) -> None:
    """Write omniglot_28x28.npz from the two zip files of drawings (``part/alphabet/character/number_drawer.png``, 105x105, ink black)."""
    drawings: dict[tuple[str, int], np.ndarray] = {}  # (alphabet/character, drawer) -> drawing
    evaluation: dict[str, bool] = {}
    for file, is_evaluation in PARTS.items():
        with zipfile.ZipFile(originals[file]) as archive:
            for name in archive.namelist():
                parts = Path(name).parts
                if name.endswith(".png") and len(parts) == 4 and not name.startswith("__MACOSX"):
                    _, alphabet, character, drawing = parts
                    evaluation[alphabet] = is_evaluation
                    drawings[f"{alphabet}/{character}", int(Path(drawing).stem.partition("_")[2])] = reduced(archive.read(name))
    order = sorted(drawings)
    characters, alphabets = sorted({character for character, _ in order}), sorted(evaluation)
    np.savez_compressed(
        folder / "omniglot_28x28.npz",
        x=np.stack([drawings[key] for key in order]),
        y=np.array([characters.index(character) for character, _ in order], np.int16),
        alphabet=np.array([alphabets.index(character.partition("/")[0]) for character, _ in order], np.uint8),
        drawer=np.array([drawer for _, drawer in order], np.uint8),
        character_names=np.array(characters),
        alphabet_names=np.array(alphabets),
        alphabet_is_evaluation=np.array([evaluation[alphabet] for alphabet in alphabets]),
    )


def reduced(png: bytes) -> UInt8[np.ndarray, "28 28"]:
    """A drawing at 28x28, 1 = ink."""
    from PIL import Image

    small = Image.open(io.BytesIO(png)).convert("L").resize((28, 28), Image.Resampling.BICUBIC)
    return (np.asarray(small) < 128).astype(np.uint8)


DATASET = Dataset(
    name="omniglot",
    title="Omniglot handwritten characters, 28x28",
    home="https://github.com/brendenlake/omniglot",
    licence="MIT",
    citation='B. Lake, R. Salakhutdinov, J. Tenenbaum, "Human-level concept learning through probabilistic program induction", Science 350, 2015',
    mirror={"omniglot_28x28.npz": "5f34e88141033fcab139304e7f4b4ce5826fe950b753da9591efd506ece55b91"},
    originals=tuple(
        Original(file, checksum, (f"https://raw.githubusercontent.com/brendenlake/omniglot/master/python/{file}",))
        for file, checksum in {
            "images_background.zip": "md5:68d2efa1b9178cc56df9314c21c6e718",
            "images_evaluation.zip": "md5:6b91aef0f799c5bb55b94e3f2daec811",
        }.items()
    ),
    pack=pack,
)
