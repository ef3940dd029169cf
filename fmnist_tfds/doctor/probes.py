"""Examines one source stage by stage: dns, tcp, proxy, tls, http, range, content.

The first four stages are measured on a separate connection. The verdict comes from the requests
that a download makes, too: `transfer` for the smallest file, `redirects` for the first bytes of the
others.
"""

from __future__ import annotations

import dataclasses
import pathlib
import time
import urllib.parse
from collections.abc import Callable

from fmnist_tfds import artifacts, errors
from fmnist_tfds.config import settings, urls
from fmnist_tfds.doctor import contents, findings, mirror_urls, stages
from fmnist_tfds.download.diagnosis import causes, responses
from fmnist_tfds.download.transport import (
    credentials,
    handshake,
    library_logs,
    request,
    session,
    transfer,
    watching,
)

_LEAST_TO_JUDGE_S = 5.0
# Of a larger file only the first bytes are requested.
_MOST_WHOLE_BYTES = 8 << 20


class _Watch(watching.Watch):
    """Also knows when the first byte of the body came."""

    first_byte: float | None = None

    def arrived(self, count: int) -> None:
        if self.first_byte is None:
            self.first_byte = self.clock()
        super().arrived(count)


class Probe:
    """One examination of one mirror; `result` may be called at any time, also during `run`.

    Args:
        mirror: what to examine.
        options: network, proxies, trust.
        dataset: whose files are looked for.
        secrets: resolves and masks what the requests need.
        folder: for the copy of the smallest file.
        clock: monotonic seconds.
        wall: seconds since 1970.
    """

    def __init__(
        self,
        mirror: settings.Mirror,
        options: settings.Settings,
        dataset: artifacts.ArtifactSet,
        secrets: credentials.Secrets,
        folder: pathlib.Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._mirror, self._options, self._dataset = mirror, options, dataset
        self._secrets, self._folder, self._clock, self._wall = secrets, folder, clock, wall
        self._watch = _Watch(clock)
        self._route = settings.Route()
        self._stages = stages.Stages(clock)
        self._serves: list[str] = []
        self._hops: list[str] = []
        self._notes: list[str] = []
        self._why: causes.Explanation | None = None
        self._owner: findings.Owner = ""
        self._answered = self._issuer = ""
        self._skew_s: float | None = None

    def run(self) -> None:
        """Examines the mirror; `result` says what was found.

        Raises:
            watching.Cancelled: `cancel` was called.
        """
        try:
            with library_logs.hushed(self._secrets.mask):
                self._look()
        except stages.Failed as failed:
            self._fail(failed.stage, failed.why)
        except errors.ConfigError as error:
            self._owner = "this machine"
            why = causes.Explanation("auth-required", error.message, error.hint)
            self._fail("http", why)
        except errors.StoreError as error:
            self._owner = "this machine"
            self._fail("http", causes.Explanation("server-error", error.message, error.hint))
        finally:
            self._watch.close()

    def _look(self) -> None:
        if self._mirror.is_http:
            self._over_http()
        else:
            self._stages.skip("dns", "tcp", "proxy", "tls", "range")
            self._small_file()

    def cancel(self) -> None:
        """Ends an examination that takes too long."""
        self._watch.cancel()

    def result(self) -> findings.Source:
        """What was found so far; texts not masked yet."""
        why = self._why
        is_malformed = self._owner == "this machine"
        problem, instead = mirror_urls.problem_of(self._mirror.url)
        is_http = self._mirror.is_http
        proxy = self._route.proxy
        return findings.Source(
            url=urls.mask_url(self._mirror.url),
            name=self._mirror.name,
            host=urllib.parse.urlsplit(self._mirror.url).netloc.rpartition("@")[2]
            if is_http
            else "",
            stages=self._stages.in_order(),
            serves=tuple(self._serves),
            cause=why.cause if why else "",
            evidence=why.evidence if why else "",
            remedy=(instead or why.remedy) if why else "",
            owner="this machine" if problem and why else self._owner,
            proxy=responses.proxy_name(self._route) if proxy and not is_malformed else "",
            proxy_origin=self._route.proxy_origin if proxy else "",
            proxy_answered=self._answered,
            issuer=self._issuer,
            clock_skew_s=self._skew_s,
            hops=mirror_urls.other_hosts(self._mirror.url, map(urls.mask_url, self._hops)),
            notes=tuple(self._notes),
            address_problem=problem,
        )

    # --- http and https -------------------------------------------------------------------------

    def _over_http(self) -> None:
        url = self._mirror.url_for(self._small)
        route = credentials.route_to(self._options, self._mirror, url, self._secrets, home=True)
        self._route = route
        if why := responses.malformed_proxy(route):
            self._owner = "this machine"
            raise stages.Failed("proxy", why)
        if why := session.unusable_certificates(route, url):
            self._owner = "this machine"
            raise stages.Failed("tls", why)
        with handshake.Connection(url, route, self._options.network.connect_timeout_s) as conn:
            for name, step in (
                ("dns", conn.resolve),
                ("tcp", conn.connect),
                ("proxy", conn.tunnel),
                ("tls", conn.handshake),
            ):
                self._step(name, step)
            self._answered, self._issuer = conn.proxy_said, conn.issuer
        if self._small.expected_bytes <= _MOST_WHOLE_BYTES:
            self._small_file()
        else:
            self._stages.skip("content")
        self._beginnings()
        for name in ("proxy", "tls"):
            if name not in self._stages:
                self._stages.part_of_the_request(name)

    def _step(self, name: str, step: Callable[[], handshake.Step]) -> None:
        start = self._clock()
        self._watch.check()
        done = step()
        if done.why:
            self._stages.failed(name, done.detail, (self._clock() - start) * 1000)
            raise stages.Failed(name, done.why)
        if done.is_skipped:
            self._stages.skip(name)
        elif not done.is_open:
            self._stages.passed(name, done.detail, since_s=start)

    def _small_file(self) -> None:
        """The smallest file, copied as a download copies it, and its hash."""
        start = self._clock()
        order = self._order(self._small)
        delivery = transfer.run(order, self._watch)
        end = self._clock()
        first = end if self._watch.first_byte is None else self._watch.first_byte
        self._learn(delivery)
        if delivery.problem:
            stage = self._stage_of(delivery.problem.cause, is_reading=delivery.status == 200)
            raise stages.Failed(stage, self._after_redirect(delivery.problem))
        status = f"status {delivery.status}" if delivery.status else "read"
        self._stages.passed("http", status, since_s=start, until_s=first)
        self._check_speed(end - first)
        if why := contents.whole(order, delivery):
            raise stages.Failed("content", why)
        self._serves.append(order.file.name)
        self._stages.passed("content", f"{order.file.name} proved by its hash", since_s=first)

    def _beginnings(self) -> None:
        """Requests the first bytes of the other files, by Range."""
        start = self._clock()
        ranged = True
        for file in self._dataset.files:
            if file.name in self._serves:
                continue
            self._watch.check()
            found = contents.beginning(self._order(file))
            self._hops += [hop for hop in found.hops[1:] if hop not in self._hops]
            if found.why:
                self._why = self._why or found.why
                continue
            self._serves.append(file.name)
            if "http" not in self._stages:
                self._stages.passed("http", "the first bytes arrived", since_s=start)
            ranged = ranged and found.is_ranged
            if found.note and found.note not in self._notes:
                self._notes.append(found.note)
        if self._why:
            raise stages.Failed("range", self._why)
        said = "ranges work" if ranged else "no ranges: a broken download starts again"
        self._stages.passed("range", said, since_s=start)
        if not ranged:
            self._notes.append(said)

    def _check_speed(self, seconds: float) -> None:
        """Fails below the minimum speed: a download would have given up on this body.

        Args:
            seconds: from the first byte of the body to the last, so that a late first byte does
                not count as a slow transfer.
        """
        least = self._options.network.min_speed_bytes_per_s
        if seconds > _LEAST_TO_JUDGE_S and self._watch.received < least * seconds:
            speed = self._watch.received / seconds
            slow = f"{speed:,.0f} bytes a second; less than min_speed_bytes_per_s, {least:,}"
            raise stages.Failed("content", causes.named("stalled", slow))

    # --- bookkeeping ----------------------------------------------------------------------------

    @property
    def _small(self) -> artifacts.Artifact:
        return min(self._dataset.files, key=lambda file: file.expected_bytes)

    def _order(self, file: artifacts.Artifact) -> request.Request:
        part = self._folder / file.name
        part.unlink(missing_ok=True)
        return request.Request(
            file, self._mirror, self._options, part, self._dataset, self._secrets
        )

    def _learn(self, delivery: request.Reply) -> None:
        self._hops = list(delivery.hops[1:])
        self._issuer = self._issuer or delivery.issuer
        said = {name.lower(): value for name, value in delivery.headers.items()}
        if self._route.proxy and not self._answered:
            self._answered = said.get("via", "") or said.get("proxy-agent", "")
        self._skew_s = contents.clock_skew_s(said.get("date", ""), self._wall())
        if self._mirror.insecure_tls and self._mirror.scheme == "https":
            self._notes.append("the certificate was not verified (insecure_tls)")

    def _stage_of(self, cause: causes.CauseName, *, is_reading: bool) -> str:
        met_in: causes.Stage = "content" if is_reading else "http"
        stage = "http" if self._hops else causes.CAUSES[cause].stage or met_in
        return "http" if self._stages.is_skipped(stage) else stage

    def _after_redirect(self, why: causes.Explanation) -> causes.Explanation:
        if not self._hops:
            return why
        led = f"{why.evidence}, after a redirect to {urls.mask_url(self._hops[-1])}"
        return dataclasses.replace(why, evidence=led)

    def _fail(self, stage: str, why: causes.Explanation) -> None:
        self._why = why
        self._stages.failed(stage, why.evidence)
