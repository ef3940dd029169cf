"""A better explanation of a failure, from one more short connection.

http.client keeps only the status of a proxy's refusal of CONNECT, ssl nothing of a refused
certificate: the connection is made again after such a failure, and only then.
"""

from __future__ import annotations

import contextlib
import dataclasses
import urllib.parse

import urllib3.exceptions

from fmnist_tfds.config import settings
from fmnist_tfds.download.diagnosis import causes, exceptions, responses
from fmnist_tfds.download.transport import handshake, redirects, request, session

_MAY_BE_THE_AGENT = (403, 406)


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
    if exceptions.is_tunnel_refusal(error) and (
        refusal := _refusal_of_proxy(url, route, timeout_s)
    ):
        return refusal
    if exceptions.is_no_tls(error) and (page := _page_of_proxy(url, route, timeout_s)):
        return page
    if found.cause == "tls-untrusted":
        issuer = _presented_issuer(url, route, timeout_s)
        return exceptions.from_exception(error, url=url, route=route, issuer=issuer)
    return found


def from_refusal(asked: request.Request, status: int) -> causes.Explanation | None:
    """That it is the User-Agent which is refused, where another honest one is let through."""
    if status not in _MAY_BE_THE_AGENT:
        return None
    again = request.Reply()
    compatible = {"Range": "bytes=0-0", "User-Agent": session.COMPATIBLE_AGENT}
    try:
        response = redirects.follow(asked, again, compatible)
    except (OSError, ValueError, urllib3.exceptions.HTTPError):
        return None  # what was seen first stands
    if response is None:
        return None
    response.close()
    if again.problem is not None or response.status_code not in (200, 206):
        return None
    agent = asked.mirror.user_agent or asked.options.network.user_agent or session.USER_AGENT
    return causes.named(
        "user-agent-blocked",
        f"{status} for {agent!r}, {response.status_code} for {session.COMPATIBLE_AGENT!r}",
        f"set user_agent = {session.COMPATIBLE_AGENT!r} for this mirror in the TOML file",
    )


def from_reset(
    url: str, route: settings.Route, network: settings.Network
) -> causes.Explanation | None:
    """What a server that resets the connection wanted, where it says so.

    One that misses a client certificate says that in TLS 1.3 only after the handshake, and what
    we send meanwhile can turn its alert into a reset: so this connects again and only listens.
    """
    with handshake.Connection(url, route, network.connect_timeout_s) as conn:
        why = conn.first_failure(
            conn.resolve,
            conn.connect,
            conn.tunnel,
            conn.handshake,
            conn.listen,
        )
    return why if why and why.cause == "auth-required" else None


def _presented_issuer(url: str, route: settings.Route, timeout_s: float) -> str:
    """Who signed the certificate presented for an https URL; "" where that is not known."""
    # No client certificate: whoever presented a certificate that is not trusted must not get ours.
    route = dataclasses.replace(route, client_cert=None)
    if _is_tls_or_socks_proxy(route):
        return ""
    with contextlib.suppress(ValueError), handshake.Connection(url, route, timeout_s) as conn:
        conn.first_failure(conn.connect, conn.tunnel, conn.handshake)
        return conn.issuer
    return ""


def _page_of_proxy(url: str, route: settings.Route, timeout_s: float) -> causes.Explanation | None:
    """The web page that a proxy sends after "200" to CONNECT, where there should be a server."""
    is_https = urllib.parse.urlsplit(url).scheme == "https"
    if not is_https or not route.proxy or _is_tls_or_socks_proxy(route):
        return None
    with (
        contextlib.suppress(ValueError),
        handshake.Connection(url, route, timeout_s, reads_page=True) as conn,
    ):
        if conn.first_failure(conn.connect, conn.tunnel) is None:
            return responses.from_tunnel_page(conn.page, url=url, route=route)
    return None


def _refusal_of_proxy(
    url: str, route: settings.Route, timeout_s: float
) -> causes.Explanation | None:
    """What the proxy answers to CONNECT; None where it does not refuse, or cannot be reached."""
    if not route.proxy or _is_tls_or_socks_proxy(route):
        return None
    with contextlib.suppress(ValueError), handshake.Connection(url, route, timeout_s) as conn:
        conn.first_failure(conn.connect, conn.tunnel)
        return conn.refusal
    return None


def _is_tls_or_socks_proxy(route: settings.Route) -> bool:
    """True for a proxy that `handshake` cannot speak to."""
    return bool(route.proxy) and urllib.parse.urlsplit(route.proxy or "").scheme != "http"
