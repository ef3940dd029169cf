"""A response that is not the file -> cause, evidence, remedy. Pure: opens nothing, raises nothing.

Status, headers and the marks in `block_pages` and `object_stores` decide.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping

from fmnist_tfds.config import settings, urls
from fmnist_tfds.download.diagnosis import block_pages, causes, object_stores
from fmnist_tfds.formats import identify

_PROXY_SCHEMES = {"basic", "digest", "bearer", "ntlm", "negotiate", "kerberos"}


def malformed_proxy(route: settings.Route) -> causes.Explanation | None:
    """Why `route` cannot be used, or None where its proxy is a URL."""
    problem = urls.proxy_problem(route.proxy) if route.proxy else ""
    if not problem:
        return None
    return causes.named(
        "unsupported-scheme",
        f"{route.proxy_origin} holds no proxy URL: {problem}",
        f"correct {route.proxy_origin}: a proxy is written http://proxy.example:3128",
    )


def proxy_name(route: settings.Route) -> str:
    """host:port of the route's proxy, without user and password."""
    parts = urllib.parse.urlsplit(route.proxy or "")
    return f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname or "a proxy"


_BY_STATUS: Mapping[int, causes.CauseName] = {
    401: "auth-required",
    403: "forbidden",
    404: "not-found",
    408: "stalled",
    410: "not-found",
    413: "size-limited",
    416: "server-error",
    429: "rate-limited",
    451: "geo-blocked",
    511: "captive-portal",
}


def from_tunnel(
    status: int, headers: Mapping[str, str], *, url: str, route: settings.Route
) -> causes.Explanation:
    """Why a proxy refused CONNECT, from its status and, where known, its headers."""
    if status == 407:
        return _proxy_authentication(headers, route)
    host = urls.host_of(url)
    evidence = f"{status} from {proxy_name(route)} for CONNECT {host}"
    lower = {name.lower(): value for name, value in headers.items()}
    if squid := _squid(lower):
        return causes.named(squid, f"{evidence} (squid: {lower['x-squid-error']})")
    if signature := block_pages.recognise(status, lower, ""):
        return causes.named(signature.cause, f"{evidence}: {signature.vendor}")
    if status in (502, 503, 504):
        return causes.named("server-error", f"{evidence}: it could not reach the host")
    return causes.named("proxy-denied", evidence)


def from_tunnel_page(
    body_start: bytes, *, url: str, route: settings.Route
) -> causes.Explanation | None:
    """Why a proxy opened a tunnel and sent a web page through it; None where it sent none."""
    # Its own status line, where the page is a whole HTTP response.
    _, _, inner = body_start.partition(b"\r\n\r\n")
    body = inner if body_start.startswith(b"HTTP/") else body_start
    if identify.page_title(body) is None:
        return None
    host = urls.host_of(url)
    found = _page(body, f"200 from {proxy_name(route)} for CONNECT {host}, and then")
    return found if found.cause != "wrong-content" else causes.named("proxy-denied", found.evidence)


def from_response(
    status: int, headers: Mapping[str, str], body_start: bytes, *, url: str, route: settings.Route
) -> causes.Explanation:
    """Why a response that is not the file was sent.

    Args:
        status: HTTP status.
        headers: its headers.
        body_start: the first bytes of its body; a few kilobytes are enough.
        url: the URL that answered.
        route: how it was reached.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    text = body_start.decode("utf-8", errors="replace")
    host = urllib.parse.urlsplit(url).hostname or ""
    by = f"{status} from {host}"
    if status == 407:
        return _proxy_authentication(headers, route)
    if squid := _squid(lower):
        return causes.named(
            squid, f"{status} from {proxy_name(route)} (squid: {lower['x-squid-error']})"
        )
    if signature := block_pages.recognise(status, lower, text.lower()):
        return causes.named(signature.cause, f"{by}: {signature.vendor}")
    if 300 <= status < 400 and lower.get("location"):
        return _redirect(status, lower, url)
    if status == 511:
        return causes.named("captive-portal", f"{by}: network authentication required")
    if stored := object_stores.recognise(lower, text, host):
        return causes.named(stored.cause, f"{by}: {stored.service} says {stored.code}")
    if status == 403 and lower.get("x-ratelimit-remaining") == "0":
        return causes.named("rate-limited", f"{by}: no requests left in this period")
    if status == 503 and "retry-after" in lower:
        return causes.named("rate-limited", f"{by}: asked to come back later")
    if status == 200:
        return _page(body_start, by)
    if status < 400:
        # 204, 205, 226, 304, a 3xx that leads nowhere, a 1xx that nothing follows.
        return causes.named("server-error", f"{by}: an answer without the file")
    cause = _BY_STATUS.get(status, "server-error" if status >= 500 else "forbidden")
    return causes.named(cause, by)


def _proxy_authentication(headers: Mapping[str, str], route: settings.Route) -> causes.Explanation:
    offers = ", ".join(v for k, v in headers.items() if k.lower() == "proxy-authenticate")
    schemes = {offer.split()[0].lower() for offer in offers.split(",") if offer.strip()}
    schemes &= _PROXY_SCHEMES  # the rest may be anything
    evidence = f"407 from {proxy_name(route)}"
    if schemes & {"ntlm", "negotiate", "kerberos"} and "basic" not in schemes:
        return causes.named(
            "proxy-auth-ntlm", f"{evidence}, which offers {', '.join(sorted(schemes))}"
        )
    refused = " (the credentials given were refused)" if _has_user(route) else ""
    return causes.named("proxy-auth-required", evidence + refused)


def _squid(headers: Mapping[str, str]) -> causes.CauseName | None:
    said = headers.get("x-squid-error", "")
    exact = block_pages.SQUID_ERRORS.get(said)
    return exact or block_pages.SQUID_ERRORS.get(said.partition(" ")[0])


def _redirect(status: int, headers: Mapping[str, str], url: str) -> causes.Explanation:
    target = urllib.parse.urljoin(url, headers.get("location", ""))
    here, there = (urllib.parse.urlsplit(u).hostname for u in (url, target))
    if there and there != here:
        return causes.named("captive-portal", f"{status} from {here} to {there}, another host")
    return causes.named("redirect-loop", f"{status} from {here} to {urls.mask_url(target)}")


def _page(body_start: bytes, by: str) -> causes.Explanation:
    if block_pages.is_portal(body_start.decode("utf-8", errors="replace").lower()):
        return causes.named("captive-portal", f"{by}: a login page")
    title = identify.page_title(body_start)
    # Not cut: a cut secret could no longer be found and masked.
    page = f"a web page titled {title!r}" if title else "a web page"
    what = "another file" if title is None else page
    return causes.named("wrong-content", f"{by}: {what}")


_BY_VERDICT: Mapping[str, causes.CauseName] = {
    "lfs-pointer": "wrong-content",
    "truncated": "truncated",
    "corrupt": "checksum-mismatch",
    "unknown": "wrong-content",
}


def from_identity(
    verdict: str, detail: str, *, body_start: bytes, headers: Mapping[str, str], url: str
) -> causes.Explanation:
    """Why a body that arrived whole, with status 200, is not the file.

    Args:
        verdict: what `identify` says: "html", "impostor:mnist", "lfs-pointer", …
        detail: its words about it.
        body_start: the first bytes of the body.
        headers: the response's headers, empty for local files.
        url: the URL that answered.
    """
    if verdict.startswith("impostor"):
        return causes.named(
            "impostor", f"this is {detail}" if detail else verdict.partition(":")[2]
        )
    if verdict in ("html", "cloud-error"):
        return from_response(200, headers, body_start, url=url, route=settings.Route())
    coding = next((v for k, v in headers.items() if k.lower() == "content-encoding"), "")
    if verdict in ("unknown", "corrupt") and coding.lower() not in ("", "identity", "gzip"):
        detail = f"the body is compressed ({coding.lower()!r}), which was not asked for"
        return causes.named("wrong-content", detail, "something on the way compresses: avoid it")
    remedy = (
        "the mirror is a Git checkout without LFS: fetch the content there (git lfs pull)"
        if verdict == "lfs-pointer"
        else ""
    )
    return causes.named(_BY_VERDICT.get(verdict, "checksum-mismatch"), detail or verdict, remedy)


def _has_user(route: settings.Route) -> bool:
    return bool(urllib.parse.urlsplit(route.proxy or "").username)
