"""An exception of requests, urllib3, ssl or socket -> cause and evidence. Opens nothing.

Types and structured fields decide, never a text.
"""

from __future__ import annotations

import errno
import http.client
import socket
import ssl
import urllib.parse
from collections.abc import Iterator, Sequence

import requests
import urllib3.exceptions

from fmnist_tfds.config import settings, urls
from fmnist_tfds.download.diagnosis import causes, certificates

# openssl/x509_vfy.h: the codes say what failed; the texts differ between versions.
_CERTIFICATE_CODES = {
    9: "is not valid yet",
    10: "has expired",
    18: "is self-signed",
    19: "comes from an authority that is not trusted here",
    20: "comes from an authority that is not trusted here",
    21: "comes from an authority that is not trusted here",
    62: "is for another host name",
    64: "is for another address",
}
# What OpenSSL calls a server's wish for a certificate of ours, in TLS 1.3 and 1.2.
_CLIENT_CERTIFICATE = ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "PEER_DID_NOT_RETURN_A_CERTIFICATE")
_UNKNOWN_AUTHORITY = (18, 19, 20, 21)
_REFUSED = {
    errno.ECONNREFUSED: "connection refused",
    errno.EHOSTUNREACH: "no route to host",
    errno.ENETUNREACH: "network unreachable",
    errno.EACCES: "connecting is not permitted on this machine",
    errno.EPERM: "connecting is not permitted on this machine",
}
_MOST_EVIDENCE = 300
_CUT = (errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED)


def explain(
    chain: Sequence[BaseException], *, url: str, route: settings.Route, issuer: str
) -> causes.Explanation:
    """Why an attempt that raised the exceptions of `chain` failed; see `explain.from_exception`."""
    for look in (_redirects, _tls, _name_lookup, _timeouts, _cut):
        if found := look(chain, url, route, issuer):
            return found
    error = chain[0]
    return causes.named("server-error", f"{type(error).__name__}: {one_line(str(error))}")


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """`error` and all it wraps. requests and urllib3 keep the inner error in args, `reason` or
    `original_error`, Python in __cause__ and __context__."""
    queue: list[BaseException] = [error]
    seen: set[int] = set()
    while queue:
        current = queue.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        inner = [
            getattr(current, "reason", None),
            getattr(current, "original_error", None),
            *current.args,
            current.__cause__,
            None if current.__suppress_context__ else current.__context__,
        ]
        queue.extend(e for e in inner if isinstance(e, BaseException))


def _redirects(
    chain: Sequence[BaseException], url: str, route: settings.Route, issuer: str
) -> causes.Explanation | None:
    for error in chain:
        if isinstance(error, requests.TooManyRedirects):
            return causes.named("redirect-loop")
        if isinstance(error, requests.exceptions.InvalidSchema) and (
            route.proxy or ""
        ).lower().startswith("socks"):
            return causes.named(
                "unsupported-scheme",
                f"{proxy_name(route)}: SOCKS support is not installed",
                "pip install 'fmnist_tfds[socks]'",
            )
        if isinstance(error, (requests.exceptions.InvalidSchema, requests.exceptions.InvalidURL)):
            return causes.named("unsupported-scheme", f"cannot fetch {urls.mask_url(url)}")
    return None


def _tls(
    chain: Sequence[BaseException], url: str, route: settings.Route, issuer: str
) -> causes.Explanation | None:
    for error in chain:
        if isinstance(error, ssl.SSLCertVerificationError):
            code = getattr(error, "verify_code", 0)
            why = _CERTIFICATE_CODES.get(code, f"was refused (code {code})")
            host = urllib.parse.urlsplit(url).hostname or url
            signed = f", signed by {issuer}" if issuer else ""
            intercepted = code in _UNKNOWN_AUTHORITY and issuer and certificates.is_public(host)
            return causes.named(
                "tls-intercepted" if intercepted else "tls-untrusted",
                f"the certificate of {host} {why}{signed}",
            )
    for error in chain:
        if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
            return causes.named("reset", "the connection was cut during the TLS handshake")
        if isinstance(error, ssl.SSLError) and error.reason in _CLIENT_CERTIFICATE:
            return causes.named(
                "auth-required",
                f"{_target(url, route)}: the server wants a client certificate",
                "give the mirror client_cert in the TOML file",
            )
        if isinstance(error, ssl.SSLError) and not isinstance(error, TimeoutError):
            return causes.named(
                "tls-untrusted", f"TLS failed: {error.reason or one_line(str(error))}"
            )
    return None


def _name_lookup(
    chain: Sequence[BaseException], url: str, route: settings.Route, issuer: str
) -> causes.Explanation | None:
    unresolved = (socket.gaierror, urllib3.exceptions.NameResolutionError)
    if any(isinstance(error, unresolved) for error in chain):
        proxy = urllib.parse.urlsplit(route.proxy or "").hostname
        host = proxy or urllib.parse.urlsplit(url).hostname or url
        return causes.named("dns-failure", f"{'the proxy ' if proxy else ''}{host} has no address")
    return None


def _timeouts(
    chain: Sequence[BaseException], url: str, route: settings.Route, issuer: str
) -> causes.Explanation | None:
    connecting = (requests.ConnectTimeout, urllib3.exceptions.ConnectTimeoutError)
    # NewConnectionError is a ConnectTimeoutError in urllib3 2, also when nothing timed out.
    refused = (urllib3.exceptions.NewConnectionError,)
    for error in chain:
        if isinstance(error, OSError) and error.errno in _REFUSED:
            return causes.named(
                "connect-refused", f"{_target(url, route)}: {_REFUSED[error.errno]}"
            )
        if isinstance(error, OSError) and error.errno == errno.ETIMEDOUT:
            return causes.named("connect-timeout", f"{_target(url, route)}: no answer")
    for error in chain:
        if isinstance(error, connecting) and not isinstance(error, refused):
            return causes.named("connect-timeout", f"{_target(url, route)}: no connection in time")
    for error in chain:
        if isinstance(error, (TimeoutError, urllib3.exceptions.ReadTimeoutError, requests.Timeout)):
            return causes.named("stalled", f"{_target(url, route)}: nothing came in time")
    return None


def _cut(
    chain: Sequence[BaseException], url: str, route: settings.Route, issuer: str
) -> causes.Explanation | None:
    for error in chain:
        if isinstance(error, OSError) and error.errno in _CUT:
            return causes.named("reset", f"{_target(url, route)}: connection reset")
    for error in chain:
        if isinstance(error, (http.client.IncompleteRead, urllib3.exceptions.IncompleteRead)):
            left = f": {error.expected:,} bytes are missing" if error.expected else ""
            return causes.named("truncated", f"the body ended early{left}")
    for error in chain:
        if isinstance(error, (http.client.RemoteDisconnected, urllib3.exceptions.ProtocolError)):
            return causes.named("reset", f"{_target(url, route)}: closed without a proper answer")
        if isinstance(error, (requests.exceptions.ChunkedEncodingError, http.client.HTTPException)):
            return causes.named("reset", f"{_target(url, route)}: the answer is not valid HTTP")
        if isinstance(error, (requests.exceptions.ProxyError, urllib3.exceptions.ProxyError)):
            return causes.named(
                "connect-refused", f"{_target(url, route)}: the proxy cannot be used"
            )
    return None


def proxy_name(route: settings.Route) -> str:
    """host:port of the route's proxy, without user and password."""
    parts = urllib.parse.urlsplit(route.proxy or "")
    return f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname or "a proxy"


def _target(url: str, route: settings.Route) -> str:
    if route.proxy:
        return f"proxy {proxy_name(route)}"
    return urllib.parse.urlsplit(url).netloc.rpartition("@")[2]


def one_line(text: str) -> str:
    """`text` without line breaks. Not cut: half a secret would be no secret that can be found."""
    return " ".join(text.split())


def shortened(text: str) -> str:
    """Evidence fit to be shown, once its secrets are masked: at most 300 characters."""
    return text if len(text) <= _MOST_EVIDENCE else f"{text[:_MOST_EVIDENCE]}…"
