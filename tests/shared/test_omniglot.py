"""The Omniglot loader on a few made-up characters, and on the real ones where they are at hand."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from shared.data import omniglot
from shared.data.fetch import DataUnavailable, Original


def png(drawing: np.ndarray) -> bytes:
    """A drawing (1 = ink) as the originals have it: black on white, 1 bit."""
    buffer = io.BytesIO()
    Image.fromarray(np.where(drawing, 0, 255).astype(np.uint8)).convert("1").save(buffer, "PNG")
    return buffer.getvalue()


def archive(part: str, drawings: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(f"{part}/", "")
        file.writestr(f"__MACOSX/{part}/Greek/._.png", b"rubbish")
        for name, drawing in drawings.items():
            file.writestr(f"{part}/{name}", png(drawing))
    return buffer.getvalue()


def block(row: int, column: int) -> np.ndarray:
    """Ink on one fifteenth of a 105x105 drawing that becomes a 4x4 square of the 28x28 one."""
    drawing = np.zeros((105, 105), bool)
    drawing[row * 15 : row * 15 + 15, column * 15 : column * 15 + 15] = True
    return drawing


def test_the_original_archives_are_reduced_and_put_in_order(tmp_path, monkeypatch):
    files = {
        "images_background.zip": archive(
            "images_background",
            {"Greek/character02/0012_02.png": block(0, 0), "Greek/character02/0012_01.png": block(6, 6), "Greek/character01/0011_01.png": block(1, 2)},
        ),
        "images_evaluation.zip": archive("images_evaluation", {"Angelic/character01/0965_20.png": block(3, 3)}),
    }
    monkeypatch.setenv("REPRO_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("REPRO_OFFLINE", "1")
    monkeypatch.delenv("REPRO_DATA_DIR", raising=False)
    folder = tmp_path / "omniglot.original"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    originals = tuple(Original(file, f"sha256:{hashlib.sha256(content).hexdigest()}", ("http://nowhere",)) for file, content in files.items())
    monkeypatch.setattr(omniglot, "DATASET", dataclasses.replace(omniglot.DATASET, originals=originals))

    found = omniglot.load()
    assert found.source == "original"
    assert found.character_names == ("Angelic/character01", "Greek/character01", "Greek/character02")
    assert found.alphabet_names == ("Angelic", "Greek")
    assert found.evaluation.tolist() == [True, False]
    assert found.character.tolist() == [0, 1, 2, 2]
    assert found.alphabet.tolist() == [0, 1, 1, 1]
    assert found.drawer.tolist() == [20, 1, 1, 2]
    for drawing, (row, column) in zip(found.x, [(3, 3), (1, 2), (6, 6), (0, 0)], strict=True):
        expected = np.zeros((28, 28), np.uint8)
        expected[row * 4 : row * 4 + 4, column * 4 : column * 4 + 4] = 1
        assert np.array_equal(drawing, expected)
    found.x[:] = 9
    assert omniglot.load().x.max() == 1
    greek = omniglot.load().only(np.array([1]))
    assert greek.character.tolist() == [1, 2, 2]


def test_the_mirrors_copy_has_the_documented_counts():
    try:
        found = omniglot.load()
    except DataUnavailable:
        pytest.skip("Omniglot is not on this machine")
    assert found.x.shape == (32_460, 28, 28)
    assert set(np.unique(found.x)) == {0, 1}
    assert len(found.character_names) == 1_623
    assert (np.bincount(found.character) == 20).all()
    assert found.evaluation.sum() == 20
    assert found.evaluation[found.alphabet].sum() == 13_180
    assert list(found.character_names) == sorted(found.character_names)
    alphabets = [found.alphabet_names[index] for index in found.alphabet[::20]]
    assert [name.partition("/")[0] for name in found.character_names] == alphabets
