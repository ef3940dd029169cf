"""Signals, other processes, memory: what a command asks of the system. Imports nothing of ours."""

from __future__ import annotations

import itertools
import pathlib
import signal
import sys
import threading
from types import FrameType

_COMMANDS = ("fmnist_tfds", "fmnist_tfds.cli", "fmnist_tfds.cli.main")


class Terminated(KeyboardInterrupt):
    """SIGTERM came: everything is put away as after Ctrl-C."""


def end_quietly_while_importing() -> None:
    """Lets Ctrl-C end our own command at once, without a traceback, until it has begun.

    Does nothing in a program that imports this package, nor where SIGINT is ignored.
    """
    script = pathlib.PurePath(sys.argv[0]).stem if sys.argv else ""
    words = sys.orig_argv
    is_module = any(a == "-m" and b in _COMMANDS for a, b in itertools.pairwise(words))
    is_main_thread = threading.current_thread() is threading.main_thread()
    if is_main_thread and (is_module or script == "fmnist-tfds"):
        _exchange(signal.SIGINT, signal.default_int_handler, signal.SIG_DFL)


def end_by_exceptions() -> None:
    """Makes Ctrl-C and SIGTERM exceptions from now on; what others have set stays."""

    def terminate(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise Terminated

    if threading.current_thread() is threading.main_thread():
        _exchange(signal.SIGINT, signal.SIG_DFL, signal.default_int_handler)
        _exchange(signal.SIGTERM, signal.SIG_DFL, terminate)


def _exchange(number: int, old: object, new: object) -> None:
    if signal.getsignal(number) == old:
        signal.signal(number, new)  # type: ignore[arg-type]


def is_alive(pid: int) -> bool:
    """Whether a process of that number runs on this machine, whoever's it is."""
    import psutil  # os.kill(pid, 0) ends the process on Windows

    return bool(psutil.pid_exists(pid))


def peak_memory_bytes() -> int:
    """The most memory that this process has held at once, in bytes."""
    if sys.platform == "win32":
        import psutil

        peak = int(psutil.Process().memory_info().peak_wset)
    else:
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return peak
