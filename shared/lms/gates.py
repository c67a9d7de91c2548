"""What a pre-trained model must reach before a paper may lean on it. The numbers go into its card, those that are bars with whether they were reached.

- loss on held-out windows of every corpus: below an interpolated bigram (xs), below an interpolated trigram by 0.3 nats (s, m, b)
- facts (decoders that read them): top-1 among the tails of the relation at least 0.6 (xs), 0.9 (s, m, b)
- label words: only for a recipe with skill rows, which the committed weights lack for want of free terms
- reported without a bar: a linear probe on mean states against TF-IDF (SST-2), and what a decoder gains on a random sequence that it sees a second time
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from shared.data.fetch import Dataset, DataUnavailable, obtain
from shared.data.texts import read_records
from shared.lms.config import ModelConfig
from shared.lms.corpora import documents, stream
from shared.lms.fact_recall import ask, share_right
from shared.lms.facts import load_facts
from shared.lms.jax_model import last_hidden_state
from shared.lms.jax_scoring import mean_loss, score_continuations, window_losses
from shared.lms.ngrams import NGrams
from shared.lms.objectives import masked_loss
from shared.lms.padding import pad, windows
from shared.lms.recipes import Recipe
from shared.lms.roles import ROLES
from shared.lms.tokenization import Tokenizer
from shared.seeds import jax_key, numpy_rng

RECALL = {"nano": 0.0, "xs": 0.6, "s": 0.9, "m": 0.9, "b": 0.9}


def evaluate(params: dict, config: ModelConfig, tokenizer: Tokenizer, recipe: Recipe, size: str) -> dict:
    """All numbers of the card's section "gates"; ``passed`` of those with a bar."""
    gates = {"validation": validation(params, config, tokenizer, recipe, size)}
    if config.causal:
        gates["copy"] = copying(params, config)
    if recipe.facts_share:
        gates["facts"] = facts(params, config, tokenizer, size)
    gates["label_words"] = {"not_run": "the recipe has no skill rows"}
    gates["probe"] = probe(params, config, tokenizer)
    gates["passed"] = all(part["passed"] for part in gates.values() if "passed" in part)
    return gates


def validation(params: dict, config: ModelConfig, tokenizer: Tokenizer, recipe: Recipe, size: str) -> dict:
    """Nats per token on each corpus's held-out documents (an encoder's: per masked token), beside n-grams trained on the same documents."""
    training = stream([document for name in recipe.corpora for document in documents(name).train], tokenizer)
    grams = {order: NGrams(training, order, config.vocab) for order in (2, 3)}
    found: dict = {}
    for name in recipe.corpora:
        tokens = stream(documents(name).valid, tokenizer)
        rows = windows(tokens, config.context + 1)
        predicted = slice(1, len(rows) * config.context + 1)
        loss = mean_loss(params, config, rows) if config.causal else mean_masked_loss(params, config, tokenizer, recipe, rows)
        found[name] = {"loss": loss, "windows": len(rows)} | {
            f"{order}-gram": -float(gram.log_probs(tokens)[predicted].mean()) for order, gram in grams.items()
        }
    bar = "2-gram" if size in ("nano", "xs") else "3-gram"
    margin = 0.0 if bar == "2-gram" else 0.3
    return found | {"bar": f"loss < {bar} - {margin}", "passed": all(part["loss"] < part[bar] - margin for part in found.values())}


def mean_masked_loss(params: dict, config: ModelConfig, tokenizer: Tokenizer, recipe: Recipe, rows: np.ndarray) -> float:
    """Over 8 fixed draws of masks."""
    ids = jnp.asarray(rows[:, :-1].astype(np.int32)).at[:, 0].set(tokenizer.cls)
    loss = jax.jit(lambda key: masked_loss(params, config, ids, key, recipe.mask_share, tokenizer.mask))
    return float(np.mean([loss(key) for key in jax.random.split(jax_key(0, "validation masks"), 8)]))


def facts(params: dict, config: ModelConfig, tokenizer: Tokenizer, size: str, n: int = 500) -> dict:
    """Top-1 recall of ``n`` training facts in the plain sentence and in the question, and of the most frequent tail of the relation."""
    found: dict = {"bar": f"recall >= {RECALL[size]}"}
    for template, kind in ((0, "sentence"), (2, "question")):
        questions = ask(load_facts(), tokenizer, n, template, numpy_rng(0, "facts asked for"))
        found[f"recall_{kind}"] = share_right(questions, continuation_scores(params, config, questions.ids, questions.mask, questions.prompt_lengths))
        found["recall_of_most_frequent_tail"] = share_right(questions, questions.frequency)
    return found | {"facts": n, "passed": found["recall_sentence"] >= RECALL[size]}


def continuation_scores(params: dict, config: ModelConfig, ids: np.ndarray, mask: np.ndarray, prompt_lengths: np.ndarray, batch: int = 512) -> np.ndarray:
    """Sums of the continuations' log-probabilities, a batch at a time."""
    score = jax.jit(partial(score_continuations, config=config))
    rows = np.arange(-(-len(ids) // batch) * batch).reshape(-1, batch) % len(ids)  # the last batch is filled up from the start
    return np.concatenate([score(params, ids=ids[r], mask=mask[r], prompt_lengths=prompt_lengths[r])[0] for r in rows])[: len(ids)]


def copying(params: dict, config: ModelConfig, n: int = 64) -> dict:
    """Nats per token on random tokens and on the same tokens a second time, half a context each: the difference is what look-up in the context gives."""
    half = config.context // 2
    once = numpy_rng(0, "copied").integers(len(ROLES), config.vocab, (n, half))
    first = -token_means(params, config, once)
    both = -token_means(params, config, np.concatenate([once, once], axis=1))
    return {"first_time": first, "second_time": (both * (2 * half - 1) - first * (half - 1)) / half}


def token_means(params: dict, config: ModelConfig, ids: np.ndarray) -> float:
    return -float(window_losses(params, config, jnp.asarray(ids)[None]).mean())


def probe(params: dict, config: ModelConfig, tokenizer: Tokenizer) -> dict:
    """Accuracy on SST-2's test part of logistic regression on mean last states, and on TF-IDF, all training rows. The probe may lose: the models are small."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    try:
        folder = obtain(SST2).folder
    except DataUnavailable:
        return {"not_run": "SST-2 is not on this machine"}
    train, test = (read_records(folder / f"sst2_{part}.jsonl.gz") for part in ("train", "test"))
    (x_train, y_train), (x_test, y_test) = (([row["text"] for row in rows], [row["label"] for row in rows]) for rows in (train, test))
    states = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    words = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), min_df=2), LogisticRegression(C=10, max_iter=1000))
    states.fit(mean_states(params, config, tokenizer, x_train), y_train)
    words.fit(x_train, y_train)
    return {"sst2_states": float(states.score(mean_states(params, config, tokenizer, x_test), y_test)), "sst2_tfidf": float(words.score(x_test, y_test))}


def mean_states(params: dict, config: ModelConfig, tokenizer: Tokenizer, texts: list[str], length: int = 64, batch: int = 256) -> np.ndarray:
    """Each text's last states averaged over its first ``length`` tokens."""
    start = [] if config.causal else [tokenizer.cls]
    ids, mask = pad([start + tokens for tokens in tokenizer.encode_all(texts)], length=min(length, config.context), value=tokenizer.pad)
    states = jax.jit(lambda ids, mask: (last_hidden_state(params, config, ids, mask) * mask[..., None]).sum(1) / mask.sum(1, keepdims=True))
    rows = np.arange(-(-len(ids) // batch) * batch).reshape(-1, batch) % len(ids)
    return np.concatenate([states(ids[r], mask[r]) for r in rows])[: len(ids)]


SST2 = Dataset(
    name="sentence_classification",
    title="SST-2 sentences",
    home="https://nlp.stanford.edu/sentiment/",
    licence="research use, none stated",
    citation="R. Socher et al., Recursive deep models for semantic compositionality over a sentiment treebank, 2013",
    mirror={
        "sst2_train.jsonl.gz": "261bd8d560a9306d14a25c7df554391647ad58027e6a05e7a89cbed60035a46c",
        "sst2_test.jsonl.gz": "6a38a9d6fa6204f6f7940b24ad004a7e0284807a96ebac4d5382df1b05554d54",
    },
)
