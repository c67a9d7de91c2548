"""Lexinvariant language models: invariance, the ideal predictor by enumeration, ciphers, prompts, and a miniature of every experiment."""

from __future__ import annotations

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from papers.lexinvariant_lm import claims, decipher, ideal, model, replicate, text
from papers.lexinvariant_lm.replicate import Config, ask, conditions, run
from shared.data.ciphers import encipher, inverse, random_cipher
from shared.lms import jax_model
from shared.lms.config import decoder, flatten

V, D = 7, 16
CONFIG = decoder(D, layers=1, heads=2, context=12, vocab=0)
hidden, logits, losses_of = (jax.jit(function, static_argnums=1) for function in (model.hidden, model.logits, model.losses))
draw_tables = jax.jit(model.draw_tables, static_argnums=(2, 3, 4, 5))


@pytest.fixture(autouse=True, scope="module")
def quick_compilation():
    """Programs that run once or twice: compiling them well takes longer than running them."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def params_of(random_share: float, scale: float = 8.0) -> dict:
    """Weights large enough that every part of the model matters."""
    params = model.init_params(jax.random.key(0), CONFIG, V, random_share, smeared=True)
    params["smear"] = [jnp.array([0.4, -0.8])]
    return params | {"transformer": jax.tree.map(lambda w: scale * w if w.ndim == 2 else w, params["transformer"]), "log_tau": jnp.array(1.5)}


def tables(params: dict, random_share: float, B: int, seed: int = 1):
    return draw_tables(jax.random.key(seed), params, B, V, D, random_share)


# ---- the model ----


def test_relettering_text_and_table_together_reletters_the_prediction():
    params, ids = params_of(1.0), rng(0).integers(V, size=(3, 12))
    E = tables(params, 1.0, 3)
    ciphers = np.stack([random_cipher(rng(i), V) for i in range(3)])
    E_cipher = jnp.take_along_axis(E, inverse(ciphers)[..., None], axis=1)  # E'[cipher(v)] = E[v]
    plain = logits(params, CONFIG, ids, E)
    cipher = logits(params, CONFIG, encipher(ciphers, ids), E_cipher)
    np.testing.assert_allclose(np.take_along_axis(np.asarray(cipher), ciphers[:, None], axis=2), plain, atol=1e-5)
    assert np.abs(logits(params, CONFIG, encipher(ciphers, ids), E) - plain).max() > 0.1


def test_over_draws_the_loss_of_a_text_and_of_its_cipher_agree_though_single_draws_differ():
    params, n = params_of(1.0), 1000
    window = rng(0).integers(V, size=13)
    losses = []
    for ids, seed in ((window, 1), (encipher(random_cipher(rng(3), V), window), 2)):
        windows = np.tile(ids, (n, 1))
        losses.append(np.asarray(losses_of(params, CONFIG, windows, tables(params, 1.0, n, seed)).mean(axis=1)))
    assert losses[0].std() > 0.05
    error = math.hypot(losses[0].std(), losses[1].std()) / math.sqrt(n)
    assert abs(losses[0].mean() - losses[1].mean()) < 4 * error < 0.05


def test_with_a_fixed_table_it_is_the_shared_standard_model():
    params = params_of(0.0)
    del params["smear"]
    ids = rng(0).integers(V, size=(3, 12))
    standard = decoder(D, layers=1, heads=2, context=12, vocab=V + 1)
    table = jnp.concatenate([params["table"], params["start"][None]])  # the start as one more symbol, V
    begun = np.pad(ids, ((0, 0), (1, 0)), constant_values=V)
    theirs = jax.jit(jax_model.last_hidden_state, static_argnums=1)(params["transformer"] | {"tokens": {"weight": table}}, standard, begun)[:, 1:]
    E = tables(params, 0.0, 3)
    np.testing.assert_allclose(hidden(params, CONFIG, ids, E), theirs, atol=1e-5)
    scores = math.exp(1.5) / D * theirs @ params["table"].T
    np.testing.assert_allclose(logits(params, CONFIG, ids, E), scores, atol=1e-4)
    windows = rng(1).integers(V, size=(3, 13))
    p = jax.nn.log_softmax(logits(params, CONFIG, windows[:, :-1], E))
    expected = [[-p[b, t, windows[b, t + 1]] for t in range(12)] for b in range(3)]
    np.testing.assert_allclose(losses_of(params, CONFIG, windows, E), expected, rtol=1e-5)


def test_gain_scales_the_inputs_and_prediction_looks_back_only():
    params, ids = params_of(1.0), rng(0).integers(V, size=(3, 12))
    E = tables(params, 1.0, 3)
    doubled = hidden(params | {"log_gain": jnp.log(2.0)}, CONFIG, ids, E)
    np.testing.assert_allclose(doubled, hidden(params, CONFIG, ids, 2 * E), atol=1e-5)
    later = ids.copy()
    later[:, 8:] = (later[:, 8:] + 1) % V
    before, after = (logits(params, CONFIG, x, E) for x in (ids, later))
    np.testing.assert_allclose(before[:, :8], after[:, :8], atol=1e-5)


def test_smeared_keys_hold_a_share_of_the_key_before():
    k, smear = rng(0).normal(size=(2, 5, 6)), np.array([0.4, -0.8, 2.0])
    smeared = model.smear_keys(jnp.asarray(smear), jnp.asarray(k), jnp.asarray(k))
    for head, t in itertools.product(range(3), range(5)):
        w, inner = 1 / (1 + math.exp(-smear[head])), slice(2 * head, 2 * head + 2)
        np.testing.assert_allclose(smeared[:, t, inner], w * k[:, t, inner] + (1 - w) * k[:, max(t - 1, 0), inner], atol=1e-5)
    params, ids = params_of(1.0), rng(0).integers(V, size=(3, 12))
    E = tables(params, 1.0, 3)
    unsmeared = params | {"smear": [jnp.full(2, 50.0)]}
    assert np.abs(hidden(params, CONFIG, ids, E) - hidden(unsmeared, CONFIG, ids, E)).max() > 0.05


def test_only_a_model_with_learned_rows_has_a_parameter_for_the_vocabulary():
    for random_share, holds in ((0.0, True), (0.2, True), (1.0, False)):
        shapes = [leaf.shape for leaf in jax.tree.leaves(params_of(random_share))]
        assert any(V in shape for shape in shapes) is holds
    same = (flatten(model.init_params(jax.random.key(5), CONFIG, V, share, True)["transformer"]) for share in (0.0, 1.0))
    for a, b in zip(*(tree.values() for tree in same), strict=True):
        np.testing.assert_array_equal(a, b)


def test_tables_are_drawn_for_each_sequence_in_the_right_share():
    params = params_of(0.2)
    many = np.asarray(tables(params, 1.0, 4000))
    E = many[:4]
    assert all(np.abs(a - b).max() > 0.5 for a, b in itertools.combinations(E, 2))
    np.testing.assert_allclose(E @ E.swapaxes(1, 2), np.broadcast_to(D * np.eye(V), (4, V, V)), atol=1e-3)
    np.testing.assert_array_equal(tables(params, 0.0, 2), np.stack([params["table"]] * 2))
    mixed = np.asarray(tables(params, 0.2, 3000))
    learned = (mixed == np.asarray(params["table"])).all(axis=2)
    np.testing.assert_allclose(learned.mean(axis=0), 0.8, atol=0.03)
    np.testing.assert_allclose(many.mean(axis=0), 0, atol=0.08)  # every direction alike
    np.testing.assert_allclose(np.square(many).mean(axis=0), 1, atol=0.15)


def test_orthogonalised_rows_are_those_of_gram_and_schmidt():
    E = rng(0).normal(size=(5, 9))
    rows = []
    for row in E:
        for earlier in rows:
            row = row - (row @ earlier) * earlier
        rows.append(row / np.linalg.norm(row))
    np.testing.assert_allclose(model.orthogonalise(jnp.asarray(E)), 3 * np.array(rows), atol=1e-4)


# ---- the ideal predictor, and counting ----


def test_for_two_symbols_the_ideal_predictor_is_the_average_of_two_likelihoods():
    chain = ideal.random_chain(rng(0), 2, 1.0)
    x = ideal.sample(rng(1), chain, 5, 10)

    def likelihood(x):
        p = chain.start[x[0]]
        for a, b in itertools.pairwise(x):
            p *= chain.transition[a, b]
        return p

    for t in (1, 4, 10):
        expected = [np.log((likelihood(row[:t]) + likelihood(1 - row[:t])) / 2) for row in x]
        np.testing.assert_allclose(ideal.ideal_log_likelihood(chain, x)[:, t - 1], expected)


def test_ideal_losses_of_the_first_two_symbols_and_invariance():
    chain = ideal.random_chain(rng(0), 2, 1.0)
    texts = np.array(list(itertools.product(range(2), repeat=3)))
    Q = np.exp(ideal.ideal_log_likelihood(chain, texts))
    np.testing.assert_allclose(Q[:, 0], 0.5)  # nothing is known: log V
    same = chain.start @ np.diag(chain.transition)
    np.testing.assert_allclose(Q[:, 1] / Q[:, 0], np.where(texts[:, 0] == texts[:, 1], same, 1 - same))  # "same or different" alone
    assert Q[:, 2].sum() == pytest.approx(1)
    np.testing.assert_allclose(ideal.ideal_log_likelihood(chain, 1 - texts), ideal.ideal_log_likelihood(chain, texts))


def test_excess_loss_lies_between_zero_and_its_bound_and_the_start_is_stationary():
    chain = ideal.random_chain(rng(0), 4, 1.0)
    np.testing.assert_allclose(chain.start @ chain.transition, chain.start)
    assert chain.start.sum() == pytest.approx(1)
    x = ideal.sample(rng(1), chain, 2000, 50)
    excess = ideal.excess_loss(chain, x)
    lengths = np.arange(1, 51)
    assert (excess > 0).all() and (excess <= np.log(24) / lengths).all()
    assert excess[0] == pytest.approx(np.log(4) - np.mean(-np.log(chain.start[x[:, 0]])))
    pairs = np.bincount(x[:, :-1].ravel() * 4 + x[:, 1:].ravel(), minlength=16).reshape(4, 4)
    np.testing.assert_allclose(pairs / pairs.sum(axis=1, keepdims=True), chain.transition, atol=0.02)


@pytest.mark.parametrize("order", [0, 1])
def test_adaptive_losses_count_what_was_read(order):
    windows = rng(0).integers(3, size=(4, 12))
    losses = ideal.adaptive_losses(windows, 3, order)
    for b, t in itertools.product(range(4), range(1, 12)):
        seen = [int(windows[b, s]) for s in range(t) if not order or (s > 0 and windows[b, s - 1] == windows[b, t - 1])]
        p = (seen.count(int(windows[b, t])) + 0.5) / (len(seen) + 1.5)
        assert losses[b, t - 1] == pytest.approx(-math.log(p))


# ---- deciphering ----


def language() -> tuple[np.ndarray, np.ndarray, ideal.Chain]:
    """A chain of eight signs that are easy to tell apart."""
    chain = ideal.random_chain(rng(1), 8, 0.3)
    return chain.start, chain.transition, chain


def test_frequency_matching_reads_a_text_whose_counts_have_the_right_order():
    frequencies = np.array([0.1, 0.4, 0.2, 0.3])
    plain = np.array([[1] * 8 + [3] * 6 + [2] * 4 + [0] * 2])
    secret = encipher(random_cipher(rng(0), 4), plain)
    guess = decipher.frequency_matching(secret, frequencies)
    assert sorted(guess[0]) == [0, 1, 2, 3]
    assert decipher.guess_accuracy(guess, secret, plain, np.arange(4)) == 1
    wrong = guess.copy()
    wrong[0, secret[0, 0]] = 0  # the sign 1 is misread; it is 8 of the 18 signs asked for
    assert decipher.guess_accuracy(wrong, secret, plain, np.array([1, 3, 2])) == pytest.approx(10 / 18)


def test_expectation_maximisation_deciphers_better_than_frequencies():
    frequencies, bigrams, chain = language()
    plain = ideal.sample(rng(2), chain, 40, 150)
    secret = encipher(np.stack([random_cipher(rng(i), 8) for i in range(40)]), plain)
    everything = np.arange(8)
    matched = decipher.guess_accuracy(decipher.frequency_matching(secret, frequencies), secret, plain, everything)
    deciphered = decipher.guess_accuracy(decipher.bigram_em(secret, frequencies, bigrams, 15), secret, plain, everything)
    assert deciphered > 0.85 and deciphered > matched + 0.1


def test_queries_ask_for_letters_as_often_as_they_occur_and_read_where_told():
    plain = rng(0).integers(text.V, size=(6, 20))
    secret = encipher(np.stack([random_cipher(rng(i), text.V) for i in range(6)]), plain)
    E = np.arange(6 * text.V).reshape(6, text.V, 1)  # names prompt and symbol
    h = np.arange(6 * 20).reshape(6, 20, 1)  # names prompt and place
    for reading in ("end", "occurrence"):
        queries = ask(rng(1), plain, secret, E, h, 15, reading, 4)
        for state, e, label in zip(queries.h[:, 0], queries.e[:, 0], queries.label, strict=True):
            row, symbol = divmod(int(e), text.V)
            place = int(state) - 20 * row
            assert inverse(random_cipher(rng(row), text.V))[symbol] == text.LETTERS[label]
            last = max(t for t in range(15) if secret[row, t] == symbol)
            assert place == (14 if reading == "end" else last)


@pytest.mark.parametrize(("reading", "least", "most"), [("occurrence", 0.95, 1.0), ("end", 0.35, 0.7)])
def test_the_probe_reads_unseen_ciphers_from_a_model_that_deciphers_and_nothing_from_shuffled_labels(reading, least, most):
    """Made-up states that hold the true letters: where it occurred, a noisy code of it; at the end, the sum of level(letter) times the vector of its symbol.

    Levels are those of six frequent letters, about half of all that is asked for; the rest cannot be read at the end.
    """
    draw = rng(7)
    code, level = draw.normal(size=(text.V, 64)), np.zeros(text.V)
    level[[text.ALPHABET.index(letter) for letter in "etaoih"]] = [3, 2, -1, 1, -2, -3]

    def queries(count: int) -> decipher.Queries:
        plain = text.random_windows(draw, text.corpus("english")[0], count, 64)
        ciphers = np.stack([random_cipher(draw, text.V) for _ in plain])
        E = 8 * np.linalg.qr(draw.normal(size=(count, 64, text.V)))[0].swapaxes(1, 2)
        if reading == "occurrence":
            h = code[plain] + draw.normal(size=(count, 64, 64))
        else:
            h = np.repeat(level @ E[np.arange(count)[:, None], ciphers][:, None] / 5, 64, axis=1)
        return ask(draw, plain, encipher(ciphers, plain), *(x.astype(np.float32) for x in (E, h)), 64, reading, 16)

    shown, asked = queries(1024), queries(128)
    fit = {"hidden": 128, "classes": 26, "steps": 500, "batch": 256, "lr": 3e-3}
    assert least < decipher.probe_accuracy(decipher.train_probe(jax.random.key(0), shown, **fit), asked) <= most
    shuffled = shown._replace(label=draw.permutation(shown.label))
    commonest = np.bincount(asked.label).max() / len(asked.label)
    assert decipher.probe_accuracy(decipher.train_probe(jax.random.key(0), shuffled, **fit), asked) < commonest + 0.03


# ---- text and prompts ----


def test_text_is_written_in_thirty_signs():
    assert text.V == 30 and len(text.LETTERS) == 26
    assert text.decode(text.encode("Who's there?\nNay -- answer me; 2 men")) == "who's there. nay answer me. men"
    train, held_out = text.corpus("english")
    assert len(train) > 8 * len(held_out)
    windows = text.random_windows(rng(0), held_out, 3, 40)
    assert all(text.decode(window) in text.decode(held_out) for window in windows)
    x = np.array([0, 1, 0, 1, 1], dtype=np.int8)
    np.testing.assert_allclose(text.letter_frequencies(x)[:3], np.array([3, 4, 1]) / 35)
    np.testing.assert_allclose(text.bigram_frequencies(x)[1, :3], np.array([2, 2, 1]) / 32)


def test_an_oracle_solves_both_tasks():
    ids, places, answers = text.lookup_prompts(rng(0), 50, 5)
    for prompt, answer in zip(ids, answers, strict=True):
        *pairs, question = text.decode(prompt[: places[0] + 1]).split(" ")
        assert len(pairs) == 5 and len(set("".join(pairs))) == 10
        assert dict(pairs)[question] == text.decode(answer)
    ids, places, answers = text.permutation_prompts(rng(0), 50, 3)
    for prompt, answer in zip(ids, answers, strict=True):
        *examples, question = (part.split(" ") for part in text.decode(prompt).split(", "))
        plain, written = examples[0]
        order = [plain.index(letter) for letter in written]
        assert order != [0, 1, 2]
        for plain, written in [*examples, question]:
            assert [plain[i] for i in order] == list(written)
        assert question[1] == text.decode(answer)
        np.testing.assert_array_equal(prompt[places + 1], answer)


def test_answers_are_read_in_the_right_places_among_all_symbols_and_among_letters(monkeypatch):
    def oracle(task: str, space: float):
        def scores(function, model, params, ids, E):
            following = np.roll(ids, -1, axis=1)
            if task == "lookup":  # what followed the asked key where it stood before
                asked = ids[:, 3 * E]
                first = (ids == asked[:, None]).argmax(axis=1)
                following[:, 3 * E] = ids[np.arange(len(ids)), first + 1]
            return np.eye(text.V)[following] + space * np.eye(text.V)[text.SPACE]

        return scores

    for task, space in itertools.product(("lookup", "permutation"), (0.0, 2.0)):
        monkeypatch.setattr(replicate, "each", oracle(task, space))
        row = replicate.reasoning(Config(shots=(1, 5), prompts=20), {}, lambda name, B: int(name.split()[1]), 0)
        np.testing.assert_array_equal(row[f"{task}_accuracy_letters"], 1)
        np.testing.assert_array_equal(row[f"{task}_accuracy"], float(space == 0))  # a space is no answer


# ---- claims and the whole ----


def test_claims_on_made_up_trials():
    lm = {"experiment": "lm", "text": "english", "seed": 0}
    standard = {"random_share": 0.0, "loss": np.full(32, 2.0), "loss_cipher": np.full(32, 5.0)}
    standard |= {"lookup_accuracy": np.array([0.1, 0.3]), "permutation_accuracy": np.array([0.0, 0.0])}
    lexinvariant = {"random_share": 1.0, "loss": np.r_[np.full(8, 3.0), np.full(8, 9.0), np.full(16, 2.5)]}
    lexinvariant |= {"lookup_accuracy": np.array([0.6, 0.6]), "permutation_accuracy": np.array([0.05, 0.05])}
    lexinvariant |= {"loss_cipher": lexinvariant["loss"] + 0.1, "probe_accuracy": np.array([0.0, 0.75]), "frequency_accuracy": np.array([0.0, 0.25])}
    chain = {"experiment": "ideal", "seed": 0, "lengths": 2 ** np.arange(9), "excess": np.r_[np.ones(4), 2.0 ** -np.arange(5)]}
    counts = {"experiment": "adaptive", "text": "english", "seed": 0, "loss_unigram": np.r_[np.full(16, 9.0), np.full(16, 2.75)]}
    trials = pd.DataFrame([lm | standard, lm | lexinvariant, chain, counts])
    assert claims.gap_closing(trials)[0] == pytest.approx(0.5)
    assert claims.calibrated_gap_closing(trials)[0] == pytest.approx(0.5)  # 3 is less than log 30
    dear = pd.DataFrame([lm | standard, lm | lexinvariant | {"loss": np.r_[np.full(4, 3.0), np.full(12, 9.0), np.full(16, 2.5)]}])
    assert claims.calibrated_gap_closing(dear)[0] == pytest.approx((3 + math.log(30)) / 2 - 2 - 0.5)
    assert claims.below_the_plateau(trials)[0] == pytest.approx(0.25)
    assert claims.perplexity_ratio(trials)[0] == pytest.approx(math.exp(0.5))
    assert claims.invariance(trials)[0] == pytest.approx(2.0)
    assert claims.decipherment(trials)[0] == pytest.approx(0.5)
    assert claims.reasoning_ratio(trials)[0] == pytest.approx((3 + 5) / 2)
    assert claims.convergence_slope(trials)[0] == pytest.approx(-1)


def test_a_miniature_of_every_experiment_gives_rows_and_depends_on_the_seed():
    config = Config(
        width=32, layers=1, heads=1, context=32, steps=3, warm_up=1, batch=4, random_shares=(0.0, 1.0), test_windows=8, probe_contexts=(16,), probe_prompts=32,
        probe_queries=2, probe_steps=3, em_prompts=2, em_iterations=1, shots=(1,), prompts=8, chain_symbols=3, chain_length=32, chains=1, chain_texts=2,
    )  # fmt: skip
    rows = {}
    for condition in conditions(config):
        first, second = rows[str(condition)] = run(config, condition, (0, 1), "cpu")
        assert not set(first) & set(condition)
        assert all(np.isfinite(value).all() for value in first.values())
        assert any((np.asarray(first[name]) != second[name]).any() for name in first)
    standard, lexinvariant = list(rows.values())[:2]
    for row in lexinvariant:
        np.testing.assert_allclose(row["loss"], row["loss_cipher"], atol=1e-5)
    assert abs(standard[0]["loss"].mean() - standard[0]["loss_cipher"].mean()) > 1e-4
