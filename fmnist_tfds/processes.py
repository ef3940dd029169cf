"""What differs between operating systems about processes. Imports nothing of ours."""

from __future__ import annotations

import sys


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
