"""Follows redirects: at most MOST, to safe schemes only, without secrets to another origin."""

from __future__ import annotations

import urllib.parse

import requests
import requests.cookies

from fmnist_tfds.config import settings, urls
from fmnist_tfds.download.diagnosis import causes, responses
from fmnist_tfds.download.transport import credentials, request, session

MOST = 10
_STATUSES = (301, 302, 303, 307, 308)
# Nothing of it is shown: it may hold a secret.
_NO_URL = causes.named("insecure-redirect", "leads to an invalid URL")


def follow(
    asked: request.Request, reply: request.Reply, headers: dict[str, str]
) -> requests.Response | None:
    """The last response; `reply.problem` says why a redirect was not followed.

    Args:
        asked: the file and the mirror.
        reply: gets route, hops and problem.
        headers: sent to every hop.

    Raises:
        requests.RequestException: a request failed.
        ConfigError: a secret cannot be read.
    """
    network = asked.options.network
    mirror, secrets = asked.mirror, asked.secrets
    agent = mirror.user_agent or network.user_agent
    # Resolved once, before the first hop: no redirect can make us read a secret.
    headers_by_home = {
        home: {
            **({"User-Agent": agent} if agent else {}),
            **credentials.headers_for(mirror, secrets, home=home),
            **headers,
        }
        for home in (True, False)
    }
    # Some portals set a cookie and redirect to the same URL. Kept for this request alone.
    cookies = requests.cookies.RequestsCookieJar()
    url = asked.url
    home = True
    for _ in range(MOST + 1):
        # After a cross-origin hop, send no credentials again: that server could choose which of
        # the mirror's URLs we request.
        home = home and credentials.is_home(url, asked.url)
        route = credentials.route_to(asked.options, mirror, url, secrets, home=home)
        reply.route = route
        reply.hops.append(url)
        if problem := responses.malformed_proxy(route) or session.unusable_certificates(route, url):
            reply.problem = problem
            return None
        try:
            response = session.request(
                url,
                route=route,
                headers=headers_by_home[home],
                cookies=cookies,
                connect_timeout_s=network.connect_timeout_s,
                read_timeout_s=network.read_timeout_s,
            )
        except ValueError as error:
            # requests parses Location, too; its own exceptions concern the URL requested.
            if isinstance(error, requests.RequestException):
                raise
            reply.problem = _NO_URL
            return None
        location = response.headers.get("Location", "")
        if response.status_code not in _STATUSES or not location:
            return response
        response.close()
        try:
            target = urllib.parse.urljoin(url, location)
            problem = _refusal(url, target, mirror)
        except ValueError:
            problem = _NO_URL
        if problem:
            reply.problem = problem
            return response
        url = target
    reply.status = response.status_code
    reply.problem = causes.named("redirect-loop", f"more than {MOST} redirects")
    return None


def _refusal(url: str, target: str, mirror: settings.Mirror) -> causes.Explanation | None:
    here, there = urllib.parse.urlsplit(url).scheme, urllib.parse.urlsplit(target).scheme.lower()
    if there not in urls.HTTP_SCHEMES:
        return causes.named("insecure-redirect", f"leads to {there}://, which is never followed")
    if here == "https" and there == "http" and not mirror.allow_http_redirect:
        shown = urls.mask_url(target)
        return causes.named("insecure-redirect", f"leads from https to {shown}")
    return None
