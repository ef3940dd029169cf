"""The plans that hold in this process: a thread's innermost first, else the last one entered."""

from __future__ import annotations

import threading

from fmnist_tfds.any_dataset import plan

_entries: list[tuple[int, plan.Plan]] = []
lock = threading.RLock()


def current() -> plan.Plan | None:
    """The plan that holds here: the innermost of this thread, else of the process."""
    with lock:
        own = [entry for thread, entry in _entries if thread == threading.get_ident()]
        either = own or [entry for _, entry in _entries]
        return either[-1] if either else None


def add(made: plan.Plan) -> tuple[int, plan.Plan]:
    """Makes `made` the innermost of this thread; returns what `discard` takes."""
    entry = (threading.get_ident(), made)
    with lock:
        _entries.append(entry)
    return entry


def discard(entry: tuple[int, plan.Plan]) -> bool:
    """Ends an entry, in any order; True if none is left."""
    with lock:
        # By identity: equal plans may be entered twice.
        _entries[:] = [each for each in _entries if each is not entry]
        return not _entries
