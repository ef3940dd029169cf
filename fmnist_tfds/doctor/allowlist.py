"""The request to a firewall administrator: which hosts, what for, why it is safe. Pure."""

from __future__ import annotations

import textwrap
import urllib.parse
from collections.abc import Sequence

from fmnist_tfds import artifacts, catalog, version
from fmnist_tfds.config import settings, urls
from fmnist_tfds.doctor import findings, mirror_urls
from fmnist_tfds.download.diagnosis import causes


def request(
    sources: Sequence[findings.Source],
    dataset: artifacts.ArtifactSet,
    *,
    host: str = "",
    date: str = "",
) -> str:
    """The request as plain text, ready to be sent; lines of at most 78 columns.

    Args:
        sources: what the doctor found.
        dataset: what is to be downloaded.
        host: the name of the machine that it was examined on.
        date: when, ISO 8601.
    """
    remote = [s for s in sources if s.host and not s.address_problem]
    if not remote:
        return "No network source is configured: there is nothing to ask for.\n"
    fewest = _fewest(remote, dataset)
    total = sum(file.size_bytes for file in dataset.files)
    hosts = [entry for source in fewest for entry in _entries(source)]
    spare = [e for s in remote if s not in fewest and _may_help(s) for e in _entries(s)]
    spare = [
        entry for entry in spare if entry[:2] not in [(host, port) for host, port, *_ in hosts]
    ]
    lines = [
        f"Subject: allow the download of {dataset.title} ({_mb(total)}, public, read only)",
        "",
        *_paragraph(
            f"We need {_count(dataset)}, {total:,} bytes in all, of the machine-learning data set "
            f"{dataset.title}. The fewest hosts that suffice:"
        ),
        "",
        *_table(hosts),
        "",
    ]
    seen = ", ".join(text for text in (host, date) if text)
    lines += [f"Seen from here ({seen}):" if seen else "Seen from here:"]
    for source in fewest:
        lines += _paragraph(_seen(source), indent="  ")
    lines += ["", "Kind of traffic:"]
    lines += [
        "  outbound only, GET only (through a proxy: CONNECT to the port above);",
        f"  client: User-Agent fmnist_tfds/{version.VERSION};",
        "  Range requests help to resume; nothing is uploaded; once a machine or cache.",
        "",
        "Files:",
    ]
    for file in dataset.files:
        lines += [f"  {file.name}  {file.size_bytes:,} bytes", f"    sha256 {file.sha256}"]
    lines += [
        "",
        "Why it is safe:",
        *_paragraph(
            "The sizes and SHA-256 digests above are pinned in the program. A file with any other "
            f"content is thrown away, whoever sends it. {_nature(dataset)}"
            "If TLS is inspected on the way, that does no harm either: the digests decide.",
            indent="  ",
        ),
    ]
    if spare:
        lines += ["", "Not needed, but good to have when the above is down:", "", *_table(spare)]
    lines += [
        "",
        "To check afterwards:",
        f"  curl -sSI {_smallest(fewest[0], dataset)}",
        f"  fmnist-tfds doctor{_flag(dataset)}",
        "",
        "Please reply to: (your name, address and department here)",
    ]
    return "\n".join(lines) + "\n"


_Entry = tuple[str, int | None, str, str]  # host, port, scheme, why


def _entries(source: findings.Source) -> list[_Entry]:
    """The hosts that must be allowed for one source: its own and where it redirects to."""
    own = _entry(source.url, "")
    hops = [hop for hop in source.hops if "://" in hop]  # the others are masked whole
    found = [own, *(_entry(hop, f"{own[0]} redirects there") for hop in hops)]
    if not source.hops:
        known = mirror_urls.KNOWN_REDIRECTS.get(own[0], ())
        found += [(host, own[1], own[2], f"{own[0]} redirects there") for host in known]
    return found


def _entry(url: str, why: str) -> _Entry:
    parts = urllib.parse.urlsplit(url)
    scheme = parts.scheme.lower()
    try:
        port = urls.port_of(parts)
    except ValueError:  # masked: a server put a secret there
        port = urls.default_port(scheme)
    return parts.hostname or "", port, scheme.upper(), why


def _fewest(
    remote: Sequence[findings.Source], dataset: artifacts.ArtifactSet
) -> tuple[findings.Source, ...]:
    """One source, if one can serve all: a proved one first, then TLS, then fewest hosts."""
    names = {file.name for file in dataset.files}

    def rank(source: findings.Source) -> tuple[bool, bool, bool, int]:
        is_whole = names <= set(source.serves)
        is_plain = source.url.lower().startswith("http:")
        return not is_whole, not _may_help(source), is_plain, len(_entries(source))

    best = min(remote, key=rank)
    if names <= set(best.serves) or not best.serves:
        return (best,)
    # Several together: each of them may lack a file.
    chosen: list[findings.Source] = []
    for source in sorted(remote, key=lambda s: -len(s.serves)):
        held = {name for s in chosen for name in s.serves}
        if set(source.serves) - held:
            chosen.append(source)
    return tuple(chosen)


def _may_help(source: findings.Source) -> bool:
    if source.cause and causes.CAUSES[source.cause].lacks_the_file:
        return False
    return source.host not in mirror_urls.KNOWN_PARTIAL


def _seen(source: findings.Source) -> str:
    host = source.host
    if not source.cause:
        return f"{host}: reachable, and has what was looked for"
    by = f" (proxy {source.proxy})" if source.proxy else ""
    return f"{host}: {source.cause}{by}: {source.evidence}"


def _table(entries: Sequence[_Entry]) -> list[str]:
    unique = list({entry[:2]: entry for entry in reversed(entries)}.values())[::-1]
    width = max(len(host) for host, *_ in unique)
    rows = []
    for host, port, scheme, why in unique:
        rows.append(f"  {host:{width}}  TCP {port} {scheme}")
        rows += [f"    ({why})"] if why else []
    return rows


def _paragraph(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        76,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.0f} MB"


def _smallest(source: findings.Source, dataset: artifacts.ArtifactSet) -> str:
    """The URL of the smallest file that `source` may have."""
    served = [file for file in dataset.files if file.name in source.serves] or dataset.files
    file = min(served, key=lambda each: each.expected_bytes)
    if isinstance(dataset, catalog.Catalog):
        return settings.Mirror(source.url).url_for(file)
    return urls.mask_url(file.url)


def _count(dataset: artifacts.ArtifactSet) -> str:
    count = len(dataset.files)
    words = {1: "one public file", 4: "four public files"}
    return words.get(count, f"{count:,} public files")


def _nature(dataset: artifacts.ArtifactSet) -> str:
    if not isinstance(dataset, catalog.Catalog):
        return ""
    said = "The files hold pixels and labels only: nothing in them is ever run. "
    name = dataset.license.partition(",")[0]
    return f"{said}Licence: {name}. " if name else said


def _flag(dataset: artifacts.ArtifactSet) -> str:
    return "" if isinstance(dataset, catalog.Catalog) else f" --dataset={dataset.name}"
