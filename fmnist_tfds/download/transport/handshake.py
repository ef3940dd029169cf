"""Connects to a server step by step: name look-up, TCP, CONNECT through a proxy, TLS.

Sends nothing but a CONNECT and a handshake, and accepts every certificate: it measures each step
and reads who signed. Whether a certificate is valid is decided by the real request.
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import ipaddress
import queue
import socket
import ssl
import threading
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any

from fmnist_tfds.config import settings, urls
from fmnist_tfds.download.diagnosis import causes, certificates, exceptions, responses
from fmnist_tfds.download.transport import credentials, happy_eyeballs
from fmnist_tfds.formats import identify

_PAGE_WAIT_S = 2.0


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """The result of one step.

    Attributes:
        detail: what was seen.
        why: why it failed, or None.
        is_skipped: this route has no such step.
        is_open: not measured: a TLS or SOCKS proxy does it as part of the real request.
    """

    detail: str = ""
    why: causes.Explanation | None = None
    is_skipped: bool = False
    is_open: bool = False


class Connection:
    """One connection to the host of a URL along a route; a context manager that closes it.

    Attributes:
        proxy_said: what the proxy calls itself (Via, Proxy-Agent or Server), or "".
        refusal: the proxy's refusal of CONNECT, or None.
        issuer: who signed the server's certificate, or "".
        page: what the proxy sent after its reply to CONNECT; b"" without `reads_page`.
    """

    def __init__(
        self,
        url: str,
        route: settings.Route,
        timeout_s: float,
        *,
        reads_page: bool = False,
    ) -> None:
        """See the class; `reads_page` waits for what a proxy sends after its reply to CONNECT."""
        self._url, self._route, self._timeout_s = url, route, timeout_s
        self._reads_page = reads_page
        self._target = urllib.parse.urlsplit(url)
        self._proxy = urllib.parse.urlsplit(route.proxy or "")
        nearest = self._proxy if route.proxy else self._target
        self._host = nearest.hostname or ""
        self._port = urls.port_of(nearest) or 0
        self._socket: socket.socket | None = None
        self.proxy_said = ""
        self.refusal: causes.Explanation | None = None
        self.issuer = ""
        self.page = b""

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        if self._socket is not None:
            self._socket.close()

    def first_failure(self, *steps: Callable[[], Step]) -> causes.Explanation | None:
        """Takes `steps` in turn until one fails; why that one did, or None."""
        return next((why for step in steps if (why := step().why)), None)

    def resolve(self) -> Step:
        """Looks up the address of the proxy, or of the server if there is none."""
        with contextlib.suppress(ValueError):
            ipaddress.ip_address(self._host)
            return Step(is_skipped=True)
        answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

        def look_up() -> None:
            try:
                answers.put(socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM))
            except OSError as error:
                answers.put(error)

        # The system's resolver knows no time-out: a thread that hangs in it is left behind.
        threading.Thread(target=look_up, name="doctor-dns", daemon=True).start()
        try:
            found = answers.get(timeout=self._timeout_s * 2)
        except queue.Empty:
            waited = f"no answer from the DNS for {self._host} within {self._timeout_s * 2:g} s"
            return Step(why=causes.named("dns-failure", waited))
        if isinstance(found, OSError):
            return Step(why=exceptions.from_exception(found, url=self._url, route=self._route))
        return Step(", ".join(dict.fromkeys(str(entry[4][0]) for entry in found[:3])))

    def connect(self) -> Step:
        """Opens the connection."""
        try:
            self._socket = happy_eyeballs.connect(self._host, self._port, self._timeout_s)
        except TimeoutError as error:
            what = "the proxy " if self._route.proxy else ""
            late = f"{what}{self._host}:{self._port}: no connection within {self._timeout_s:g} s"
            late += exceptions.by_address([error])
            return Step(why=causes.named("connect-timeout", late))
        except OSError as error:
            return Step(why=exceptions.from_exception(error, url=self._url, route=self._route))
        return Step(f"{self._host}:{self._port}")

    def tunnel(self) -> Step:
        """Asks an HTTP proxy for a tunnel to an https server."""
        if not self._route.proxy:
            return Step(is_skipped=True)
        if self._proxy.scheme.lower() != "http" or self._target.scheme != "https":
            return Step(is_open=True)
        assert self._socket is not None
        try:
            status, headers, self.page = _tunnel(
                self._socket, self._url, self._proxy, reads_page=self._reads_page
            )
        except (OSError, http.client.HTTPException) as error:
            return Step(why=exceptions.from_exception(error, url=self._url, route=self._route))
        self.proxy_said = next(
            (headers[name] for name in ("via", "proxy-agent", "server") if headers.get(name)), ""
        )
        if status >= 300:
            self.refusal = responses.from_tunnel(status, headers, url=self._url, route=self._route)
            return Step(why=self.refusal)
        return Step(f"status {status} to CONNECT")

    def handshake(self) -> Step:
        """Makes the TLS handshake and reads who signed the certificate."""
        if self._target.scheme != "https":
            return Step(is_skipped=True)
        if self._route.proxy and self._proxy.scheme.lower() != "http":
            return Step(is_open=True)
        assert self._socket is not None
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        try:
            if self._route.client_cert:
                context.load_cert_chain(self._route.client_cert)
            wrapped = context.wrap_socket(self._socket, server_hostname=self._target.hostname)
            self._socket = wrapped
            der = wrapped.getpeercert(binary_form=True)
            self.issuer = certificates.issuer_of(der) if der else ""
        except (OSError, ValueError) as error:
            return Step(why=exceptions.from_exception(error, url=self._url, route=self._route))
        return Step(f"{wrapped.version()}, signed by {self.issuer or 'unknown'}")

    def listen(self) -> Step:
        """Waits for what the server sends after the handshake: an alert, or nothing.

        Waits for as long as connecting may take: an alert needs one round trip, too.
        """
        if not isinstance(self._socket, ssl.SSLSocket):
            return Step(is_skipped=True)
        try:
            self._socket.recv(1)
        except TimeoutError:
            return Step("nothing")
        except OSError as error:
            return Step(why=exceptions.from_exception(error, url=self._url, route=self._route))
        return Step()


def _tunnel(
    connection: socket.socket,
    url: str,
    proxy: urllib.parse.SplitResult,
    *,
    reads_page: bool,
) -> tuple[int, Mapping[str, str], bytes]:
    """Status and headers of the proxy's reply to CONNECT, and with `reads_page` what follows.

    Raises:
        OSError: the connection failed.
        http.client.HTTPException: the reply is not HTTP.
    """
    parts = urllib.parse.urlsplit(url)
    target = f"{parts.hostname}:{urls.port_of(parts)}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    lines += [f"{name}: {value}" for name, value in _credentials(proxy).items()]
    connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
    with http.client.HTTPResponse(connection, method="CONNECT") as answer:
        answer.begin()
        names = dict.fromkeys(name.lower() for name in answer.headers)
        headers = {name: ", ".join(answer.headers.get_all(name, [])) for name in names}
        page = b""
        if reads_page:
            # A server waits for our TLS handshake; a proxy that sends a page does so at once.
            connection.settimeout(_PAGE_WAIT_S)
            with contextlib.suppress(TimeoutError):
                page = answer.fp.read1(identify.HEAD_BYTES)
        return answer.status, headers, page


def _credentials(proxy: urllib.parse.SplitResult) -> dict[str, str]:
    if not proxy.username:
        return {}
    user, password = map(urllib.parse.unquote, (proxy.username, proxy.password or ""))
    return {"Proxy-Authorization": f"Basic {credentials.basic_pair(user, password)}"}
