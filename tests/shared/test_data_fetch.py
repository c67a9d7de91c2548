"""Finding, downloading and packing, against a small server on this machine that serves, fails, falls silent or cuts the line as asked."""

from __future__ import annotations

import hashlib
import http.server
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from shared.data import fetch
from shared.data.__main__ import main
from shared.data.fetch import Dataset, DataUnavailable, Original, obtain

CONTENT = bytes(range(256)) * 100
TIMEOUT_SECONDS = 0.4


class Handler(http.server.BaseHTTPRequestHandler):
    """The path says how the server behaves: /good, /missing, /silent, /silent-in-mid-file, /cut; ``?name`` after it is for telling requests apart."""

    protocol_version = "HTTP/1.0"

    def do_GET(self):
        behaviour = self.path.partition("?")[0]
        self.server.requests[self.path] += 1
        if behaviour == "/missing":
            self.send_error(404)
            return
        if behaviour == "/silent":
            self.server.closing.wait(10)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        if behaviour == "/good":
            self.wfile.write(CONTENT)
            return
        self.wfile.write(CONTENT[: len(CONTENT) // 2])
        self.wfile.flush()
        if behaviour == "/silent-in-mid-file":
            self.server.closing.wait(10)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.requests, server.closing = Counter(), threading.Event()
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache, no mirror, the network allowed (without a proxy), and little patience."""
    for name in ("REPRO_DATA_DIR", "REPRO_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("REPRO_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("REPRO_TIMEOUT_SECONDS", str(TIMEOUT_SECONDS))
    return tmp_path / "cache"


def pack(originals: Mapping[str, Path], folder: Path) -> None:
    np.savez_compressed(folder / "toy.npz", x=np.frombuffer(originals["toy.bin"].read_bytes(), np.uint8))


def toy(*urls: str, checksum: str = "sha256:" + hashlib.sha256(CONTENT).hexdigest(), **changes) -> Dataset:
    texts = {"title": "a toy", "home": "http://home.invalid/toy", "licence": "none", "citation": "nobody"}
    return Dataset(name="toy", **texts, **{"originals": (Original("toy.bin", checksum, urls),), "pack": pack, **changes})


def content_of(found: fetch.Found) -> bytes:
    with np.load(found.folder / "toy.npz", allow_pickle=False) as arrays:
        return arrays["x"].tobytes()


def left_in(cache: Path) -> set[str]:
    """What lies in the cache, the lock file aside."""
    return {str(path.relative_to(cache)) for path in cache.rglob("*") if path.is_file()} - {"toy.lock"}


def mirror_with(tmp_path: Path, monkeypatch, content: bytes = b"packed") -> Dataset:
    """A toy whose mirror holds ``content`` where the registry expects b"packed"."""
    folder = tmp_path / "mirror" / "toy"
    folder.mkdir(parents=True)
    (folder / "toy.txt").write_bytes(content)
    monkeypatch.setenv("REPRO_DATA_DIR", str(folder.parent))
    return toy("http://127.0.0.1:9/never", mirror={"toy.txt": hashlib.sha256(b"packed").hexdigest()})


def test_the_right_file_is_downloaded_packed_and_then_found_without_the_network(server, cache, monkeypatch):
    dataset = toy(f"{server.url}/good?first")
    found = obtain(dataset)
    assert (found.source, content_of(found)) == ("original", CONTENT)
    assert left_in(cache) == {"toy/toy.npz", "toy/packed.json"}  # the download itself is not kept
    monkeypatch.setenv("REPRO_OFFLINE", "1")
    assert obtain(dataset) == found
    assert server.requests["/good?first"] == 1


@pytest.mark.parametrize(
    ("behaviour", "explanation"),
    [
        ("missing", "the server answered 404"),
        ("silent", f"the server was silent for {TIMEOUT_SECONDS:g} seconds"),
        ("silent-in-mid-file", f"the server was silent for {TIMEOUT_SECONDS:g} seconds"),
        ("cut", "the connection was cut before the end of the file"),
    ],
)
def test_a_failed_download_is_explained_and_leaves_nothing(server, cache, behaviour, explanation):
    url = f"{server.url}/{behaviour}"
    with pytest.raises(DataUnavailable) as failure:
        obtain(toy(url))
    message = str(failure.value)
    assert explanation in message and url in message and "toy" in message and "\n" not in message
    assert str(cache / "toy.original") in message  # the remedy
    assert left_in(cache) == set()


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_a_wrong_checksum_is_explained_and_leaves_nothing(server, cache, algorithm):
    checksum = f"{algorithm}:{hashlib.new(algorithm, b'other').hexdigest()}"
    with pytest.raises(DataUnavailable, match=r"wrong checksum.*thrown away"):
        obtain(toy(f"{server.url}/good", checksum=checksum))
    assert left_in(cache) == set()


def test_no_server_at_all_is_explained():
    with pytest.raises(DataUnavailable, match="no connection to the server"):
        obtain(toy("http://127.0.0.1:9/toy.bin"))


def test_the_second_address_is_tried_when_the_first_fails(server):
    assert content_of(obtain(toy(f"{server.url}/missing", f"{server.url}/cut", f"{server.url}/good"))) == CONTENT


def test_a_failed_download_succeeds_when_tried_again(server, cache):
    with pytest.raises(DataUnavailable):
        obtain(toy(f"{server.url}/cut"))
    assert content_of(obtain(toy(f"{server.url}/good"))) == CONTENT
    assert left_in(cache) == {"toy/toy.npz", "toy/packed.json"}


def test_offline_says_what_is_missing_where_it_comes_from_and_where_to_put_it(server, cache, monkeypatch):
    monkeypatch.setenv("REPRO_OFFLINE", "1")
    url = f"{server.url}/good?offline"
    with pytest.raises(DataUnavailable) as failure:
        obtain(toy(url, mirror={"toy.npz": "0" * 64}))
    message = str(failure.value)
    for part in ("toy", "REPRO_OFFLINE", url, str(cache / "toy.original"), "toy.npz", "REPRO_DATA_DIR"):
        assert part in message
    assert server.requests["/good?offline"] == 0
    assert not cache.exists()


def test_offline_an_original_file_put_by_hand_is_packed_and_left_where_it_is(cache, monkeypatch):
    monkeypatch.setenv("REPRO_OFFLINE", "1")
    (cache / "toy.original").mkdir(parents=True)
    (cache / "toy.original" / "toy.bin").write_bytes(CONTENT)
    assert content_of(obtain(toy("http://127.0.0.1:9/never"))) == CONTENT
    assert (cache / "toy.original" / "toy.bin").read_bytes() == CONTENT


def test_offline_a_wrong_file_put_by_hand_is_named_and_not_replaced(server, cache, monkeypatch):
    monkeypatch.setenv("REPRO_OFFLINE", "1")
    (cache / "toy.original").mkdir(parents=True)
    (cache / "toy.original" / "toy.bin").write_bytes(b"half")
    with pytest.raises(DataUnavailable, match=r"toy\.bin has a wrong checksum.*REPRO_OFFLINE forbids"):
        obtain(toy(f"{server.url}/good?wrong-by-hand"))
    assert server.requests["/good?wrong-by-hand"] == 0


@pytest.mark.parametrize("victim", ["toy.npz", "packed.json"])
@pytest.mark.parametrize("harm", ["cut in half", "removed"])
def test_a_damaged_cache_is_made_anew(server, cache, victim, harm):
    dataset = toy(f"{server.url}/good")
    path = obtain(dataset).folder / victim
    if harm == "removed":
        path.unlink()
        found = obtain(dataset)
    else:
        path.write_bytes(path.read_bytes()[:-20])
        if victim == "toy.npz":
            with pytest.warns(UserWarning, match=r"toy\.npz is damaged"):
                found = obtain(dataset)
        else:
            found = obtain(dataset)
    assert content_of(found) == CONTENT
    assert left_in(cache) == {"toy/toy.npz", "toy/packed.json"}


def test_offline_a_damaged_cache_is_explained(server, monkeypatch):
    dataset = toy(f"{server.url}/good")
    path = obtain(dataset).folder / "toy.npz"
    path.write_bytes(path.read_bytes()[:-1])
    monkeypatch.setenv("REPRO_OFFLINE", "1")
    with pytest.warns(UserWarning), pytest.raises(DataUnavailable, match=r"toy\.npz is damaged"):
        obtain(dataset)


def test_a_process_killed_while_packing_leaves_nothing_that_counts(server, cache):
    (cache / "toy.abc.partial" / "packed").mkdir(parents=True)
    (cache / "toy.abc.partial" / "packed" / "toy.npz").write_bytes(b"half")
    assert content_of(obtain(toy(f"{server.url}/good"))) == CONTENT
    assert left_in(cache) == {"toy/toy.npz", "toy/packed.json"}


def test_an_error_while_packing_leaves_no_packed_folder(server, cache):
    def failing_pack(originals, folder):
        (folder / "toy.npz").write_bytes(b"half")
        raise ValueError("no toy")

    with pytest.raises(ValueError, match="no toy"):
        obtain(toy(f"{server.url}/good", pack=failing_pack))
    assert not (cache / "toy").exists()
    assert not list(cache.glob("*.partial"))


def test_a_cache_packed_by_an_older_layout_is_made_anew(server):
    obtain(toy(f"{server.url}/good?layout"))
    obtain(toy(f"{server.url}/good?layout", layout=2))
    assert server.requests["/good?layout"] == 2


def test_the_mirror_comes_first_and_is_checked_against_the_registry(tmp_path, monkeypatch):
    found = obtain(mirror_with(tmp_path, monkeypatch))
    assert (found.source, (found.folder / "toy.txt").read_bytes()) == ("mirror", b"packed")


def test_a_folder_packed_elsewhere_may_serve_as_mirror(server, cache, monkeypatch):
    dataset = toy(f"{server.url}/good")
    obtain(dataset)
    monkeypatch.setenv("REPRO_DATA_DIR", str(cache))
    monkeypatch.setenv("REPRO_CACHE_DIR", str(cache.parent / "empty"))
    monkeypatch.setenv("REPRO_OFFLINE", "1")
    assert obtain(dataset) == fetch.Found(cache / "toy", "original")


def test_a_damaged_mirror_is_warned_about_and_passed_over(server, cache, tmp_path, monkeypatch):
    damaged = mirror_with(tmp_path, monkeypatch, b"packet")
    with pytest.warns(UserWarning, match=r"mirror/toy/toy\.txt is damaged"):
        found = obtain(toy(f"{server.url}/good", mirror=damaged.mirror))
    assert found == fetch.Found(cache / "toy", "original")


def test_a_damaged_mirror_without_another_way_is_explained(tmp_path, monkeypatch):
    damaged = mirror_with(tmp_path, monkeypatch, b"packet")
    with pytest.warns(UserWarning), pytest.raises(DataUnavailable, match=r"toy\.txt is damaged.*Its home is http://home\.invalid/toy.*put toy\.txt"):
        obtain(toy(mirror=damaged.mirror, originals=(), pack=None))


def test_a_file_missing_from_the_mirror_is_named(tmp_path, monkeypatch):
    dataset = mirror_with(tmp_path, monkeypatch)
    monkeypatch.setenv("REPRO_OFFLINE", "1")
    (tmp_path / "mirror" / "toy" / "toy.txt").unlink()
    with pytest.raises(DataUnavailable, match=r"mirror/toy lacks toy\.txt"):
        obtain(dataset)


def test_a_cache_that_cannot_be_written_is_explained(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("REPRO_CACHE_DIR", str(tmp_path / "file" / "cache"))
    with pytest.raises(DataUnavailable, match=r"cannot be written.*name another one in REPRO_CACHE_DIR"):
        obtain(toy(f"{server.url}/good"))


def test_processes_that_load_at_once_share_one_download(server, cache):
    script = f"from tests_toy import *; found = obtain(toy({server.url + '/good?together'!r})); assert content_of(found) == CONTENT"
    script = script.replace("from tests_toy import *", f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); from {Path(__file__).stem} import *")
    root = Path(fetch.__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "REPRO_TIMEOUT_SECONDS": "10"}
    processes = [subprocess.Popen([sys.executable, "-c", script], cwd=root, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    errors = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], errors
    assert left_in(cache) == {"toy/toy.npz", "toy/packed.json"}
    if fetch.fcntl:
        assert server.requests["/good?together"] == 1


def test_threads_that_load_at_once_are_safe_even_where_files_cannot_be_locked(server, cache, monkeypatch):
    monkeypatch.setattr(fetch, "fcntl", None)
    results = []
    threads = [threading.Thread(target=lambda: results.append(content_of(obtain(toy(f"{server.url}/good"))))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [CONTENT] * 4


def test_the_command_line_lists_every_data_set_and_where_it_is(capsys, cache, monkeypatch):
    monkeypatch.setenv("REPRO_OFFLINE", "1")
    assert main([]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()[1:]}
    assert "missing; can be downloaded" in rows["mnist"] and "CC BY-SA" in rows["mnist"]
    assert "comes with scikit-learn" in rows["digits"]
    assert not cache.exists()


def test_the_command_line_explains_an_unknown_name_and_a_missing_data_set(capsys, monkeypatch):
    monkeypatch.setenv("REPRO_OFFLINE", "1")
    assert main(["fetch", "minst"]) == 1
    assert "Did you mean mnist?" in capsys.readouterr().err
    assert main(["fetch", "mnist"]) == 1
    assert "train-images-idx3-ubyte.gz" in capsys.readouterr().err
    assert main(["fetch", "digits"]) == 0
