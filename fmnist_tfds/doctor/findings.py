"""The doctor's results as frozen values, to be shown or written as JSON. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

from fmnist_tfds.download.diagnosis import causes

STAGES: tuple[str, ...] = get_args(causes.Stage)
Outcome = Literal["ok", "failed", "skipped", "not reached"]
Owner = Literal["", "passing disturbance"] | causes.Owner

OWNERS: Mapping[str, str] = {
    "this machine": "a setting, file or clock of this machine",
    "own line": "this machine's network: line, DNS, VPN or firewall",
    "proxy": "the proxy or web filter",
    "interception": "something on the way that answers in the server's place",
    "server": "the server, or what stands in front of it",
    "passing disturbance": "temporary: it worked when tried again",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Stage:
    """One stage of the examination of a source.

    Attributes:
        name: one of `STAGES`.
        outcome: "skipped" where this source has no such stage.
        ms: milliseconds it took; None where it was not measured alone.
        detail: what was seen.
    """

    name: str
    outcome: Outcome
    ms: float | None = None
    detail: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """One source that was examined.

    Attributes:
        url: masked URL or folder.
        name: its name in the TOML file, "cache", "manual_dir", or "".
        host: host name with the port where it is not the standard one; "" for folders.
        stages: in the order of `STAGES`, all of them.
        serves: names of the files that are available from here.
        cause: a word of `causes.CAUSES`, or "" where all four files are available.
        evidence: what was seen.
        remedy: what can be done, one line.
        owner: a key of `OWNERS`, or "".
        proxy: "host:port" of the proxy, or "".
        proxy_origin: the variable or setting that names that proxy.
        proxy_answered: what the proxy calls itself, or "".
        issuer: who signed the certificate that was presented, or "".
        clock_skew_s: seconds that this machine's clock is ahead of the server's Date, or None.
        hops: the other hosts that redirects led to, as URLs without a path.
        probes: how often it was tried.
        disturbances: causes of failed probes before one that succeeded.
        notes: remarks on what works, but is unusual.
        address_problem: why the configured URL cannot work, or "".
    """

    url: str
    name: str = ""
    host: str = ""
    stages: tuple[Stage, ...] = ()
    serves: tuple[str, ...] = ()
    cause: causes.CauseName | Literal[""] = ""
    evidence: str = ""
    remedy: str = ""
    owner: Owner = ""
    proxy: str = ""
    proxy_origin: str = ""
    proxy_answered: str = ""
    issuer: str = ""
    clock_skew_s: float | None = None
    hops: tuple[str, ...] = ()
    probes: int = 1
    disturbances: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    address_problem: str = ""

    def passed(self, stage: str) -> bool:
        """True if that stage succeeded."""
        return any(s.name == stage and s.outcome == "ok" for s in self.stages)


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """A setting that contradicts another one or cannot work.

    Attributes:
        subject: the variable or setting.
        problem: what is wrong with it, secrets masked.
        remedy: what to do.
    """

    subject: str
    problem: str
    remedy: str


@dataclasses.dataclass(frozen=True, slots=True)
class Remedy:
    """Something to paste.

    Attributes:
        title: what it achieves, one line.
        kind: "shell", "toml" or "text".
        text: the lines.
    """

    title: str
    kind: Literal["shell", "toml", "text"]
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """The whole diagnosis.

    Attributes:
        ok: True if every file is available from some source.
        headline: the verdict in one sentence.
        verdict: more sentences: what works, what fails, who can fix it.
        sources: in the order in which they are tried.
        settings: contradictions in the settings.
        remedies: what to paste.
        allowlist: the firewall request.
        clock_skew_s: seconds that this machine's clock is ahead; None: no server gave its time.
        seconds: how long the examination took.
        package: name and version of this package.
        date: when, ISO 8601, UTC.
    """

    ok: bool
    headline: str
    verdict: tuple[str, ...]
    sources: tuple[Source, ...]
    settings: tuple[Finding, ...]
    remedies: tuple[Remedy, ...]
    allowlist: str
    clock_skew_s: float | None
    seconds: float
    package: str
    date: str

    def as_json(self) -> dict[str, Any]:
        """The document that `doctor --json` prints; `stages` as a mapping by name."""
        document = dataclasses.asdict(self)
        for source in document["sources"]:
            source["stages"] = {stage.pop("name"): stage for stage in source["stages"]}
            for stage in source["stages"].values():
                stage["ms"] = None if stage["ms"] is None else round(stage["ms"], 1)
        return document


def masked(source: Source, mask: Callable[[str], str]) -> Source:
    """`source` with every text passed through `mask`.

    The address stays even if a secret is part of it: the firewall request needs the host.
    """
    return dataclasses.replace(
        source,
        **{
            field.name: _masked(getattr(source, field.name), mask)
            for field in dataclasses.fields(source)
            # A remedy is our own text; the mask would hide "user:password@" in it.
            if field.name not in ("url", "name", "host", "stages", "owner", "cause", "remedy")
        },
        stages=tuple(dataclasses.replace(s, detail=mask(s.detail)) for s in source.stages),
    )


def _masked(value: Any, mask: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return mask(value)
    return tuple(map(mask, value)) if isinstance(value, tuple) else value
