"""The settings as frozen values, and the route to one URL that follows from them. Pure.

Nothing here reads a file or the environment; `config.loader` does, and makes these.
"""

from __future__ import annotations

import dataclasses
import pathlib
import urllib.parse
from collections.abc import Mapping
from typing import Literal

from fmnist_tfds import artifacts
from fmnist_tfds.config import schema, urls

_LOCAL_SCHEMES = ("file",)


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
        url: base URL (ends in "/"), template with placeholders, or file:// URL of a folder.
        name: name in the TOML file, or "".
        proxy: proxy URL; "" for none; None: what the environment says.
        ca_bundle: PEM file of the authorities to trust here; None: what the environment says.
        client_cert: PEM file with certificate and key to present, or None.
        headers: pairs (name, value); a value may be a reference, then it is a secret.
        auth: how to authenticate, or None.
        insecure_tls: do not verify the certificate (the pinned hashes are still checked).
        allow_http_redirect: follow a redirect from https to http.
        user_agent: the User-Agent to send, "" for the general one.
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
    user_agent: str = ""

    @property
    def scheme(self) -> str:
        """Lower-case URL scheme, "file" for local folders."""
        return urllib.parse.urlsplit(self.url).scheme.lower()

    @property
    def title(self) -> str:
        """What messages call it: its name in the TOML file, else its URL, masked."""
        return self.name or urls.mask_url(self.url)

    @property
    def is_http(self) -> bool:
        """True for http and https."""
        return self.scheme in urls.HTTP_SCHEMES

    @property
    def is_local(self) -> bool:
        """True for folders: reading them opens no socket."""
        return self.scheme in _LOCAL_SCHEMES

    def url_for(self, file: artifacts.Artifact) -> str:
        """The URL of one file."""
        if urls.is_template(self.url):
            known = file.placeholders()
            return urls.PLACEHOLDER.sub(lambda found: known[found.group(1)], self.url)
        base, mark, query = self.url.partition("?")
        return f"{base.rstrip('/')}/{file.name}{mark}{query}"

    def lacks(self, file: artifacts.Artifact) -> str:
        """The placeholder of this template that nothing is known for, or ""."""
        known = file.placeholders()
        wanted = urls.PLACEHOLDER.findall(self.url)
        return next((name for name in wanted if not known.get(name)), "")


@dataclasses.dataclass(frozen=True, slots=True)
class Network:
    """The [network] table. Times in seconds, speeds in bytes per second.

    Attributes:
        connect_timeout_s: for one connection to be made.
        read_timeout_s: without a byte, after which an attempt has stalled.
        min_speed_bytes_per_s: below which an attempt is given up.
        attempts: per file and mirror; one that made progress does not count.
        backoff_s: before the second attempt; doubled from one to the next.
        hedge_after_s: without the first byte, after which the next mirror is asked beside it.
        deadline_s: for the whole job.
        trust: "system" (this machine's certificate store) or "certifi" (Mozilla's).
        proxy: proxy URL, where neither the mirror nor the environment names one.
        ca_bundle: PEM file of authorities to trust, likewise; relative to the TOML file.
        user_agent: the User-Agent to send; "" for fmnist_tfds/VERSION.
        limit_rate_bytes_per_s: the most to receive, all connections together; 0 for no limit.
    """

    connect_timeout_s: float = schema.positive(5.0)
    read_timeout_s: float = schema.positive(20.0)
    min_speed_bytes_per_s: int = schema.not_negative(2000)
    attempts: int = schema.positive(3)
    backoff_s: float = schema.not_negative(1.0)
    hedge_after_s: float = schema.not_negative(3.0)
    deadline_s: float = schema.positive(600.0)
    trust: Literal["system", "certifi"] = "system"
    proxy: str | None = None
    ca_bundle: pathlib.Path | None = None
    user_agent: str = ""
    limit_rate_bytes_per_s: int = schema.not_negative(0)


@dataclasses.dataclass(frozen=True, slots=True)
class Rewrite:
    """One of the [[rewrites]]: URLs that begin with one text begin with others instead.

    Attributes:
        source: the beginning that is replaced; `from` in the file.
        targets: what stands there instead, in the order to try them; `to` in the file.
    """

    source: str
    targets: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Environment:
    """The conventional variables as found; empty where unset.

    Attributes:
        proxies: scheme ("http", "https", "all") -> proxy URL.
        no_proxy: hosts, suffixes and networks that need no proxy, between commas or blanks.
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
        rewrites: the [[rewrites]], in the order of the file; `mirrors` are rewritten already.
        named: the [[mirrors]] of the file: a rewritten URL gets the credentials of the one whose
            URL it now is, and of no other.
        blocked_message: what to tell the user where every source refused, or "".
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
    rewrites: tuple[Rewrite, ...] = ()
    named: tuple[Mirror, ...] = ()
    blocked_message: str = ""
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
            return mirror.proxy or None, f"mirror {mirror.title}"
        host, port = url.hostname or "", urls.port_of(url)
        if urls.bypasses_proxy(host, port, self.environment.no_proxy):
            return None, "NO_PROXY"
        for scheme in (url.scheme.lower(), "all"):
            if proxy := self.environment.proxies.get(scheme):
                return proxy, f"{scheme.upper()}_PROXY"
        if self.network.proxy:
            return self.network.proxy, "[network] proxy"
        return None, "none"
