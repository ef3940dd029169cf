"""The table of causes: why an attempt failed, what to do, and how the job reacts. Pure data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

CauseName = Literal[
    "dns-failure",
    "connect-refused",
    "connect-timeout",
    "tls-untrusted",
    "tls-intercepted",
    "proxy-auth-required",
    "proxy-auth-ntlm",
    "proxy-denied",
    "captive-portal",
    "waf-blocked",
    "user-agent-blocked",
    "geo-blocked",
    "rate-limited",
    "object-missing-or-private",
    "size-limited",
    "auth-required",
    "forbidden",
    "not-found",
    "server-error",
    "stalled",
    "slow",
    "truncated",
    "reset",
    "redirect-loop",
    "insecure-redirect",
    "wrong-content",
    "impostor",
    "too-large",
    "checksum-mismatch",
    "deadline",
    "offline",
    "unsupported-scheme",
]
Owner = Literal["this machine", "own line", "proxy", "interception", "server"]
Stage = Literal["dns", "tcp", "proxy", "tls", "http", "range", "content"]

_MANUAL = "or put the four files in a folder and pass --manual_dir"
_MOST_EVIDENCE = 300


@dataclasses.dataclass(frozen=True, slots=True)
class Cause:
    """One row: a cause and every fact about it.

    Attributes:
        name: the word in messages, receipts and the doctor's report.
        meaning: one line; the evidence where nothing more exact was seen.
        remedy: what the user can do, one line.
        owner: who can fix it, unless the results of the other sources show otherwise.
        stage: the stage of the doctor's examination that it always belongs to; None for the
            stage in which it occurred.
        is_transient: another attempt at the same mirror may succeed.
        disables_mirror: it concerns the whole mirror, not one file: try it last from now on.
        is_silence: no response of any kind arrived.
        is_unreachable: the connection failed or broke; the other sources show whether the server
            or this machine's network is down.
        keeps_part: what arrived may be the beginning of the right file: keep it, to resume it.
        permission_helps: the firewall administrator can fix it by allowing the host.
        is_refusal: a proxy, a firewall or the server refuses the request.
        lacks_the_file: the source does not have the file: permission would not help.
        note: one more sentence for docs/causes.md.
    """

    name: CauseName
    meaning: str
    remedy: str
    owner: Owner = "server"
    stage: Stage | None = None
    is_transient: bool = False
    disables_mirror: bool = False
    is_silence: bool = False
    is_unreachable: bool = False
    keeps_part: bool = True
    permission_helps: bool = False
    is_refusal: bool = False
    lacks_the_file: bool = False
    note: str = ""


# fmt: off
_ROWS = (
    Cause("dns-failure", "the host name could not be resolved",
          "check the host name, DNS and the VPN; behind a proxy set HTTPS_PROXY",
          owner="own line", stage="dns", is_transient=True, disables_mirror=True, is_silence=True,
          is_unreachable=True),
    Cause("connect-refused", "nothing accepts connections there, or a firewall refuses them",
          "check host and port; behind a proxy set HTTPS_PROXY", stage="tcp", is_transient=True,
          disables_mirror=True, is_unreachable=True, permission_helps=True, is_refusal=True),
    Cause("connect-timeout", "no connection was made in time",
          "the firewall may drop this address: allow it, or set HTTPS_PROXY", owner="own line",
          stage="tcp", is_transient=True, disables_mirror=True, is_silence=True,
          is_unreachable=True, permission_helps=True, is_refusal=True),
    Cause("tls-untrusted", "the server's certificate is not trusted, expired, or for another host",
          "check the clock; for a private authority set ca_bundle or REQUESTS_CA_BUNDLE",
          stage="tls", disables_mirror=True),
    Cause("tls-intercepted",
          "a firewall re-signs TLS traffic with an authority that is not trusted here",
          "get that authority's PEM file from your network team: ca_bundle, or REQUESTS_CA_BUNDLE",
          owner="interception", stage="tls", disables_mirror=True, permission_helps=True,
          is_refusal=True),
    Cause("proxy-auth-required", "the proxy wants a user name and password",
          "put user:password into the proxy URL, http://user:password@proxy:port", owner="proxy",
          stage="proxy", disables_mirror=True, is_refusal=True),
    Cause("proxy-auth-ntlm", "the proxy wants NTLM or Negotiate (Kerberos) authentication",
          f"run a local proxy that speaks it, such as cntlm or px, and point "
          f"HTTPS_PROXY there; {_MANUAL}",
          owner="proxy", stage="proxy", disables_mirror=True, is_refusal=True),
    Cause("proxy-denied", "a proxy or web filter refuses this address",
          f"ask for this host to be allowed in the proxy, use another mirror, {_MANUAL}",
          owner="proxy", stage="proxy", disables_mirror=True, permission_helps=True,
          is_refusal=True),
    Cause("captive-portal", "the network wants a login in a browser first",
          "open a browser, log in to the network, and run this again", owner="interception",
          disables_mirror=True, is_refusal=True),
    Cause("waf-blocked", "the site's firewall or bot check refused the request",
          "use another mirror, or try from another network", is_refusal=True),
    Cause("user-agent-blocked", "the site refuses this kind of client",
          "set user_agent (in [network] or for the mirror) to one that is let through, or use "
          "another mirror", is_refusal=True),
    Cause("geo-blocked", "the site is not available in this country, or for legal reasons",
          f"use another mirror, {_MANUAL}", is_refusal=True),
    Cause("rate-limited", "too many requests were made from this address",
          "wait, or use another mirror; share one copy with `fmnist-tfds serve`",
          is_transient=True, is_refusal=True),
    Cause("object-missing-or-private", "the object store has no such file, or does not show it",
          "check the mirror's URL; a private store needs auth"),
    Cause("size-limited", "the server does not serve files of this size",
          "use another mirror for this file", lacks_the_file=True, is_refusal=True),
    Cause("auth-required", "the server wants credentials",
          "give the mirror `auth` in the TOML file, or an entry in ~/.netrc", is_refusal=True),
    Cause("forbidden", "the server refuses access",
          "check the mirror's URL and its rights, or use another mirror", is_refusal=True),
    Cause("not-found", "the server has no such file",
          "check the mirror's URL: the file name is appended to it", lacks_the_file=True),
    Cause("server-error", "the server or a gateway before it failed",
          "try again later, or use another mirror", is_transient=True),
    Cause("stalled", "the transfer stopped, or was slower than the minimum speed",
          "try again (the part is kept), or lower min_speed_bytes_per_s", is_transient=True,
          disables_mirror=True, is_unreachable=True),
    Cause("slow", "bytes came, but so slowly that other mirrors were asked as well",
          "list a nearer mirror first; this one is asked later for a while", is_transient=True,
          disables_mirror=True, is_unreachable=True),
    Cause("truncated", "the body ended before it was complete",
          "try again: the part is kept and resumed", is_transient=True),
    Cause("reset", "the connection was cut",
          "try again: the part is kept and resumed", is_transient=True, is_unreachable=True),
    Cause("redirect-loop", "too many redirects",
          "check the mirror's URL; a login page may stand before it"),
    Cause("insecure-redirect", "a redirect leads to a place that is not safe to follow",
          "use the final https address, or set allow_http_redirect for this mirror"),
    Cause("wrong-content", "something else than the file was served",
          "check the mirror's URL in a browser", disables_mirror=True, lacks_the_file=True),
    Cause("impostor", "another data set was served under this name",
          "use another mirror; a cache on the way may hold the wrong file", disables_mirror=True,
          lacks_the_file=True, keeps_part=False),
    Cause("too-large", "the body is larger than the file can be",
          "check the mirror's URL", stage="content", disables_mirror=True, keeps_part=False),
    Cause("checksum-mismatch", "the bytes are not those published",
          "use another mirror; something on the way may change files", disables_mirror=True,
          lacks_the_file=True, keeps_part=False),
    Cause("deadline", "the time for the whole job was used up",
          "raise --deadline_s, or use a nearer mirror", owner="own line", is_unreachable=True),
    Cause("offline", "the network is switched off for this job",
          f"drop --offline and FMNIST_TFDS_OFFLINE, {_MANUAL}", owner="this machine"),
    Cause("unsupported-scheme", "the kind of URL cannot be fetched",
          "use http, https, file, or install the extra: pip install 'fmnist_tfds[cloud]'",
          owner="this machine", disables_mirror=True,
          note="A proxy setting that is not a URL has this cause too: the message names the "
          "variable or table that holds it."),
)
# fmt: on

CAUSES: Mapping[CauseName, Cause] = {cause.name: cause for cause in _ROWS}


@dataclasses.dataclass(frozen=True, slots=True)
class Explanation:
    """Why an attempt failed.

    Attributes:
        cause: a key of `CAUSES`.
        evidence: what was seen, one line.
        remedy: what the user can do, one line.
    """

    cause: CauseName
    evidence: str
    remedy: str


def named(cause: CauseName, evidence: str = "", remedy: str = "") -> Explanation:
    """The explanation of a known cause; evidence and remedy default to the table's."""
    row = CAUSES[cause]
    return Explanation(cause, evidence or row.meaning, remedy or row.remedy)


def shortened(text: str) -> str:
    """Evidence fit to be shown, once its secrets are masked: at most 300 characters."""
    return text if len(text) <= _MOST_EVIDENCE else f"{text[:_MOST_EVIDENCE]}…"
