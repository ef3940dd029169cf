"""One attempt in a thread of its own: copy, identify, publish, or say why not."""

from __future__ import annotations

import dataclasses
import pathlib
import threading
from collections.abc import Callable, Mapping
from typing import Any

from fmnist_tfds import catalog, errors
from fmnist_tfds.config import settings, urls
from fmnist_tfds.download.cache import store
from fmnist_tfds.download.diagnosis import exceptions, responses
from fmnist_tfds.download.transport import credentials, library_logs, transfer
from fmnist_tfds.formats import identify


@dataclasses.dataclass(frozen=True, slots=True)
class Attempt:
    """What became of one attempt; fit to be shown, no secret in it.

    Attributes:
        url: masked.
        outcome: "ok", "failed", or "cancelled" where another mirror was faster.
        cause: a word of `explain.CAUSES`, or "".
        http_status: status of the last response, or None.
        bytes: body bytes received.
        seconds: how long it took.
        evidence: what was seen.
        remedy: what the user can do.
    """

    url: str
    outcome: str
    cause: str = ""
    http_status: int | None = None
    bytes: int = 0
    seconds: float = 0.0
    evidence: str = ""
    remedy: str = ""

    def as_json(self) -> dict[str, Any]:
        """The fields of the JSON interface, and evidence and remedy where there are any."""
        return {k: v for k, v in dataclasses.asdict(self).items() if v or k not in _OPTIONAL}


_OPTIONAL = ("evidence", "remedy")


class Lap:
    """A running attempt; `attempt` says how it went, once it is over."""

    def __init__(
        self,
        file: catalog.SourceFile,
        mirror: settings.Mirror,
        options: settings.Settings,
        into: store.Store,
        secrets: credentials.Secrets,
        *,
        finished: threading.Event,
        failures: Callable[[], list[dict[str, Any]]],
        clock: Callable[[], float],
    ) -> None:
        self.mirror = mirror
        self.watch = transfer.Watch(clock)
        self.path: pathlib.Path | None = None
        self.attempt: Attempt | None = None
        self.error: errors.FmnistError | None = None
        self.retry_after = ""
        self.reached = 0
        self._file = file
        self._options = options
        self._store = into
        self._secrets = secrets
        self._finished = finished
        self._failures = failures
        self._clock = clock
        self._thread = threading.Thread(target=self._run, name=f"fetch-{file.name}", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The URL, masked."""
        return urls.mask_url(self.mirror.url_for(self._file.name))

    def call_off(self, why: responses.Explanation | None) -> Attempt:
        """Ends it from outside; `why` is None where another mirror was faster."""
        self.watch.cancel()
        # Without a connection (a name look-up, a silent host) nothing wakes the thread: it is left
        # behind at once, for waiting for one after the other would add up.
        if self.watch.is_connected:
            self._thread.join(0.5)
        if self.attempt is not None and self.attempt.outcome != "cancelled":
            return self.attempt
        if why is None:
            return self._result("cancelled")
        return self._result("failed", why)

    def _run(self) -> None:
        attempt: Attempt | None = None
        try:
            with library_logs.hushed(self._secrets.mask):
                attempt = self._try()
        except transfer.Cancelled:
            attempt = self._result("cancelled")
        except errors.FmnistError as error:
            attempt = self._stopped_by(error)
        except OSError as error:
            # What a source does is explained by transfer; this is the folder of the parts.
            attempt = self._stopped_by(store.unwritable(self._store.directory, error))
        finally:
            self.watch.close()
            # Last of all: who sees it may resume the part elsewhere, or look at the folder.
            self.attempt = attempt
            self._finished.set()

    def _stopped_by(self, error: errors.FmnistError) -> Attempt:
        self.error = error
        return self._result("failed", responses.named("server-error", error.message))

    def _try(self) -> Attempt:
        part = self._store.part_path(self._file)
        keep = False
        try:
            delivery, identity = self._deliver(part)
            keep = _is_worth_keeping(part, delivery.problem)
            self.reached = part.stat().st_size if keep else 0
            self.retry_after = delivery.retry_after
            if delivery.problem is None and identity is not None:
                self.watch.check()
                record = self._record(delivery)
                self.path = self._store.publish_known(part, self._file, identity, record)
                return self._result("ok", status=delivery.status)
            return self._result("failed", delivery.problem, status=delivery.status)
        except transfer.Cancelled:
            keep = _is_worth_keeping(part, None)
            raise
        finally:
            self._store.parts.release(part, keep=keep)

    def _deliver(self, part: pathlib.Path) -> tuple[transfer.Delivery, identify.Identity | None]:
        order = transfer.Order(
            self._file, self.mirror, self._options, part, self._store.dataset, self._secrets
        )
        # A part may have been whole when its writer was killed. One that lacks only gzip's trailer
        # is proved too, but then the canonical bytes are a few bytes away.
        found = self._identify(part) if part.exists() else None
        is_whole = found is not None and found.is_file(self._file)
        if is_whole and found and (found.verdict == "genuine" or not self._file.gz_sha256):
            return transfer.Delivery(), found
        for _ in range(2):
            delivery = transfer.run(order, self.watch)
            if delivery.problem is not None:
                return delivery, None
            identity = self._identify(part)
            if identity.is_file(self._file):
                return delivery, identity
            if not delivery.resumed_at or identity.verdict == "truncated":
                break
            # The part may have been wrong before this mirror: it gets a chance of its own.
            part.unlink()
            self.watch.is_copied = False
        with part.open("rb") as stream:
            start = stream.read(transfer.HEAD_BYTES)
        verdict = "corrupt" if identity.is_genuine else identity.verdict
        delivery.problem = responses.from_identity(
            verdict, identity.detail, body_start=start, headers=delivery.headers, url=order.url
        )
        return delivery, None

    def _identify(self, part: pathlib.Path) -> identify.Identity:
        return identify.identify(part, dataset=self._store.dataset, expected=self._file)

    def _result(
        self,
        outcome: str,
        why: responses.Explanation | None = None,
        status: int | None = None,
    ) -> Attempt:
        return Attempt(
            url=self.url,
            outcome=outcome,
            cause=why.cause if why else "",
            http_status=status,
            bytes=self.watch.received,
            seconds=round(self._clock() - self.watch.started, 3),
            evidence=exceptions.shortened(self._secrets.mask(why.evidence)) if why else "",
            remedy=self._secrets.mask(why.remedy) if why else "",
        )

    def _record(self, delivery: transfer.Delivery) -> Mapping[str, Any]:
        route = delivery.route
        return {
            "source": self.url,
            "route": {
                "proxy": urls.mask_proxy(route.proxy) if route.proxy else None,
                "proxy_origin": route.proxy_origin,
                "tls_issuer": self._secrets.mask(delivery.issuer) or None,
                "insecure_tls": route.insecure_tls,
            },
            "failed_attempts": self._failures(),
        }


def _is_worth_keeping(part: pathlib.Path, problem: responses.Explanation | None) -> bool:
    """True if `part` looks like the beginning of a file that can be resumed."""
    if problem is not None and problem.cause in ("too-large", "impostor", "checksum-mismatch"):
        return False
    try:
        with part.open("rb") as stream:
            start = stream.read(4)
    except OSError:
        return False
    return start[:2] == b"\x1f\x8b" or start[:3] == b"\0\0\x08"
