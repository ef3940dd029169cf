"""A cluster that prepares at once: real processes on one folder, with and without locks."""

from __future__ import annotations

import collections
import os
import pathlib
import shutil
import signal
import subprocess

import children
import pytest
import tensorflow_datasets as tfds

from fmnist_tfds import catalog

SCRIPT = children.HERE / "prepare_once.py"
NAMES = [file.name for file in catalog.FASHION_MNIST.files]
# The data set is written as often as this line is printed.
GENERATED = "downloaded and prepared to"


def start_together(processes, count, data_dir, *options, environ=None):
    """`count` preparers that begin in the same moment, once all have imported."""
    nodes = [
        processes.start(SCRIPT, data_dir, "--ready", *options, environ=environ)
        for _ in range(count)
    ]
    for node in nodes:
        node.wait_until_stopped()
    for node in nodes:
        node.process.send_signal(signal.SIGCONT)
    return nodes


def left_behind(data_dir):
    """What no reader wants: unfinished folders and claims."""
    folder = data_dir / "fmnist_resilient"
    return sorted(p.name for p in folder.iterdir() if p.name != "1.0.0")


def requests_by_name(mirror):
    return collections.Counter(path.rpartition("/")[2] for path in mirror.requests)


@pytest.mark.slow
def test_preparers_at_once_download_and_write_once(processes, real_mirror, tmp_path):
    data_dir = tmp_path / "data"
    cache = {"FMNIST_TFDS_CACHE_DIR": str(tmp_path / "cache")}
    nodes = start_together(processes, 4, data_dir, "--mirror", real_mirror.url, environ=cache)
    results = [node.result() for node in nodes]
    assert [r["test"] for r in results] == [10_000] * 4
    assert sum(GENERATED in node.output for node in nodes) == 1
    assert requests_by_name(real_mirror) == dict.fromkeys(NAMES, 1)
    assert left_behind(data_dir) == []


@pytest.fixture
def no_locks(tmp_path):
    """Environment in which flock succeeds and locks nothing, as on Lustre without -o flock."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler, for the library in which flock does nothing")
    source, library = tmp_path / "noflock.c", tmp_path / "noflock.so"
    source.write_text("int flock(int fd, int how) { (void)fd; (void)how; return 0; }\n")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True, timeout=600)
    return {"LD_PRELOAD": str(library)}


@pytest.mark.slow
def test_preparers_without_locks_or_claims_all_succeed(processes, real_data, no_locks, tmp_path):
    # Each writes on its own, and all but one lose the race to publish.
    data_dir = tmp_path / "data"
    nodes = start_together(
        processes, 3, data_dir, "--mirror", real_data, "--wait_s", 0, environ=no_locks
    )
    assert [node.result()["test"] for node in nodes] == [10_000] * 3
    assert left_behind(data_dir) == []


@pytest.mark.slow
def test_preparer_killed_half_way_is_followed_by_a_waiter(processes, real_data, no_locks, tmp_path):
    data_dir = tmp_path / "data"
    folder = data_dir / "fmnist_resilient"
    first = processes.start(SCRIPT, data_dir, "--mirror", real_data, "--halt", environ=no_locks)
    first.wait_until_stopped()
    assert "noflock.so" in pathlib.Path(f"/proc/{first.process.pid}/maps").read_text()
    assert len(list(folder.glob("incomplete.*/*.tfrecord*"))) == 1
    second, third = (
        processes.start(SCRIPT, data_dir, "--mirror", real_data, environ=no_locks) for _ in "23"
    )
    first.kill()
    assert (folder / ".1.0.0.preparing").exists()
    assert first.process.returncode == -9
    assert [node.result()["test"] for node in (second, third)] == [10_000] * 2
    assert sum(GENERATED in node.output for node in (second, third)) == 1
    assert "is gone or silent; taking over" in second.output + third.output
    assert left_behind(data_dir) == []


@pytest.fixture
def own_mounts():
    """Skips where a process may have no mounts of its own."""
    probe = ["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"]
    if (
        shutil.which("unshare") is None
        or os.geteuid()
        or subprocess.run(probe, capture_output=True, timeout=600, check=False).returncode
    ):
        pytest.skip("needs root and mount namespaces")


def in_own_mounts(processes, mounts, folder, *words):
    """prepare_once.py WORDS… after the shell commands `mounts`, whose $1 is `folder`."""
    code = (
        "import ctypes, runpy, subprocess, sys\n"
        "_, mounts, folder, script, *words = sys.argv\n"
        "assert ctypes.CDLL(None).unshare(0x20000) == 0  # CLONE_NEWNS: mounts of its own\n"
        "mounts = 'mount --make-rprivate /; ' + mounts\n"
        "subprocess.run(['sh', '-euc', mounts, 'sh', folder], check=True)\n"
        "sys.argv = [script, *words]\n"
        "runpy.run_path(script, run_name='__main__')\n"
    )
    return processes.start("-c", code, mounts, folder, SCRIPT, *words)


@pytest.mark.usefixtures("own_mounts")
def test_read_only_data_dir_is_a_clear_error(processes, real_data, tmp_path):
    data_dir = tmp_path / "mounted" / "data"
    data_dir.parent.mkdir()
    mounts = 'mount -t tmpfs -o ro none "$1"'
    node = in_own_mounts(processes, mounts, data_dir.parent, data_dir, "--mirror", real_data)
    assert node.wait() == 1
    last = node.output.strip().splitlines()[-2:]
    assert last[0].startswith("fmnist_tfds.errors.StoreError: cannot write the prepared data set")
    assert "Read-only file system" in last[0]
    assert last[1].startswith("hint: choose another data_dir")


@pytest.mark.slow
@pytest.mark.usefixtures("own_mounts")
def test_prepared_data_on_a_read_only_file_system_loads(processes, real_data, tmp_path):
    data_dir = tmp_path / "data"
    tfds.builder(
        "fmnist_resilient", data_dir=data_dir, mirrors=["off", str(real_data)]
    ).download_and_prepare()
    mounts = (
        'mount --bind "$1" "$1"; mount -o remount,ro,bind "$1"; '
        'if touch "$1/x" 2>/dev/null; then exit 1; fi'
    )
    node = in_own_mounts(processes, mounts, data_dir, data_dir, "--load")
    assert node.result()["test"] == 10_000
