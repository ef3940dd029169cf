"""One HTTP request along a route: proxy, trust, credentials. Redirects are left to the caller."""

from __future__ import annotations

import functools
import http
import http.client
import pathlib
import socket
import ssl
import sys
import threading
from collections.abc import Callable
from typing import Any

import requests
import requests.adapters
import requests.cookies
import truststore
import urllib3
import urllib3.connection
import urllib3.connectionpool
import urllib3.exceptions
import urllib3.util

from fmnist_tfds import version
from fmnist_tfds.config import settings
from fmnist_tfds.download.diagnosis import causes, certificates
from fmnist_tfds.download.transport import happy_eyeballs

# This program's name alone: sites block the names of the libraries that download for scripts.
USER_AGENT = f"fmnist_tfds/{version.VERSION}"
# The same name in the form of browsers and well-behaved crawlers, for sites that demand it.
COMPATIBLE_AGENT = f"Mozilla/5.0 (compatible; {USER_AGENT})"

_MOST_INTERIM = 10

_watching = threading.local()


def watch_connections(connected: Callable[[Any], None]) -> None:
    """From now on `connected` is called with each socket that this thread opens."""
    _watching.connected = connected


def _connected(connection: Any) -> socket.socket:
    """As urllib3's `_new_conn`, which tries one address after the other; the same errors."""
    try:
        sock = happy_eyeballs.connect(
            connection._dns_host,
            connection.port,
            connection.timeout,
            options=connection.socket_options or (),
        )
    except socket.gaierror as error:
        raise urllib3.exceptions.NameResolutionError(connection.host, connection, error) from error
    except TimeoutError as error:
        raise urllib3.exceptions.ConnectTimeoutError(connection, "no connection") from error
    except OSError as error:
        raise urllib3.exceptions.NewConnectionError(connection, "no connection") from error
    return _watched(sock)


def _watched(sock: socket.socket) -> socket.socket:
    try:
        getattr(_watching, "connected", lambda _: None)(sock)
    except BaseException:
        # Cancelled before urllib3 knows the socket: it would never be closed.
        sock.close()
        raise
    return sock


class _Response(http.client.HTTPResponse):
    """Skips every 1xx response; http.client skips only 100, and 103 comes unasked."""

    def _read_status(self) -> tuple[str, int, str]:
        answer = super()._read_status()  # type: ignore[misc]
        for _ in range(_MOST_INTERIM):
            if not 100 < answer[1] < 200 or answer[1] == http.HTTPStatus.SWITCHING_PROTOCOLS:
                break
            http.client.parse_headers(self.fp)
            answer = super()._read_status()  # type: ignore[misc]
        return answer  # type: ignore[no-any-return]


class _HTTPConnection(urllib3.connection.HTTPConnection):
    response_class = _Response

    def _new_conn(self) -> socket.socket:
        return _connected(self)


class _HTTPSConnection(urllib3.connection.HTTPSConnection):
    response_class = _Response

    def _new_conn(self) -> socket.socket:
        return _connected(self)


class _HTTPPool(urllib3.connectionpool.HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(urllib3.connectionpool.HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection

    def _validate_conn(self, conn: Any) -> None:
        # Without urllib3's InsecureRequestWarning: insecure_tls is warned about and recorded by us.
        if conn.sock is None:
            conn.connect()


_POOLS = {"http": _HTTPPool, "https": _HTTPSPool}


class _Adapter(requests.adapters.HTTPAdapter):
    """Uses our pools, which report their sockets, and a context of ours, to proxies too.

    Without a context, for servers that are not verified, urllib3 makes its own.
    """

    def __init__(self, context: ssl.SSLContext | None, *, is_system: bool) -> None:
        self._context, self._is_system = context, is_system
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        if self._context is not None:
            kwargs["ssl_context"] = self._context
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        is_socks = proxy.lower().startswith("socks")
        if self._context is not None:
            kwargs["ssl_context"] = self._context
            if not is_socks:
                kwargs["proxy_ssl_context"] = self._context
        is_new = proxy not in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **kwargs)
        if is_new and not is_socks:
            manager.pool_classes_by_scheme = _POOLS
        return manager

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        super().cert_verify(conn, url, verify, cert)  # type: ignore[no-untyped-call]
        if self._is_system and verify is True:
            # requests would add certifi's authorities to the system's.
            conn.ca_certs = conn.ca_cert_dir = None


def request(
    url: str,
    *,
    route: settings.Route,
    headers: dict[str, str],
    cookies: requests.cookies.RequestsCookieJar,
    connect_timeout_s: float,
    read_timeout_s: float,
) -> requests.Response:
    """The response to one GET, its body unread; redirects are not followed.

    Args:
        url: what to ask for.
        route: proxy, trust and client certificate.
        headers: sent besides Accept-Encoding; one may be another User-Agent.
        cookies: those of this attempt, each for its own host; gets what the response sets.
        connect_timeout_s: for the connection.
        read_timeout_s: for each read.

    Raises:
        requests.RequestException: there is none.
    """
    is_system = route.trust == "system" and not route.ca_bundle and not route.insecure_tls
    system = _system_context() if is_system else None
    context = None if route.insecure_tls else system or _lenient_context()
    verify: bool | str = str(route.ca_bundle) if route.ca_bundle else True
    if route.insecure_tls:
        verify = False
    with requests.Session() as session:
        session.trust_env = False
        session.cookies = cookies
        adapter = _Adapter(context, is_system=system is not None)
        session.mount("http://", adapter)
        session.mount("https://", adapter)
        return session.get(
            url,
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers},
            auth=_no_auth,
            stream=True,
            allow_redirects=False,
            timeout=(connect_timeout_s, read_timeout_s),
            verify=verify,
            cert=str(route.client_cert) if route.client_cert else None,
            proxies={"http": route.proxy, "https": route.proxy} if route.proxy else {},
        )


def unusable_certificates(route: settings.Route, url: str) -> causes.Explanation | None:
    """Why TLS to `url` is impossible along `route`: a certificate file cannot be used."""
    if not url.lower().startswith("https:"):
        return None
    variables = "REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE, SSL_CERT_FILE"
    for what, path, remedy in (
        ("CA file", None if route.insecure_tls else route.ca_bundle, f"ca_bundle, or {variables}"),
        ("client certificate", route.client_cert, "client_cert"),
    ):
        if path is not None and (problem := certificates.file_problem(path)):
            said = f"the {what} {path}: {problem}"
            return causes.named("tls-untrusted", said, f"correct {remedy}")
    return None


def tls_issuer(response: requests.Response) -> str:
    """Who signed the certificate of the server, "" where unknown or no TLS."""
    connection = getattr(response.raw, "_connection", None)
    sock = getattr(connection, "sock", None)
    if sock is None or not hasattr(sock, "getpeercert"):
        return ""
    try:
        names = dict(pair for group in sock.getpeercert().get("issuer", ()) for pair in group)
    except (ValueError, OSError, AttributeError):
        # No certificate to look at: a handshake undone, or verification switched off.
        return ""
    return str(names.get("organizationName") or names.get("commonName") or "")


def _no_auth(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keeps requests from reading ~/.netrc."""
    return prepared


def _lenient_context() -> ssl.SSLContext:
    """As on Python 3.12: chain, dates and host name verified, the authority's form not.

    From Python 3.13 on, urllib3 asks for RFC 5280 to the letter: certificates that intercepting
    proxies make often lack an Authority Key Identifier, their authorities a critical extension.
    """
    context = urllib3.util.create_urllib3_context()
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


@functools.cache
def _system_context() -> ssl.SSLContext | None:
    """The operating system's trust store; None if it has none: then certifi is used."""
    if sys.platform == "linux":
        paths = ssl.get_default_verify_paths()
        folder = pathlib.Path(paths.capath) if paths.capath else None
        if not paths.cafile and not (folder and any(folder.iterdir())):
            return None
    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
