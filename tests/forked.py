"""Python processes that begin with TensorFlow imported, which takes 5 s of CPU each time.

They are forked from a process that did nothing but import (the standard library's fork server), so
that each is what `python SCRIPT` would be: its own process id, environment, output and exit code.
A test of what an import does or reads (Keras: KERAS_HOME), of `python`'s options, or of what the
system reads before (LD_PRELOAD), starts one.
"""

from __future__ import annotations

import multiprocessing.context
import os
import pathlib
import runpy
import signal
import subprocess
import sys
import tempfile
import types
from collections.abc import Mapping

# Nothing of this package. None of their threads runs there but one that waits (jemalloc's).
_IMPORTED = (
    *("tensorflow", "keras", "tensorflow_datasets", "pytest"),
    # Of the extra `build`; skipped where it is not installed.
    *("apache_beam", "mlcroissant", "tensorflow_datasets.scripts.cli.main"),
)
# The words of TFDS's own command.
TFDS = ("-c", "from tensorflow_datasets.scripts.cli import main; main.launch_cli()")


def context() -> multiprocessing.context.ForkServerContext:
    """The fork server; there is one in a process that runs tests."""
    forking = multiprocessing.get_context("forkserver")
    forking.set_forkserver_preload(list(_IMPORTED))
    return forking


class Process:
    """`python WORDS…` with `environ` for its environment; to be used as subprocess.Popen is."""

    def __init__(
        self,
        words: list[str],
        environ: Mapping[str, str],
        stdout: pathlib.Path,
        stderr: pathlib.Path,
        cwd: pathlib.Path | None = None,
    ) -> None:
        stdout.touch()
        stderr.touch()
        where = (cwd or pathlib.Path()).absolute()
        self._process = context().Process(
            target=_run, args=(words, dict(environ), where, stdout, stderr)
        )
        self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("python", timeout or 0.0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def run(
    *words: object,
    environ: Mapping[str, str] | None = None,
    cwd: pathlib.Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """`python WORDS…` to its end: its exit code, what it printed, what it complained of."""
    with tempfile.TemporaryDirectory() as folder:
        stdout, stderr = pathlib.Path(folder, "stdout"), pathlib.Path(folder, "stderr")
        process = Process(list(map(str, words)), environ or os.environ, stdout, stderr, cwd)
        try:
            code = process.wait(600)
        finally:
            process.kill()
        return subprocess.CompletedProcess(words, code, stdout.read_text(), stderr.read_text())


def _run(
    words: list[str],
    environ: dict[str, str],
    cwd: pathlib.Path,
    stdout: pathlib.Path,
    stderr: pathlib.Path,
) -> None:
    """In the new process: what Python does before the first line of a script."""
    for number, path in ((1, stdout), (2, stderr)):
        file = os.open(path, os.O_WRONLY)
        os.dup2(file, number)
        os.close(file)
    sys.stdout, sys.stderr = (
        open(number, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115
        for number in (1, 2)
    )
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(cwd)
    path = [entry for entry in environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    if words[0] == "-c":
        sys.argv, sys.path = ["-c", *words[2:]], ["", *path, *sys.path]
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(words[1], "<string>", "exec"), main.__dict__)
    else:
        sys.argv, sys.path = words, [str(pathlib.Path(words[0]).parent), *path, *sys.path]
        runpy.run_path(words[0], run_name="__main__")
