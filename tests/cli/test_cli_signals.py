"""Ctrl-C and SIGTERM end a command with one line, at any moment, and leave no half file."""

from __future__ import annotations

import contextlib
import pathlib
import signal
import socket
import subprocess
import sys

import pytest

REPO = pathlib.Path(__file__).resolve().parents[2]

# Runs the command as its script does, and sends itself a signal when a module is imported.
_INTERRUPTED = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            sys.argv[1:] = ["config"]
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
sys.modules.pop(sys.argv[1], None)  # coverage has imported tomllib
sys.argv[0] = SCRIPT
from fmnist_tfds.cli.main import main
main()
"""


def _interrupted(module: str, script: str = "/usr/bin/fmnist-tfds"):
    return subprocess.run(
        [sys.executable, "-c", _INTERRUPTED.replace("SCRIPT", repr(script)), module],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=REPO,
    )


@pytest.mark.parametrize(
    "module",
    [
        "fmnist_tfds.registries",
        "fmnist_tfds.cli",
        "fmnist_tfds.cli.exchange",
        "tomllib",
    ],
)
def test_command_that_is_interrupted_while_it_begins_shows_no_traceback(module):
    done = _interrupted(module)
    assert done.returncode in (-signal.SIGINT, 130)
    assert "Traceback" not in done.stderr
    assert done.stderr in ("", "interrupted\n")


def test_program_that_imports_the_package_keeps_its_own_ways():
    done = _interrupted("fmnist_tfds.registries", script="train.py")
    assert "KeyboardInterrupt" in done.stderr


@pytest.mark.parametrize("module", ["fmnist_tfds", "fmnist_tfds.cli"])
def test_module_that_is_run_ends_as_the_script_does(module):
    code = (
        "import runpy, signal, sys\n"
        f"sys.orig_argv = ['python', '-m', {module!r}, 'config']\n"
        "sys.argv = ['-m', 'config']\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import fmnist_tfds\n"
        "print(signal.getsignal(signal.SIGINT) == signal.SIG_DFL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True
    )
    assert done.stdout == "True\n"


def _begin(connection, folder):
    """Answers a request for one of the files with its first half, and no more."""
    connection.settimeout(60)
    name = connection.recv(4096).split()[1].decode().rpartition("/")[2]
    data = (folder / name).read_bytes()
    connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(data)}\r\n\r\n".encode())
    connection.settimeout(0.5)  # nobody may read on; what has arrived is enough
    with contextlib.suppress(OSError):
        connection.sendall(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")],
)
def test_signal_in_the_middle_of_a_file_leaves_nothing_in_out(
    number, code, said, real_data, tmp_path
):
    out = tmp_path / "out"
    start = (
        "import signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from fmnist_tfds.cli import main as cli\n"
        "cli.main(sys.argv[1:])\n"
    )
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        server.settimeout(0.1)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        words = ["fetch", f"--mirrors={url}", f"--out={out}", f"--cache_dir={tmp_path / 'cache'}"]
        fetch = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", start, *words], stderr=subprocess.PIPE, text=True, cwd=REPO
            )
        )
        stack.callback(fetch.kill)
        while not any(part.stat().st_size for part in tmp_path.rglob("*.part")):
            assert fetch.poll() is None, fetch.stderr.read()
            with contextlib.suppress(TimeoutError):
                connection = stack.enter_context(server.accept()[0])
                _begin(connection, real_data)
        fetch.send_signal(number)
        _, text = fetch.communicate(timeout=600)
    assert fetch.returncode == code, text
    assert "Traceback" not in text
    assert said in text
    assert not out.exists() or list(out.iterdir()) == []
    assert not list(tmp_path.rglob("*-ubyte.gz"))
