"""What the language models are trained on and how: tokenizers, corpora, hold-outs, facts, n-grams, the training program, and weights on disk."""

from __future__ import annotations

import dataclasses
import os
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from shared.data.fetch import DataUnavailable
from shared.lms import corpora, gates, heldout, jax_model, train, weights
from shared.lms.committed import SHA256
from shared.lms.config import decoder, encoder, named, nest, parameter_shapes
from shared.lms.fact_recall import ask, share_right
from shared.lms.facts import TEMPLATES, Fact, prompt, render, sentences
from shared.lms.jax_model import init
from shared.lms.jax_scoring import mean_loss
from shared.lms.loading import load_jax, load_torch
from shared.lms.ngrams import NGrams
from shared.lms.objectives import cross_entropy, mask_tokens, masked_loss, next_token_loss
from shared.lms.padding import windows
from shared.lms.pretraining import compiled, program
from shared.lms.recipes import Recipe, TrainingText, recipe_for, window_starts
from shared.lms.roles import ROLES
from shared.lms.tokenization import LABEL_WORDS, HashTokenizer, load_tokenizer, tokenizer_of, train_bpe, train_words
from shared.seeds import jax_key, numpy_rng

DEC = decoder(width=16, layers=1, heads=2, context=8, vocab=64)
ENC = encoder(width=16, layers=1, heads=2, context=8, vocab=64)
RECIPE = Recipe(learning_rate=0.03, steps=100, batch=8, weight_decay=0.1, final_rate=0.1, corpora=(), facts_share=0.0)
TOKENIZER = HashTokenizer(64)
QUICK = {"xla_backend_optimization_level": 0}  # quick to compile


# Tokenizers


@pytest.mark.parametrize("name, vocab", [("en2k", 2048), ("en4k", 4096), ("py2k", 2048), ("en8kw", 8192)])
def test_committed_tokenizers(name, vocab):
    tokenizer = load_tokenizer(name)
    assert tokenizer.vocab_size == vocab
    assert [tokenizer.inner.token_to_id(f"<|{role}|>") for role in ROLES] == list(range(16))
    assert (tokenizer.pad, tokenizer.eos, tokenizer.mask, tokenizer.cls) == (0, 2, 4, 6)
    text = "def f(x):\n    return X + 1984  # Ünïcode\n"
    assert tokenizer.decode(tokenizer.encode(text)) == text if name == "py2k" else True
    if name != "py2k":
        assert all(tokenizer.word(word) >= 16 for word in LABEL_WORDS)
        assert tokenizer.encode("The plot is thin. good") == tokenizer.encode("the plot is thin. ") + tokenizer.encode(" GOOD")
        assert len(set(tokenizer.encode("1 9 8 4"))) == 4
    if name in ("en2k", "en4k"):
        assert tokenizer.decode(tokenizer.encode("Ünïcode, in 1984!")) == "ünïcode, in 1984!"
        assert tokenizer.encode(" 1984")[1:] == [tokenizer.encode(f"a{digit}")[-1] for digit in "984"]
        with pytest.raises(ValueError, match="tokens"):
            tokenizer.word("antidisestablishmentarianism")


def test_a_model_s_name_says_its_tokenizer():
    assert [tokenizer_of(name).name for name in ("dec-nano", "enc-xs-2", "dec-m", "dec-s-py-1")] == ["hash512", "en2k", "en4k", "py2k"]
    assert max(HashTokenizer(64).encode("to be or not to be , that is the question")) < 64
    assert HashTokenizer(64).encode("To be")[0] >= 16


def test_tokenizers_can_be_trained_anew():
    texts = ["the cat sat on the mat"] * 3 + ["the dog sat"]
    trained = train_bpe(texts, 300, lower=True)
    assert trained.decode(trained.encode("THE cat").ids).strip() == "the cat" and len(trained.encode("the cat").ids) == 2
    words = train_words(texts, 100)
    assert len(words.encode("the cat sat").ids) == 3
    assert words.decode(words.encode("the hot cat").ids) == "the hot cat", "an unknown word is spelled"


# Corpora, hold-outs, facts


def test_documents_keep_their_part_for_ever_and_no_document_is_in_both(monkeypatch):
    read = [f"document {i} {'x' * (i % 7)}" for i in range(2000)]
    for name, texts in (("toy", read), ("toy and more", ["new", *read[::-1]])):
        monkeypatch.setitem(corpora.CORPORA, name, corpora.Corpus("a toy", "none", True, lambda texts=texts: texts))
    parts, later = corpora.documents("toy"), corpora.documents("toy and more")
    assert not set(parts.train) & set(parts.valid) and len(parts.valid) == pytest.approx(80, abs=30)
    assert set(parts.valid) <= set(later.valid) and set(parts.train) <= set(later.train)
    with pytest.raises(ValueError, match="no corpus"):
        corpora.documents("gossip")


def test_a_stream_is_the_documents_with_their_ends_in_another_order_for_another_seed():
    texts = ["one two", "three", "four five six"]
    plain = corpora.stream(texts, TOKENIZER)
    assert plain.tolist() == [token for text in texts for token in [*TOKENIZER.encode(text), TOKENIZER.eos]]
    shuffled = corpora.stream(texts, TOKENIZER, numpy_rng(1, "order"))
    assert sorted(shuffled) == sorted(plain) and shuffled.dtype == np.int16


def test_only_corpora_with_stated_free_terms_are_in_the_recipes():
    for size in ("xs", "s", "m", "b"):
        for name in (f"dec-{size}", f"enc-{size}", f"dec-{size}-py"):
            assert all(corpora.CORPORA[corpus].free for corpus in recipe_for(name).corpora)
    assert recipe_for("dec-xs").facts_share > 0 == recipe_for("enc-xs").facts_share


def test_a_post_is_cleaned_of_header_quotes_and_addresses():
    post = "From: a@b.c\nSubject: x\n\nIn article <1@2>\n> quoted\nmine, mail me@home.org\n\nmore"
    assert corpora.clean_post(post).split() == ["In", "article", "mine,", "mail", "more"]


def test_held_out_texts_are_found_in_any_dress_and_nothing_else_is():
    text = "It is a film of great beauty, and of no sense at all."
    assert heldout.hits(["before. it is a FILM , of great -- beauty and of no sense at all after"], [text]) == [text]
    assert heldout.hits(["it is a film of great beauty and of some sense at all"], [text]) == []
    assert heldout.hits(["not bad"], ["not bad"]) == [], "too short to be anybody's"
    long = " ".join(f"w{i}" for i in range(60))
    assert heldout.hits([" ".join(f"w{i}" for i in range(30))], [long]) == [long], "thirty words are enough"


@pytest.mark.skipif(not os.environ.get("REPRO_DATA_DIR"), reason="REPRO_DATA_DIR is not set: the training documents are NOT searched for held-out texts here")
def test_no_held_out_text_is_in_the_training_documents():
    """Of the sets that could be there by a slip; ``python -m shared.lms.train`` searches for all of them and notes it in the card."""
    root = Path(os.environ["REPRO_DATA_DIR"])
    texts = heldout.held_out_texts(root, ("wikitext_test", "shakespeare_end", "sst"))
    assert len(texts) == 3 and all(map(len, texts.values()))
    try:
        documents = [document for name in ("wikitext", "shakespeare") for document in corpora.documents(name).train]
    except DataUnavailable as error:
        pytest.skip(str(error))
    assert heldout.hits(documents, [text for part in texts.values() for text in part]) == []
    planted = texts["sst"][7]
    assert planted in heldout.hits([*documents[:3], f"He said: {planted}"], texts["sst"])


FACTS = [
    Fact("umls", "isa", head, tail)
    for head, tail in [("bird", "animal"), ("bird", "entity"), ("fish", "animal"), ("alga", "plant"), ("moss", "plant"), ("rock", "entity")]
]


def test_every_fact_is_read_in_every_template():
    read = sentences(FACTS, passes=4, rng=numpy_rng(0, "facts"))
    assert sorted(read) == sorted(render(fact, template) for fact in FACTS for template in range(len(TEMPLATES)))
    assert render(FACTS[0], 0) == "bird is a animal ." and prompt(FACTS[0], 2) == "question : bird is a what ? answer :"


def test_fact_recall_filters_other_true_tails_and_shares_ties():
    questions = ask(FACTS, TOKENIZER, n=6, template=0, rng=numpy_rng(0, "asked"))
    assert questions.right.sum() == 6 and questions.fact.max() == 5
    rows_of_birds = [np.sum(questions.fact == n) for n in range(6)]
    assert sorted(rows_of_birds) == [2, 2, 3, 3, 3, 3], "the bird's other true tail does not compete"
    assert share_right(questions, questions.right.astype(float)) == 1
    assert share_right(questions, -questions.right.astype(float)) == 0
    assert share_right(questions, np.zeros(len(questions.right))) == pytest.approx((2 / 2 + 4 / 3) / 6)
    row = int(np.flatnonzero(questions.right)[0])
    continuation = questions.ids[row, questions.prompt_lengths[row] : questions.mask[row].sum()].tolist()
    assert continuation in [TOKENIZER.encode(f"{fact.tail} .") for fact in FACTS]


# n-grams


def test_n_grams_equal_brute_force_counts():
    rng = numpy_rng(0, "tokens")
    vocab = 5
    train_tokens, tokens = rng.integers(0, vocab - 1, 60).tolist(), rng.integers(0, vocab, 25).tolist()

    def p(n, context, word):
        if n == 0:
            return 1 / vocab
        runs = [tuple(train_tokens[i : i + n]) for i in range(len(train_tokens) - n + 1)]
        followers = [run[-1] for run in runs if run[:-1] == tuple(context)]
        lower = p(n - 1, context[1:], word)
        kinds = len(set(followers))
        return (followers.count(word) + kinds * lower) / (len(followers) + kinds) if followers else lower

    for order in (1, 2, 3):
        expected = [np.log(p(min(order, i + 1), tokens[max(0, i - order + 1) : i], tokens[i])) for i in range(len(tokens))]
        model = NGrams(np.array(train_tokens), order, vocab)
        np.testing.assert_allclose(model.log_probs(np.array(tokens)), expected, rtol=1e-12)
        total = [np.exp(model.log_probs(np.array([*tokens[:3], word]))[-1]) for word in range(vocab)]
        assert sum(total) == pytest.approx(1)


# Objectives


def test_cross_entropy_is_that_of_the_softmax():
    scores = numpy_rng(0, "scores").standard_normal((3, 4, 7))
    targets = numpy_rng(0, "targets").integers(0, 7, (3, 4))
    p = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    np.testing.assert_allclose(
        cross_entropy(jnp.asarray(scores), jnp.asarray(targets)), -np.log(np.take_along_axis(p, targets[..., None], -1))[..., 0], atol=1e-5
    )


def test_masks_fall_on_ordinary_tokens_in_the_stated_shares():
    ids = numpy_rng(0, "ids").integers(16, 64, (2000, 20)).astype(np.int32)
    ids[:, 0] = TOKENIZER.cls
    ids[:, 5] = TOKENIZER.eos
    corrupted, positions, targets = map(
        np.asarray, jax.jit(mask_tokens, static_argnums=(2, 3, 4), compiler_options=QUICK)(jax_key(0, "masks"), ids, 0.15, TOKENIZER.mask, 64)
    )
    assert positions.shape == (2000, 3) and all(len(set(row)) == 3 for row in positions)
    assert not np.isin(positions, (0, 5)).any()
    assert np.array_equal(np.take_along_axis(ids, positions, 1), targets)
    chosen = np.zeros(ids.shape, bool)
    np.put_along_axis(chosen, positions, True, 1)
    assert np.array_equal(corrupted[~chosen], ids[~chosen])
    written = np.take_along_axis(corrupted, positions, 1)
    assert np.mean(written == TOKENIZER.mask) == pytest.approx(0.8, abs=0.03)
    assert np.mean(written == targets) == pytest.approx(0.1 + 0.1 / 48, abs=0.02)
    assert np.bincount(positions.ravel(), minlength=20)[[1, 19]] == pytest.approx(2000 * 3 / 18, rel=0.2)


# Training


def test_windows_cover_the_stream_once_a_pass_each_pass_from_another_offset():
    starts = window_starts(1000, 10, 250, numpy_rng(0, "starts"))
    first = np.sort(starts[:99])
    assert (np.diff(first) == 10).all() and first[-1] + 10 <= 999
    assert len({start % 10 for start in starts}) > 1 and starts.max() <= 989


def periodic(steps: int) -> TrainingText:
    """A stream that can be learned: the same twelve tokens over and over."""
    stream = np.tile(np.arange(20, 32), 40).astype(np.int16)
    return TrainingText(
        stream, np.zeros(0, np.int16), window_starts(len(stream), DEC.context, steps * RECIPE.batch, numpy_rng(0, "o")).reshape(steps, -1).astype(np.int32)
    )


@pytest.mark.parametrize("config", [DEC, ENC], ids=["dec", "enc"])
def test_a_run_that_was_killed_and_resumed_gives_the_same_bits(config, tmp_path, capsys):
    run, text, states = compiled(program(config, RECIPE, TOKENIZER), compiler_options=QUICK), periodic(RECIPE.steps), tmp_path / "run.state"
    whole, losses = train.train(run, text, 0, tmp_path / "other.state", every=1000, tokens_a_step=64)
    assert losses[-10:].mean() < 0.7 * losses[0], "it learns"
    assert losses[0] == pytest.approx(np.log(config.vocab), abs=0.1), "before training every token is as likely"
    assert losses[0] == pytest.approx(first_loss(config, run, text), abs=1e-5)

    def killed(state, tokens, starts, key):
        if int(state.step) > 0:
            raise KeyboardInterrupt
        return run.advance(state, tokens, starts, key)

    with pytest.raises(KeyboardInterrupt):
        train.train(run._replace(advance=killed), text, 0, states, every=50, tokens_a_step=64)
    assert [path.name for path in tmp_path.iterdir()] == ["run.state"], "no half-written file is left"
    again, same_losses = train.train(run, text, 0, states, every=50, tokens_a_step=64)
    assert "resumed at step 50 of 100" in capsys.readouterr().out
    assert np.array_equal(losses, same_losses)
    assert all(map(np.array_equal, jax.tree.leaves(whole), jax.tree.leaves(again)))


def first_loss(config, run, text) -> float:
    """The objective on the first step's windows with the initial weights."""
    windows = text.tokens[text.starts[0][:, None] + np.arange(config.context + 1)].astype(np.int32)
    params = run.start(jax_key(0, "init")).params
    if config.causal:
        return float(jax.jit(next_token_loss, static_argnames="config", compiler_options=QUICK)(params, config, windows))
    windows[:, 0] = TOKENIZER.cls
    key = jax.random.fold_in(jax_key(0, "masks"), 0)
    return float(
        jax.jit(partial(masked_loss, config=config, share=RECIPE.mask_share, mask=TOKENIZER.mask), compiler_options=QUICK)(params, ids=windows[:, :-1], key=key)
    )


def test_an_encoder_starts_with_sinusoids_and_with_layers_of_the_recipes_size():
    def start(config, scale):
        return program(config, dataclasses.replace(RECIPE, initial_scale=scale), TOKENIZER).start(jax_key(0, "init")).params

    usual, large = start(ENC, 0.02), start(ENC, 0.1)
    for matrix in ("q", "o", "up"):
        np.testing.assert_allclose(large["layers"][0][matrix]["weight"], 5 * usual["layers"][0][matrix]["weight"], rtol=1e-5)
    np.testing.assert_allclose(large["head"]["dense"]["weight"], 5 * usual["head"]["dense"]["weight"], rtol=1e-5)
    for name in ("attention_norm", "ffn_norm"):
        assert (large["layers"][0][name]["weight"] == 1).all()
    np.testing.assert_array_equal(large["tokens"]["weight"], usual["tokens"]["weight"])
    P = np.asarray(usual["positions"]["weight"]) / 0.02
    distances = (P[1:] * P[:-1]).sum(1)  # the same between neighbours everywhere: what a shift by one looks like
    np.testing.assert_allclose(distances, distances[0], rtol=1e-4)
    np.testing.assert_allclose((P**2).sum(1), ENC.width / 2, rtol=1e-5)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), start(DEC, 0.02), init(jax_key(0, "init"), DEC)))


def test_small_encoders_have_a_recipe_of_their_own():
    encoder, decoder_ = recipe_for("enc-xs"), recipe_for("dec-xs")
    assert (encoder.initial_scale, decoder_.initial_scale) == (0.125, 0.02)
    assert encoder.steps * encoder.batch == decoder_.steps * decoder_.batch
    assert recipe_for("enc-m").mask_share == 0.15 < encoder.mask_share


def test_a_checkpoint_belongs_to_one_run_only():
    text = periodic(4)
    names = {train.identity(config, recipe, TOKENIZER, text) for config in (DEC, ENC) for recipe in (RECIPE, dataclasses.replace(RECIPE, learning_rate=0.1))}
    names.add(train.identity(DEC, RECIPE, HashTokenizer(65), text))
    names.add(train.identity(DEC, RECIPE, TOKENIZER, periodic(5)))
    assert len(names) == 6


# Gates


def test_the_gates_of_a_model_that_knows_nothing(monkeypatch):
    """With all weights zero every token is as likely: each loss is log V, no fact is known beyond chance, nothing is gained by a second look."""
    texts = [f"bird {i % 5} sings to bird {i % 3} and {i}" for i in range(400)]
    monkeypatch.setitem(corpora.CORPORA, "toy gate", corpora.Corpus("a toy", "none", True, lambda: texts))
    monkeypatch.setattr(gates, "load_facts", lambda: FACTS)
    params = nest({name: jnp.zeros(shape) for name, shape in parameter_shapes(DEC).items()})
    recipe = dataclasses.replace(RECIPE, corpora=("toy gate",))
    found = gates.validation(params, DEC, TOKENIZER, recipe, "xs")
    assert found["toy gate"]["loss"] == pytest.approx(np.log(64), abs=1e-4)
    assert found["toy gate"]["3-gram"] < found["toy gate"]["2-gram"] < np.log(64) and not found["passed"]
    known = gates.facts(params, DEC, TOKENIZER, "xs")
    assert 0 <= known["recall_sentence"] < 0.6 and not known["passed"]
    twice = gates.copying(params, DEC)
    assert twice["first_time"] == pytest.approx(np.log(64), abs=1e-4) and twice["second_time"] == pytest.approx(np.log(64), abs=1e-4)


# Weights on disk


def test_weights_come_back_rounded_to_half_precision_with_shape_and_card(tmp_path):
    config = dataclasses.replace(DEC, windows=(3,), biased=("q",))
    flat = {name: numpy_rng(0, name).standard_normal(shape).astype(np.float32) for name, shape in parameter_shapes(config).items()}
    weights.save(tmp_path / "a.safetensors", config, flat, {"name": "a"})
    again, found, card = weights.read(tmp_path / "a.safetensors")
    assert again == config and card == {"name": "a"}
    assert all(np.array_equal(found[name], flat[name].astype(np.float16).astype(np.float32)) for name in flat)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.safetensors"]


def test_a_name_without_weights_says_how_to_train_them(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_CACHE_DIR", str(tmp_path))
    assert weights.full_name("dec-m") == "dec-m-0" and weights.full_name("dec-xs-py-2") == "dec-xs-py-2"
    with pytest.raises(FileNotFoundError, match=r"python -m shared\.lms\.train dec-b"):
        weights.find("dec-b")


def test_training_does_not_overwrite_weights_unasked(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("REPRO_CACHE_DIR", str(tmp_path))
    (tmp_path / "lms").mkdir()
    (tmp_path / "lms" / "dec-nano-0.safetensors").write_bytes(b"precious")
    assert train.main(["dec-nano"]) == 1
    assert "--force" in capsys.readouterr().err
    assert (tmp_path / "lms" / "dec-nano-0.safetensors").read_bytes() == b"precious"


@pytest.mark.parametrize("path", sorted(weights.COMMITTED.glob("*.safetensors")), ids=lambda path: path.stem)
def test_a_committed_model_is_what_its_card_says(path):
    config, flat, card = weights.read(path)
    assert card["name"] == path.stem and card["tokenizer"]["sha256"] == load_tokenizer(card["tokenizer"]["name"]).sha256
    assert card["held_out"]["found"] == [] and not card["held_out"]["not_at_hand"]
    assert all(np.isfinite(value).all() for value in flat.values())
    if not config.causal or "-py-" in path.stem:
        return
    try:
        valid = corpora.documents("wikitext").valid
    except DataUnavailable as error:
        pytest.skip(f"the validation loss is NOT compared with the card's: {error}")
    rows = windows(corpora.stream(valid, load_tokenizer(card["tokenizer"]["name"])), config.context + 1)
    params = nest({key: jnp.asarray(value) for key, value in flat.items()})
    assert mean_loss(params, config, rows) == pytest.approx(card["gates"]["validation"]["wikitext"]["loss"], abs=1e-3)


def test_every_committed_file_has_its_checksum_in_the_code():
    files = [*weights.COMMITTED.glob("*.safetensors"), *(weights.PACKAGE / "tokenizers").glob("*.json")]
    assert {path.relative_to(weights.PACKAGE).as_posix(): weights.sha256_of(path) for path in files} == SHA256
    assert all(path.with_suffix(".json").exists() for path in weights.COMMITTED.glob("*.safetensors"))


def test_random_and_saved_models_load_by_name_into_both_frameworks(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_CACHE_DIR", str(tmp_path))
    config = named("dec-m-7")
    small = dataclasses.replace(DEC, vocab=config.vocab)
    flat = {name: 0.1 * numpy_rng(0, name).standard_normal(shape).astype(np.float32) for name, shape in parameter_shapes(small).items()}
    weights.save(tmp_path / "lms" / "dec-m-7.safetensors", small, flat, {"tokenizer": {"name": "en4k"}})
    in_jax, in_torch = load_jax("dec-m-7"), load_torch("dec-m-7")
    assert in_jax.config == in_torch.config == small and in_jax.tokenizer.name == "en4k"
    ids = np.array([in_jax.tokenizer.encode("a name is a promise")])
    expected = in_torch.module(torch.from_numpy(ids)).detach().numpy()
    logits = jax.jit(jax_model.logits, static_argnames="config", compiler_options=QUICK)
    np.testing.assert_allclose(logits(in_jax.params, small, jnp.asarray(ids)), expected, atol=1e-4)
    assert load_torch("enc-nano-3").config == named("enc-nano") and load_torch("enc-nano-3").tokenizer.name == "hash512"
    assert not torch.equal(load_torch("enc-nano-3").module.tokens.weight, load_torch("enc-nano").module.tokens.weight)
