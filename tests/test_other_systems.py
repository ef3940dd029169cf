"""What Windows lacks is not used; and the rights of what is written are what the umask leaves."""

from __future__ import annotations

import os
import pathlib
import shutil
import stat
import subprocess
import sys

import forked
import pytest

from fmnist_tfds import atomic_file, processes

# First what others import: they have their own ways on Windows. Then nothing of POSIX is left.
_WITHOUT_POSIX = """
import sys
import filelock, jinja2, numpy, platformdirs, psutil, requests, rich.progress, shutil, tempfile
import truststore, subprocess, multiprocessing.pool, http.server
import asyncio, concurrent.futures.process, concurrent.futures.thread
{imports}
import mmap, os, signal
for module, names in (
    (os, "pwrite pread preadv pwritev fork forkpty getuid geteuid getgid getegid setsid fchmod "
         "fchown chown uname sysconf sched_getaffinity mkfifo mknod fstatvfs "
         "posix_fadvise posix_fallocate posix_spawn getloadavg nice killpg "
         "O_NOFOLLOW O_NONBLOCK O_DIRECTORY O_CLOEXEC O_SYNC"),
    (mmap, "MAP_PRIVATE MAP_SHARED MAP_ANONYMOUS MAP_ANON MAP_POPULATE PROT_READ PROT_WRITE "
           "MADV_HUGEPAGE MADV_SEQUENTIAL MADV_WILLNEED MADV_DONTNEED"),
    (signal, "SIGKILL SIGHUP SIGQUIT SIGALRM SIGUSR1 SIGUSR2 SIGCHLD SIGPIPE alarm setitimer"),
):
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
for name in ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "posix"):
    sys.modules[name] = None
shutil._use_fd_functions = False  # as shutil itself finds there
os.process_cpu_count = os.cpu_count  # from Python 3.13 on; here it asks sched_getaffinity
os.kill = None  # there, a signal of 0 ends the process
"""
_COMMANDS = """
from fmnist_tfds.cli import main
for arguments in (
    ["fetch", "--manual_dir", sys.argv[1], "--out", "out", "--cache_dir", "cache", "--offline"],
    ["verify", "out"],
    ["adopt", "out", "--out", "adopted"],
    ["bundle", "export", "b.zip", "--offline", "--cache_dir", "cache"],
    ["config"],
):
    code = main.run(arguments)
    assert not code, (arguments, code)
"""
_BUILD = """
import fmnist_tfds
from fmnist_tfds import input_pipeline
builder = tfds.builder("fmnist_resilient", data_dir="data")
builder.download_and_prepare(
    download_config=tfds.download.DownloadConfig(manual_dir=sys.argv[1])
)
for source in ("resident", "stream"):
    images, labels = next(iter(input_pipeline.make_train(
        batch_size=128, data_dir="data", source=source, seed=1)))
    assert images.shape == (128, 28, 28, 1)
"""


def _run(code: str, folder: pathlib.Path, manual: pathlib.Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code, str(manual)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={
            **os.environ,
            "FMNIST_TFDS_MIRRORS": "off",
            "FMNIST_TFDS_CACHE_DIR": str(folder / "c"),
        },
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_commands_use_nothing_that_windows_lacks(real_data, tmp_path):
    _run(_WITHOUT_POSIX.format(imports="") + _COMMANDS, tmp_path, real_data)


def test_build_and_training_data_use_nothing_that_windows_lacks(real_data, tmp_path):
    imports = "import tensorflow, keras, tensorflow_datasets as tfds; tfds.builder_cls"
    code = _WITHOUT_POSIX.format(imports=imports) + _BUILD
    done = forked.run("-c", code, real_data, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]


def test_process_is_alive_until_it_has_ended():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert processes.is_alive(child.pid)
    child.communicate(b"\n")
    assert not processes.is_alive(child.pid)
    assert 1 << 20 < processes.peak_memory_bytes() < 1 << 40


@pytest.fixture
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def _rights(path: pathlib.Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o002, 0o077], indirect=True)
def test_file_has_the_rights_that_the_umask_leaves(umask, tmp_path):
    with atomic_file.replacing(tmp_path / "a") as stream:
        stream.write(b"x")
    assert _rights(tmp_path / "a") == 0o666 & ~umask


# One that leaves the group less than usual, and one that leaves it more.
@pytest.mark.parametrize("umask", [0o027, 0o002], indirect=True)
def test_what_commands_write_has_the_rights_that_the_umask_leaves(umask, real_data, tmp_path):
    from fmnist_tfds.cli import main

    cache = ["--cache_dir", str(tmp_path / "cache"), "--offline"]
    out = tmp_path / "out"
    assert not main.run(["fetch", "--manual_dir", str(real_data), "--out", str(out), *cache])
    assert not main.run(["plant", "keras", "--root", str(tmp_path / "keras"), *cache])
    assert not main.run(["bundle", "export", str(tmp_path / "b.zip"), *cache])
    assert not main.run(["adopt", str(out), "--out", str(tmp_path / "adopted")])
    program = shutil.copy(tmp_path / "b.zip", tmp_path / "carried.zip")
    subprocess.run(
        [sys.executable, program, "--extract", str(tmp_path / "extracted")], check=True, timeout=300
    )
    written = [p for p in tmp_path.rglob("*") if p.name not in ("carried.zip",)]
    assert len(written) > 20
    wrong = {
        str(path.relative_to(tmp_path)): oct(_rights(path))
        for path in written
        if _rights(path) != (0o777 if path.is_dir() else 0o666) & ~umask
    }
    assert wrong == {}
