"""Where trials run: in this process, over processes of this machine (joblib), or on a Ray cluster. The same numbers come from each of them.

A trial gets a fixed number of CPU threads, set before its framework starts, since the order of a parallel sum changes its last bits.
"""

from __future__ import annotations

import importlib
import os
import resource
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass

from shared.engine.errors import RequestError
from shared.engine.registry import ROOT
from shared.engine.trials import Result, Trial, check_rows


@dataclass(frozen=True)
class Failure:
    """A trial that raised or returned an impossible row."""

    message: str
    details: str


def limit_threads(threads: int, device: str) -> dict[str, str]:
    """Set, in this process and those it starts, the environment that holds every numerical library to ``threads``; returns what was set."""
    wanted = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    # The size of XLA's thread pool. With more threads than one a program whose batched LU and eigenvalue decompositions run at the same time can stop for good:
    # each occupies a thread of the pool and waits there for others to do its batch.
    wanted["NPROC"] = str(threads)
    flags = [flag for flag in os.environ.get("XLA_FLAGS", "").split() if "multi_thread_eigen" not in flag and "intra_op_parallelism" not in flag]
    # XLA takes the whole variable for a file's name unless its first word is a flag with dashes.
    wanted["XLA_FLAGS"] = " ".join([f"--xla_cpu_multi_thread_eigen={str(threads > 1).lower()}", *flags, f"intra_op_parallelism_threads={threads}"])
    if device == "cpu":
        wanted["JAX_PLATFORMS"] = "cpu"
    else:
        wanted["XLA_PYTHON_CLIENT_PREALLOCATE"] = os.environ.get("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        wanted["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    os.environ.update(wanted)
    return wanted


def execute(trial: Trial) -> Result | Failure:
    """Run one trial here and measure it. Never raises for what the trial does."""
    from threadpoolctl import threadpool_limits

    from shared.engine.config import build_config

    try:
        module = importlib.import_module(f"papers.{trial.slug}.replicate")
        config = build_config(module.Config, trial.config, "trial")
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(trial.threads)
        wall, cpu = time.perf_counter(), time.process_time()
        with threadpool_limits(trial.threads):
            rows = module.run(config, dict(trial.condition), trial.seeds, trial.device)
        return Result(
            rows=check_rows(rows, trial),
            wall_seconds=time.perf_counter() - wall,
            cpu_seconds=time.process_time() - cpu,
            peak_rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        )
    except Exception as error:
        kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
        return Failure(f"{kind}{error}", traceback.format_exc())


def _execute_with_key(trial: Trial) -> tuple[str, Result | Failure]:
    return trial.key, execute(trial)


def run_local(trials: list[Trial], jobs: int) -> Iterator[tuple[Trial, Result | Failure]]:
    """Yield trials as they finish, ``jobs`` of them side by side."""
    if jobs == 1 or len(trials) <= 1:
        for trial in trials:
            yield trial, execute(trial)
        return
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    by_key = {trial.key: trial for trial in trials}
    pool = Parallel(n_jobs=min(jobs, len(trials)), return_as="generator_unordered", batch_size=1, pre_dispatch="all")
    try:
        for key, outcome in pool(delayed(_execute_with_key)(trial) for trial in trials):
            yield by_key.pop(key), outcome
    except TerminatedWorkerError:
        message = "its worker process was killed, most likely for memory; run with fewer --jobs"
        for trial in by_key.values():
            yield trial, Failure(message, message)


def _look_for(address: str) -> None:
    """RequestError when nothing listens at ``[ray://]host:port``; Ray itself would go on asking for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return  # "auto" and the like
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise RequestError(f"no Ray cluster at {address!r}: {error}; start one with `ray start --head`, or leave out --address") from None


def run_ray(trials: list[Trial], address: str, environment: dict[str, str], gpus_per_trial: float) -> Iterator[tuple[Trial, Result | Failure]]:
    """Yield trials as they finish on a Ray cluster, to which this checkout is shipped."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError:
        raise RequestError("--launcher ray needs the extra 'ray': nox -s extras -- ray, or pip install ray") from None
    passed = {name: value for name, value in os.environ.items() if name.startswith("REPRO_")}
    runtime_env = {
        "working_dir": str(ROOT),
        "excludes": [".git", ".nox", "runs", "site", "figures", "tests", "**/records/*"],
        "env_vars": {**passed, **environment},
    }
    started_here = not ray.is_initialized()
    if started_here:
        if address:
            _look_for(address)
        try:
            ray.init(
                address=address or None, runtime_env=runtime_env, log_to_driver=False, logging_level="ERROR", include_dashboard=False if not address else None
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise RequestError(f"no Ray cluster at {address!r}: {error}") from None
    try:
        remote = ray.remote(_execute_with_key)
        by_reference = {}
        for trial in trials:
            gpus = gpus_per_trial if trial.device == "cuda" else 0
            reference = remote.options(num_cpus=trial.threads, num_gpus=gpus, runtime_env=None if started_here else runtime_env, max_retries=1).remote(trial)
            by_reference[reference] = trial
        while by_reference:
            finished, _ = ray.wait(list(by_reference), num_returns=1)
            trial = by_reference.pop(finished[0])
            try:
                yield trial, ray.get(finished[0])[1]
            except ray.exceptions.RayError as error:
                yield trial, Failure(f"lost on the Ray cluster: {type(error).__name__}", str(error))
    finally:
        if started_here:
            ray.shutdown()
