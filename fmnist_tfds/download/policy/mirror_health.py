"""The state of a job's mirrors: which are out (tried last), which asked us to wait (Retry-After).

A file in the cache keeps which were out for 15 minutes. It only reorders: such a mirror is tried
last by the next job, never left out.
"""

from __future__ import annotations

import pathlib
import threading
from collections.abc import Sequence
from typing import Any

from fmnist_tfds.config import settings, urls
from fmnist_tfds.download.cache import receipts
from fmnist_tfds.download.diagnosis import causes

REMEMBERED_S = 900.0


class Health:
    """Shared by the threads of one job. Times are those of the job's clock."""

    def __init__(
        self, mirrors: Sequence[settings.Mirror], memory: pathlib.Path, wall_s: float
    ) -> None:
        self._lock = threading.Lock()
        self._memory = memory
        self._out: dict[settings.Mirror, str] = {}
        self._good: set[settings.Mirror] = set()
        self._not_before: dict[settings.Mirror, float] = {}
        self.is_alive = False
        remembered = {
            url
            for url, entry in receipts.read_json(memory).items()
            if isinstance(entry, dict) and _number(entry.get("until")) > wall_s
        }
        self.mirrors = tuple(sorted(mirrors, key=lambda m: urls.mask_url(m.url) in remembered))

    def failed(self, mirror: settings.Mirror, cause: causes.CauseName) -> None:
        """An attempt at `mirror` failed."""
        with self._lock:
            if not causes.CAUSES[cause].is_silence:
                self.is_alive = True
            if causes.CAUSES[cause].disables_mirror and mirror not in self._good:
                self._out.setdefault(mirror, cause)

    def served(self, mirror: settings.Mirror) -> None:
        """`mirror` delivered a verified file."""
        with self._lock:
            self.is_alive = True
            self._good.add(mirror)
            self._out.pop(mirror, None)

    def heard(self) -> None:
        """A connection was opened: the network is not dead."""
        self.is_alive = True

    def is_out(self, mirror: settings.Mirror) -> bool:
        """True if `mirror` should be tried last in this job."""
        with self._lock:
            return mirror in self._out

    def wait_until(self, mirror: settings.Mirror, moment_s: float) -> None:
        """`mirror` asked for no request before `moment_s`."""
        with self._lock:
            self._not_before[mirror] = max(moment_s, self._not_before.get(mirror, moment_s))

    def not_before(self, mirror: settings.Mirror) -> float:
        """When `mirror` may be asked again; 0 for at any time."""
        with self._lock:
            return self._not_before.get(mirror, 0.0)

    def remember(self, wall_s: float) -> None:
        """Records for the next job which mirrors are out; if that fails, it only costs time.

        If no mirror responded, the network was down: record nothing.
        """
        with self._lock:
            good = {urls.mask_url(mirror.url) for mirror in self._good}
            out = {urls.mask_url(m.url): c for m, c in self._out.items()}
        if not self.is_alive or not (good or out):
            return
        old: dict[str, Any] = {
            url: entry
            for url, entry in receipts.read_json(self._memory).items()
            if isinstance(entry, dict) and _number(entry.get("until")) > wall_s and url not in good
        }
        new = {url: {"cause": c, "until": wall_s + REMEMBERED_S} for url, c in out.items()}
        try:
            receipts.write_json(self._memory, {**old, **new})
        except OSError:
            return


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0
