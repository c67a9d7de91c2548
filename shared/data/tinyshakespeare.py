"""Tiny Shakespeare: 1,115,394 characters of Shakespeare's plays, 65 different ones.

Licence: public-domain text; the repository that collected it is MIT. Cite Karpathy (2015). The mirror's copy and the original are equal.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path

from shared.data.fetch import Dataset, Original, obtain
from shared.data.texts import RunningText

TRAIN_SHARE = 0.9
"""The first nine tenths are for training and the rest for validation, as is customary; there is no test part."""


def load() -> RunningText:
    """Training text (1,003,854 characters) and validation text (111,540 characters)."""
    found = obtain(DATASET)
    text = gzip.decompress((found.folder / "input.txt.gz").read_bytes()).decode("ascii")
    border = int(TRAIN_SHARE * len(text))
    return RunningText(train=text[:border], valid=text[border:], test="", source=found.source)


def pack(originals: Mapping[str, Path], folder: Path) -> None:
    """Write input.txt.gz from input.txt."""
    (folder / "input.txt.gz").write_bytes(gzip.compress(originals["input.txt"].read_bytes(), mtime=0))


DATASET = Dataset(
    name="tinyshakespeare",
    title="Tiny Shakespeare",
    home="https://github.com/karpathy/char-rnn",
    licence="public-domain text; repository MIT",
    citation='A. Karpathy, "The unreasonable effectiveness of recurrent neural networks", 2015, and the repository karpathy/char-rnn',
    mirror={"input.txt.gz": "13125fe8f49092165d7d489e3944db52d1ba546e64a60080cc9523bcd0c5e46a"},
    originals=(
        Original(
            "input.txt",
            "sha256:86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
            ("https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",),
        ),
    ),
    pack=pack,
)
