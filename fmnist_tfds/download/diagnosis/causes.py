"""The vocabulary of causes, each with its meaning and its remedy, and what explains a failure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

_MANUAL = "or put the four files in a folder and pass --manual_dir"

CAUSES: Mapping[str, str] = {
    "dns-failure": "the host name could not be resolved",
    "connect-refused": "nothing accepts connections there, or a firewall refuses them",
    "connect-timeout": "no connection came about in time",
    "tls-untrusted": "the server's certificate is not trusted, expired, or for another host",
    "tls-intercepted": "a firewall re-signs TLS traffic with an authority that is not trusted here",
    "proxy-auth-required": "the proxy wants a user name and password",
    "proxy-auth-ntlm": "the proxy wants NTLM or Negotiate (Kerberos) authentication",
    "proxy-denied": "a proxy or web filter refuses this address",
    "captive-portal": "the network wants a login in a browser first",
    "waf-blocked": "the site's firewall or bot check refused the request",
    "user-agent-blocked": "the site refuses this kind of client",
    "geo-blocked": "the site is not available in this country, or for legal reasons",
    "rate-limited": "too many requests were made from this address",
    "object-missing-or-private": "the object store has no such file, or does not show it",
    "size-limited": "the server does not serve files of this size",
    "auth-required": "the server wants credentials",
    "forbidden": "the server refuses access",
    "not-found": "the server has no such file",
    "server-error": "the server or a gateway before it failed",
    "stalled": "the transfer stopped, or was slower than the minimum speed",
    "truncated": "the body ended before it was complete",
    "reset": "the connection was cut",
    "redirect-loop": "too many redirects",
    "insecure-redirect": "a redirect leads to a place that is not safe to follow",
    "wrong-content": "something else than the file was served",
    "impostor": "another data set was served under this name",
    "too-large": "the body is larger than the file can be",
    "checksum-mismatch": "the bytes are not those published",
    "deadline": "the time for the whole job was used up",
    "offline": "the network is switched off for this job",
    "unsupported-scheme": "the kind of URL cannot be fetched",
}

REMEDIES: Mapping[str, str] = {
    "dns-failure": "check the host name, DNS and the VPN; behind a proxy set HTTPS_PROXY",
    "connect-refused": "check host and port; behind a proxy set HTTPS_PROXY",
    "connect-timeout": "the firewall may drop this address: allow it, or set HTTPS_PROXY",
    "tls-untrusted": "check the clock; for a private authority set ca_bundle or REQUESTS_CA_BUNDLE",
    "tls-intercepted": "get that authority's PEM file from your network team: ca_bundle, "
    "or REQUESTS_CA_BUNDLE",
    "proxy-auth-required": "put user:password into the proxy URL, http://user:password@proxy:port",
    "proxy-auth-ntlm": "run a local proxy that speaks it, such as cntlm or px, and point "
    f"HTTPS_PROXY there; {_MANUAL}",
    "proxy-denied": f"ask for this host to be allowed in the proxy, use another mirror, {_MANUAL}",
    "captive-portal": "open a browser, log in to the network, and run this again",
    "waf-blocked": "use another mirror, or try from another network",
    "user-agent-blocked": "use another mirror",
    "geo-blocked": f"use another mirror, {_MANUAL}",
    "rate-limited": "wait, or use another mirror; share one copy with `fmnist-tfds serve`",
    "object-missing-or-private": "check the mirror's URL; a private store needs auth",
    "size-limited": "use another mirror for this file",
    "auth-required": "give the mirror `auth` in the TOML file, or an entry in ~/.netrc",
    "forbidden": "check the mirror's URL and its rights, or use another mirror",
    "not-found": "check the mirror's URL: the file name is appended to it",
    "server-error": "try again later, or use another mirror",
    "stalled": "try again (the part is kept), or lower min_speed_bytes_per_s",
    "truncated": "try again: the part is kept and resumed",
    "reset": "try again: the part is kept and resumed",
    "redirect-loop": "check the mirror's URL; a login page may stand before it",
    "insecure-redirect": "use the final https address, or set allow_http_redirect for this mirror",
    "wrong-content": "check the mirror's URL in a browser",
    "impostor": "use another mirror; a cache on the way may hold the wrong file",
    "too-large": "check the mirror's URL",
    "checksum-mismatch": "use another mirror; something on the way may change files",
    "deadline": "raise --deadline_s, or use a nearer mirror",
    "offline": f"drop --offline and FMNIST_TFDS_OFFLINE, {_MANUAL}",
    "unsupported-scheme": "use http, https, file, or install the extra: "
    "pip install 'fmnist_tfds[cloud]'",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Explanation:
    """Why an attempt failed.

    Attributes:
        cause: a key of `CAUSES`.
        evidence: what was seen, one line.
        remedy: what the user can do, one line.
    """

    cause: str
    evidence: str
    remedy: str


def named(cause: str, evidence: str = "", remedy: str = "") -> Explanation:
    """The explanation of a known cause; evidence and remedy default to the vocabulary's."""
    return Explanation(cause, evidence or CAUSES[cause], remedy or REMEDIES[cause])
