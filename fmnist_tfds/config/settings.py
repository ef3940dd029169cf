"""What the user decided, as frozen values, and the route that follows from it for one URL. Pure.

Nothing here reads a file or the environment; `config` does, and fills these in.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import pathlib
import re
import urllib.parse
from collections.abc import Mapping
from typing import Literal

LOCAL_SCHEMES = ("file",)
HTTP_SCHEMES = ("http", "https")
_PORTS = {"http": 80, "https": 443}


@dataclasses.dataclass(frozen=True, slots=True)
class Auth:
    """How to authenticate at a mirror. Secrets are references: "env:NAME" or "file:/path".

    Attributes:
        type: "bearer" (token), "basic" (username, password) or "netrc" (~/.netrc).
        token: reference of the bearer token.
        username: literal or reference.
        password: reference of the password.
    """

    type: Literal["bearer", "basic", "netrc"]
    token: str = ""
    username: str = ""
    password: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Mirror:
    """One place that serves the four files.

    Attributes:
        url: base URL (ends in "/"), template holding "{filename}", or file:// URL of a folder.
        name: name in the TOML file, or "".
        proxy: proxy URL; "" for none; None: what the environment says.
        ca_bundle: PEM file of the authorities to trust here; None: what the environment says.
        client_cert: PEM file with certificate and key to present, or None.
        headers: pairs (name, value); a value may be a reference, then it is a secret.
        auth: how to authenticate, or None.
        insecure_tls: do not verify the certificate (the bytes are hash-pinned all the same).
        allow_http_redirect: follow a redirect from https to http.
    """

    url: str
    name: str = ""
    proxy: str | None = None
    ca_bundle: pathlib.Path | None = None
    client_cert: pathlib.Path | None = None
    headers: tuple[tuple[str, str], ...] = ()
    auth: Auth | None = None
    insecure_tls: bool = False
    allow_http_redirect: bool = False

    @property
    def scheme(self) -> str:
        """Lower-case URL scheme, "file" for local folders."""
        return urllib.parse.urlsplit(self.url).scheme.lower()

    @property
    def is_local(self) -> bool:
        """True where reading it opens no socket of ours."""
        return self.scheme in LOCAL_SCHEMES

    def url_for(self, filename: str) -> str:
        """The URL of one file."""
        if "{filename}" in self.url:
            return self.url.replace("{filename}", filename)
        base, mark, query = self.url.partition("?")
        return f"{base.rstrip('/')}/{filename}{mark}{query}"


@dataclasses.dataclass(frozen=True, slots=True)
class Network:
    """The [network] table. Times in seconds, speeds in bytes per second."""

    connect_timeout_s: float = 5.0
    read_timeout_s: float = 20.0
    min_speed_bytes_per_s: int = 2000
    attempts: int = 3
    backoff_s: float = 1.0
    hedge_after_s: float = 3.0
    deadline_s: float = 600.0
    trust: Literal["system", "certifi"] = "system"
    proxy: str | None = None
    ca_bundle: pathlib.Path | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Environment:
    """The conventional variables as found; empty where unset.

    Attributes:
        proxies: scheme ("http", "https", "all") -> proxy URL.
        no_proxy: comma-separated hosts, suffixes and networks that need no proxy.
        ca_bundle: REQUESTS_CA_BUNDLE, else CURL_CA_BUNDLE, else SSL_CERT_FILE.
    """

    proxies: Mapping[str, str] = dataclasses.field(default_factory=dict)
    no_proxy: str = ""
    ca_bundle: pathlib.Path | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Route:
    """How to reach one URL: everything a transfer needs to know besides the URL.

    Attributes:
        proxy: proxy URL or None for a direct connection.
        ca_bundle: PEM file to trust, or None for the trust store that `trust` names.
        trust: "system" or "certifi".
        client_cert: PEM file to present, or None.
        insecure_tls: do not verify the certificate.
        proxy_origin: what decided the proxy, for people.
    """

    proxy: str | None = None
    ca_bundle: pathlib.Path | None = None
    trust: Literal["system", "certifi"] = "system"
    client_cert: pathlib.Path | None = None
    insecure_tls: bool = False
    proxy_origin: str = "none"


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """Everything that is configurable about obtaining the files.

    Attributes:
        mirrors: sources in the order to try them.
        network: time-outs, retries, trust.
        environment: the conventional proxy and certificate variables.
        cache_dir: the store's folder.
        manual_dir: folder or file with the data, tried before the network; None for none.
        offline: open no socket at all.
        adopt_local: look in other tools' caches on this disk before asking the network.
        config_file: the TOML file that was read, or None.
        origins: dotted setting name -> where its value came from, for people.
        notes: remarks on the settings that the user should see, such as a rewritten URL.
    """

    mirrors: tuple[Mirror, ...]
    cache_dir: pathlib.Path
    network: Network = Network()
    environment: Environment = dataclasses.field(default_factory=Environment)
    manual_dir: pathlib.Path | None = None
    offline: bool = False
    adopt_local: bool = False
    config_file: pathlib.Path | None = None
    origins: Mapping[str, str] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def route(self, mirror: Mirror, url: str) -> Route:
        """The route to `url` of `mirror`: the mirror's own settings, then the environment's,
        then the general ones of the TOML file."""
        parts = urllib.parse.urlsplit(url)
        proxy, origin = self._proxy(mirror, parts)
        return Route(
            proxy=proxy,
            proxy_origin=origin,
            ca_bundle=mirror.ca_bundle or self.environment.ca_bundle or self.network.ca_bundle,
            trust=self.network.trust,
            client_cert=mirror.client_cert,
            insecure_tls=mirror.insecure_tls,
        )

    def _proxy(self, mirror: Mirror, url: urllib.parse.SplitResult) -> tuple[str | None, str]:
        if mirror.proxy is not None:
            return mirror.proxy or None, f"mirror {mirror.name or mask_url(mirror.url)}"
        host, port = url.hostname or "", url.port or _PORTS.get(url.scheme.lower())
        if bypasses_proxy(host, port, self.environment.no_proxy):
            return None, "NO_PROXY"
        for scheme in (url.scheme.lower(), "all"):
            if proxy := self.environment.proxies.get(scheme):
                return proxy, f"{scheme.upper()}_PROXY"
        if self.network.proxy:
            return self.network.proxy, "[network] proxy"
        return None, "none"


def bypasses_proxy(host: str, port: int | None, no_proxy: str) -> bool:
    """True if NO_PROXY exempts that host: "*", exact names, domain suffixes (with or without a
    leading dot), addresses, CIDR networks, each optionally with ":port"."""
    host = host.lower().rstrip(".")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    for entry in filter(None, (e.strip().lower() for e in no_proxy.split(","))):
        if entry == "*":
            return True
        name, colon, wanted_port = entry.rpartition(":")
        if colon and wanted_port.isdigit() and "]" not in wanted_port and name.count(":") == 0:
            if port is None or int(wanted_port) != port:
                continue
            entry = name
        if address is not None:
            try:
                if address in ipaddress.ip_network(entry.strip("[]"), strict=False):
                    return True
            except ValueError:
                continue
        elif host == entry.lstrip("*.") or host.endswith("." + entry.lstrip("*.")):
            return True
    return False


_PROXY_SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>)]+")
# As urllib3 shows it: "Max retries exceeded with url: /a.gz?sig=…".
_QUERY = re.compile(r"(/[^\s'\"<>?]*)\?[^\s'\"<>)]+")
_HOST = re.compile(r"([\w.-]*|\[[0-9a-fA-F:.]+(%25\w+)?\])(:[0-9]{0,5})?/*")


def proxy_problem(url: str) -> str:
    """Why `url` cannot be a proxy's URL, or ""; holds nothing of a user or password."""
    if any(letter.isspace() or not letter.isprintable() for letter in url):
        return "it holds white space or a control character"
    if "://" not in url:
        # requests, curl and urllib read "proxy:3128" as http://proxy:3128; so do we.
        url = f"http://{url}"
    try:
        parts = urllib.parse.urlsplit(url)
        if "@" in parts.path + parts.query + parts.fragment:
            return "in a user or password, / ? # are written %2F %3F %23"
    except ValueError:
        return "the part before its path is no host"
    try:
        _ = parts.port
    except ValueError:
        # Python's own words would show it, and it may be the beginning of a password.
        return "its port is no number up to 65535"
    if parts.scheme.lower() not in _PROXY_SCHEMES:
        return f"its scheme is none of {', '.join(_PROXY_SCHEMES)}"
    return "" if parts.hostname else "it names no host"


def mask_proxy(url: str) -> str:
    """A proxy's URL fit to be shown, also where a / ? # in its password stands as it is.

    What follows the "@" is shown only where it is a host: a URL cut off holds a password there.
    """
    if url.startswith(("env:", "file:")):
        return url
    scheme, mark, rest = url.partition("://") if "://" in url else ("", "", url)
    user, at, host = rest.rpartition("@")
    shown = host if _HOST.fullmatch(host) else "***"
    return f"{scheme}{mark}{'***' if user else ''}{at}{shown}"


def mask_url(url: str) -> str:
    """`url` fit to be shown: user info and query replaced by "***"; a key may be a token as well.

    So is a host with a port that is no number: the beginning of a user's password.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        user, at, host = parts.netloc.rpartition("@")
        _ = parts.port
    except ValueError:
        return "***"
    netloc = f"{'***' if user else ''}{at}{host}"
    query = "***" if parts.query else ""
    return urllib.parse.urlunsplit((parts.scheme, netloc, parts.path, query, ""))


def mask_urls(text: str) -> str:
    """`text` with every URL in it fit to be shown, also those without scheme and host."""
    return _QUERY.sub(r"\1?***", _URL.sub(lambda match: mask_url(match.group(0)), text))


def mask_no_proxy(rules: str) -> str:
    """NO_PROXY fit to be shown: somebody may have put whole URLs there."""
    shown = (mask_proxy(rule) if "@" in rule else rule for rule in rules.split(","))
    return ",".join(mask_url(rule) if "://" in rule else rule for rule in shown)
