"""The base of running attempts, at a whole file (`attempt`) or a piece of one (`segments`)."""

from __future__ import annotations

import abc
import pathlib
import threading
from collections.abc import Callable

from fmnist_tfds import artifacts, errors
from fmnist_tfds.config import settings, urls
from fmnist_tfds.download import results
from fmnist_tfds.download.diagnosis import causes
from fmnist_tfds.download.transport import credentials, limits, watching


class Running(abc.ABC):
    """An attempt in a thread of its own. `attempt` is its result, None while it runs.

    Args:
        file: which file.
        mirror: where from.
        secrets: resolves and masks what the request needs.
        finished: set when the attempt is over.
        clock: monotonic seconds.
        limiter: holds all attempts of the job to a rate, or None.
    """

    def __init__(
        self,
        file: artifacts.Artifact,
        mirror: settings.Mirror,
        secrets: credentials.Secrets,
        *,
        finished: threading.Event,
        clock: Callable[[], float],
        limiter: limits.Limiter | None,
    ) -> None:
        self.mirror = mirror
        self.url = urls.mask_url(mirror.url_for(file))
        self.watch = watching.Watch(clock, limiter)
        self.attempt: results.Attempt | None = None
        self.error: errors.FmnistError | None = None
        self.path: pathlib.Path | None = None
        self.retry_after = ""
        self.reached = 0
        self._file = file
        self._secrets = secrets
        self._finished = finished
        self._clock = clock

    def _start(self, kind: str) -> None:
        name = f"{kind}-{self._file.name}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def call_off(self, why: causes.Explanation | None) -> results.Attempt:
        """Cancels it; `why` is None where it is no longer needed."""
        self._cancel()
        if self.attempt is not None and self.attempt.outcome != "cancelled":
            return self.attempt
        return self._result("failed" if why else "cancelled", why)

    @abc.abstractmethod
    def _run(self) -> None:
        """What the thread does; `_end` is its last call."""

    def _cancel(self) -> None:
        self.watch.cancel()
        # Without a connection (a name look-up, a silent host) nothing wakes the thread: it is left
        # behind at once, for waiting for one after the other would add up.
        if self.watch.is_connected:
            self._thread.join(0.5)

    def _end(self, attempt: results.Attempt | None) -> None:
        """Last in the thread: whoever sees `attempt` set may resume the part or read the folder."""
        self.watch.close()
        self.attempt = attempt
        self._finished.set()

    def _result(
        self, outcome: str, why: causes.Explanation | None = None, status: int | None = None
    ) -> results.Attempt:
        mask = self._secrets.mask
        return results.Attempt(
            url=self.url,
            outcome=outcome,
            cause=why.cause if why else "",
            http_status=status,
            bytes=self.watch.received,
            seconds=round(self._clock() - self.watch.started, 3),
            evidence=causes.shortened(mask(why.evidence)) if why else "",
            remedy=mask(why.remedy) if why else "",
        )
