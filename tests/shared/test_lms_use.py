"""Scoring, sampling and injections of the language models, in JAX and in torch."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from shared.lms import jax_inject, jax_model, jax_sampling, jax_scoring, torch_inject, torch_sampling, torch_scoring
from shared.lms.config import decoder, encoder, nest, parameter_shapes
from shared.lms.padding import pad, windows
from shared.lms.torch_model import Transformer
from shared.seeds import jax_key, numpy_rng, torch_generator

DEC = decoder(width=16, layers=2, heads=2, context=32, vocab=11, kv_heads=1)
LEARNED = encoder(width=16, layers=1, heads=2, context=32, vocab=11, causal=True, head_transform=False)
ENC = encoder(width=16, layers=2, heads=2, context=32, vocab=11)
quick = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
compiled = partial(quick, static_argnames="config")
logits = compiled(jax_model.logits)


def both(config):
    rng = numpy_rng(0, "weights")
    flat = {name: (0.4 * rng.standard_normal(shape) + ("norm.weight" in name)).astype(np.float32) for name, shape in parameter_shapes(config).items()}
    model = Transformer(config)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in flat.items()})
    return nest({name: jnp.asarray(value) for name, value in flat.items()}), model.eval()


PARAMS, MODEL = both(DEC)
IDS = numpy_rng(0, "text").integers(0, DEC.vocab, (3, 12)).astype(np.int32)
RAGGED = [IDS[0].tolist(), IDS[1, :7].tolist(), IDS[2, :4].tolist()]


def log_softmax(x):
    x = np.asarray(x, np.float64)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def full(ids):
    """Logits of one sequence, without batch, mask or cache: what comes after a token cannot matter, so one length is compiled for all."""
    return np.asarray(logits(PARAMS, DEC, jnp.asarray(list(ids) + [0] * (20 - len(ids)))))[: len(ids)]


# Padding and windows


def test_padding_keeps_the_end_on_the_left_and_the_start_on_the_right():
    ids, mask = pad([[1, 2, 3], [4]], length=2, side="left", value=9)
    assert ids.tolist() == [[2, 3], [9, 4]] and mask.tolist() == [[True, True], [False, True]]
    ids, mask = pad([[1, 2, 3], [4]], value=9)
    assert ids.tolist() == [[1, 2, 3], [4, 9, 9]] and mask.sum() == 4


def test_windows_predict_every_token_once():
    assert windows(np.arange(8), 4).tolist() == [[0, 1, 2, 3], [3, 4, 5, 6]]


# The cache


def test_a_cached_run_equals_the_full_one():
    prompt, rest = IDS[:, :5], IDS[:, 5:]
    expected = np.asarray(logits(PARAMS, DEC, jnp.asarray(IDS)))
    cache = jax_model.empty_cache(DEC, (3,), 12)
    unembed = quick(partial(jax_model.unembed, PARAMS, DEC))
    step = quick(lambda ids, start, cache: jax_model.run(PARAMS, DEC, ids, None, start + jnp.arange(ids.shape[1]), cache=cache))
    states, cache = step(jnp.asarray(prompt), 0, cache)
    found = [unembed(states[-1])]
    theirs = MODEL.empty_cache()
    with torch.no_grad():
        in_torch = [MODEL.unembed(MODEL.run(torch.from_numpy(prompt), cache=theirs)[-1])]
        for i in range(rest.shape[1]):
            states, cache = step(jnp.asarray(rest[:, i : i + 1]), 5 + i, cache)
            found.append(unembed(states[-1]))
            in_torch.append(MODEL.unembed(MODEL.run(torch.from_numpy(rest[:, i : i + 1]), None, torch.tensor([5 + i]), cache=theirs)[-1]))
    np.testing.assert_allclose(np.concatenate(found, axis=1), expected, atol=1e-4)
    np.testing.assert_allclose(torch.cat(in_torch, dim=1), expected, atol=1e-4)


# Scoring


def test_token_log_probs_are_those_of_each_sequence_alone():
    ids, mask = pad(RAGGED)
    found = np.asarray(compiled(jax_scoring.token_log_probs)(PARAMS, DEC, jnp.asarray(ids), jnp.asarray(mask)))
    with torch.no_grad():
        in_torch = torch_scoring.token_log_probs(MODEL, torch.from_numpy(ids).long(), torch.from_numpy(mask)).numpy()
    for row, sequence in enumerate(RAGGED):
        expected = log_softmax(full(sequence))[np.arange(len(sequence) - 1), sequence[1:]]
        for scores in (found, in_torch):
            np.testing.assert_allclose(scores[row, : len(sequence) - 1], expected, atol=1e-4)
            assert not scores[row, len(sequence) - 1 :].any()


def test_label_words_are_scored_by_the_log_softmax_after_the_prompt():
    ids, mask = pad(RAGGED)
    labels = np.array([7, 2, 10])
    expected = np.stack([log_softmax(full(sequence)[-1])[labels] for sequence in RAGGED])
    np.testing.assert_allclose(compiled(jax_scoring.score_labels)(PARAMS, DEC, jnp.asarray(ids), jnp.asarray(mask), jnp.asarray(labels)), expected, atol=1e-4)
    with torch.no_grad():
        in_torch = torch_scoring.score_labels(MODEL, torch.from_numpy(ids), torch.from_numpy(mask), torch.from_numpy(labels))
    np.testing.assert_allclose(in_torch, expected, atol=1e-4)


def test_an_encoder_scores_labels_at_its_mask_token():
    params, model = both(ENC)
    ids, mask = pad(RAGGED)
    where = np.array([3, 0, 2])
    expected = log_softmax(logits(params, ENC, jnp.asarray(ids), jnp.asarray(mask)))[np.arange(3), where][:, [1, 4]]
    found = compiled(jax_scoring.score_labels)(params, ENC, jnp.asarray(ids), jnp.asarray(mask), jnp.array([1, 4]), jnp.asarray(where))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    with torch.no_grad():
        in_torch = torch_scoring.score_labels(model, torch.from_numpy(ids), torch.from_numpy(mask), torch.tensor([1, 4]), torch.from_numpy(where))
    np.testing.assert_allclose(in_torch, expected, atol=1e-4)


def test_a_continuation_s_score_is_the_sum_over_its_tokens():
    ids, mask = pad(RAGGED)
    starts = np.array([5, 6, 1])
    expected = [log_softmax(full(s))[np.arange(start - 1, len(s) - 1), s[start:]].sum() for s, start in zip(RAGGED, starts, strict=True)]
    found, counts = compiled(jax_scoring.score_continuations)(PARAMS, DEC, jnp.asarray(ids), jnp.asarray(mask), jnp.asarray(starts))
    with torch.no_grad():
        in_torch, in_torch_counts = torch_scoring.score_continuations(MODEL, torch.from_numpy(ids).long(), torch.from_numpy(mask), torch.from_numpy(starts))
    for scores, lengths in ((found, counts), (in_torch, in_torch_counts)):
        np.testing.assert_allclose(scores, expected, atol=1e-4)
        assert lengths.tolist() == [7, 1, 3]


def test_perplexity_is_over_all_windows_whatever_the_batch():
    rows = np.concatenate([IDS, IDS[:, ::-1]])[:5]
    expected = np.mean([-log_softmax(full(row))[np.arange(11), row[1:]].mean() for row in rows])
    assert jax_scoring.mean_loss(PARAMS, DEC, rows, batch=2) == pytest.approx(expected, abs=1e-4)
    assert torch_scoring.perplexity(MODEL, torch.from_numpy(rows).long(), batch=3) == pytest.approx(np.exp(expected), rel=1e-4)


# Sampling


def greedy(prompt, n):
    sequence = list(prompt)
    for _ in range(n):
        sequence.append(int(full(sequence)[-1].argmax()))
    return sequence[len(prompt) :]


sample = compiled(jax_sampling.continuations, static_argnames=("config", "new_tokens", "temperature", "top_k", "top_p", "end", "pad"))


def in_both(prompts, **options):
    ids, mask = pad(prompts, side="left")
    keys = jax.random.split(jax_key(0, "sample"), len(ids))
    yield tuple(map(np.asarray, sample(PARAMS, DEC, jnp.asarray(ids), jnp.asarray(mask), keys, **options)))
    generator = torch_generator(0, "sample")
    tokens, log_probs = torch_sampling.sample(MODEL, torch.from_numpy(ids).long(), torch.from_numpy(mask), generator, **options)
    yield tokens.numpy(), log_probs.numpy()


def test_temperature_0_takes_the_likeliest_token_each_time_and_pads_after_the_end():
    expected = [greedy(prompt, 5) for prompt in RAGGED]
    end = expected[0][2]
    for tokens, log_probs in in_both(RAGGED, new_tokens=5, temperature=0.0, end=end, pad=0):
        for row, scores, whole in zip(tokens.tolist(), log_probs, expected, strict=True):
            n = whole.index(end) + 1 if end in whole else 5
            assert row == whole[:n] + [0] * (5 - n) and not scores[n:].any() and scores[:n].all()


def test_learned_positions_count_tokens_not_padding():
    params, model = both(LEARNED)
    ids, mask = pad([[3, 1, 4], [1]], side="left")
    in_jax = sample(params, LEARNED, jnp.asarray(ids), jnp.asarray(mask), jax.random.split(jax_key(0, "sample"), 2), new_tokens=3, temperature=0.0)[0]
    in_torch = torch_sampling.sample(model, torch.from_numpy(ids).long(), torch.from_numpy(mask), torch_generator(0, "sample"), new_tokens=3, temperature=0.0)[
        0
    ]
    short = [1]
    with torch.no_grad():
        for _ in range(3):
            short.append(int(model(torch.tensor([short]))[0, -1].argmax()))
    assert in_jax[1].tolist() == in_torch[1].tolist() == short[1:]


@pytest.mark.parametrize("options", [(1.0, 1, 1.0), (1.0, 0, 1e-6), (1e-4, 0, 1.0)], ids=["top-k 1", "top-p to 0", "temperature to 0"])
def test_every_limit_of_sampling_is_greedy(options):
    scores = numpy_rng(0, "scores").standard_normal((50, 7))
    drawn = quick(jax.vmap(lambda key, row: jax_sampling.draw(key, row, *options)))(jax.random.split(jax_key(0, "draws"), 50), jnp.asarray(scores))
    in_torch = torch_sampling.draw(torch.from_numpy(scores), torch_generator(0, "draws"), *options)
    assert drawn.tolist() == in_torch.tolist() == scores.argmax(1).tolist()


SAMPLED = {"temperature": 2.0, "top_k": 5, "new_tokens": 4}


def test_sampled_log_probs_are_those_of_scoring():
    for tokens, log_probs in in_both(RAGGED, **SAMPLED):
        for prompt, new, scores in zip(RAGGED, tokens.tolist(), log_probs, strict=True):
            expected = log_softmax(full(prompt + new))[np.arange(len(prompt) - 1, len(prompt) + 3), new]
            np.testing.assert_allclose(scores, expected, atol=1e-4)


def test_a_row_s_draws_do_not_depend_on_its_neighbours():
    ids, mask = map(jnp.asarray, pad(RAGGED, side="left"))
    keys = jax.random.split(jax_key(0, "sample"), 3)
    order = np.array([2, 0, 1])
    tokens = sample(PARAMS, DEC, ids, mask, keys, **SAMPLED)[0]
    again = sample(PARAMS, DEC, ids[order], mask[order], keys[order], **SAMPLED)[0]
    assert np.array_equal(tokens[order], again)


@pytest.mark.parametrize("temperature, top_k, top_p", [(0.5, 0, 1.0), (1.0, 3, 1.0), (2.0, 4, 0.6)])
def test_draws_follow_the_restricted_distribution(temperature, top_k, top_p):
    scores = np.array([2.0, 1.5, 1.2, 0.0, -0.3, -1.0, 0.6])
    p = np.exp(scores / temperature)
    p = np.where(p >= np.sort(p)[-top_k], p, 0) if top_k else p
    p /= p.sum()
    order = np.argsort(-p)
    kept = order[: 1 + np.searchsorted(np.cumsum(p[order]), top_p - 1e-9)]
    expected = np.where(np.isin(np.arange(7), kept), p, 0)
    expected /= expected.sum()
    n = 5_000
    keys = jax.random.split(jax_key(0, "draws"), n)
    drawn = quick(jax.vmap(lambda key: jax_sampling.draw(key, jnp.asarray(scores), temperature, top_k, top_p)))(keys)
    in_torch = torch_sampling.draw(torch.tensor(scores).expand(n, -1), torch_generator(0, "draws"), temperature, top_k, top_p)
    for tokens in (drawn, in_torch):
        counts = np.bincount(np.asarray(tokens), minlength=7)
        assert not counts[expected == 0].any()
        np.testing.assert_allclose(counts / n, expected, atol=5 * np.sqrt(0.25 / n))


# Injections


def test_untrained_lora_and_adapters_change_nothing_and_trained_ones_agree_in_both_frameworks():
    key = jax_key(0, "tuned")
    sites = ("q", "k", "v", "o", "gate", "up", "down")
    tuned = quick(lambda key: (jax_inject.lora_init(key, DEC, rank=3, sites=sites), jax_inject.adapter_init(key, DEC, bottleneck=5)))(key)
    plain = np.asarray(logits(PARAMS, DEC, jnp.asarray(IDS)))

    @quick
    def tuned_logits(tuned):
        return jax_model.logits(PARAMS, DEC, jnp.asarray(IDS), inject=jax_inject.together(jax_inject.lora(tuned[0], alpha=6), jax_inject.adapter(tuned[1])))

    np.testing.assert_allclose(tuned_logits(tuned), plain, atol=2e-5)  # the same but for the order of sums
    _, model = both(DEC)
    torch_inject.add_lora(model, rank=3, alpha=6, generator=torch_generator(0, "tuned"), sites=sites)
    torch_inject.add_adapters(model, bottleneck=5, generator=torch_generator(0, "tuned"))
    with torch.no_grad():
        np.testing.assert_allclose(model(torch.from_numpy(IDS)), plain, atol=1e-4)
        rng = numpy_rng(0, "training")
        tuned = jax.tree.map(lambda p: jnp.asarray(p + 0.3 * rng.standard_normal(p.shape), jnp.float32), tuned)
        for place, values in [*tuned[0].items(), *tuned[1].items()]:
            for name, value in values.items():
                getattr(model.layers[place[0]].injected[place[1]][0], name).copy_(torch.from_numpy(np.array(value)))
        moved = model(torch.from_numpy(IDS)).numpy()
    assert np.abs(moved - plain).max() > 0.1
    np.testing.assert_allclose(tuned_logits(tuned), moved, atol=1e-4)
    model.eject()
    with torch.no_grad():
        np.testing.assert_allclose(model(torch.from_numpy(IDS)), plain, atol=1e-4)


def test_merged_lora_computes_what_injected_lora_does():
    tuned = jax.tree.map(
        lambda p: p + 0.2, quick(partial(jax_inject.lora_init, config=DEC, rank=2, sites=("q", "v", "down"), layers=(1,)))(jax_key(0, "tuned"))
    )
    injected = quick(partial(jax_model.logits, config=DEC, inject=jax_inject.lora(tuned, alpha=4)))(PARAMS, inputs=IDS)
    np.testing.assert_allclose(logits(jax_inject.merge_lora(PARAMS, tuned, alpha=4), DEC, jnp.asarray(IDS)), injected, atol=1e-4)


def test_a_prefix_of_another_text_s_keys_and_values_is_that_text_put_before():
    before, after = IDS[:1, :5], IDS[:1, 5:]
    _, cache = compiled(jax_model.run)(PARAMS, DEC, jnp.asarray(before), cache=jax_model.empty_cache(DEC, (1,), 5))
    tuned = {(layer, "prefix"): {name: part[name][0] for name in ("k", "v")} for layer, part in enumerate(cache)}
    expected = full(IDS[0])[5:]
    places, ones = np.arange(5, 12), np.ones_like(after, bool)
    run = quick(partial(jax_model.logits, config=DEC, inject=jax_inject.prefix(tuned)))
    np.testing.assert_allclose(run(PARAMS, inputs=after, token_positions=places)[0], expected, atol=1e-4)
    _, model = both(DEC)
    for (layer, site), p in tuned.items():
        model.inject(layer, site, torch_inject.Prefix(*(torch.from_numpy(np.array(p[name])) for name in ("k", "v"))))
    with torch.no_grad():
        found = model(torch.from_numpy(after), torch.from_numpy(ones), token_positions=torch.from_numpy(places))
    np.testing.assert_allclose(found[0], expected, atol=1e-4)


def test_injections_at_one_site_act_in_the_order_given():
    place = (0, "after_ffn")
    joined = jax_inject.together(
        {place: lambda value, source: value + source}, {place: lambda value, source: 10 * value}, {(1, "q"): lambda value, source: -value}
    )
    assert joined[place](1, 2) == 30 and joined[1, "q"](1, 2) == -1


def test_steering_adds_the_vector_to_the_stream():
    vector = numpy_rng(0, "direction").standard_normal(DEC.width).astype(np.float32)
    states = np.asarray(quick(partial(jax_model.hidden_states, config=DEC, inject=jax_inject.steering(0, jnp.asarray(vector))))(PARAMS, inputs=IDS))
    _, model = both(DEC)
    with torch.no_grad():
        plain = model.hidden_states(torch.from_numpy(IDS)).numpy()
        model.inject(0, "after_ffn", torch_inject.Steering(torch.from_numpy(vector)))
        np.testing.assert_allclose(model.hidden_states(torch.from_numpy(IDS)), states, atol=1e-4)
    np.testing.assert_allclose(states[1], plain[1] + vector, atol=1e-4)
    assert np.abs(states[2] - plain[2] - vector).max() > 1e-3, "the later layer reacts"


def test_input_noise_has_the_stated_size_and_only_while_training():
    noise = jax_inject.input_noise(jax_key(0, "noise"), alpha=5.0)[0, "input_embedding"]
    added = np.asarray(noise(jnp.zeros((64, 20, DEC.width)), None))
    bound = 5 / np.sqrt(20 * DEC.width)
    assert np.abs(added).max() <= bound and added.std() == pytest.approx(bound / np.sqrt(3), rel=0.02)
    module = torch_inject.InputNoise(5.0, torch_generator(0, "noise"))
    added = module(torch.zeros(64, 20, DEC.width), None)
    assert added.abs().max() <= bound and added.std() == pytest.approx(bound / np.sqrt(3), rel=0.02)
    assert not module.eval()(torch.zeros(2, 3, DEC.width), None).any()
