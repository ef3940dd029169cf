"""Secrets: resolved for the request that needs them, masked in every text we show or write."""

from __future__ import annotations

import base64
import dataclasses
import re
import urllib.parse
from collections.abc import Callable

import requests.utils

from fmnist_tfds import errors
from fmnist_tfds.config import secret_reference, settings, urls
from fmnist_tfds.download.transport import masking

_SENSITIVE_HEADERS = ("authorization", "cookie", "proxy-authorization")
# Shorter ones, such as "1" and "true", are words of other texts too.
_LEAST_SECRET = 8
# A signature or token, no word such as a path or region: hexadecimal, or of all kinds of letters.
_RANDOM = re.compile(
    r"^(?=.{16})([0-9a-fA-F]+$|(?=.*[0-9])(?=.*[a-z])(?=.*[A-Z]))", re.ASCII | re.DOTALL
)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Secrets:
    """Every secret that was resolved, so that `mask` can hide each of its forms in a text.

    Args:
        read: the secret that a reference stands for, a literal as it is (config/loader): handed
            in, so that nothing here reads the environment or a file.
    """

    def __init__(self, read: Callable[[str], str]) -> None:
        self.read = read
        self._patterns: dict[str, masking.Pattern] = {}

    def resolve(self, reference: str) -> str:
        """The secret that `reference` stands for; a literal as it is.

        Raises:
            ConfigError: it cannot be read.
        """
        value = self.read(reference)
        if secret_reference.is_reference(reference):
            self.add(value)
        return value

    def add(self, value: str, *, whole: bool = False) -> None:
        """Remembers a secret; one that may also be a common word is only hidden `whole`."""
        if value and value not in self._patterns:
            self._patterns[value] = masking.Pattern(value, whole=whole)

    def add_login(self, user: str, password: str) -> str:
        """Remembers a password, and the pair in base64, which it returns."""
        self.add(password)
        if _RANDOM.search(user):  # a token in a user's place, as GitHub and PyPI have it
            self.add(user)
        pair = basic_pair(user, password)
        self.add(pair)
        return pair

    def add_url(self, url: str) -> None:
        """Remembers a URL's password and, as it may be signed, its query and what is in it."""
        parts = urllib.parse.urlsplit(url)
        if "@" in parts.netloc:
            user = urllib.parse.unquote(parts.username or "")
            self.add_login(user, urllib.parse.unquote(parts.password or ""))
            self.add(parts.password or parts.username or "")
        words = [part.rpartition("=") for part in re.split("[&;]", parts.query)]
        for text in (parts.query, *(value or key for key, _, value in words)):
            if len(text) >= _LEAST_SECRET:
                is_word = not _RANDOM.search(text)
                self.add(text, whole=is_word)
                self.add(urllib.parse.unquote(text), whole=is_word)

    def mask(self, text: str) -> str:
        """`text` without secrets, and with every URL in it fit to be shown."""
        return urls.mask_urls(masking.mask(text, list(self._patterns.values())))


def basic_pair(user: str, password: str) -> str:
    """A login as HTTP's Basic scheme sends it: base64 of user:password."""
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def route_to(
    options: settings.Settings, mirror: settings.Mirror, url: str, secrets: Secrets, *, home: bool
) -> settings.Route:
    """The route to `url` with its proxy's secret resolved; with client certificate if `home`.

    The query of `url` may be a signature: from now on its long values count as secrets.

    Args:
        options: proxies and trust.
        mirror: whose settings apply.
        url: where to.
        secrets: resolves the proxy's secret, and gets it.
        home: `url` has the mirror's own origin (see `is_home`).
    """
    secrets.add_url(url)
    route = options.route(mirror, url)
    # Of a whole URL only the login is a secret: its host is named in every message.
    proxy = secrets.read(route.proxy) if route.proxy else None
    if proxy and "://" not in proxy:
        if secret_reference.is_reference(route.proxy or "") and "." not in proxy:
            secrets.add(proxy)
        proxy = f"http://{proxy}"
    if proxy and not urls.proxy_problem(proxy):
        secrets.add_url(proxy)
    return dataclasses.replace(route, proxy=proxy, client_cert=route.client_cert if home else None)


def headers_for(mirror: settings.Mirror, secrets: Secrets, *, home: bool) -> dict[str, str]:
    """The mirror's headers and login; unless `home`, only the headers that hold no secret.

    Raises:
        ConfigError: a secret cannot be read, or a name or value is invalid in HTTP; it is not
            shown.
    """
    found = {}
    for number, (name, value) in enumerate(mirror.headers, start=1):
        if not _HEADER_NAME.fullmatch(name):
            raise errors.ConfigError(
                f"mirror {mirror.title}: the name of header number {number} is not valid",
                hint='write headers = { X-Name = "value" }',
            )
        is_sensitive = name.lower() in _SENSITIVE_HEADERS
        if home or not (secret_reference.is_reference(value) or is_sensitive):
            found[name] = _carried(secrets.resolve(value), value, f"header {name}", mirror)
            if is_sensitive:
                secrets.add(found[name].rpartition(" ")[2])
            if len(found[name]) >= _LEAST_SECRET:
                secrets.add(found[name], whole=True)
    auth = mirror.auth
    if home and auth and auth.type == "bearer":
        token = _carried(secrets.resolve(auth.token), auth.token, "the bearer token", mirror)
        secrets.add(token)
        found["Authorization"] = f"Bearer {token}"
    elif home and auth and auth.type == "basic":
        user, password = secrets.resolve(auth.username), secrets.resolve(auth.password)
        found["Authorization"] = f"Basic {secrets.add_login(user, password)}"
    elif home and not _has_authorization(found) and (login := _netrc(mirror.url)):
        found["Authorization"] = f"Basic {secrets.add_login(*login)}"
    return found


def _has_authorization(headers: dict[str, str]) -> bool:
    return any(name.lower() == "authorization" for name in headers)


def _netrc(url: str) -> tuple[str, str] | None:
    """The login that ~/.netrc (or the file that NETRC names) has for the host of `url`.

    Not its `default` entry: that is for hosts that its owner knows, not for every mirror.
    """
    host = urllib.parse.urlsplit(url).hostname
    login = requests.utils.get_netrc_auth(url)
    fallback = requests.utils.get_netrc_auth("https://no-host-has-this-name.invalid/")
    return login if host and login and login != fallback else None


def _carried(value: str, written: str, what: str, mirror: settings.Mirror) -> str:
    """`value` without white space around it, if HTTP can carry it in a header."""
    value = value.strip()
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        is_possible = False
    else:
        is_possible = secret_reference.is_one_line(value)
    if not is_possible:
        given = f" (secret {written!r})" if secret_reference.is_reference(written) else ""
        raise errors.ConfigError(
            f"mirror {mirror.title}: {what}{given} holds a character that HTTP cannot carry",
            hint="write it as one line of ASCII",
        )
    return value


def is_home(url: str, mirror_url: str) -> bool:
    """True if secrets meant for `mirror_url` may go to `url`: same scheme, host and port, or the
    same host's https where http was asked, both on their standard ports."""
    here, there = urllib.parse.urlsplit(mirror_url), urllib.parse.urlsplit(url)
    if (here.hostname or "").lower() != (there.hostname or "").lower():
        return False
    schemes = here.scheme.lower(), there.scheme.lower()
    ports = urls.port_of(here), urls.port_of(there)
    is_upgraded = schemes == ("http", "https") and ports == tuple(map(urls.default_port, schemes))
    return is_upgraded or (schemes[0] == schemes[1] and ports[0] == ports[1])
