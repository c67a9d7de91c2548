"""Linear attention in its three forms, prefixes and padding, the task, the prefill against the shared mixers, and a run end to end."""

from __future__ import annotations

import dataclasses
import os
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from papers.just_read_twice import claims, model, prefill, replicate, tasks
from papers.just_read_twice.replicate import Config, both_orders, by_order, conditions, peak_bytes, run, seconds_in_turns
from shared.seeds import numpy_rng
from shared.sequence.features import Taylor
from shared.sequence.linear import empty_memory, linear_attention, linear_attention_step, memorise, prefix_linear_attention, recall
from shared.sequence.recurrence import unroll

WIDTH, HEADS, D, TIME = 12, 2, 3, 11
TAYLOR = Taylor()
ROLLED = prefill.FEATURES


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def close(a, b, tolerance: float = 1e-10):
    torch.testing.assert_close(a.double(), b.double(), rtol=0, atol=tolerance * max(1.0, b.abs().max().item()))


def based(kind: str, d: int = D) -> model.Based:
    torch.manual_seed(0)
    return model.Based(WIDTH, HEADS, d, kind).double()


def network(kind: str, **changes) -> model.Network:
    torch.manual_seed(0)
    settings = {"vocabulary": 20, "width": WIDTH, "layers": 4, "heads": HEADS, "d": D, "kind": kind} | changes
    made = model.Network(**settings).double()
    return made


def workload(N: int = 70, d: int = 16, B: int = 2, H: int = 3, dtype: torch.dtype = torch.float64) -> prefill.Workload:
    work = prefill.draw_workload(torch.Generator().manual_seed(1), B, H, N, d, 8, torch.float64)
    return prefill.Workload(*((16 * x).to(dtype) for x in work))


# ---- features ----


@pytest.mark.parametrize("d", [1, 2, 3, 4, 7, 16])
def test_rolled_features_are_the_second_order_expansion(d):
    q, k = normal(5, d, seed=1), normal(7, d, seed=2)
    s = q @ k.T / d**0.5
    close(ROLLED(q) @ ROLLED(k).T, 1 + s + s**2 / 2)
    close(ROLLED.kernel(q, k), 1 + s + s**2 / 2)
    close(model.FEATURES(q) @ model.FEATURES(k).T, 1 + s + s**2 / 2)


def test_feature_counts_are_those_of_the_paper():
    assert model.FEATURES(normal(16)).shape == (273,)
    assert ROLLED(normal(16)).shape == (161,)
    assert model.state_bytes(width=36, heads=2, d=8, layers=4) == 2 * 73 * 19 * 2 * 4


# ---- the Based layer ----


def split(layer, project, u):
    """(b, h, t, width of a head), by hand."""
    x = project(u)
    return torch.stack(x.chunk(layer.heads, dim=-1), dim=1)


def by_sums(layer, u, M=None):
    """The layer by the equations: one query, one head and one sum at a time."""
    q, k, v = (split(layer, project, u) for project in (layer.q, layer.k, layer.v))
    prefix_k, prefix_v = (split(layer, project, u[:, :M]) for project in (layer.prefix_k, layer.prefix_v)) if layer.kind == "prefix" else (None, None)
    y = torch.zeros_like(v)
    for b, h, i in np.ndindex(*v.shape[:3]):
        pairs = [(k[b, h, j], v[b, h, j]) for j in range(u.shape[1]) if j <= i or layer.kind == "noncausal"]
        if layer.kind == "prefix":
            pairs += list(zip(prefix_k[b, h], prefix_v[b, h], strict=True))
        s = torch.stack([q[b, h, i] @ key / D**0.5 for key, _ in pairs])
        weights = 1 + s + s**2 / 2
        y[b, h, i] = sum(w * value for w, (_, value) in zip(weights, pairs, strict=True)) / weights.sum()
    return layer.out(torch.cat(y.unbind(1), dim=-1))


@pytest.mark.parametrize(("kind", "M"), [("causal", None), ("noncausal", None), ("prefix", None), ("prefix", 4)])
def test_the_layer_computes_its_equations(kind, M):
    layer, u = based(kind), normal(2, TIME, WIDTH)
    close(layer(u, M=M), by_sums(layer, u, M))


@pytest.mark.parametrize(("kind", "M"), [("causal", None), ("noncausal", None), ("prefix", None), ("prefix", 4)])
def test_quadratic_chunked_and_recurrent_forms_agree(kind, M):
    layer, u = based(kind), normal(2, TIME, WIDTH)
    q, k, v = (split(layer, project, u) for project in (layer.q, layer.k, layer.v))
    if kind == "noncausal":
        forms = [recall(memorise(k, v, TAYLOR), q, TAYLOR, normalise=True)]
    else:
        memory = empty_memory(k, v, TAYLOR)
        chunked = partial(linear_attention, q, k, v)
        if kind == "prefix":
            prefix = split(layer, layer.prefix_k, u[:, :M]), split(layer, layer.prefix_v, u[:, :M])
            memory = memorise(*prefix, TAYLOR)
            chunked = partial(prefix_linear_attention, q, k, v, *prefix)
        step = partial(linear_attention_step, features=TAYLOR, normalise=True)
        forms = [chunked(features=TAYLOR, normalise=True, chunk=4)[0], unroll(step, memory, q, k, v)[0]]
    for y in forms:
        close(layer(u, M=M), layer.out(y.transpose(1, 2).flatten(2)))


def test_a_prefix_without_keys_leaves_causal_attention():
    layer, causal, u = based("prefix"), based("causal"), normal(2, TIME, WIDTH)
    causal.load_state_dict({name: value for name, value in layer.state_dict().items() if not name.startswith("prefix")})
    close(layer(u, M=0), causal(u))


def test_a_prefix_of_everything_without_the_causal_sum_is_noncausal_attention():
    layer, u = based("prefix"), normal(2, TIME, WIDTH)
    q, k, v = (split(layer, project, u) for project in (layer.q, layer.prefix_k, layer.prefix_v))
    nothing = torch.zeros(2, TIME, dtype=torch.bool)
    y, _ = prefix_linear_attention(q, k, v, k, v, features=TAYLOR, mask=nothing, chunk=4)
    noncausal = based("noncausal")
    noncausal.load_state_dict(
        {"q.weight": layer.q.weight, "k.weight": layer.prefix_k.weight, "v.weight": layer.prefix_v.weight, "out.weight": layer.out.weight}
    )
    close(layer.out(y.transpose(1, 2).flatten(2)), noncausal(u))


@pytest.mark.parametrize("kind", model.KINDS)
def test_equal_values_are_returned_as_they_are(kind):
    layer, u = based(kind), normal(2, TIME, WIDTH)
    same = normal(WIDTH, seed=5)
    for name in ("v", "prefix_v"):
        if hasattr(layer, name):
            constant = torch.nn.Linear(WIDTH, WIDTH).double()
            constant.weight.data.zero_()
            constant.bias.data.copy_(same)
            setattr(layer, name, constant)
    close(layer(u), layer.out(same).expand(2, TIME, WIDTH))


# ---- convolution and network ----


@pytest.mark.parametrize("kind", ["causal", "noncausal"])
def test_base_conv_is_a_gated_depthwise_convolution(kind):
    layer, u = model.BaseConv(WIDTH, kind).double(), normal(2, TIME, WIDTH)
    torch.nn.init.normal_(layer.bias)
    padded = F.pad(u.mT, (2, 0), mode="circular" if kind == "noncausal" else "constant")
    convolved = F.conv1d(padded, layer.kernel.T[:, None], layer.bias, groups=WIDTH).mT
    close(layer(u), convolved * (u @ layer.gate.weight.T + layer.gate.bias) + u)


def test_the_noncausal_convolution_is_circular():
    layer, u = model.BaseConv(WIDTH, "noncausal").double(), normal(2, TIME, WIDTH)
    close(layer(u.roll(3, dims=1)), layer(u).roll(3, dims=1))


@pytest.mark.parametrize(("kind", "sees_later"), [("causal", False), ("noncausal", True), ("prefix", True)])
def test_only_the_causal_network_ignores_later_tokens(kind, sees_later):
    tokens = torch.arange(16).reshape(2, 8)
    changed = tokens.clone()
    changed[:, -1] = 19
    net = network(kind)
    difference = (net.hidden(changed) - net.hidden(tokens))[:, :-1].abs().amax(dim=(0, 2))
    assert (difference > 1e-6).all() if sees_later else (difference == 0).all()


@pytest.mark.parametrize("kind", ["causal", "prefix"])
def test_padding_on_the_left_changes_nothing(kind):
    tokens = torch.arange(16).reshape(2, 8)
    padded, mask = F.pad(tokens, (3, 0), value=17), torch.arange(11).expand(2, -1) >= 3
    net = network(kind)
    close(net.hidden(padded, mask)[:, 3:], net.hidden(tokens))
    assert (net(padded) - net(tokens)).abs().max() > 1e-6


@pytest.mark.parametrize("mlp_factor", [0, 4])
def test_the_network_is_layers_on_the_token_table_and_reads_out_with_it(mlp_factor):
    tokens, net = torch.arange(16).reshape(2, 8), network("causal", mlp_factor=mlp_factor)
    x = net.tokens.weight[tokens]
    for i, layer in enumerate(net.layers):
        assert isinstance(layer.mixer, model.Based if i % 2 else model.BaseConv)
        x = x + layer.mixer(F.layer_norm(x, (WIDTH,)))
        if mlp_factor:
            norm, up, _, down = layer.mlp
            x = x + down(F.gelu(up(norm(x))))
    close(net(tokens), F.layer_norm(x, (WIDTH,))[:, -1] @ net.tokens.weight.T)


# ---- the task ----


@pytest.mark.parametrize(("size_A", "size_B"), [(2, 8), (8, 2), (1, 13), (13, 13)])
@pytest.mark.parametrize("reads", [1, 2])
def test_the_sets_share_the_answer_and_nothing_else(size_A, size_B, reads):
    tokens, t = tasks.set_disjointness(np.random.default_rng(0), 200, size_A, size_B, 30, reads)
    assert tokens.shape == (200, 1 + reads * (size_A + 1 + size_B) + 1)
    assert (tokens[:, 0] == tasks.PREFIX).all() and (tokens[:, -1] == tasks.ANSWER).all()
    for copy in np.split(tokens[:, 1:-1], reads, axis=1):
        A, B = copy[:, :size_A], copy[:, size_A + 1 :]
        assert (copy[:, size_A] == tasks.SEP).all() and (A >= tasks.SPECIALS).all() and (B >= tasks.SPECIALS).all()
        for a, b, answer in zip(A, B, t, strict=True):
            assert len(set(a)) == size_A and len(set(b)) == size_B and set(a) & set(b) == {answer}


def test_answers_places_and_sets_are_spread_evenly():
    tokens, t = tasks.set_disjointness(np.random.default_rng(0), 8000, 4, 8, 30)
    A, B = tokens[:, 1:5], tokens[:, 6:14]
    answer = t[:, None]
    for where, n in (((answer == A).argmax(1), 4), ((answer == B).argmax(1), 8), (t - tasks.SPECIALS, 26)):
        np.testing.assert_allclose(np.bincount(where, minlength=n) / 8000, 1 / n, atol=5 * (1 / n / 8000) ** 0.5)
    assert len(np.unique(A)) == len(np.unique(B)) == 26  # the halves are drawn anew for each example


def test_sets_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        tasks.set_disjointness(np.random.default_rng(0), 2, 2, 14, 30)


# ---- prefill ----


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("chunk", [1, 16, 70, 128])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_prefill_is_the_shared_mixer_with_or_without_a_prefix(normalise, chunk, dtype):
    exact, work = workload(), workload(dtype=dtype)
    tolerance = 1e-10 if dtype == torch.float64 else 2e-2
    settings = {"features": TAYLOR, "normalise": normalise, "chunk": 16}
    for prefix in (False, True):
        memory = empty_memory(work.k, work.v, ROLLED)
        if prefix:
            memory = prefill.read_prefix(memory, work.prefix_k, work.prefix_v, chunk)
            expected, end = prefix_linear_attention(exact.q, exact.k, exact.v, exact.prefix_k, exact.prefix_v, **settings)
        else:
            expected, end = linear_attention(exact.q, exact.k, exact.v, **settings)
        y, memory = prefill.read_causally(memory, work.q, work.k, work.v, normalise, chunk)
        assert y.dtype == dtype and memory.S.dtype == torch.promote_types(dtype, torch.float32)
        close(y, expected, tolerance)
        x = normal(4, 16)
        close(ROLLED(x).to(memory.S.dtype) @ memory.S, TAYLOR(x) @ end.S, tolerance)
        close(ROLLED(x).to(memory.z.dtype) @ memory.z[..., None], TAYLOR(x) @ end.z[..., None], tolerance)


@pytest.mark.parametrize("method", ["based", "jrt_prompt", "jrt_rnn"])
def test_decoding_goes_on_where_prefill_ends(method):
    whole = workload(N=33)
    work = whole.twice() if method == "jrt_prompt" else whole
    start = work._replace(q=work.q[:, :, :-1], k=work.k[:, :, :-1], v=work.v[:, :, :-1])
    y, _ = prefill.prefill(method, work, normalise=True)
    _, memory = prefill.prefill(method, start, normalise=True)
    last, _ = linear_attention_step(memory, *(x[:, :, -1] for x in (work.q, work.k, work.v)), features=ROLLED, normalise=True)
    close(last, y[:, :, -1])


def test_the_prompt_twice_is_the_prompt_and_the_prompt():
    work = workload()
    twice, _ = prefill.prefill("jrt_prompt", work.twice(), normalise=True)
    assert twice.shape[2] == 2 * work.v.shape[2]
    again, _ = prefix_linear_attention(work.q, work.k, work.v, work.k, work.v, features=TAYLOR)  # the second reading has the first as its prefix
    close(twice[:, :, work.v.shape[2] :], again)


def test_softmax_prefill_runs_the_flash_kernel_and_equals_plain_attention():
    work = workload(N=300, dtype=torch.float32)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiled:
        y, cache = prefill.prefill("softmax", work)
    assert any("_flash_attention" in event.key for event in profiled.key_averages())
    scores = (work.wide_q @ work.wide_k.mT / 8**0.5).masked_fill(torch.ones(300, 300).triu(1).bool(), -torch.inf)
    close(y, scores.softmax(-1) @ work.v, 1e-5)
    assert torch.equal(cache.k, work.wide_k) and torch.equal(cache.v, work.v)


def test_workloads_have_the_shapes_and_scales_of_the_script():
    work = prefill.draw_workload(torch.Generator().manual_seed(0), 2, 4, 512, 16, 64, torch.float32)
    assert work.q.shape == work.k.shape == (2, 4, 512, 16) and work.v.shape == work.wide_q.shape == work.wide_k.shape == (2, 4, 512, 64)
    assert work.prefix_k.shape == (2, 4, 256, 16) and work.prefix_v.shape == (2, 4, 256, 64)
    for x, scale in ((work.q, 16), (work.k, 16), (work.prefix_k, 16), (work.wide_q, 16), (work.v, 64), (work.prefix_v, 64)):
        assert x.std().item() == pytest.approx(1 / scale, rel=0.02)


def test_operation_counts_are_those_of_the_spec():
    assert prefill.operations("softmax", 16, 16, 32768, 16, 64) == 2 * 16 * 16 * 32768**2 * 64
    rows = 1 + 16 + 16 * 17 // 2
    assert prefill.operations("based", 16, 16, 32768, 16, 64) == 4 * 16 * 16 * 32768 * rows * 64
    assert prefill.operations("jrt_prompt", 1, 1, 10, 16, 64) == prefill.operations("based", 1, 1, 20, 16, 64)
    assert prefill.operations("jrt_rnn", 1, 1, 10, 16, 64) == 1.25 * prefill.operations("based", 1, 1, 10, 16, 64)


def test_peak_memory_counts_what_is_alive_at_once():
    held = torch.zeros(1000)

    def call():
        first = held + 1  # 4000 bytes, freed before the last
        both = torch.cat([first, first])  # 8000 bytes
        del first
        return both + 1  # 8000 bytes, with the one above

    assert 16_000 <= peak_bytes(call, "cpu") < 16_500


def test_the_median_call_counts(monkeypatch):
    clock, lasts = [0.0], iter((100, 1, 9, 2))  # the first is not counted
    monkeypatch.setattr(replicate.time, "perf_counter", lambda: clock[0])

    def call():
        clock[0] += next(lasts)

    assert seconds_in_turns({"a": call}, 3, "cpu") == {"a": 2}


@pytest.mark.parametrize("N", [128, 100])
@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.skipif(not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1", reason="wants CUDA, or Triton and TRITON_INTERPRET=1")
def test_the_fused_kernel_reads_like_the_chunks(N, normalise):
    """Outputs, and what the states read for any query, with and without a prefix."""
    pytest.importorskip("triton")
    from papers.just_read_twice.fused import read_fused

    device = "cuda" if torch.cuda.is_available() else "cpu"
    work = prefill.draw_workload(torch.Generator(device).manual_seed(0), 1, 2, N, 16, 32, torch.float32)
    work = prefill.Workload(*(8 * x for x in work))  # the benchmark's inputs are so small that the quadratic part would not show
    for method in ("based", "jrt_rnn"):
        (y, memory), (fused_y, fused) = (prefill.prefill(method, work, normalise, read) for read in (prefill.read_in_chunks, read_fused))
        close(fused_y, y, 1e-5)
        x = work.q * 16**-0.25
        phi = torch.cat([torch.ones_like(x[..., :1]), x, (x[..., :, None] * x[..., None, :]).flatten(-2) * 2**-0.5], dim=-1)
        close(phi @ fused.S, ROLLED(work.q) @ memory.S, 1e-5)
        if normalise:
            close(phi @ fused.z[..., None], ROLLED(work.q) @ memory.z[..., None], 1e-5)


def test_each_method_reads_the_prompt_that_its_claim_is_about(monkeypatch):
    seen = set()

    def spy(method, work, normalise=False, **settings):
        assert work.q.shape[:2] == work.wide_q.shape[:2] == (1, 4) and work.wide_q.shape[2:] == (64, 64)
        assert all(x.dtype == torch.float32 for x in work)
        seen.add((method, normalise, work.q.shape[2]))
        return prefill.prefill(method, work, normalise, **settings)

    monkeypatch.setattr(replicate, "prefill", spy)
    replicate.time_prefill(dataclasses.replace(TINY, lengths=(64,)), "length", 1000, "cpu")
    once = {("softmax", False, 64)} | {(method, normalise, 64) for method in ("based", "jrt_rnn") for normalise in (False, True)}
    assert seen == once | {("jrt_prompt", False, 128), ("jrt_prompt", True, 128)}


def test_calls_are_timed_in_turns_without_the_first():
    order = []
    seconds = seconds_in_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3, "cpu")
    assert "".join(order) == "abababab" and set(seconds) == {"a", "b"} and min(seconds.values()) > 0


# ---- claims and a run ----


def test_accuracies_are_averaged_over_the_trained_sizes_of_each_order():
    config = Config(train_sizes=((2, 8), (4, 16)), test_sizes=((2, 8), (2, 28), (4, 16)))
    assert both_orders(config.test_sizes) == [(2, 8), (2, 28), (4, 16), (8, 2), (28, 2), (16, 4)]
    assert by_order(config, np.array([0.5, 0.0, 0.7, 0.1, 0.9, 0.3])) == pytest.approx((0.6, 0.2))


def test_claims_of_made_up_trials():
    accuracy = {
        "causal": ((0.9, 0.5), (0.9, 0.8)),
        "noncausal": ((0.9, 0.7), (0.9, 0.9)),
        "repeated": ((0.9, 0.6), (0.9, 0.7)),
        "prefix": ((0.9, 0.4), (0.9, 0.8)),
    }
    rows = [
        {"experiment": "disjointness", "reader": reader, "d": d, "seed": 0, "accuracy_short_first": short, "accuracy_long_first": long}
        for reader, by_d in accuracy.items()
        for d, (short, long) in zip((4, 8), by_d, strict=True)
    ]
    N = np.array([100, 200, 400, 800])
    seconds = {"softmax": N**2 / 800.0, "jrt_rnn": N / 40.0, "jrt_rnn_normalised": N / 20.0, "jrt_prompt": N / 10.0}
    rows.append({"experiment": "prefill", "sweep": "length", "seed": 0, "N": N} | {f"seconds_{name}": values for name, values in seconds.items()})
    rows.append({**rows[-1], "sweep": "batch", "seconds_softmax": N})
    trials = pd.DataFrame(rows)
    expected = {
        claims.gap_between_orders: 0.4,
        claims.gap_lost_with_a_larger_state: 0.3,
        claims.gain_of_the_noncausal_reader: 0.15,
        claims.gain_of_reading_twice: 0.0,
        claims.gain_of_the_prefix: -0.05,
        claims.slope_difference: 1.0,
        claims.speedup_of_jrt_rnn: 40.0,
        claims.speedup_of_jrt_rnn_normalised: 20.0,
        claims.speedup_of_jrt_prompt: 10.0,
    }
    for measure, value in expected.items():
        assert measure(trials).to_dict() == pytest.approx({0: value})


TINY = Config(
    vocabulary=16, train_sizes=((1, 2),), test_sizes=((1, 2), (1, 4)), test_examples=500, width=16, feature_dims=(4,), steps=150, batch=32,
    learning_rates=(1e-5, 1e-2), lengths=(64, 128), calls=1,
)  # fmt: skip


def test_a_mini_run_learns_the_shortest_sets_and_gives_its_rows():
    first, *_, timing = conditions(TINY)
    (row,) = run(TINY, first, (1000,), "cpu")
    assert row["learning_rate"] == 1e-2  # the better of the two
    assert row["accuracy"].shape == row["size_A"].shape == (4,)
    assert row["training_loss"][-1] < row["training_loss"][0]
    assert row["accuracy_short_first"] > 0.5  # 1/12 by chance
    (row,) = run(TINY, timing, (1000,), "cpu")
    assert row["N"].tolist() == [64, 128] and (row["seconds_jrt_rnn_normalised"] > 0).all()
    assert row["state_bytes_softmax"].tolist() == [2 * 4 * 64 * 64 * 4, 2 * 4 * 128 * 64 * 4]
    assert len(set(row["state_bytes_based"])) == 1


@pytest.mark.parametrize(
    ("reader", "kind", "reads"), [("causal", "causal", 1), ("noncausal", "noncausal", 1), ("repeated", "causal", 2), ("prefix", "prefix", 1)]
)
def test_a_reader_is_trained_and_tested_on_what_it_is_named_after(monkeypatch, reader, kind, reads):
    made, drawn, streams = [], [], []

    def generator(seed, purpose):
        streams.append((seed, purpose))
        return numpy_rng(seed, purpose)

    def network(*settings):
        made.append(model.Network(*settings))
        made[-1].start = made[-1].tokens.weight.clone()
        return made[-1]

    def draw(rng, examples, A, B, vocabulary, reads):
        tokens, t = tasks.set_disjointness(rng, examples, A, B, vocabulary, reads)
        drawn.append((examples, (A, B), reads, tokens[: TINY.batch]))
        return tokens, t

    monkeypatch.setattr(replicate, "numpy_rng", generator)
    monkeypatch.setattr(replicate, "Network", network)
    monkeypatch.setattr(replicate, "set_disjointness", draw)
    settings = dataclasses.replace(TINY, steps=20, learning_rates=(1e-3,))
    run(settings, {"experiment": "disjointness", "reader": reader, "d": 4}, (1000, 1001), "cpu")

    first, second = drawn[: len(drawn) // 2], drawn[len(drawn) // 2 :]
    training, validation, test, zero_shot = first[:20], first[20:22], first[22:26], first[26:]
    assert [net.layers[1].mixer.kind for net in made] == [kind, kind]
    assert {(pair, times) for _, pair, times, _ in training} == {((1, 2), reads), ((2, 1), reads)}
    assert [(examples, pair, times) for examples, pair, times, _ in validation] == [(500, (1, 2), reads), (500, (2, 1), reads)]
    assert [(pair, times) for _, pair, times, _ in test] == [(pair, reads) for pair in ((1, 2), (1, 4), (2, 1), (4, 1))]
    assert [(pair, times) for _, pair, times, _ in zero_shot] == ([(pair, 2) for _, pair, *_ in test] if reader == "causal" else [])
    assert len({stream for stream in streams if stream[0] == 1000}) == 3  # one for training, validation and test each
    same_pair = [next(tokens for _, pair, _, tokens in part if pair == (1, 2)) for part in (training, validation, test)]
    assert all((a != b).any() for a, b in ((same_pair[0], same_pair[1]), (same_pair[0], same_pair[2]), (same_pair[1], same_pair[2])))
    assert any(a[3].shape != b[3].shape or (a[3] != b[3]).any() for a, b in zip(first[:20], second[:20], strict=True))
    assert (made[0].start != made[1].start).any()  # another seed, another start


def test_repeating_zero_shot_is_measured_for_the_causal_reader_only():
    settings = dataclasses.replace(TINY, steps=1, learning_rates=(1e-3,))
    names = {c["reader"]: set(run(settings, c, (1000,), "cpu")[0]) for c in conditions(settings)[:-1]}
    assert names["causal"] - names["repeated"] == {"accuracy_long_first_repeated_untrained"}
    assert names["noncausal"] == names["prefix"] == names["repeated"]
