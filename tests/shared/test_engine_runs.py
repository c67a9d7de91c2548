"""Whole runs of toy papers, as a user starts them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest

from shared.engine.__main__ import main as engine_commands


def trials_of(house, slug: str = "toy", profile: str = "cpu") -> list[dict]:
    return json.loads((house.root / "runs" / slug / f"{profile}.json").read_text())["trials"]


def record_of(house, slug: str = "toy", profile: str = "cpu") -> dict:
    return json.loads((house.root / "runs" / slug / f"{profile}.json").read_text())


def test_a_run_judges_its_claims_and_the_second_run_is_cached(house):
    first = house.replicate("toy")
    assert first.returncode == 0, first.stderr
    assert "0 trials cached, 8 to run" in first.stdout
    assert "mean-grows  reproduced" in first.stdout
    before = record_of(house)
    second = house.replicate("toy")
    assert "8 trials cached, 0 to run" in second.stdout
    after = record_of(house)
    assert after["trials"] == before["trials"]
    assert after["provenance"]["wall_seconds"] == before["provenance"]["wall_seconds"]
    assert {"wall_seconds", "cpu_seconds", "peak_rss_bytes", "commit", "dirty", "code_hash", "date", "python", "packages", "platform", "cpu", "gpu"} <= set(
        after["provenance"]
    )
    assert after["provenance"]["config"]["samples"] == 50
    assert after["claims"][0]["values"] == [pytest.approx(b["average"] - a["average"]) for a, b in zip(before["trials"][:4], before["trials"][4:], strict=True)]


def test_numbers_do_not_depend_on_jobs(house):
    house.replicate("toy", "--jobs", "1")
    alone = record_of(house)["trials"]
    house.replicate("toy", "--jobs", "2", "--force")
    assert record_of(house)["trials"] == alone


def test_a_batched_run_is_cached_and_redone_as_a_whole_batch(house):
    assert house.replicate("batched", "--jobs", "1").returncode == 0
    alone = record_of(house, "batched")["trials"]
    files = sorted((house.root / "runs/batched/trials").iterdir())
    assert len(files) == 2
    files[0].write_bytes(b"damaged")
    again = house.replicate("batched", "--jobs", "2")
    assert "1 trials cached, 1 to run" in again.stdout
    assert "its file is damaged" in again.stdout
    assert record_of(house, "batched")["trials"] == alone
    house.replicate("batched", "--jobs", "2", "--force")
    assert record_of(house, "batched")["trials"] == alone
    other = house.replicate("batched", "--seeds", "3", "--list-trials")
    assert "0 trials cached, 2 to run" in other.stdout


def test_a_trial_may_have_two_threads(house):
    house.edit("papers/batched/paper.toml", "[profiles.cpu]\nseeds = 4", "[profiles.cpu]\nseeds = 4\nthreads = 2")
    done = house.replicate("batched")
    assert done.returncode == 0, done.stderr
    assert record_of(house, "batched")["provenance"]["threads"] == 2


@pytest.mark.skipif(sys.platform != "linux", reason="the names of threads are read from /proc")
@pytest.mark.parametrize("threads", [1, 2])
def test_xlas_pool_has_as_many_threads_as_the_trial(threads):
    program = f"""
from shared.engine.launch import limit_threads
limit_threads({threads}, "cpu")
import os
import jax
jax.numpy.zeros(3).block_until_ready()
names = [open(f"/proc/self/task/{{task}}/comm").read().strip() for task in os.listdir("/proc/self/task")]
print(names.count("tf_XLAEigen"))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) == threads


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_killed_run_loses_only_the_trials_in_flight(house, jobs):
    arguments = ["--config.seconds", "0.25", "--jobs", jobs]
    folder = house.root / "runs/toy/trials"
    process = subprocess.Popen(
        house.command("papers.toy.replicate", *arguments), cwd=house.root, env=house.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while len(list(folder.glob("*.json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.5)
    finished = {path.name: path.stat().st_mtime_ns for path in folder.glob("[!.]*.json")}
    assert 3 <= len(finished) < 8
    resumed = house.replicate("toy", *arguments)
    assert f"{len(finished)} trials cached, {8 - len(finished)} to run" in resumed.stdout
    assert {name: (folder / name).stat().st_mtime_ns for name in finished} == finished
    resumed_record = record_of(house)
    house.replicate("toy", *arguments, "--force")
    uninterrupted = record_of(house)
    assert resumed_record["trials"] == uninterrupted["trials"]
    assert resumed_record["claims"] == uninterrupted["claims"]


def test_a_failing_seed_is_named_and_the_others_go_on(house):
    done = house.replicate("toy", "--config.raise-seed", "2")
    assert done.returncode == 1
    assert "2 of 8 trials failed" in done.stderr
    assert "mean=0.0 seed 2: RuntimeError: no luck" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Traceback" in (house.root / "runs/toy/failures.txt").read_text()
    assert len(trials_of(house)) == 6
    assert "6 trials cached" in house.replicate("toy", "--config.raise-seed", "2", "--list-trials").stdout


def test_a_metric_that_is_not_a_number_fails_its_trial(house):
    done = house.replicate("toy", "--config.nan-seed", "1")
    assert done.returncode == 1
    assert "mean=1.0 seed 1: metric 'average' is nan" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--profile", "cpux"], "no profile 'cpux' (did you mean cpu?)"),
        (["--profile", "gpu"], "no profile 'gpu'"),
        (["--config.sample", "3"], "--config.sample"),
        (["--config.samples", "many"], "many"),
        (["--device", "tpu"], "tpu"),
        (["--device", "cuda"], "no CUDA device"),
        (["--seeds", "0"], "--seeds"),
        (["--seeds", "5:5"], "--seeds"),
        (["--seeds", "a"], "--seeds"),
        (["--jobs", "0"], "--jobs"),
        (["--only", "mean"], "condition=value"),
        (["--only", "mean=3"], "0.0, 1.0"),
        (["--only", "median=0.0"], "no condition has 'median'"),
        (["--frobnicate"], "--frobnicate"),
        (["--record", "--profile", "smoke"], "smoke"),
        (["--record", "--config.samples", "3"], "paper.toml"),
        (["--record", "--seeds", "2"], "3 seeds"),
        (["--record", "--only", "mean=0.0"], "--only"),
    ],
)
def test_a_bad_request_gives_one_message_exit_code_2_and_leaves_nothing(house, monkeypatch, arguments, message):
    done = house.replicate("toy", *arguments, env={"CUDA_VISIBLE_DEVICES": ""})
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (house.root / "runs").exists()
    assert not (house.root / "papers/toy/records").exists()


def test_unknown_papers_are_named_with_the_nearest(house):
    done = house("shared.engine", "status", "toyy")
    assert done.returncode == 2
    assert "did you mean toy?" in done.stderr


def test_a_runs_folder_that_cannot_be_written_is_told_before_any_work(house):
    blocked = house.write("blocked", "a file")
    done = house.replicate("toy", env={"REPRO_RUNS_DIR": str(blocked)})
    assert done.returncode == 2
    assert "cannot write" in done.stderr
    assert "REPRO_RUNS_DIR" in done.stderr
    assert "[1/8]" not in done.stdout


def test_a_disk_that_fills_up_stops_with_one_message(house):
    script = "import resource,runpy,sys; resource.setrlimit(resource.RLIMIT_FSIZE,(100,100)); import signal; signal.signal(signal.SIGXFSZ,signal.SIG_IGN);"
    script += "sys.argv=['x','--jobs','1']; runpy.run_module('papers.toy.replicate',run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", script], cwd=house.root, env=house.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "cannot write" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((house.root / "runs/toy/trials").iterdir())


def test_a_run_of_part_of_the_grid_says_which_claims_are_not_run(house):
    done = house.replicate("toy", "--only", "mean=1.0")
    assert done.returncode == 0
    assert len(trials_of(house)) == 4
    assert record_of(house)["claims"][0]["verdict"] == "not run"


def test_a_record_is_promoted_with_figures_and_readme(house):
    done = house.replicate("toy", "--record")
    assert done.returncode == 0, done.stderr
    record = json.loads((house.root / "papers/toy/records/cpu.json").read_text())
    assert record["paper"] == "toy"
    assert (house.root / "papers/toy/records/cpu.npz").exists()
    assert (house.root / "figures/toy/curves.png").exists()
    assert "The average grows with the mean." in (house.root / "papers/toy/README.md").read_text()
    drawn = (house.root / "figures/toy/curves.png").read_bytes()
    assert house("papers.toy.figures").returncode == 0
    assert (house.root / "figures/toy/curves.png").read_bytes() == drawn
    assert "fresh" in house("shared.engine", "status").stdout
    house.edit("papers/toy/model.py", "rng.normal(mean, size=n)", "rng.normal(mean, 2.0, size=n)")
    assert "stale: code" in house("shared.engine", "status").stdout


def test_verify_agrees_on_fresh_seeds_and_notices_a_record_that_is_not_so(house):
    house.replicate("toy", "--record", "--seeds", "6")
    agrees = house("shared.engine", "verify", "toy")
    assert agrees.returncode == 0, agrees.stdout + agrees.stderr
    assert "1 of 1 claims agree" in agrees.stdout
    house.edit("papers/toy/records/cpu.json", '"values": [', '"values": [50, 50.1, 50.2, 50.1, 50.0, 50.1, ')
    record = json.loads((house.root / "papers/toy/records/cpu.json").read_text())
    record["claims"][0]["values"] = record["claims"][0]["values"][:6]
    house.write("papers/toy/records/cpu.json", json.dumps(record))
    differs = house("shared.engine", "verify", "toy")
    assert differs.returncode == 1
    assert "DIFFERS" in differs.stdout


def test_figures_of_a_missing_or_partial_record_are_refused_in_words(house):
    missing = house("papers.toy.figures")
    assert missing.returncode == 2
    assert "no committed record" in missing.stderr
    house.replicate("toy", "--only", "mean=0.0")
    partial = house("papers.toy.figures", "--run", "cpu")
    assert partial.returncode == 2
    assert "draw a complete run" in partial.stderr


def test_a_scaffolded_paper_runs_draws_and_passes_its_test(house):
    assert house("shared.engine", "new", "fresh_paper", "--title", 'A "new" one').returncode == 0
    assert house.replicate("fresh_paper", "--record", "--profile", "cpu").returncode == 0
    assert house("pytest", "-q", "tests/papers/test_fresh_paper.py", "-p", "no:cacheprovider").returncode == 0
    assert house("shared.engine", "new", "fresh_paper").returncode == 2
    assert house("shared.engine", "new", "Fresh-Paper").returncode == 2


def test_an_export_for_tensorboard_holds_the_metrics(house):
    done = house.replicate("toy", "--tensorboard", "tb", "--seeds", "1")
    assert done.returncode == 0, done.stderr
    assert list((house.root / "tb/toy/cpu/mean_1.0/seed_0").glob("events*"))


@pytest.mark.parametrize("command", [[], ["status"], ["figures"], ["verify"], ["report"], ["cite"], ["bench"], ["new"]])
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as ended:
        engine_commands([*command, "--help"])
    told = capsys.readouterr().out
    assert ended.value.code == 0 and "%%" not in told and ("95 % prediction" in " ".join(told.split())) == (command in ([], ["verify"]))


def test_a_bench_says_what_all_figures_of_the_record_cost(house):
    house.write("papers/toy/bench.py", "def cases():\n    return {'sum': (lambda: sum(range(10)), lambda: sum(range(20)))}\n")
    assert house.replicate("toy", "--record").returncode == 0
    made = json.loads((house.root / "papers/toy/records/cpu.json").read_text())["provenance"]
    command = [sys.executable, "-m", "shared.engine", "bench", "toy", "--repeats", "1"]
    done = subprocess.run(command, cwd=house.root, capture_output=True, text=True, check=False)
    assert f"toy: all figures: {made['wall_seconds']:.0f} s of trials" in done.stdout, done.stderr
    assert "toy: sum: ours" in done.stdout
