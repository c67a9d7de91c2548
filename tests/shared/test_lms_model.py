"""The decoder and the encoder: JAX against torch against transformers, and what each must not see."""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from shared.lms import jax_model
from shared.lms.config import ModelConfig, alibi_slopes, decoder, encoder, flatten, named, named_matrices, nest, parameter_count, parameter_shapes
from shared.lms.torch_model import Transformer, unembed_with
from shared.seeds import jax_key, numpy_rng, torch_generator

DEC = decoder(width=32, layers=2, heads=4, context=24, vocab=50)
ENC = encoder(width=32, layers=2, heads=4, context=24, vocab=50)
quick = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
compiled = partial(quick, static_argnames="config")
SHAPES = {
    "dec": DEC,
    "enc": ENC,
    "grouped": dataclasses.replace(DEC, kv_heads=2, biased=("q", "k", "v"), tied=False),
    "no positions": dataclasses.replace(DEC, positions="none"),
    "sinusoidal": dataclasses.replace(DEC, positions="sinusoidal"),
    "alibi": dataclasses.replace(DEC, positions="alibi", slopes=alibi_slopes(4)),
    "alibi both ways": dataclasses.replace(ENC, positions="alibi", slopes=alibi_slopes(4)),
    "attention only": dataclasses.replace(DEC, ffn=0),
    "windowed": dataclasses.replace(DEC, windows=(0, 3)),
    "post-norm": dataclasses.replace(ENC, post_norm=True),
    "gelu decoder": encoder(width=32, layers=2, heads=4, context=24, vocab=50, causal=True, segments=0, head_transform=False, attention_scale=1.0),
}


@compiled
def forward(params: dict, config: ModelConfig, ids, mask):
    """All states, and the logits."""
    states = jax_model.hidden_states(params, config, ids, mask)
    return states, jax_model.unembed(params, config, states[-1])


def scores(params: dict, config: ModelConfig, ids, mask=None):
    return np.asarray(forward(params, config, jnp.asarray(ids), jnp.ones(ids.shape, bool) if mask is None else jnp.asarray(mask))[1])


def wide(config: ModelConfig, seed: int = 0, scale: float = 0.3) -> dict:
    """Flat weights so large, biases and norms included, that no term of the model is negligible."""
    rng = numpy_rng(seed, "weights")
    return {name: (scale * rng.standard_normal(shape) + ("norm.weight" in name)).astype(np.float32) for name, shape in parameter_shapes(config).items()}


def both(config: ModelConfig, seed: int = 0):
    flat = wide(config, seed)
    model = Transformer(config)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in flat.items()})
    return nest({name: jnp.asarray(value) for name, value in flat.items()}), model.eval()


def text(config: ModelConfig, batch: int = 3, length: int = 17):
    rng = numpy_rng(0, "text")
    ids = rng.integers(0, config.vocab, (batch, length))
    mask = np.arange(length) < np.array([length, length - 5, length - 9])[:, None]
    return ids, mask


@pytest.mark.parametrize("name", SHAPES)
def test_torch_and_jax_agree_on_states_and_logits(name):
    config = SHAPES[name]
    params, model = both(config)
    ids, mask = text(config)
    states, logits = forward(params, config, jnp.asarray(ids), jnp.asarray(mask))
    with torch.no_grad():
        their_states = model.hidden_states(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
        their_logits = model(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
    assert states.shape == (config.layers + 1, *ids.shape, config.width)
    np.testing.assert_allclose(states[:, mask], their_states[:, mask], atol=1e-4)
    np.testing.assert_allclose(logits[mask], their_logits[mask], atol=1e-4)


def test_one_sequence_is_a_batch_without_its_dimension_and_seeds_map():
    ids, mask = text(DEC)
    params, other = both(DEC)[0], both(DEC, seed=1)[0]
    np.testing.assert_allclose(scores(params, DEC, ids[0]), scores(params, DEC, ids)[0], atol=1e-5)
    stacked = jax.tree.map(lambda *x: jnp.stack(x), params, other)
    mapped = quick(jax.vmap(jax_model.logits, in_axes=(0, None, None, None)), static_argnums=1)(stacked, DEC, ids, mask)
    np.testing.assert_allclose(mapped[1][mask], scores(other, DEC, ids, mask)[mask], atol=1e-4)


@pytest.mark.parametrize("config", [DEC, ENC], ids=["dec", "enc"])
def test_rows_of_a_batch_do_not_see_each_other(config):
    params, _ = both(config)
    ids, mask = text(config)
    order = np.array([2, 0, 1])
    np.testing.assert_allclose(scores(params, config, ids[order], mask[order]), scores(params, config, ids, mask)[order], atol=1e-5)


@pytest.mark.parametrize("config", [DEC, ENC], ids=["dec", "enc"])
def test_the_decoder_does_not_see_the_future_and_the_encoder_does(config):
    ids, _ = text(config)
    later = ids.copy()
    later[:, 10] = (later[:, 10] + 1) % config.vocab
    params, model = both(config)
    with torch.no_grad():
        in_torch = (model(torch.from_numpy(later)) - model(torch.from_numpy(ids))).abs().numpy()
    for moved in (np.abs(scores(params, config, later) - scores(params, config, ids)), in_torch):
        assert (moved[:, :10].max() < 1e-5) == config.causal
        assert moved[:, 10].max() > 1e-2


def test_without_positions_one_layer_does_not_know_the_order_of_what_came_before():
    config = dataclasses.replace(DEC, layers=1, positions="none")
    ids, _ = text(config)
    turned = np.concatenate([ids[:, :-1][:, ::-1], ids[:, -1:]], axis=1)
    for kind, same in (("none", True), ("rotary", False), ("sinusoidal", False), ("alibi", False)):
        config = dataclasses.replace(DEC, layers=1, positions=kind, slopes=alibi_slopes(4))
        params, _ = both(config)
        moved = np.abs(scores(params, config, ids)[:, -1] - scores(params, config, turned)[:, -1]).max()
        assert (moved < 1e-5) == same, kind


def test_attention_patterns_are_the_softmax_of_the_first_layer_s_scores():
    config = dataclasses.replace(DEC, layers=1, positions="none", ffn=0)
    params, _ = both(config)
    ids, _ = text(config)
    patterns = np.asarray(jax_model.attention_patterns(params, config, jnp.asarray(ids)))
    assert patterns.shape == (1, len(ids), config.heads, ids.shape[1], ids.shape[1])
    np.testing.assert_allclose(patterns.sum(-1), 1, atol=1e-5)
    assert np.triu(patterns[0, 0, 0], 1).max() == 0
    layer = params["layers"][0]
    h = np.asarray(jax_model.normalise(layer["attention_norm"], config, params["tokens"]["weight"][ids]))
    q, k = (np.asarray(h @ layer[name]["weight"].T)[1, :, : config.head_width] for name in ("q", "k"))  # the first head of the second sequence
    scores = np.exp(config.attention_scale * q[5] @ k[:6].T)
    np.testing.assert_allclose(patterns[0, 1, 0, 5, :6], scores / scores.sum(), rtol=1e-3, atol=1e-5)


def test_alibi_without_slopes_is_no_position_and_steep_slopes_leave_the_token_itself():
    ids, _ = text(DEC)
    params, _ = both(DEC)
    none = dataclasses.replace(DEC, positions="none")
    flat, steep = (dataclasses.replace(DEC, positions="alibi", slopes=(slope,) * 4) for slope in (0.0, 1e6))
    np.testing.assert_allclose(scores(params, flat, ids), scores(params, none, ids), atol=1e-6)
    np.testing.assert_allclose(scores(params, steep, ids), scores(params, dataclasses.replace(none, windows=(1, 1)), ids), atol=1e-5)
    assert alibi_slopes(8)[:2] == (1 / 2, 1 / 4)


def test_sinusoidal_positions_are_those_of_the_formula():
    table = np.asarray(jax_model.sinusoids(jnp.arange(5), 8))
    assert np.allclose(table[3, 2], np.sin(3 / 10000 ** (2 / 8))) and np.allclose(table[3, 5], np.cos(3 / 10000 ** (4 / 8)))


def test_float64_stays_float64():
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), nest(wide(DEC)))
        ids, _ = text(DEC)
        double = jax_model.logits(params, DEC, jnp.asarray(ids))
    assert double.dtype == np.float64
    assert 0 < np.abs(np.asarray(double) - scores(nest(wide(DEC)), DEC, ids)).max() < 1e-4


@pytest.mark.parametrize("config", [DEC, ENC], ids=["dec", "enc"])
def test_padding_changes_nothing(config):
    params, model = both(config)
    ids, mask = text(config)
    other = np.where(mask, ids, 7)
    np.testing.assert_allclose(scores(params, config, other, mask)[mask], scores(params, config, ids, mask)[mask], atol=1e-5)
    with torch.no_grad():
        alone = model(torch.from_numpy(ids[2:, : mask[2].sum()]))[0]
        np.testing.assert_allclose(model(torch.from_numpy(other), torch.from_numpy(mask))[2, : mask[2].sum()], alone, atol=1e-4)
    np.testing.assert_allclose(scores(params, config, other, mask)[2, : mask[2].sum()], alone, atol=1e-4)


def test_a_window_hides_what_is_further_back():
    config = dataclasses.replace(DEC, windows=(3, 3))
    params, _ = both(config)
    ids, _ = text(config)
    earlier = ids.copy()
    earlier[:, 0] = (earlier[:, 0] + 1) % config.vocab
    moved = np.abs(scores(params, config, earlier) - scores(params, config, ids)).max(axis=(0, 2))
    assert moved[4] > 1e-4, "two layers of window 3 reach four tokens back"
    assert moved[5:].max() < 1e-6


def test_logits_at_chosen_positions_are_those_of_all_positions():
    params, model = both(DEC)
    ids, _ = text(DEC)
    chosen = np.array([[0, 5], [16, 2], [3, 3]])
    expected = np.take_along_axis(scores(params, DEC, ids), chosen[..., None], axis=1)
    np.testing.assert_allclose(compiled(jax_model.logits)(params, DEC, jnp.asarray(ids), positions=jnp.asarray(chosen)), expected, atol=1e-5)
    with torch.no_grad():
        np.testing.assert_allclose(model.logits(torch.from_numpy(ids), positions=torch.from_numpy(chosen)), expected, atol=1e-4)


def test_given_embeddings_and_tables_replace_the_model_s_own():
    """With the learned table handed in, one copy a sequence, a model without a table is the standard one; with table and ids permuted, so are its logits."""
    params, model = both(DEC)
    ids, _ = text(DEC)
    bare = {name: part for name, part in params.items() if name != "tokens"}
    config = dataclasses.replace(DEC, vocab=0)
    assert not any(DEC.vocab in shape for shape in parameter_shapes(config).values())

    @quick
    def against(tables, ids):
        hidden = jax_model.last_hidden_state(bare, config, jax.vmap(lambda table, row: table[row])(tables, ids))
        return jax_model.unembed_with(hidden, tables)

    expected = scores(params, DEC, ids)
    tables = jnp.broadcast_to(params["tokens"]["weight"], (len(ids), DEC.vocab, DEC.width))
    np.testing.assert_allclose(against(tables, jnp.asarray(ids)), expected, atol=1e-5)
    rename = numpy_rng(0, "cipher").permutation(DEC.vocab)
    np.testing.assert_allclose(against(tables[:, np.argsort(rename)], jnp.asarray(rename[ids]))[..., rename], expected, atol=1e-5)
    with torch.no_grad():
        hidden = model.last_hidden_state(model.tokens(torch.from_numpy(ids)))
        np.testing.assert_allclose(unembed_with(hidden, torch.from_numpy(np.array(tables))), expected, atol=1e-4)


def test_sizes_are_those_of_the_specification():
    expected = {"dec-nano": (25e3, 41e3), "dec-xs": (0.20e6, 0.33e6), "dec-s": (0.79e6, 1.32e6), "dec-m": (37.7e6, 39.9e6), "dec-b": (85e6, 88e6)}
    for name, (body, total) in expected.items():
        for family in ("dec", "enc"):
            config = named(name.replace("dec", family))
            assert parameter_count(config, embedding=False) == pytest.approx(body, rel=0.08)
            assert parameter_count(config) == pytest.approx(total, rel=0.12)
    assert named("dec-m").ffn == 1368 and named("dec-b").ffn == 2048
    assert named("dec-s-py").vocab == 2048
    with pytest.raises(ValueError, match="no model"):
        named("dec-xxl")


def test_initial_weights_have_the_stated_spread():
    init = compiled(jax_model.init)
    in_jax = init(jax_key(0, "init"), DEC)
    in_torch = {name: value.detach().numpy() for name, value in Transformer(ENC, torch_generator(0, "init")).parameters_by_name().items()}
    for config, weights in ((DEC, flatten(in_jax)), (ENC, in_torch)):
        assert {name: value.shape for name, value in weights.items()} == parameter_shapes(config)
        assert float(np.std(weights["layers.0.q.weight"])) == pytest.approx(0.02, rel=0.1)
        assert float(np.std(weights["layers.1.down.weight"])) == pytest.approx(0.02 / 2, rel=0.1)
        assert (np.asarray(weights["layers.1.ffn_norm.weight"]) == 1).all()
        assert all(not np.any(value) for name, value in weights.items() if name.endswith("bias"))
    without_table = init(jax_key(0, "init"), dataclasses.replace(DEC, vocab=0))
    assert all(map(np.array_equal, jax.tree.leaves(in_jax["layers"]), jax.tree.leaves(without_table["layers"]))), "the layers do not depend on the tables"


def test_categories_share_out_the_parameters():
    for config in SHAPES.values():
        names = [name for category in ("attention", "ffn", "norm", "embedding", "head") for name in named_matrices(config, category)]
        assert sorted(names) == sorted(parameter_shapes(config))
    assert named_matrices(DEC, "ffn")[:3] == [f"layers.0.{m}.weight" for m in ("gate", "up", "down")]
