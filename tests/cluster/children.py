"""Real processes: a clean environment, always bounded in time, ended by their own id."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

import forked
import psutil

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent
# Only how long a failure takes: two trainers need 30 s on a quiet machine.
LIMIT_S = 900.0


@dataclasses.dataclass
class Child:
    """One process and where its output goes."""

    process: subprocess.Popen | forked.Process
    stdout: pathlib.Path
    stderr: pathlib.Path

    @property
    def output(self) -> str:
        """What it printed, then what it complained of."""
        return "".join(
            path.read_text(encoding="utf-8", errors="replace")
            for path in (self.stdout, self.stderr)
        )

    def result(self, limit_s: float = LIMIT_S) -> dict:
        """The JSON on the last line that it printed; fails with all of its output."""
        code = self.wait(limit_s)
        assert code == 0, f"exit code {code}\n{self.output[-6000:]}"
        # TensorFlow may complain at exit that a faster process is gone: to stderr, after this.
        return json.loads(self.stdout.read_text(encoding="utf-8").strip().splitlines()[-1])

    def wait(self, limit_s: float = LIMIT_S) -> int:
        """The exit code; kills it after `limit_s` seconds."""
        try:
            return self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(
                f"still running after {limit_s} s\n{self.output[-6000:]}"
            ) from None

    def wait_until_stopped(self, limit_s: float = LIMIT_S) -> None:
        """Until it has sent itself SIGSTOP."""
        for _ in range(int(limit_s / 0.05)):
            assert self.process.poll() is None, f"it ended\n{self.output[-6000:]}"
            if psutil.Process(self.process.pid).status() == psutil.STATUS_STOPPED:
                return
            time.sleep(0.05)
        self.kill()
        raise AssertionError(f"not stopped after {limit_s} s\n{self.output[-6000:]}")

    def kill(self) -> None:
        """SIGKILL: no handler, no clean-up."""
        self.process.kill()
        self.process.wait()

    def wait_for(self, text: str, limit_s: float = LIMIT_S) -> str:
        """The first whole line that holds `text`."""
        for _ in range(int(limit_s / 0.05)):
            for line in self.output.splitlines(keepends=True):
                if text in line and line.endswith("\n"):
                    return line.rstrip("\n")
            assert self.process.poll() is None, f"it ended\n{self.output[-6000:]}"
            time.sleep(0.05)
        self.kill()
        raise AssertionError(f"no {text!r} after {limit_s} s\n{self.output[-6000:]}")


class Children:
    """All processes of one test."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder
        self._all: list[Child] = []
        self._ports: list[socket.socket] = []

    def start(
        self, *command: object, environ: dict[str, str] | None = None, fork: bool = True
    ) -> Child:
        """Starts `python COMMAND...`; no fork where its imports, or LD_PRELOAD, are the point."""
        words = [str(word) for word in command]
        kept = {
            key: value
            for key, value in os.environ.items()
            if key != "TF_CONFIG" and (not key.startswith("FMNIST_TFDS_") or key.endswith("_DIR"))
        }
        kept |= {
            "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}",
            "PYTHONUNBUFFERED": "1",
            "TF_CPP_MIN_LOG_LEVEL": "2",
            "CUDA_VISIBLE_DEVICES": "",
            "TF_GRPC_REUSE_PORT": "true",  # see `port`
        }
        folder = pathlib.Path(tempfile.mkdtemp(dir=self._folder))
        stdout, stderr = folder / "stdout", folder / "stderr"
        environ = kept | (environ or {})
        process: subprocess.Popen | forked.Process
        if fork and "LD_PRELOAD" not in environ:
            process = forked.Process(words, environ, stdout, stderr)
        else:
            with stdout.open("wb") as out, stderr.open("wb") as err:
                process = subprocess.Popen(
                    [sys.executable, *words], stdout=out, stderr=err, env=environ
                )
        child = Child(process, stdout, stderr)
        self._all.append(child)
        return child

    def port(self) -> int:
        """A TCP port for one of the processes.

        Bound here as long as the test runs, so that nobody else is given it. TensorFlow's servers
        share it (SO_REUSEPORT); this socket does not listen, so they get every connection.
        """
        held = socket.socket()
        self._ports.append(held)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])

    def end(self) -> None:
        """Ends what still runs."""
        for child in self._all:
            if child.process.poll() is None:
                child.kill()
        for held in self._ports:
            held.close()
