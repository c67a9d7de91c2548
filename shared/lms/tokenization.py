"""Tokenizers: two byte-level BPE for English, one for Python, one of whole words, and a hashing one that needs no training.

    tokenizer = load_tokenizer("en2k")
    ids = tokenizer.encode("the plot is thin")           # text -> list of ids, no special tokens added
    tokenizer.word("good")                               # the id of a word that is one token; raises if it is not

Names: ``en2k``, ``en4k`` (lower-cased, digits one by one; a text's tokens are those of its words in turn, so prompts and answers can be encoded apart),
``py2k`` (case and white space kept), ``en8kw`` (one token for each of the most frequent words, the others spelled out), ``hash512``.
Retrain one and overwrite the committed file: ``python -m shared.lms.tokenization en2k``.
"""

from __future__ import annotations

import hashlib
import re
import sys
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers

from shared.lms.roles import ROLES
from shared.lms.weights import checked, register

FOLDER = Path(__file__).parent / "tokenizers"
SPECIALS = tuple(f"<|{role}|>" for role in ROLES)
WORDS = Regex(r"'(?:s|t|re|ve|m|ll|d)(?!\p{L})| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
"""Words, single digits and runs of signs, each with the space before it."""

LABEL_WORDS = (
    *("good", "bad", "thing", "person", "place", "number", "text", "short", "world", "sports", "business", "science", "up", "down", "flat"),
    *("earn", "buy", "oil", "trade", "money", "rate", "ship", "grain", "music", "weather", "table", "book", "screen", "search", "list"),
    *("yes", "no", "fact", "view", "true", "false", "sentiment", "topic"),
)
"""Words that tasks predict or ask with; the training of an English tokenizer sees to it that each is one token."""


class Tokenizer:
    """A ``tokenizers`` tokenizer with the ids of the special roles by name (``tokenizer.eos``); a role that it lacks is -1."""

    def __init__(self, inner: tokenizers.Tokenizer, name: str, specials: dict[str, str] | None = None):
        self.inner, self.name = inner, name
        known = dict(zip(ROLES, SPECIALS, strict=True)) if specials is None else specials
        found = {role: inner.token_to_id(known.get(role, "")) for role in ROLES}
        self.pad, self.bos, self.eos, self.unk, self.mask, self.sep, self.cls = (-1 if found[role] is None else found[role] for role in ROLES[:7])

    @property
    def vocab_size(self) -> int:
        return self.inner.get_vocab_size()

    @property
    def sha256(self) -> str:
        """Of the tokenizer's definition."""
        return hashlib.sha256(self.inner.to_str().encode()).hexdigest()

    def encode(self, text: str) -> list[int]:
        return self.inner.encode(text, add_special_tokens=False).ids

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self.inner.encode_batch(list(texts), add_special_tokens=False)]

    def decode(self, ids: Iterable[int]) -> str:
        """The text, without special tokens."""
        return self.inner.decode([int(i) for i in ids]).strip(" ")

    def word(self, text: str) -> int:
        """The id of a text that is one token."""
        ids = self.encode(text)
        if len(ids) != 1:
            raise ValueError(f"{text!r} is {len(ids)} tokens of {self.name}, not one: choose another word")
        return ids[0]


class HashTokenizer(Tokenizer):
    """Words and signs, lower-cased, by a hash into the buckets after the special ids. For tests: it cannot be decoded."""

    def __init__(self, buckets: int):
        self.name, self.buckets = f"hash{buckets}", buckets
        self.pad, self.bos, self.eos, self.unk, self.mask, self.sep, self.cls = range(7)

    @property
    def vocab_size(self) -> int:
        return self.buckets

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.name.encode()).hexdigest()

    def encode(self, text: str) -> list[int]:
        words = re.findall(r"\w+|[^\w\s]", text.lower())
        return [len(ROLES) + zlib.crc32(word.encode()) % (self.buckets - len(ROLES)) for word in words]

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.encode(text) for text in texts]

    def decode(self, ids: Iterable[int]) -> str:
        raise NotImplementedError("a hashing tokenizer keeps no words")


@lru_cache(maxsize=8)
def load_tokenizer(name: str) -> Tokenizer:
    """A committed tokenizer by name, or ``hash<buckets>``."""
    if re.fullmatch(r"hash\d+", name):
        return HashTokenizer(int(name.removeprefix("hash")))
    path = FOLDER / f"{name}.json"
    if not path.exists():
        raise ValueError(f"no tokenizer is called {name!r}; there are {', '.join(sorted(p.stem for p in FOLDER.glob('*.json')))} and hash<buckets>")
    return Tokenizer(tokenizers.Tokenizer.from_file(str(checked(path))), name)


def tokenizer_of(model: str) -> Tokenizer:
    """The tokenizer of a model's name (``dec-xs``, ``enc-s-1``, ``dec-xs-py``)."""
    from shared.lms.config import named, split_name

    _, size, text, _ = split_name(model)
    return load_tokenizer(f"hash{named(model).vocab}" if size == "nano" else "py2k" if text == "py" else "en2k" if size == "xs" else "en4k")


def train_bpe(texts: Iterable[str], vocab: int, lower: bool) -> tokenizers.Tokenizer:
    """Byte-level BPE, minimum frequency 2. With ``lower``, NFKC and lower case, and every text begins as if after a space."""
    inner = tokenizers.Tokenizer(models.BPE())
    if lower:
        inner.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), normalizers.Strip(), normalizers.Prepend(" ")])
    inner.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(WORDS, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocab, min_frequency=2, special_tokens=list(SPECIALS), initial_alphabet=alphabet, show_progress=False)
    inner.train_from_iterator(texts, trainer)
    return inner


def train_words(texts: Iterable[str], vocab: int, letters: int = 200) -> tokenizers.Tokenizer:
    """One token for each of the most frequent lower-case words; any other word is its longest known beginning, then letters (``##x``)."""
    inner = tokenizers.Tokenizer(models.WordPiece(unk_token=SPECIALS[3], max_input_chars_per_word=100))
    inner.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.WordPiece()
    words: Counter[str] = Counter()
    for text in texts:
        words.update(word for word, _ in inner.pre_tokenizer.pre_tokenize_str(inner.normalizer.normalize_str(text)))
    signs: Counter[str] = Counter()
    for word, count in words.items():
        signs.update(dict.fromkeys(word, count))
    alphabet = [sign for sign, _ in sorted(signs.items(), key=lambda item: (-item[1], item[0]))[:letters]]
    frequent = [word for word, _ in sorted(words.items(), key=lambda item: (-item[1], item[0])) if word not in alphabet and not word.startswith("<|")]
    tokens = [*SPECIALS, *alphabet, *(f"##{sign}" for sign in alphabet), *LABEL_WORDS]
    tokens += [word for word in frequent if word not in LABEL_WORDS][: vocab - len(tokens)]
    inner.model = models.WordPiece({token: i for i, token in enumerate(tokens)}, unk_token=SPECIALS[3], max_input_chars_per_word=100)
    inner.add_special_tokens(list(SPECIALS))
    return inner


def train(name: str) -> tokenizers.Tokenizer:
    """The committed tokenizers' recipe: trained on the corpora with free terms and the facts; label words are repeated until each is worth a token."""
    from shared.lms.corpora import FREE, documents
    from shared.lms.facts import load_facts, render

    if name == "py2k":
        return train_bpe(documents("sources").train, 2048, lower=False)
    texts = [document for corpus in FREE["en"] for document in documents(corpus).train]
    texts += [render(fact, template=0) for fact in load_facts()]
    sizes = {"en2k": 2048, "en4k": 4096, "en8kw": 8192}
    if name not in sizes:
        raise ValueError(f"no recipe for a tokenizer {name!r}; there are {', '.join([*sizes, 'py2k'])}")
    if name == "en8kw":
        return train_words(texts, sizes[name])
    return train_bpe([*texts, *[" ".join(LABEL_WORDS)] * 2000], sizes[name], lower=True)


if __name__ == "__main__":
    for chosen in sys.argv[1:]:
        FOLDER.mkdir(exist_ok=True)
        trained = train(chosen)
        (FOLDER / f"{chosen}.json").write_text(trained.to_str(pretty=False) + "\n")
        print(chosen, trained.get_vocab_size(), Tokenizer(trained, chosen).sha256)
    register()
