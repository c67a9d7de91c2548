"""The texts that language models are pre-trained on, each with its terms, its documents split for ever by the hash of their content.

    parts = documents("documentation")           # parts.train, parts.valid: lists of texts

``FREE`` lists the corpora whose stated terms allow a model trained on them to be given away: the committed weights use these and no others. A recipe may name
any corpus of ``CORPORA`` for weights of one's own.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Int16

from shared.data.splits import split_by_content
from shared.lms.tokenization import Tokenizer

VALID_SHARE = 0.04


@dataclass(frozen=True)
class Corpus:
    title: str
    terms: str
    free: bool
    """Whether the stated terms allow weights trained on it to be given away."""
    read: Callable[[], list[str]]


@dataclass(frozen=True)
class Parts:
    train: list[str]
    valid: list[str]

    @property
    def sha256(self) -> str:
        """Of all training documents, each followed by a zero byte."""
        return hashlib.sha256(b"".join(document.encode("utf-8", "surrogatepass") + b"\0" for document in self.train)).hexdigest()


def wikitext() -> list[str]:
    """The sections of WikiText-2's validation part (its test part stays held out), the marks of its tokenisation undone."""
    from shared.data.wikitext2_heldout import load

    text = load().valid.replace("<unk>", "<|unk|>")
    text = re.sub(r" @([-,.])@ ", r"\1", text)
    sections = re.split(r"\n(?= (?:= ){1,2}[^=\n]+ (?:= ){1,2}\n)", text)
    return [section.strip() for section in sections if section.strip()]


def shakespeare() -> list[str]:
    """The first nine tenths of tiny Shakespeare (the last tenth stays held out), in runs of whole speeches of 2,000 characters or more."""
    from shared.data.tinyshakespeare import load

    scenes, scene = [], []
    for speech in load().train.strip().split("\n\n"):
        scene.append(speech)
        if sum(map(len, scene)) >= 2000:
            scenes.append("\n\n".join(scene))
            scene = []
    return [*scenes, *(["\n\n".join(scene)] if scene else [])]


def documentation() -> list[str]:
    """Docstrings and help topics."""
    from shared.data.stdlib_text import docstrings, topics

    return [*docstrings().values(), *topics().values()]


def sources() -> list[str]:
    from shared.data.stdlib_text import sources

    return list(sources().values())


def newsgroups() -> list[str]:
    """Posts of the training part without header, quoted lines and e-mail addresses."""
    from shared.data.newsgroups20 import load

    return [clean_post(post) for post in load().x_train]


def clean_post(post: str) -> str:
    body = post.partition("\n\n")[2]
    lines = [line for line in body.splitlines() if not line.lstrip().startswith(">")]
    return re.sub(r"\S+@\S+", " ", "\n".join(lines)).strip()


def reviews() -> list[str]:
    from shared.data.imdb_subset import load

    return [review.replace("<br />", " ") for review in load().x_train]


def captions() -> list[str]:
    from shared.data.multi30k import load

    return load("en").train


def abstracts() -> list[str]:
    """Titles and texts of the documents of three retrieval collections; their queries stay held out."""
    from shared.data import cacm, cisi, cranfield

    collections = [module.load() for module in (cranfield, cisi, cacm)]
    return [f"{each.titles[key]} {text}".strip() for each in collections for key, text in each.documents.items() if text.strip()]


PSF = "PSF licence version 2"
CORPORA = {
    "wikitext": Corpus("WikiText-2, validation part", "CC BY-SA 3.0 and GFDL; Wikipedia's authors, Merity et al. 2016", True, wikitext),
    "shakespeare": Corpus("Tiny Shakespeare, first 90 %", "public domain; collection MIT, Karpathy 2015", True, shakespeare),
    "documentation": Corpus("docstrings and help topics of the Python standard library", PSF, True, documentation),
    "sources": Corpus("sources of the Python standard library without tests", PSF, True, sources),
    "newsgroups": Corpus("20 Newsgroups, training part, cleaned", "not stated", False, newsgroups),
    "reviews": Corpus("IMDB reviews, training part", "not stated", False, reviews),
    "captions": Corpus("Multi30k, English training captions", "not stated; research use", False, captions),
    "abstracts": Corpus("documents of Cranfield, CISI and CACM", "not stated; free for research", False, abstracts),
}
FREE = {"en": ("wikitext", "shakespeare", "documentation"), "py": ("sources",)}


@lru_cache(maxsize=16)
def documents(name: str) -> Parts:
    """A corpus's documents for training and for validation."""
    if name not in CORPORA:
        raise ValueError(f"no corpus is called {name!r}; there are {', '.join(CORPORA)}")
    train, valid, _ = split_by_content(CORPORA[name].read(), VALID_SHARE, 0.0)
    return Parts(train, valid)


def stream(texts: list[str], tokenizer: Tokenizer, rng: np.random.Generator | None = None) -> Int16[np.ndarray, " tokens"]:
    """The texts one after another, shuffled when there is an ``rng``, each followed by the end token."""
    order = range(len(texts)) if rng is None else rng.permutation(len(texts))
    encoded = tokenizer.encode_all(texts)
    return np.concatenate([np.array([*encoded[i], tokenizer.eos], np.int16) for i in order])
