"""The Ray launcher on a real cluster of two nodes on this machine."""

from __future__ import annotations

import json
import os

import pytest


def trials_of(house, slug):
    return json.loads((house.root / "runs" / slug / "cpu.json").read_text())["trials"]


@pytest.fixture(scope="module")
def cluster():
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    built = start_cluster(attempts=3)
    yield built
    built.shutdown()


def start_cluster(attempts: int):
    """Two nodes. Ray gives a node thirty seconds to come up, which a busy machine may not keep; then it is tried again."""
    from ray.cluster_utils import Cluster

    for left in reversed(range(attempts)):
        built = Cluster()
        try:
            built.add_node(num_cpus=1, include_dashboard=False)
            built.add_node(num_cpus=1)
            return built
        except Exception:
            built.shutdown()
            if not left:
                raise


def test_a_two_node_cluster_gives_the_numbers_of_this_machine(house, cluster):
    assert house.replicate("toy", "--jobs", "1").returncode == 0
    assert house.replicate("batched", "--jobs", "1").returncode == 0
    alone = trials_of(house, "toy"), trials_of(house, "batched")
    for slug in ("toy", "batched"):
        done = house.replicate(slug, "--force", "--launcher", "ray", "--address", cluster.address)
        assert done.returncode == 0, done.stderr
    assert (trials_of(house, "toy"), trials_of(house, "batched")) == alone


def test_a_failing_trial_on_the_cluster_is_reported_like_any_other(house, cluster):
    done = house.replicate("toy", "--config.raise-seed", "0", "--launcher", "ray", "--address", cluster.address)
    assert done.returncode == 1
    assert "2 of 8 trials failed" in done.stderr
    assert "RuntimeError: no luck" in done.stderr


def test_an_address_without_a_cluster_is_a_bad_request(house):
    done = house.replicate("toy", "--launcher", "ray", "--address", "127.0.0.1:1")
    assert done.returncode == 2, done.stderr
    assert "no Ray cluster" in done.stderr
    assert "Traceback" not in done.stderr
