"""Registry, code hash and trial cache."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from shared.engine.errors import RequestError
from shared.engine.trials import Result, Store, Trial, check_conditions, check_rows, write_atomically


def trial(**changes) -> Trial:
    values = {"slug": "toy", "config": {"n": 1}, "condition": {"a": 1}, "seeds": (0, 1), "device": "cpu", "threads": 1, "code": "c"}
    return Trial(**{**values, **changes})


ROWS = [{"loss": 0.1 + 0.2, "name": "x", "good": True, "curve": np.arange(6, dtype=np.float32).reshape(2, 3)}, {"loss": 1e-300, "name": "y", "good": False}]


def test_a_stored_trial_comes_back_bit_for_bit(tmp_path):
    store = Store(tmp_path)
    store.write(trial(), Result(ROWS, 1.5, 2.5, 3))
    back = store.read(trial())
    assert (back.wall_seconds, back.cpu_seconds, back.peak_rss_bytes) == (1.5, 2.5, 3)
    assert [row["loss"] for row in back.rows] == [0.1 + 0.2, 1e-300]
    assert back.rows[0]["curve"].dtype == np.float32
    assert np.array_equal(back.rows[0]["curve"], ROWS[0]["curve"])


@pytest.mark.parametrize("changes", [{"config": {"n": 2}}, {"condition": {"a": 2}}, {"seeds": (0,)}, {"device": "cuda"}, {"threads": 2}, {"code": "d"}])
def test_everything_that_numbers_may_depend_on_is_in_the_key(changes):
    assert trial(**changes).key != trial().key


@pytest.mark.parametrize("damage", [lambda b: b[:-3], lambda b: b.replace(b"0.3", b"0.4"), lambda b: b"", lambda b: b"no newline"])
def test_a_damaged_file_counts_as_absent_and_is_named(tmp_path, damage):
    store = Store(tmp_path)
    store.write(trial(), Result(ROWS, 0.0, 0.0, 0))
    path = store.path(trial())
    path.write_bytes(damage(path.read_bytes()))
    assert store.read(trial()) is None
    assert store.why_to_run(trial()) == "its file is damaged"


def test_the_store_says_what_changed(tmp_path):
    store = Store(tmp_path)
    assert store.why_to_run(trial()) == "never run"
    store.write(trial(), Result(ROWS, 0.0, 0.0, 0))
    assert store.why_to_run(trial(code="d")) == "code changed since it ran"
    assert store.why_to_run(trial(config={"n": 2}, device="cuda")) == "config and device changed since it ran"


def test_a_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RequestError, match=r"No space left on device.*REPRO_RUNS_DIR"):
        write_atomically(tmp_path / "x.json", b"content")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"x": 1.0}], "list of 2 rows"),
        ([{"x": float("nan")}, {"x": 1.0}], "'x' is nan"),
        ([{"x": np.float32("inf")}, {"x": 1.0}], "'x' is inf"),
        ([{"x": np.array([1.0, np.nan])}, {"x": 1.0}], "not finite"),
        ([{"a": 1.0}, {"a": 1.0}], "name of a condition"),
        ([{"seed": 1}, {"seed": 2}], "seed column"),
        ([{"x": object()}, {"x": 1.0}], "not a number"),
        ([[1.0], [2.0]], "must be a dict"),
    ],
)
def test_impossible_rows_are_refused(rows, message):
    with pytest.raises(ValueError, match=message):
        check_rows(rows, trial())


@pytest.mark.parametrize("conditions", [[], {"a": 1}, [{"a": [1]}], [{"a": 1}, {"a": 1}], [{"seed": 1}]])
def test_impossible_conditions_are_refused(conditions):
    with pytest.raises(RequestError, match="conditions"):
        check_conditions(conditions)


def hash_of(house, slug: str = "toy") -> str:
    code = f"from shared.engine.codehash import code_hash; print(code_hash({slug!r}))"
    return subprocess.run([sys.executable, "-c", code], cwd=house.root, env=house.environment, capture_output=True, text=True, check=True).stdout.strip()


def test_comments_docstrings_claims_figures_and_engine_do_not_count(house):
    before = hash_of(house)
    house.edit("papers/toy/model.py", '"""Normal draws."""', '"""Other words."""  # and a comment')
    house.edit("papers/toy/claims.py", "values[1.0] - values[0.0]", "values[1.0] - values[0.0] + 1")
    house.edit("papers/toy/figures.py", "ax.plot", "ax.step")
    house.edit("papers/toy/replicate.py", '"""Draws of a seed."""', '"""Draws."""')
    house.edit("shared/engine/contract.py", "over_seeds.per_seed = True", "over_seeds.per_seed = bool(1)")
    assert hash_of(house) == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("papers/toy/model.py", "rng.normal(mean, size=n)", "-rng.normal(mean, size=n)"),
        ("papers/toy/replicate.py", "np.cumsum", "np.cumprod"),
        ("papers/toy/replicate.py", "samples: int = 10", "samples: int = 11"),
        ("shared/seeds.py", "zlib.crc32", "zlib.adler32"),
    ],
)
def test_science_code_counts_wherever_it_is_imported_from(house, name, old, new):
    before = hash_of(house)
    house.edit(name, old, new)
    assert hash_of(house) != before


def test_imports_inside_functions_and_relative_ones_count(house):
    house.write("papers/toy/deep.py", "SLOPE = 1\n")
    house.edit("papers/toy/model.py", "    return rng", "    from .deep import SLOPE\n    return SLOPE * rng")
    before = hash_of(house)
    house.write("papers/toy/deep.py", "SLOPE = 2\n")
    assert hash_of(house) != before


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("year = 1843", "year = 'then'", "year"),
        ("year = 1843", "", "year: Field required"),
        ('criterion = "> 0.2"', 'criterion = "large"', "claims.0.criterion"),
        ('cpu = "reduced"', 'cpu = "tiny"', "claims.0.scale"),
        ('family = "learning_theory"', 'family = "cooking"', "family"),
        ("samples = 50", "sample = 50", "no field 'sample' (did you mean samples?)"),
        ("samples = 50", "samples = 'many'", "samples"),
        ("[profiles.smoke]", "[profiles.smoke", "not valid TOML"),
        ("[profiles.smoke]\nseeds = 1", "", "profile missing: smoke"),
    ],
)
def test_a_malformed_paper_toml_gives_one_message_and_exit_code_2(house, old, new, message):
    house.edit("papers/toy/paper.toml", old, new)
    done = house.replicate("toy", "--profile", "cpu")
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (house.root / "runs").exists()


def test_every_fault_of_a_paper_toml_is_named_at_once(house):
    house.edit("papers/toy/paper.toml", "year = 1843", "year = 3")
    house.edit("papers/toy/paper.toml", 'framework = "numpy"', 'framework = "lisp"')
    stderr = house.replicate("toy").stderr
    assert "2 fault(s)" in stderr
    assert "year" in stderr
    assert "framework" in stderr


def test_a_claim_needs_a_function_and_a_function_a_claim(house):
    house.edit("papers/toy/claims.py", '"mean-grows"', '"mean-shrinks"')
    done = house.replicate("toy")
    assert done.returncode == 2
    assert "'mean-grows' of paper.toml has no function" in done.stderr
    assert "'mean-shrinks', which is not a claim" in done.stderr


def test_a_record_file_round_trips(tmp_path):
    import pandas as pd

    from shared.engine.records import Record

    table = pd.DataFrame([{"a": 1, "seed": 0, "x": 0.1, "c": np.arange(3.0)}, {"a": 2, "seed": 0, "y": 5}])
    record = Record("toy", "cpu", [{"id": "i"}], table, {"seeds": [0], "config": {}})
    record.save(tmp_path / "cpu.json")
    back = Record.load(tmp_path / "cpu.json")
    assert np.array_equal(back.curve("c", a=1), [[0.0, 1.0, 2.0]])
    assert json.loads((tmp_path / "cpu.json").read_text())["trials"][1] == {"a": 2, "seed": 0, "y": 5.0}
    back.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "cpu.json").read_bytes()
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "cpu.npz").read_bytes()
