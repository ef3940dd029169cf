"""What an exception left out, asked again: a proxy's words to CONNECT, the signer of a certificate.

http.client keeps only the status of a proxy's refusal, ssl nothing of a refused certificate. One
short connection each, made only after a failure that it can explain better.
"""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
import urllib.parse
from collections.abc import Mapping

from fmnist_tfds.config import settings
from fmnist_tfds.download.diagnosis import causes, certificates, exceptions, responses


def from_exception(
    error: BaseException, *, url: str, route: settings.Route, timeout_s: float
) -> causes.Explanation:
    """As `exceptions.from_exception`, with a second connection where that tells more.

    Args:
        error: what requests, urllib3, ssl or socket raised.
        url: the URL that was asked for.
        route: how it was reached.
        timeout_s: for the second connection; it is not made where there is no time left.
    """
    found = exceptions.from_exception(error, url=url, route=route)
    if timeout_s <= 0:
        return found
    if exceptions.is_tunnel_refusal(error) and (answer := _ask_proxy(url, route, timeout_s)):
        return responses.from_tunnel(*answer, url=url, route=route)
    if found.cause == "tls-untrusted":
        issuer = presented_issuer(url, route, timeout_s)
        return exceptions.from_exception(error, url=url, route=route, issuer=issuer)
    return found


def presented_issuer(url: str, route: settings.Route, timeout_s: float) -> str:
    """Who signed the certificate presented for an https URL; "" where it cannot be had.

    Trusts nothing and sends nothing but the handshake.
    """
    parts = urllib.parse.urlsplit(url)
    proxy = urllib.parse.urlsplit(route.proxy or "")
    if parts.scheme != "https" or proxy.scheme.startswith("socks"):
        return ""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    host, port = str(parts.hostname), parts.port or 443
    target = (proxy.hostname, _port(proxy)) if proxy.hostname else (host, port)
    connection = http.client.HTTPSConnection(*target, timeout=timeout_s, context=context)
    try:
        if proxy.hostname:
            connection.set_tunnel(host, port, headers=_credentials(proxy))
        connection.connect()
        der = connection.sock.getpeercert(binary_form=True)
        return certificates.issuer_of(der) if der else ""
    except (OSError, http.client.HTTPException, ValueError):
        return ""  # the refused certificate is the finding; its issuer only adds to it
    finally:
        connection.close()


def _ask_proxy(
    url: str, route: settings.Route, timeout_s: float
) -> tuple[int, Mapping[str, str]] | None:
    """Status and headers of the proxy's answer to CONNECT; None where there is none."""
    proxy = urllib.parse.urlsplit(route.proxy or "")
    if proxy.scheme != "http" or not proxy.hostname:
        return None
    try:
        with socket.create_connection((proxy.hostname, _port(proxy)), timeout_s) as connection:
            status, headers = tunnel(connection, url, proxy)
            return (status, headers) if status >= 300 else None
    except (OSError, http.client.HTTPException, ValueError):
        return None  # the first refusal stands as it is


def tunnel(
    connection: socket.socket, url: str, proxy: urllib.parse.SplitResult
) -> tuple[int, Mapping[str, str]]:
    """Status and headers of the proxy's answer to CONNECT, over an open connection to it.

    Raises:
        OSError: the connection failed.
        http.client.HTTPException: the answer is no HTTP.
    """
    parts = urllib.parse.urlsplit(url)
    target = f"{parts.hostname}:{parts.port or 443}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    lines += [f"{name}: {value}" for name, value in _credentials(proxy).items()]
    connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
    with http.client.HTTPResponse(connection, method="CONNECT") as answer:
        answer.begin()
        names = dict.fromkeys(name.lower() for name in answer.headers)
        headers = {name: ", ".join(answer.headers.get_all(name, [])) for name in names}
        return answer.status, headers


def _port(proxy: urllib.parse.SplitResult) -> int:
    return proxy.port or (443 if proxy.scheme == "https" else 80)


def _credentials(proxy: urllib.parse.SplitResult) -> dict[str, str]:
    if not proxy.username:
        return {}
    user = f"{urllib.parse.unquote(proxy.username)}:{urllib.parse.unquote(proxy.password or '')}"
    return {"Proxy-Authorization": "Basic " + base64.b64encode(user.encode()).decode()}
