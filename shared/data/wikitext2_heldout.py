"""WikiText-2, validation and test part: Wikipedia articles, tokenised into words separated by spaces, rare words written <unk>.

Licence: CC BY-SA 3.0 and GFDL (Wikipedia). Cite Merity, Xiong, Bradbury, Socher (2016). There is no training part here: results are not results on WikiText-2.
The mirror's copy and the download are equal.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path

from shared.data.fetch import Dataset, Original, obtain
from shared.data.texts import RunningText

HOST = "https://raw.githubusercontent.com/pytorch/examples/77f55b912142e11fcfdf5b530231fb9c52f181e8/word_language_model/data/wikitext-2/"


def load() -> RunningText:
    """Validation text (217,646 tokens, a line's end counted as one) and test text (245,569 tokens); the training text is empty."""
    found = obtain(DATASET)
    valid, test = (gzip.decompress((found.folder / f"{part}.txt.gz").read_bytes()).decode("utf-8") for part in ("valid", "test"))
    return RunningText(train="", valid=valid, test=test, source=found.source)


def pack(originals: Mapping[str, Path], folder: Path) -> None:
    """Write valid.txt.gz and test.txt.gz."""
    for name, path in originals.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))


DATASET = Dataset(
    name="wikitext2_heldout",
    title="WikiText-2, validation and test part",
    home="https://huggingface.co/datasets/Salesforce/wikitext",
    licence="CC BY-SA 3.0 and GFDL",
    citation='S. Merity, C. Xiong, J. Bradbury, R. Socher, "Pointer sentinel mixture models", 2016, arXiv:1609.07843',
    mirror={
        "valid.txt.gz": "3cdd8cb5bb349a05840c7c3bef9578d90d64df77e27e0c25c033ba9342757ee3",
        "test.txt.gz": "688887879b4b526692cb2e423a516dcc5f6584a01fd3f33a8e164fbed2de8090",
    },
    originals=(
        Original("valid.txt", "sha256:f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8", (HOST + "valid.txt",)),
        Original("test.txt", "sha256:d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0", (HOST + "test.txt",)),
    ),
    pack=pack,
)
