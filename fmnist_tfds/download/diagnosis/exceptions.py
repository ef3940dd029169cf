"""An exception of requests, urllib3, ssl or socket -> cause and evidence. Opens nothing.

Types and structured fields decide, never a text. The one exception is the answer of a proxy to
CONNECT, which http.client hands on only inside an OSError's text.
"""

from __future__ import annotations

import errno
import http.client
import re
import socket
import ssl
import urllib.parse
from collections.abc import Iterator, Sequence

import requests
import urllib3.exceptions

from fmnist_tfds.config import settings, urls
from fmnist_tfds.download.diagnosis import causes, certificates, responses, tls_reasons

# http.client: OSError("Tunnel connection failed: 403 Forbidden").
_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})")
# OpenSSL's names for a server that requires a client certificate, in TLS 1.3 and 1.2.
_CLIENT_CERTIFICATE = ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "PEER_DID_NOT_RETURN_A_CERTIFICATE")
_REFUSED = {
    errno.ECONNREFUSED: "connection refused",
    errno.EHOSTUNREACH: "no route to host",
    errno.ENETUNREACH: "network unreachable",
    errno.EACCES: "connecting is not permitted on this machine",
    errno.EPERM: "connecting is not permitted on this machine",
}
_CUT = (errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED)


def from_exception(
    error: BaseException, *, url: str, route: settings.Route, issuer: str = ""
) -> causes.Explanation:
    """Why an attempt that raised `error` failed.

    Args:
        error: what requests, urllib3, ssl or socket raised.
        url: the URL that was requested.
        route: how it was reached.
        issuer: who signed the certificate that was presented, where a second connection looked
            (`second_look.presented_issuer`); the exception itself does not say.
    """
    if status := _tunnel_status(error):
        return responses.from_tunnel(status, {}, url=url, route=route)
    chain, where = list(chain_of(error)), _target(url, route)
    return (
        _address(chain, url, route)
        or _tls(chain, url, route, where, issuer)
        or _name_lookup(chain, url, route)
        or _timeout(chain, where)
        or _cut(chain, where)
        or causes.named("server-error", f"{where}: {_words(error)}")
    )


def _words(error: BaseException) -> str:
    """What an exception that no rule covers says, without Python's names.

    The texts of Python's own exceptions speak of our code, those of other packages (botocore,
    gcsfs) of the server.
    """
    if isinstance(error, OSError) and error.strerror:
        return _one_line(error.strerror)
    text = "" if type(error).__module__ == "builtins" else _one_line(str(error))
    return text or "the response could not be understood"


def is_tunnel_refusal(error: BaseException) -> bool:
    """True if a proxy answered CONNECT with something else than 200."""
    return _tunnel_status(error) != 0


def is_no_tls(error: BaseException) -> bool:
    """True if a handshake ended because what answers speaks no TLS, or hangs up on it."""
    return any(
        isinstance(link, (ssl.SSLEOFError, ssl.SSLZeroReturnError))
        or (isinstance(link, ssl.SSLError) and tls_reasons.is_no_tls(link.reason or ""))
        for link in chain_of(error)
    )


def _tunnel_status(error: BaseException) -> int:
    for link in chain_of(error):
        answer = _TUNNEL.match(str(link)) if isinstance(link, OSError) else None
        if answer:
            return int(answer.group(1))
    return 0


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


def _address(
    chain: Sequence[BaseException], url: str, route: settings.Route
) -> causes.Explanation | None:
    for error in chain:
        if isinstance(error, requests.TooManyRedirects):
            return causes.named("redirect-loop")
        if isinstance(error, requests.exceptions.InvalidSchema) and (
            route.proxy or ""
        ).lower().startswith("socks"):
            return causes.named(
                "unsupported-scheme",
                f"{responses.proxy_name(route)}: SOCKS support is not installed",
                "pip install 'fmnist_tfds[socks]'",
            )
        if isinstance(error, (requests.exceptions.InvalidSchema, requests.exceptions.InvalidURL)):
            return causes.named("unsupported-scheme", f"cannot fetch {urls.mask_url(url)}")
    return None


def _tls(
    chain: Sequence[BaseException], url: str, route: settings.Route, where: str, issuer: str
) -> causes.Explanation | None:
    for error in chain:
        if isinstance(error, ssl.SSLCertVerificationError):
            code = getattr(error, "verify_code", 0)
            why, remedy = tls_reasons.of_certificate(code)
            host = urls.host_of(url)
            signed = f", signed by {issuer}" if issuer else ""
            intercepted = (
                code in tls_reasons.UNKNOWN_AUTHORITY and issuer and certificates.is_public(host)
            )
            return causes.named(
                "tls-intercepted" if intercepted else "tls-untrusted",
                f"the certificate of {host} {why}{signed}",
                "" if intercepted else remedy,
            )
    for error in chain:
        if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
            return causes.named("reset", "the connection was cut during the TLS handshake")
        if isinstance(error, ssl.SSLError) and error.reason in _CLIENT_CERTIFICATE:
            return causes.named(
                "auth-required",
                f"{where}: the server wants a client certificate",
                "give the mirror client_cert in the TOML file",
            )
        if isinstance(error, ssl.SSLError) and not isinstance(error, TimeoutError):
            is_tls_proxy = (route.proxy or "").lower().startswith("https:")
            why, remedy = tls_reasons.of_handshake(error.reason or "", is_tls_proxy=is_tls_proxy)
            return causes.named("tls-untrusted", f"{where}: {why}", remedy)
    return None


def _name_lookup(
    chain: Sequence[BaseException], url: str, route: settings.Route
) -> causes.Explanation | None:
    unresolved = (socket.gaierror, urllib3.exceptions.NameResolutionError)
    if any(isinstance(error, unresolved) for error in chain):
        proxy = urllib.parse.urlsplit(route.proxy or "").hostname
        host = proxy or urls.host_of(url)
        if proxy:
            # A wrong setting of this machine; no server refused anything.
            return causes.named(
                "dns-failure",
                f"the proxy {host} has no address (set by {route.proxy_origin})",
                f"correct the host name in {route.proxy_origin}",
            )
        return causes.named("dns-failure", f"{host} has no address")
    return None


def _timeout(chain: Sequence[BaseException], where: str) -> causes.Explanation | None:
    connecting = (requests.ConnectTimeout, urllib3.exceptions.ConnectTimeoutError)
    # NewConnectionError is a ConnectTimeoutError in urllib3 2, also when nothing timed out.
    refused = (urllib3.exceptions.NewConnectionError,)
    for error in chain:
        if isinstance(error, OSError) and error.errno in _REFUSED:
            said = f"{where}: {_REFUSED[error.errno]}{by_address(chain)}"
            return causes.named("connect-refused", said)
        if isinstance(error, OSError) and error.errno == errno.ETIMEDOUT:
            return causes.named("connect-timeout", f"{where}: no answer{by_address(chain)}")
    for error in chain:
        if isinstance(error, connecting) and not isinstance(error, refused):
            return causes.named("connect-timeout", f"{where}: no connection in time")
    for error in chain:
        if isinstance(error, (TimeoutError, urllib3.exceptions.ReadTimeoutError, requests.Timeout)):
            return causes.named("stalled", f"{where}: no data arrived in time")
    return None


def by_address(chain: Sequence[BaseException]) -> str:
    """What each address of a host of several said (`happy_eyeballs.NoConnectionError`), or ""."""
    tried = next((found for e in chain if (found := getattr(e, "tried", ()))), ())
    return f" ({'; '.join(tried)})" if tried else ""


def _cut(chain: Sequence[BaseException], where: str) -> causes.Explanation | None:
    for error in chain:
        if isinstance(error, OSError) and error.errno in _CUT:
            return causes.named("reset", f"{where}: connection reset")
    for error in chain:
        if isinstance(error, (http.client.IncompleteRead, urllib3.exceptions.IncompleteRead)):
            left = f": {error.expected:,} bytes are missing" if error.expected else ""
            return causes.named("truncated", f"the body ended early{left}")
    for error in chain:
        if isinstance(error, http.client.RemoteDisconnected):
            return causes.named("reset", f"{where}: closed without a response")
        if isinstance(error, (requests.exceptions.ProxyError, urllib3.exceptions.ProxyError)):
            return causes.named("connect-refused", f"{where}: the proxy cannot be used")
    for error in chain:
        # Too many headers is an HTTPException itself, a line of more than 64 KiB a LineTooLong.
        if type(error) is http.client.HTTPException or isinstance(error, http.client.LineTooLong):
            said = "more headers than are read (100), or a line that is too long"
            return causes.named("server-error", f"{where}: {said}")
    for error in chain:
        if isinstance(error, (requests.exceptions.ChunkedEncodingError, http.client.HTTPException)):
            return causes.named("reset", f"{where}: the response is not valid HTTP")
    if any(isinstance(error, urllib3.exceptions.ProtocolError) for error in chain):
        return causes.named("reset", f"{where}: closed without a complete response")
    return None


def _target(url: str, route: settings.Route) -> str:
    if route.proxy:
        return f"proxy {responses.proxy_name(route)}"
    return urllib.parse.urlsplit(url).netloc.rpartition("@")[2]


def _one_line(text: str) -> str:
    """`text` without line breaks. Not cut: half a secret would be no secret that can be found."""
    return " ".join(text.split())
