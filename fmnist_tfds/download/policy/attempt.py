"""One attempt at a whole file, in its own thread: copy, identify, publish, or explain why not."""

from __future__ import annotations

import os
import pathlib
import threading
from collections.abc import Callable
from typing import Any

from fmnist_tfds import artifacts, errors
from fmnist_tfds.config import settings, urls
from fmnist_tfds.download import results
from fmnist_tfds.download.cache import receipts, store
from fmnist_tfds.download.diagnosis import causes, responses
from fmnist_tfds.download.policy import running, segments
from fmnist_tfds.download.transport import (
    credentials,
    library_logs,
    limits,
    request,
    transfer,
    watching,
)
from fmnist_tfds.formats import identify


class RunningAttempt(running.Running):
    """An attempt at a whole file; `path` is where it stands once it is published.

    Args:
        file: which file.
        mirror: where from.
        options: time-outs, proxies, trust.
        into: the cache.
        secrets: resolves and masks what the request needs.
        finished: set when the attempt is over.
        failures: the failed attempts so far, for the receipt.
        clock: monotonic seconds.
        limiter: holds all attempts of the job to a rate, or None.
    """

    def __init__(
        self,
        file: artifacts.Artifact,
        mirror: settings.Mirror,
        options: settings.Settings,
        into: store.Store,
        secrets: credentials.Secrets,
        *,
        finished: threading.Event,
        failures: Callable[[], list[dict[str, Any]]],
        clock: Callable[[], float],
        limiter: limits.Limiter | None = None,
    ) -> None:
        super().__init__(file, mirror, secrets, finished=finished, clock=clock, limiter=limiter)
        self.distrusted: list[settings.Mirror] = []
        self._segments: segments.Segments | None = None
        self._helpers: list[settings.Mirror] = []
        self._options = options
        self._store = into
        self._failures = failures
        self._start("fetch")

    def share(self, size_bytes: int) -> segments.Segments:
        """Where helpers put pieces of the end of the file; made by the first call."""
        if self._segments is None:
            self._segments = segments.Segments(size_bytes)
            self.watch.enough = self._segments.is_reached
        return self._segments

    def _run(self) -> None:
        attempt: results.Attempt | None = None
        try:
            with library_logs.hushed(self._secrets.mask):
                attempt = self._try()
        except watching.Cancelled:
            attempt = self._result("cancelled")
        except errors.FmnistError as error:
            attempt = self._stopped_by(error)
        except OSError as error:
            # `transfer` explains the errors of sources; this one concerns the folder of the parts.
            attempt = self._stopped_by(store.unwritable(self._store.directory, error))
        finally:
            self._end(attempt)

    def _stopped_by(self, error: errors.FmnistError) -> results.Attempt:
        self.error = error
        return self._result("failed", causes.named("server-error", error.message))

    def _try(self) -> results.Attempt:
        part = self._store.part_path(self._file)
        keep = False
        try:
            reply, identity = self._deliver(part)
            keep = _is_worth_keeping(part, self._file, reply.problem)
            self.reached = part.stat().st_size if keep else 0
            self.retry_after = reply.retry_after
            if reply.problem is None and identity is not None:
                self.watch.check()
                record = self._record(reply)
                self.path = self._store.publish_known(part, self._file, identity, record)
                return self._result("ok", status=reply.status)
            return self._result("failed", reply.problem, status=reply.status)
        except watching.Cancelled:
            # Kept for the next attempt, unless another one has just delivered the file.
            is_here = self._store.path(self._file).exists()
            keep = not is_here and _is_worth_keeping(part, self._file, None)
            raise
        finally:
            self._store.parts.release(part, keep=keep)

    def _deliver(self, part: pathlib.Path) -> tuple[request.Reply, identify.Identity | None]:
        asked = request.Request(
            self._file, self.mirror, self._options, part, self._store.dataset, self._secrets
        )
        # A part may have been whole when its writer was killed. If it lacks only gzip's trailer,
        # its payload is proved as well, but the few missing bytes make it the canonical file.
        found = self._identify(part) if part.exists() else None
        is_whole = found is not None and found.is_file(self._file)
        if is_whole and found and (found.verdict == "genuine" or not self._file.sha256):
            return request.Reply(), found
        for _ in range(3):
            reply = transfer.run(asked, self.watch)
            if reply.problem is not None:
                return reply, None
            boundary = self._join(part)
            is_cut = self._segments is not None and not boundary
            if is_cut and part.stat().st_size < self._file.size_bytes:
                self.watch.is_copied = False  # the helper gave up: fetch the rest here
                continue
            identity = self._identify(part)
            if boundary and not identity.is_file(self._file):
                # One of the two mirrors sent wrong bytes: go on with this one alone.
                self.distrusted, self._helpers = self._helpers, []
                os.truncate(part, boundary)
                self.watch.is_copied = False
                continue
            if identity.is_file(self._file):
                return reply, identity
            if not reply.resumed_at or identity.verdict == "truncated":
                break
            # The bytes that were resumed may have been wrong: try this mirror from the beginning.
            part.unlink()
            self.watch.is_copied = False
        verdict = "corrupt" if identity.is_genuine else identity.verdict
        reply.problem = responses.from_identity(
            verdict,
            identity.detail,
            body_start=identify.head_of(part),
            headers=reply.headers,
            url=asked.url,
        )
        return reply, None

    def _join(self, part: pathlib.Path) -> int:
        """Appends the pieces of helpers; the offset where they begin, 0 if there are none."""
        shared = self._segments
        if shared is None:
            return 0
        shared.wait(self.watch.check)
        if not shared.is_reached(part.stat().st_size):
            return 0
        boundary, self._helpers = shared.join(part)
        return boundary

    def _identify(self, part: pathlib.Path) -> identify.Identity:
        return identify.identify(part, dataset=self._store.dataset, expected=self._file)

    def _pieces(self) -> receipts.FileRecord:
        sent = [urls.mask_url(mirror.url_for(self._file)) for mirror in self._helpers]
        return {"pieces_from": list(dict.fromkeys(sent))} if sent else {}

    def _record(self, reply: request.Reply) -> receipts.FileRecord:
        route = reply.route
        return {
            "source": self.url,
            "route": {
                "proxy": urls.mask_proxy(route.proxy) if route.proxy else None,
                "proxy_origin": route.proxy_origin,
                "tls_issuer": self._secrets.mask(reply.issuer) or None,
                "insecure_tls": route.insecure_tls,
            },
            "failed_attempts": self._failures(),
            **self._pieces(),
        }


def _is_worth_keeping(
    part: pathlib.Path, file: artifacts.Artifact, problem: causes.Explanation | None
) -> bool:
    """True if `part` looks like the beginning of a file that can be resumed."""
    if problem is not None and not causes.CAUSES[problem.cause].keeps_part:
        return False
    try:
        return identify.may_begin(identify.head_of(part), file)
    except OSError:
        return False
