"""Multi30k: one-sentence captions of photographs in English with translations into German and French; line i is the same caption in every language.

Licence: none stated; the captions derive from Flickr30k, for research. Cite Elliott, Frank, Sima'an, Specia (2016) and, for French, Elliott et al. (2017).
The mirror's copy and the download hold equal text.
"""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Mapping
from pathlib import Path

from shared.data.fetch import Dataset, Original, obtain
from shared.data.texts import Documents

HOST = "https://raw.githubusercontent.com/multi30k/dataset/a3d2e0d26b56f3846f66a952536ffed4e401d05a/data/task1/raw/"
LANGUAGES = ("en", "de", "fr")
PARTS = ("train", "val", "test_2016_flickr")


def load(language: str = "en") -> Documents:
    """The captions in one language: 29,000 for training, 1,014 for validation, 1,000 for test (2016, Flickr)."""
    if language not in LANGUAGES:
        raise ValueError(f"no language {language!r}: choose one of {', '.join(LANGUAGES)}")
    found = obtain(DATASET)
    texts = (gzip.decompress((found.folder / f"{part}.{language}.gz").read_bytes()).decode("utf-8") for part in PARTS)
    train, valid, test = (text.removesuffix("\n").split("\n") for text in texts)
    return Documents(train, valid, test, found.source)


def pack(originals: Mapping[str, Path], folder: Path) -> None:
    """The original files are packed already."""
    for name, path in originals.items():
        shutil.copyfile(path, folder / name)


DATASET = Dataset(
    name="multi30k",
    title="Multi30k captions in English, German and French",
    home="https://github.com/multi30k/dataset",
    licence="none stated; research use (captions derive from Flickr30k)",
    citation='D. Elliott, S. Frank, K. Sima\'an, L. Specia, "Multi30K: multilingual English-German image descriptions", 2016, arXiv:1605.00459',
    mirror={
        "train.en.gz": "ffdb848427a3fccff4f5c9c848dff8b8b5745e8f464f44341b6c5c5288f265db",
        "train.de.gz": "8506e50eaf610b55a8286d1ce85e4098dc2a0a0fce45b4827a5409d9897a81b4",
        "train.fr.gz": "c166741e192f44dd31ffa54e4b36fcefa73cf59ef25f7caa0a40d12df228f967",
        "val.en.gz": "459836b7adfe4fd130d0a8c680e2860d6099fbea0fd1bdbbc7442bbc5afce59b",
        "val.de.gz": "9c3697bf5d18908e41df6a94b8a006ab64dbc66f38790865d6694136428a524d",
        "val.fr.gz": "db0df8e33e7fc69c9873c985be40f12293fab84868137837caa3aa2b93a8b764",
        "test_2016_flickr.en.gz": "7771063a5bca8712e4c60941bcb128301aab5a3eecc66abbb5d150aa3133a55d",
        "test_2016_flickr.de.gz": "26ef35775a5540d27fc04e66063d59a180388beeede5121c0806dee0c79949e0",
        "test_2016_flickr.fr.gz": "dd7ea75d034e0ba2b0d11133c9b8e7302a1f90b7089c37958bb3f30a13dd34d2",
    },
    originals=tuple(
        Original(file, f"sha256:{checksum}", (HOST + file,))
        for file, checksum in {
            "train.en.gz": "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f",
            "train.de.gz": "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6",
            "train.fr.gz": "622e75069e9f4c577425c4f277116ce66e63a2401c0a2312d90073cb12379a3c",
            "val.en.gz": "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28",
            "val.de.gz": "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a",
            "val.fr.gz": "ca3106f1a72390591d25f6c45cb4cd39dec4cd3f123e099748a3ce5256c160e9",
            "test_2016_flickr.en.gz": "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9",
            "test_2016_flickr.de.gz": "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8",
            "test_2016_flickr.fr.gz": "6d326e188d259fb1d04ac19eae3af956559b3a0b93d7635e56c90987c40c8b90",
        }.items()
    ),
    pack=pack,
)
