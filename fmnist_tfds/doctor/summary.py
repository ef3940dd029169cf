"""The verdict on all sources: what works, what fails, and who can fix it. Pure."""

from __future__ import annotations

import dataclasses
import statistics
from collections import Counter
from collections.abc import Sequence

from fmnist_tfds import artifacts
from fmnist_tfds.doctor import findings
from fmnist_tfds.download.diagnosis import causes

SKEW_S = 120.0
_DAY_S = 86_400.0


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement.

    Attributes:
        ok: every file is available from some source.
        headline: one sentence.
        lines: more sentences.
    """

    ok: bool
    headline: str
    lines: tuple[str, ...]


def skew_of(sources: Sequence[findings.Source]) -> float | None:
    """Seconds that this machine's clock is ahead of the servers' (their median); None where no
    server gave its time."""
    seen = [s.clock_skew_s for s in sources if s.clock_skew_s is not None]
    return statistics.median(seen) if seen else None


def with_owners(sources: Sequence[findings.Source]) -> tuple[findings.Source, ...]:
    """The sources, each with the owner of its failure."""
    return tuple(dataclasses.replace(s, owner=_owner(s, sources)) for s in sources)


def _owner(source: findings.Source, everyone: Sequence[findings.Source]) -> findings.Owner:
    if source.owner or not (source.cause or source.disturbances):
        return source.owner
    if not source.cause:
        return "passing disturbance"
    if source.url.startswith("file:") or "://" not in source.url:
        return "this machine"
    cause = causes.CAUSES[source.cause]
    if source.proxy and source.cause == "dns-failure":
        return "this machine"
    if source.proxy and cause.is_unreachable and not source.passed("tcp"):
        return "proxy"
    if source.cause == "tls-untrusted" and abs(skew_of(everyone) or 0.0) > _DAY_S:
        return "this machine"
    peers = [s for s in everyone if s.host and s.host != source.host and not s.owner]
    is_alone = bool(peers) and not any(
        p.cause and causes.CAUSES[p.cause].is_unreachable for p in peers
    )
    if source.cause == "dns-failure":
        return "server" if any(p.passed("dns") for p in peers) else "own line"
    if cause.is_unreachable and peers:
        return "server" if is_alone or _heard(peers) else "own line"
    return cause.owner


def _heard(sources: Sequence[findings.Source]) -> bool:
    return any(s.passed("http") or s.passed("tls") for s in sources)


def judge(sources: Sequence[findings.Source], dataset: artifacts.ArtifactSet) -> Verdict:
    """The verdict on sources whose owners are known."""
    names = [file.name for file in dataset.files]
    complete = [s for s in sources if set(names) <= set(s.serves)]
    lacking = [name for name in names if not any(name in s.serves for s in sources)]
    ok = not lacking
    if not sources:
        headline = (
            f"{dataset.title} is not available: no mirror, no manual_dir, nothing in the cache"
        )
    elif complete:
        headline = f"{dataset.title} is available, from {len(complete)} of {_sources(len(sources))}"
    elif ok:
        headline = f"{dataset.title} is available, but only from several sources together"
    elif len(lacking) < len(names):
        headline = (
            f"{dataset.title} is available only in part: no source serves {', '.join(lacking)}"
        )
    else:
        headline = f"{dataset.title} is not available from any of {_sources(len(sources))}"
    lines = [*_works(complete), *_in_the_way(sources), *_passing(sources), *_clock(sources)]
    return Verdict(ok, headline, tuple(lines))


def title_of(source: findings.Source) -> str:
    """The name of a source in a sentence."""
    return source.name or source.host or source.url


def _works(complete: Sequence[findings.Source]) -> list[str]:
    if not complete:
        return []
    return [f"works: {', '.join(dict.fromkeys(title_of(s) for s in complete))}"]


def _in_the_way(sources: Sequence[findings.Source]) -> list[str]:
    troubled = [s for s in sources if s.cause]
    lines = []
    for owner, number in Counter(s.owner for s in troubled).most_common():
        mine = [s for s in troubled if s.owner == owner]
        named = ", ".join(cause for cause, _ in Counter(s.cause for s in mine).most_common())
        whose = findings.OWNERS.get(owner, "unknown")
        lines.append(f"in the way of {_sources(number)}: {whose}{_who(mine)} ({named})")
        lines += [f"  {text}" for text in _steady(mine)]
    return lines


def _sources(number: int) -> str:
    return f"{number} source{'' if number == 1 else 's'}"


def _who(sources: Sequence[findings.Source]) -> str:
    """The proxies or signers by name."""
    if sources[0].owner == "proxy":
        names = [s.proxy for s in sources if s.proxy]
    elif sources[0].owner == "interception":
        names = [s.issuer for s in sources if s.issuer]
    else:
        names = []
    return f": {', '.join(dict.fromkeys(names))}" if names else ""


def _steady(sources: Sequence[findings.Source]) -> list[str]:
    repeated = [s for s in sources if s.probes > 1]
    if not repeated:
        return []
    most = max(s.probes for s in repeated)
    return [f"not temporary: tried {most} times, with the same result"]


def _passing(sources: Sequence[findings.Source]) -> list[str]:
    passed = [s for s in sources if s.disturbances and not s.cause]
    return [
        f"temporary failure at {title_of(s)}: {s.disturbances[0]}, then it worked" for s in passed
    ]


def _clock(sources: Sequence[findings.Source]) -> list[str]:
    skew = skew_of(sources)
    if skew is None:
        return []
    said = [s for s in sources if s.clock_skew_s is not None]
    if abs(skew) > SKEW_S:
        whose = (
            "this machine's clock, or that server's, is wrong"
            if len(said) == 1
            else "this machine's clock is wrong; certificates fail by it"
        )
        return [f"clock: this machine is {_duration(skew)} the servers' time: {whose}"]
    wrong = [
        f"clock: {title_of(s)} has a wrong clock: this machine is {_duration(s.clock_skew_s)} it"
        for s in said
        if s.clock_skew_s is not None and abs(s.clock_skew_s - skew) > SKEW_S
    ]
    return wrong or [f"clock: agrees with the servers' within {max(abs(skew), 1):.0f} s"]


def _duration(seconds: float) -> str:
    units = ((_DAY_S, "days"), (3600.0, "hours"), (60.0, "minutes"))
    size, unit = next((u for u in units if abs(seconds) >= 2 * u[0]), (1.0, "seconds"))
    return f"{abs(seconds) / size:.0f} {unit} {'ahead of' if seconds > 0 else 'behind'}"
