"""Finds variables and settings that contradict each other or cannot work.

The caller passes the variables; CA files are read from disk, nothing else is opened.
"""

from __future__ import annotations

import pathlib
import urllib.parse
from collections.abc import Iterator, Mapping

from fmnist_tfds.config import loader, settings, urls
from fmnist_tfds.doctor import findings, mirror_urls
from fmnist_tfds.download.diagnosis import certificates

_shown = urls.mask_proxy


def check(env: Mapping[str, str], found: settings.Settings) -> tuple[findings.Finding, ...]:
    """The problems of the variables in `env` and of the settings made of them; secrets masked."""
    return (
        *(*_spelled_twice(env), *_malformed(env), *_one_scheme_only(found), *_bundles(env)),
        *(*_no_proxy(found), *_addresses(found)),
    )


def _spelled_twice(env: Mapping[str, str]) -> Iterator[findings.Finding]:
    for name in loader.PROXY_VARIABLES:
        lower, upper = env.get(name, ""), env.get(name.upper(), "")
        if lower and upper and lower != upper:
            yield findings.Finding(
                name.upper(),
                f"{name}={_shown(lower)} and {name.upper()}={_shown(upper)} differ; "
                "the lower-case one is used",
                f"unset {name.upper()}, or give both the same value",
            )


def _malformed(env: Mapping[str, str]) -> Iterator[findings.Finding]:
    for name in loader.PROXY_VARIABLES[:-1]:
        for spelling in (name, name.upper()):
            value = env.get(spelling, "")
            if not value:
                continue
            if problem := urls.proxy_problem(value):
                yield findings.Finding(
                    spelling,
                    f"{_shown(value)} is no proxy URL: {problem}",
                    f"export {spelling}=http://proxy.example:3128",
                )
            elif value.lower().startswith("https://"):
                yield findings.Finding(
                    spelling,
                    f"{_shown(value)} asks for TLS to the proxy itself, which few proxies speak",
                    f"if it fails, write http:// there: export {spelling}="
                    f"{_shown('http' + value[5:])}",
                )


def _one_scheme_only(found: settings.Settings) -> Iterator[findings.Finding]:
    proxies = found.environment.proxies
    wanted = {m.scheme for m in found.mirrors if m.proxy is None}
    if "http" in proxies and not proxies.keys() & {"https", "all"} and "https" in wanted:
        yield findings.Finding(
            "HTTPS_PROXY",
            "HTTP_PROXY is set and HTTPS_PROXY is not: https mirrors are reached without a proxy",
            f"export HTTPS_PROXY={_shown(proxies['http'])}",
        )


def _bundles(env: Mapping[str, str]) -> Iterator[findings.Finding]:
    given = [(name, env[name]) for name in loader.BUNDLE_VARIABLES if env.get(name)]
    for name, value in given:
        if problem := certificates.file_problem(pathlib.Path(value)):
            yield findings.Finding(
                name, f"{value}: {problem}", f"correct it, or unset {name} to use the system's own"
            )
    if len({value for _, value in given}) > 1:
        names = " and ".join(name for name, _ in given)
        yield findings.Finding(
            given[0][0], f"{names} name different files; {given[0][0]} is used", "keep one of them"
        )


def _no_proxy(found: settings.Settings) -> Iterator[findings.Finding]:
    rules = found.environment.no_proxy
    for entry in filter(None, (part.strip() for part in rules.split(","))):
        if "://" in entry or " " in entry:
            yield findings.Finding(
                "NO_PROXY",
                f"{urls.mask_no_proxy(entry)!r} is no host name",
                "write host names, suffixes or networks, separated by commas",
            )
    if not found.environment.proxies and not found.network.proxy:
        return
    for mirror in found.mirrors:
        host = urllib.parse.urlsplit(mirror.url).hostname or ""
        if mirror.is_local or not certificates.is_public(host):
            continue
        if found.route(mirror, mirror.url).proxy_origin == "NO_PROXY":
            yield findings.Finding(
                "NO_PROXY",
                f"{urls.mask_no_proxy(rules)!r} keeps {host} from the proxy, though it is a "
                "public host",
                "narrow NO_PROXY, or give the mirror a `proxy` of its own in the TOML file",
            )


def _addresses(found: settings.Settings) -> Iterator[findings.Finding]:
    for mirror in found.mirrors:
        problem, remedy = mirror_urls.problem_of(mirror.url)
        if problem:
            shown = urls.mask_url(mirror.url)
            yield findings.Finding(mirror.name or "mirrors", f"{shown}: {problem}", remedy)
    for note in found.notes:
        yield findings.Finding("mirrors", note, "correct it where it is written")
