"""One HTTP request along a route: proxy, trust, credentials. Redirects are left to the caller."""

from __future__ import annotations

import base64
import dataclasses
import functools
import pathlib
import re
import socket
import ssl
import sys
import threading
import urllib.parse
from collections.abc import Callable
from typing import Any

import requests
import requests.adapters
import requests.auth
import requests.utils
import truststore
import urllib3
import urllib3.connection
import urllib3.connectionpool

import fmnist_tfds
from fmnist_tfds import config, settings
from fmnist_tfds.download import causes, certificates

USER_AGENT = f"fmnist_tfds/{fmnist_tfds.__version__} (+python-requests)"
_SENSITIVE_HEADERS = ("authorization", "cookie", "proxy-authorization")
# Shorter ones, such as "1" and "true", are words of other texts too.
_LEAST_SECRET = 8
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>)]+")

_watching = threading.local()


class Secrets:
    """Every secret that was resolved, so that no text that leaves us holds one."""

    def __init__(self) -> None:
        self._values: set[str] = set()

    def resolve(self, reference: str) -> str:
        """The secret that `reference` stands for; a literal as it is.

        Raises:
            ConfigError: it cannot be read.
        """
        value = config.resolve_secret(reference)
        if config.is_reference(reference):
            self.add(value)
        return value

    def add(self, value: str) -> None:
        """Remembers a secret."""
        if value:
            self._values |= {value, urllib.parse.quote(value, safe="")}

    def mask(self, text: str) -> str:
        """`text` without secrets, and with every URL in it fit to be shown."""
        text = _URL.sub(lambda match: settings.mask_url(match.group(0)), text)
        for value in sorted(self._values.copy(), key=len, reverse=True):
            text = text.replace(value, "***")
        return text


def watch_connections(connected: Callable[[Any], None]) -> None:
    """From now on `connected` is called with each socket that this thread opens."""
    _watching.connected = connected


def _watched(sock: socket.socket) -> socket.socket:
    try:
        getattr(_watching, "connected", lambda _: None)(sock)
    except BaseException:
        # Called off before urllib3 knows of it: nobody else could close it.
        sock.close()
        raise
    return sock


class _HTTPConnection(urllib3.connection.HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _watched(super()._new_conn())


class _HTTPSConnection(urllib3.connection.HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _watched(super()._new_conn())


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
    """Reports its sockets, and trusts what the operating system trusts where asked to."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        if self._context is not None:
            kwargs["ssl_context"] = self._context
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        if self._context is not None:
            kwargs["ssl_context"] = self._context
        is_new = proxy not in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **kwargs)
        if is_new and not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = _POOLS
        return manager

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        super().cert_verify(conn, url, verify, cert)  # type: ignore[no-untyped-call]
        if self._context is not None and verify is True:
            # requests would add certifi's authorities to the system's.
            conn.ca_certs = conn.ca_cert_dir = None


def request(
    url: str,
    *,
    route: settings.Route,
    headers: dict[str, str],
    auth: requests.auth.AuthBase | None = None,
    connect_timeout_s: float,
    read_timeout_s: float,
) -> requests.Response:
    """The response to one GET, its body unread; redirects are not followed.

    Raises:
        requests.RequestException: there is none.
    """
    is_system = route.trust == "system" and not route.ca_bundle and not route.insecure_tls
    context = _system_context() if is_system else None
    verify: bool | str = str(route.ca_bundle) if route.ca_bundle else True
    if route.insecure_tls:
        verify = False
    with requests.Session() as session:
        session.trust_env = False
        adapter = _Adapter(context)
        session.mount("http://", adapter)
        session.mount("https://", adapter)
        return session.get(
            url,
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers},
            auth=auth or _no_auth,
            stream=True,
            allow_redirects=False,
            timeout=(connect_timeout_s, read_timeout_s),
            verify=verify,
            cert=str(route.client_cert) if route.client_cert else None,
            proxies={"http": route.proxy, "https": route.proxy} if route.proxy else {},
        )


def route_to(
    options: settings.Settings, mirror: settings.Mirror, url: str, secrets: Secrets, *, home: bool
) -> settings.Route:
    """The route to `url` with its proxy's secret resolved; the client certificate only `home`.

    The query of `url` may be a signature: from now on its long values count as secrets.
    """
    for _, value in urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query):
        if len(value) >= _LEAST_SECRET:
            secrets.add(value)
    route = options.route(mirror, url)
    proxy = secrets.resolve(route.proxy) if route.proxy else None
    if proxy and "://" not in proxy:
        proxy = f"http://{proxy}"
    if proxy and not settings.proxy_problem(proxy):
        secrets.add(urllib.parse.urlsplit(proxy).password or "")
        secrets.add(urllib.parse.unquote(urllib.parse.urlsplit(proxy).password or ""))
    return dataclasses.replace(route, proxy=proxy, client_cert=route.client_cert if home else None)


def unusable_certificates(route: settings.Route, url: str) -> causes.Explanation | None:
    """Why TLS to `url` cannot come about along `route`: a file of certificates is none."""
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


def headers_for(mirror: settings.Mirror, secrets: Secrets, *, home: bool) -> dict[str, str]:
    """The mirror's headers and bearer token; away from `home` only what is no secret."""
    found = {
        name: secrets.resolve(value)
        for name, value in mirror.headers
        if home or not (config.is_reference(value) or name.lower() in _SENSITIVE_HEADERS)
    }
    auth = mirror.auth
    if home and auth and auth.type == "bearer":
        found["Authorization"] = f"Bearer {secrets.resolve(auth.token)}"
    elif home and auth and auth.type == "basic":
        user, password = secrets.resolve(auth.username), secrets.resolve(auth.password)
        found["Authorization"] = _basic(user, password, secrets)
    elif home and auth and (login := requests.utils.get_netrc_auth(mirror.url)):
        found["Authorization"] = _basic(*login, secrets)
    return found


def _basic(user: str, password: str, secrets: Secrets) -> str:
    pair = base64.b64encode(f"{user}:{password}".encode()).decode()
    secrets.add(password)
    secrets.add(pair)
    return f"Basic {pair}"


def is_home(url: str, mirror_url: str) -> bool:
    """True if secrets meant for `mirror_url` may go to `url`: same scheme, host and port, or the
    same host's https where http was asked, both on their standard ports."""
    here, there = urllib.parse.urlsplit(mirror_url), urllib.parse.urlsplit(url)
    if (here.hostname or "").lower() != (there.hostname or "").lower():
        return False
    ports = {"http": 80, "https": 443}
    mine = (here.scheme.lower(), here.port or ports.get(here.scheme.lower()))
    other = (there.scheme.lower(), there.port or ports.get(there.scheme.lower()))
    return mine == other or (mine == ("http", 80) and other == ("https", 443))


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
    """Keeps requests from looking into ~/.netrc on its own."""
    return prepared


@functools.cache
def _system_context() -> ssl.SSLContext | None:
    """What the operating system trusts; None where it has no store: then certifi serves."""
    if sys.platform == "linux":
        paths = ssl.get_default_verify_paths()
        folder = pathlib.Path(paths.capath) if paths.capath else None
        if not paths.cafile and not (folder and any(folder.iterdir())):
            return None
    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
