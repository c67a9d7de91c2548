"""Just read twice: closing the recall gap for recurrent language models (Arora et al., 2024).

What is run: set disjointness learned by a small recurrent model that reads causally, without causal order, the prompt twice, or with a prefix (E1); the time to
read a prompt with softmax attention, Based, Based on the prompt twice, and prefix linear attention (E4). No language model is trained (E2 and E3 are left out).
Hardware and time: the cpu profile needs about four minutes on one core; the gpu profile was written for one H200 and has not been run.
The number to reach: at 32k tokens, batch 16, JRT-RNN reads 19.2 times and JRT-Prompt 11.9 times as fast as FlashAttention-2 (H100, kernels in CUDA).

    python -m papers.just_read_twice.replicate --profile cpu
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F
from torch.profiler import ProfilerActivity, profile

from papers.just_read_twice.model import Network, state_bytes
from papers.just_read_twice.prefill import METHODS, draw_workload, prefill, read_chunk, read_in_chunks
from papers.just_read_twice.tasks import set_disjointness
from shared.engine import main, per_seed
from shared.engine.errors import RequestError
from shared.seeds import numpy_rng, seed_torch, torch_generator
from shared.sequence.linear import Memory

READERS = {"causal": ("causal", 1), "noncausal": ("noncausal", 1), "repeated": ("causal", 2), "prefix": ("prefix", 1)}
"""Ways to read: kind of layers, and how often the two sets are written."""


@dataclass(frozen=True)
class Config:
    vocabulary: int = 64
    """Tokens, four of them special. Paper: 2048."""
    train_sizes: tuple[tuple[int, int], ...] = ((2, 8), (2, 16), (4, 16))
    """Pairs (smaller, larger) of set sizes trained on, in both orders. Paper: (4, 16), (8, 32), (16, 64), (4, 128), (16, 256), (4, 256)."""
    test_sizes: tuple[tuple[int, int], ...] = ((2, 8), (2, 16), (4, 16), (2, 28), (4, 28))
    """Pairs tested on, in both orders; those not trained on are longer."""
    test_examples: int = 1000
    """For each pair and order. Paper: 1000."""
    width: int = 36
    """d_model. Paper: 36, 48, 64, 96, 128."""
    feature_dims: tuple[int, ...] = (4, 8)
    """Widths d of queries and keys, one model each. Paper: 4, 8, 16, 24."""
    layers: int = 4
    """BaseConv and Based layers in turn."""
    heads: int = 2
    """Heads of a Based layer."""
    mlp_factor: int = 0
    """Hidden width of each layer's MLP over d_model; 0 = none, as in the released scripts. Paper's text: 4, and so on a GPU."""
    steps: int = 1500
    """Updates. Paper: 48 epochs of 240,000 examples, 90,000 updates."""
    batch: int = 64
    """Examples of an update, all of one pair of sizes. Paper: 128."""
    learning_rates: tuple[float, ...] = (1e-2,)
    """AdamW's, with cosine decay; with more than one the best on fresh examples counts. Paper: 1e-4, 5e-4, 8e-4."""
    weight_decay: float = 0.1
    """AdamW's, on all parameters."""

    lengths: tuple[int, ...] = (512, 1024, 2048, 4096, 8192)
    """Tokens N of the prompt. Paper: 2048 to 32768."""
    length_batch: int = 1
    """B when N varies. Paper: 16."""
    batches: tuple[int, ...] = ()
    """B when N is ``batch_length``; none = not run. Paper: 2 to 64."""
    batch_length: int = 16384
    """N when B varies."""
    prefill_heads: int = 4
    """H. Paper: 16."""
    dtype: str = "float32"
    """Paper: bfloat16."""
    calls: int = 3
    """Timed calls of each method, taken in turns after one that is not timed; the median counts. Paper: 10 or 20."""
    kernel: str = "torch"
    """What linear attention reads with: "torch", "compiled" (a chunk through torch.compile) or "fused" (one Triton kernel; CUDA only)."""


QUERY_WIDTH, VALUE_WIDTH = 16, 64
"""d and dv of the prefill benchmark."""


def conditions(config: Config) -> list[dict]:
    if config.kernel not in ("torch", "compiled", "fused"):
        raise RequestError(f"--config.kernel is torch, compiled or fused, not {config.kernel}")
    return [
        *({"experiment": "disjointness", "reader": reader, "d": d} for d in config.feature_dims for reader in READERS),
        {"experiment": "prefill", "sweep": "length"},
        *({"experiment": "prefill", "sweep": "batch"} for _ in config.batches[:1]),
    ]


@per_seed
def run(config: Config, condition: dict, seed: int, device: str) -> dict:
    if condition["experiment"] == "prefill":
        return time_prefill(config, condition["sweep"], seed, device)
    return learn_disjointness(config, condition["reader"], condition["d"], seed, device)


# ---- E1: set disjointness ----


def both_orders(sizes: tuple[tuple[int, int], ...]) -> list[tuple[int, int]]:
    """(|A|, |B|) with the smaller set first, then with the larger first."""
    return [*sizes, *((B, A) for A, B in sizes)]


def learn_disjointness(config: Config, reader: str, d: int, seed: int, device: str) -> dict:
    """Accuracies of the model with the best learning rate."""
    reads = READERS[reader][1]
    results = []
    for learning_rate in config.learning_rates:
        network, losses = train(config, reader, d, learning_rate, seed, device)
        validation = accuracies(config, network, config.train_sizes, reads, numpy_rng(seed, "validation examples"), device)
        results.append((validation.mean(), learning_rate, network, losses))
    _, learning_rate, network, losses = max(results, key=lambda result: result[0])

    accuracy = accuracies(config, network, config.test_sizes, reads, numpy_rng(seed, "test examples"), device)
    short_first, long_first = by_order(config, accuracy)
    row = {
        "learning_rate": learning_rate,
        "state_bytes": state_bytes(config.width, config.heads, d, config.layers),
        "step": np.linspace(0, config.steps, len(losses) + 1)[1:],
        "training_loss": losses,
        "size_A": np.array([A for A, _ in both_orders(config.test_sizes)]),
        "size_B": np.array([B for _, B in both_orders(config.test_sizes)]),
        "accuracy": accuracy,
        "accuracy_short_first": short_first,
        "accuracy_long_first": long_first,
    }
    if reader == "causal":  # JRT-Prompt without training for it
        again = accuracies(config, network, config.test_sizes, 2, numpy_rng(seed, "test examples"), device)
        row["accuracy_long_first_repeated_untrained"] = by_order(config, again)[1]
    return row


def by_order(config: Config, accuracy: np.ndarray) -> tuple[float, float]:
    """Mean accuracy on the sizes trained on, smaller set first and larger set first, from those on ``both_orders(test_sizes)``."""
    trained = np.array([sizes in config.train_sizes for sizes in config.test_sizes])
    short_first, long_first = np.split(accuracy, 2)
    return float(short_first[trained].mean()), float(long_first[trained].mean())


def train(config: Config, reader: str, d: int, learning_rate: float, seed: int, device: str) -> tuple[Network, np.ndarray]:
    """A network, and its training loss averaged over 20 stretches. Readers of one seed see the same examples in the same order."""
    kind, reads = READERS[reader]
    seed_torch(seed, "init")
    network = Network(config.vocabulary, config.width, config.layers, config.heads, d, kind, config.mlp_factor).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=config.weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
    rng = numpy_rng(seed, "training examples")
    pairs = both_orders(config.train_sizes)
    losses = []
    for _ in range(config.steps):
        A, B = pairs[rng.integers(len(pairs))]
        tokens, t = (torch.from_numpy(x).to(device) for x in set_disjointness(rng, config.batch, A, B, config.vocabulary, reads))
        loss = F.cross_entropy(network(tokens), t)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.detach())
    stretches = np.array_split(torch.stack(losses).cpu().numpy(), min(20, config.steps))
    return network, np.array([stretch.mean() for stretch in stretches])


@torch.inference_mode()
def accuracies(config: Config, network: Network, sizes: tuple[tuple[int, int], ...], reads: int, rng: np.random.Generator, device: str) -> np.ndarray:
    """Share of right answers for each of ``both_orders(sizes)``."""
    shares = []
    for A, B in both_orders(sizes):
        tokens, t = (torch.from_numpy(x).to(device) for x in set_disjointness(rng, config.test_examples, A, B, config.vocabulary, reads))
        right = [network(x).argmax(-1) == answer for x, answer in zip(tokens.split(250), t.split(250), strict=True)]
        shares.append(torch.cat(right).double().mean().item())
    return np.array(shares)


# ---- E4: prefill ----


def time_prefill(config: Config, sweep: str, seed: int, device: str) -> dict:
    """Median seconds of a prefill with each method, normalised and not, over N or over B, and the memory that each takes."""
    if sweep == "length":
        sizes = [(config.length_batch, N) for N in config.lengths]
    else:
        sizes = [(B, config.batch_length) for B in config.batches]
    generator = torch_generator(seed, "prompts", device)
    read = reader(config.kernel)
    columns: dict[str, list[float]] = {}
    for B, N in sizes:
        work = draw_workload(generator, B, config.prefill_heads, N, QUERY_WIDTH, VALUE_WIDTH, getattr(torch, config.dtype))
        prompts = dict.fromkeys(METHODS, work) | {"jrt_prompt": work.twice()}
        runs = {method: partial(prefill, method, prompts[method], read=read) for method in METHODS}
        runs |= {f"{method}_normalised": partial(prefill, method, prompts[method], normalise=True, read=read) for method in METHODS[1:]}
        for name, seconds in seconds_in_turns(runs, config.calls, device).items():
            columns.setdefault(f"seconds_{name}", []).append(seconds)
        for method in METHODS:
            _, state = runs[method]()
            columns.setdefault(f"state_bytes_{method}", []).append(sum(x.nbytes for x in state))
            columns.setdefault(f"peak_bytes_{method}", []).append(peak_bytes(runs[method], device))
    return {"B": np.array([B for B, _ in sizes]), "N": np.array([N for _, N in sizes]), **{name: np.array(values) for name, values in columns.items()}}


def reader(kernel: str) -> Callable[..., tuple[torch.Tensor, Memory]]:
    if kernel == "compiled":
        return partial(read_in_chunks, read=torch.compile(read_chunk))
    if kernel == "fused":
        from papers.just_read_twice.fused import read_fused  # Triton, which only comes with CUDA

        return read_fused
    return read_in_chunks


def seconds_in_turns(runs: dict[str, Callable[[], object]], calls: int, device: str) -> dict[str, float]:
    """Median wall seconds of each, all called in turns after one call that is not counted (it compiles and warms caches)."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(calls + 1):
        for name, call in runs.items():
            wait(device)
            started = time.perf_counter()
            call()
            wait(device)
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return {name: median(values) for name, values in seconds.items()}


def peak_bytes(call: Callable[[], object], device: str) -> int:
    """Most bytes of tensors, outputs included, that a call has in memory at once beyond what was there before."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        call()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiled.export_chrome_trace(str(trace))
        events = [event["args"] for event in json.loads(trace.read_text())["traceEvents"] if event["name"] == "[memory]"]
    before = events[0]["Total Allocated"] - events[0]["Bytes"]
    return max(event["Total Allocated"] for event in events) - before


def wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


if __name__ == "__main__":
    main(__file__)
