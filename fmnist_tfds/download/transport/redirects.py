"""Redirects by hand: bounded, never to an unsafe place, never with secrets to a stranger."""

from __future__ import annotations

import urllib.parse
from typing import TYPE_CHECKING

import requests

from fmnist_tfds.config import settings, urls
from fmnist_tfds.download.diagnosis import responses
from fmnist_tfds.download.transport import credentials, session

if TYPE_CHECKING:
    from fmnist_tfds.download.transport import transfer

MOST = 10
_STATUSES = (301, 302, 303, 307, 308)


def follow(
    order: transfer.Order, delivery: transfer.Delivery, headers: dict[str, str]
) -> requests.Response | None:
    """The last response; `delivery.problem` says why a redirect was not followed.

    Raises:
        requests.RequestException: a request failed.
        ConfigError: a secret cannot be read.
    """
    network = order.options.network
    url = order.url
    home = True
    for _ in range(MOST + 1):
        # Once away, never home again: the stranger would choose what home is asked for.
        home = home and credentials.is_home(url, order.url)
        route = credentials.route_to(order.options, order.mirror, url, order.secrets, home=home)
        delivery.route = route
        delivery.hops.append(url)
        if problem := responses.malformed_proxy(route) or session.unusable_certificates(route, url):
            delivery.problem = problem
            return None
        response = session.request(
            url,
            route=route,
            headers={**credentials.headers_for(order.mirror, order.secrets, home=home), **headers},
            connect_timeout_s=network.connect_timeout_s,
            read_timeout_s=network.read_timeout_s,
        )
        location = response.headers.get("Location", "")
        if response.status_code not in _STATUSES or not location:
            return response
        response.close()
        target = urllib.parse.urljoin(url, location)
        if problem := _refusal(url, target, order.mirror):
            delivery.problem = problem
            return response
        url = target
    delivery.status = response.status_code
    delivery.problem = responses.named("redirect-loop", f"more than {MOST} redirects")
    return None


def _refusal(url: str, target: str, mirror: settings.Mirror) -> responses.Explanation | None:
    here, there = urllib.parse.urlsplit(url).scheme, urllib.parse.urlsplit(target).scheme.lower()
    if there not in settings.HTTP_SCHEMES:
        return responses.named("insecure-redirect", f"leads to {there}://, which is never followed")
    if here == "https" and there == "http" and not mirror.allow_http_redirect:
        shown = urls.mask_url(target)
        return responses.named("insecure-redirect", f"leads from https to {shown}")
    return None
