"""What one attempt requests, and the reply to it."""

from __future__ import annotations

import dataclasses
import datetime
import email.utils
import pathlib
from collections.abc import Mapping

from fmnist_tfds import artifacts
from fmnist_tfds.config import settings
from fmnist_tfds.download.diagnosis import causes
from fmnist_tfds.download.transport import credentials


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """One file of one mirror, to be copied to a part file.

    Attributes:
        file: which file.
        mirror: where from.
        options: time-outs, proxies, trust.
        part: where to; resumed where it holds bytes already.
        dataset: whose file it is.
        secrets: resolves and masks what the request needs.
    """

    file: artifacts.Artifact
    mirror: settings.Mirror
    options: settings.Settings
    part: pathlib.Path
    dataset: artifacts.ArtifactSet
    secrets: credentials.Secrets

    @property
    def url(self) -> str:
        """The URL of the file at that mirror."""
        return self.mirror.url_for(self.file)


@dataclasses.dataclass(slots=True)
class Reply:
    """The reply of a mirror, filled in while the attempt runs.

    Attributes:
        problem: why the body did not arrive whole, or None.
        status: of the last response, or None.
        headers: of the last response.
        retry_after: the Retry-After header of a refusal, or "".
        resumed_at: bytes that the part held before.
        route: of the last hop.
        issuer: who signed the server's certificate, or "".
        hops: the URLs requested, in order.
    """

    problem: causes.Explanation | None = None
    status: int | None = None
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    retry_after: str = ""
    resumed_at: int = 0
    route: settings.Route = dataclasses.field(default_factory=settings.Route)
    issuer: str = ""
    hops: list[str] = dataclasses.field(default_factory=list)


def moment_s(date: str) -> float | None:
    """Seconds since 1970 of an HTTP date, which is in UTC; None for what is no date."""
    try:
        moment = email.utils.parsedate_to_datetime(date)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.UTC)
        return moment.timestamp()
    except (ValueError, OverflowError):  # no date, or one beyond the calendar
        return None
