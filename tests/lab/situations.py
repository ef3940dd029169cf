"""The situations of the fault matrix: what stands between the user and the files, what is right.

A situation lists hostile mirrors. Alone they must end as `alone` says: "ok", or a cause that the
error names. With a good mirror behind them the files must arrive in every case.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import laboratory

from fmnist_tfds.config import settings

Lab = laboratory.Lab


@dataclasses.dataclass(frozen=True)
class Situation:
    """One situation.

    Attributes:
        name: in plain words, unique.
        group: chapter of the table.
        mirrors: the hostile mirrors.
        alone: "ok" or the causes (any of them is right) named when nothing else is listed.
        needs: real parts without which it cannot be tried.
        network: settings of [network] that differ from the laboratory's.
        environment: the conventional proxy and certificate variables.
        main: also tried with stock tools.
    """

    name: str
    group: str
    mirrors: Callable[[Lab], list[settings.Mirror]]
    alone: str | tuple[str, ...]
    needs: tuple[str, ...] = ()
    network: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    environment: Callable[[Lab], settings.Environment] | None = None
    main: bool = False

    @property
    def causes(self) -> tuple[str, ...]:
        return (self.alone,) if isinstance(self.alone, str) else self.alone


ALL: list[Situation] = []


def _scripted(
    group: str, name: str, script: str, alone: str | tuple[str, ...], **options: Any
) -> None:
    mirrors = lambda lab: [lab.fault(script)]  # noqa: E731
    ALL.append(Situation(name, group, mirrors, alone, **options))


def _with(
    group: str,
    name: str,
    mirrors: Callable[[Lab], list[settings.Mirror]],
    alone: str | tuple[str, ...],
    **options: Any,
) -> None:
    ALL.append(Situation(name, group, mirrors, alone, **options))


# Where silence is the situation: nothing else is waited for, so a slow machine changes nothing.
SHORT = {"read_timeout_s": 1.0}


def _closed(lab: Lab) -> settings.Mirror:
    return settings.Mirror(url=f"http://127.0.0.1:{lab.closed_port}/")


# --- odd, but the bytes are there ---------------------------------------------------------------

for _name, _script in (
    ("plain good mirror", "ok"),
    ("first byte after 2 s", "slow-start"),
    ("60 kB a second, steadily", "slow-but-steady"),
    ("no Content-Length", "no-length"),
    ("HTTP/1.0 answer", "http-1-0"),
    ("chunked", "chunked"),
    ("Content-Length 1,000 too large", "length-too-large"),
    ("Content-Encoding: gzip on the .gz", "encoding-header-on-gz"),
    ("gzip around the gzip", "gzip-twice"),
    ("compressed anew on the way", "recompressed"),
    ("decompressed on the way", "decompressed"),
    ("429, Retry-After in seconds, then good", "limited-then-ok"),
    ("429, Retry-After as a date, then good", "limited-until-date"),
    ("503 once, then good", "unavailable-then-ok"),
    ("redirect to the file", "redirect-ok"),
    ("four redirects in a row", "redirect-chain"),
    ("a wall that sets a cookie and redirects to itself", "cookie-wall"),
    ("403 for python-requests, urllib, curl and wget", "blocks-libraries"),
):
    _scripted(
        "odd but good",
        _name,
        _script,
        "ok",
        main=_script in ("ok", "encoding-header-on-gz", "limited-then-ok"),
    )

# --- cut and resumed ----------------------------------------------------------------------------

for _name, _script, _alone in (
    ("RST before an answer", "reset-at-once", "reset"),
    ("RST after one byte", "reset-after-one-byte", ("reset", "truncated")),
    ("RST at half, then Range works", "reset-once-then-range", "ok"),
    ("RST after every eighth, Range works", "reset-every-eighth", "ok"),
    ("RST at half, no Range", "reset-without-ranges", ("reset", "truncated")),
    ("closed at half of Content-Length", "cut-with-length", "truncated"),
    ("closed at half, no Content-Length", "cut-without-length", "truncated"),
    ("half the file with its own length", "length-of-a-part", "truncated"),
    ("chunked, cut inside a chunk", "chunked-cut", ("truncated", "reset")),
    ("chunked, chunk size is garbage", "chunked-garbage", ("reset", "truncated")),
    ("200 to a range request", "range-ignored", "ok"),
    ("416 to a range request", "range-refused", ("ok", "reset", "truncated")),
    ("Content-Range is 7 bytes off", "range-shifted", ("ok", "reset", "truncated", "server-error")),
    (
        "206 without Content-Range",
        "range-without-content-range",
        ("ok", "reset", "truncated", "server-error"),
    ),
    ("half, then 404 for ever", "half-then-gone", ("not-found", "reset", "truncated")),
):
    _scripted("cut", _name, _script, _alone, main=_script.startswith("cut-"))

# --- slow, silent, endless ----------------------------------------------------------------------

for _name, _script, _alone in (
    ("accepts and never answers", "never-answers", "stalled"),
    ("header, then silence", "head-then-silence", "stalled"),
    ("half, then silence", "half-then-silence", "stalled"),
    ("ten bytes a second", "trickle", "stalled"),
    ("header one byte at a time", "trickled-head", ("stalled", "deadline")),
    ("the file, then bytes without end", "endless-body", ("ok", "too-large")),
    ("garbage without end", "endless-garbage", "too-large"),
    ("endless headers", "endless-headers", ("reset", "too-large", "server-error")),
    ("Content-Length of 10 TB", "huge-length", "too-large"),
    ("gzip bomb", "gzip-bomb", ("too-large", "wrong-content", "checksum-mismatch")),
    ("something that is not HTTP", "not-http", "reset"),
    ("accepts and hangs up", "hangs-up", "reset"),
):
    _scripted(
        "slow or endless",
        _name,
        _script,
        _alone,
        network=SHORT if "stalled" in _alone else {},
        main=_script in ("never-answers", "trickle"),
    )

# --- refused ------------------------------------------------------------------------------------

for _name, _script, _alone in (
    ("401", "401", "auth-required"),
    ("403 without any mark", "403", "forbidden"),
    ("404", "404", "not-found"),
    ("410", "410", "not-found"),
    ("451", "451", "geo-blocked"),
    ("500", "500", "server-error"),
    ("502", "502", "server-error"),
    ("503 for ever", "503", "server-error"),
    ("204, no content", "204", ("wrong-content", "truncated", "server-error", "forbidden")),
    ("429 for an hour", "429-for-an-hour", "rate-limited"),
    ("S3: 403 for a missing key", "s3-denied", "object-missing-or-private"),
    ("Google Cloud Storage: denied", "gcs-denied", "object-missing-or-private"),
    ("Alibaba OSS: no such key", "oss-missing", "not-found"),
    ("Azure: not public", "azure-private", "object-missing-or-private"),
    ("Hugging Face: gated", "hugging-face-gated", "auth-required"),
    ("GitHub: 429 page", "github-429", "rate-limited"),
    ("Cloudflare challenge", "cloudflare-challenge", "waf-blocked"),
    ("Cloudflare 1010", "cloudflare-1010", "user-agent-blocked"),
    ("403 for all but browsers", "browsers-only", "user-agent-blocked"),
    ("Cloudflare 1009", "cloudflare-1009", "geo-blocked"),
    ("Akamai: access denied", "akamai", "waf-blocked"),
    ("Zscaler block page", "zscaler", "proxy-denied"),
    ("FortiGate block page", "fortigate", "proxy-denied"),
    ("Blue Coat block page with status 200", "blue-coat-200", "proxy-denied"),
    ("jsDelivr: one file of four too large", "size-limited", "size-limited"),
):
    _scripted("refused", _name, _script, _alone, main=_script in ("403",))

# --- redirected ---------------------------------------------------------------------------------

for _name, _script, _alone in (
    ("redirect loop", "redirect-loop", "redirect-loop"),
    ("redirect to file://", "redirect-to-file", "insecure-redirect"),
    ("redirect to ftp://", "redirect-to-ftp", ("insecure-redirect", "unsupported-scheme")),
    (
        "302 without Location",
        "redirect-without-location",
        ("redirect-loop", "server-error", "wrong-content"),
    ),
    ("captive portal, 302 to its login page", "portal-302", "captive-portal"),
    ("captive portal, 200", "portal-200", "captive-portal"),
    ("captive portal, 511", "portal-511", "captive-portal"),
):
    _scripted("redirected", _name, _script, _alone, main=_script == "portal-200")

# --- wrong bytes --------------------------------------------------------------------------------

for _name, _script, _alone in (
    ("another web page, 200", "other-page", "wrong-content"),
    (
        "storage error document, 200",
        "cloud-error-200",
        ("object-missing-or-private", "wrong-content"),
    ),
    ("Git LFS pointer", "lfs-pointer", "wrong-content"),
    ("empty body", "empty", ("truncated", "wrong-content")),
    ("one bit flipped", "one-bit-flipped", "checksum-mismatch"),
    (
        "garbage of the right size",
        "garbage-of-the-right-size",
        ("wrong-content", "checksum-mismatch"),
    ),
    (
        "train and test exchanged",
        "wrong-file",
        ("wrong-content", "checksum-mismatch", "too-large", "truncated"),
    ),
    (
        "bytes behind the end",
        "trailing-bytes",
        ("ok", "too-large", "checksum-mismatch", "wrong-content"),
    ),
    ("another data set under these names", "impostor", "impostor"),
):
    _scripted("wrong bytes", _name, _script, _alone, main=_script == "one-bit-flipped")

# --- TLS ----------------------------------------------------------------------------------------


def _tls(kind: str, **options: Any) -> Callable[[Lab], list[settings.Mirror]]:
    def mirrors(lab: Lab) -> list[settings.Mirror]:
        bundle = lab.authority.certificate if options.get("trusting") else None
        rest = {key: value for key, value in options.items() if key != "trusting"}
        url = lab.tls_server(kind).base(rest.pop("situation", "ok"))
        return [settings.Mirror(url=url, ca_bundle=bundle, **rest)]

    return mirrors


_OPENSSL = ("openssl",)
_with(
    "TLS",
    "private authority, given as ca_bundle",
    _tls("good", trusting=True),
    "ok",
    needs=_OPENSSL,
)
_with(
    "TLS",
    "authority not trusted",
    _tls("unknown", trusting=True),
    "tls-untrusted",
    needs=_OPENSSL,
    main=True,
)
_with("TLS", "certificate expired", _tls("expired", trusting=True), "tls-untrusted", needs=_OPENSSL)
_with(
    "TLS",
    "certificate for another host",
    _tls("wrong-host", trusting=True),
    "tls-untrusted",
    needs=_OPENSSL,
)
_with("TLS", "self-signed certificate", _tls("self-signed"), "tls-untrusted", needs=_OPENSSL)
_with(
    "TLS",
    "not trusted, but insecure_tls set",
    _tls("unknown", insecure_tls=True),
    "ok",
    needs=_OPENSSL,
)
_with(
    "TLS",
    "authority in REQUESTS_CA_BUNDLE",
    _tls("good"),
    "ok",
    needs=_OPENSSL,
    environment=lambda lab: settings.Environment(ca_bundle=lab.authority.certificate),
)
_with(
    "TLS",
    "mirror's ca_bundle beats REQUESTS_CA_BUNDLE",
    _tls("good", trusting=True),
    "ok",
    needs=_OPENSSL,
    environment=lambda lab: settings.Environment(ca_bundle=lab.unknown_authority.certificate),
)
_with(
    "TLS",
    "plain HTTP on the https port",
    lambda lab: [settings.Mirror(url=lab.server.base("ok").replace("http:", "https:"))],
    ("tls-untrusted", "reset"),
)


def _client(given: bool) -> Callable[[Lab], list[settings.Mirror]]:
    def mirrors(lab: Lab) -> list[settings.Mirror]:
        url = lab.tls_server("wants-a-client-certificate").base("ok")
        pem = lab.client_certificate if given else None
        return [settings.Mirror(url=url, ca_bundle=lab.authority.certificate, client_cert=pem)]

    return mirrors


_with("TLS", "client certificate wanted, given", _client(True), "ok", needs=_OPENSSL)
_with(
    "TLS", "client certificate wanted, not given", _client(False), "auth-required", needs=_OPENSSL
)


def _downgrade(allowed: bool) -> Callable[[Lab], list[settings.Mirror]]:
    def mirrors(lab: Lab) -> list[settings.Mirror]:
        server = lab.tls_server("good")
        target = lab.server.base("ok")
        server.scripts["downgrade"] = lambda request, reply: reply.whole(  # type: ignore[index]
            "302 Found", b"", {"Location": target + request.name}
        )
        url = server.base("downgrade")
        bundle = lab.authority.certificate
        return [settings.Mirror(url=url, ca_bundle=bundle, allow_http_redirect=allowed)]

    return mirrors


_with("TLS", "redirect from https to http", _downgrade(False), "insecure-redirect", needs=_OPENSSL)
_with("TLS", "redirect from https to http, allowed", _downgrade(True), "ok", needs=_OPENSSL)

# --- proxies ------------------------------------------------------------------------------------


def _through(
    proxy: Callable[[Lab], str], base: Callable[[Lab], str] | None = None, tls: bool = False
) -> Callable[[Lab], list[settings.Mirror]]:
    def mirrors(lab: Lab) -> list[settings.Mirror]:
        bundle = lab.authority.certificate if tls else None
        url = base(lab) if base else lab.server.base("ok")
        if tls and not base:
            url = lab.tls_server("good").base("ok")
        return [settings.Mirror(url=url, proxy=proxy(lab), ca_bundle=bundle)]

    return mirrors


def _user(url: str, user: str) -> str:
    return url.replace("://", f"://{user}@")


_SQUID = ("squid",)
_SQUID_TLS = ("squid", "openssl")
for _name, _proxy, _alone, _needs in (
    ("squid", lambda lab: lab.squid.url, "ok", _SQUID),
    ("squid denies", lambda lab: lab.squid_denying.url, "proxy-denied", _SQUID),
    ("squid wants a password", lambda lab: lab.squid_password.url, "proxy-auth-required", _SQUID),
    (
        "squid, right password",
        lambda lab: _user(lab.squid_password.url, "ann:s3cret"),
        "ok",
        _SQUID,
    ),
    (
        "squid, wrong password",
        lambda lab: _user(lab.squid_password.url, "ann:guess"),
        "proxy-auth-required",
        _SQUID,
    ),
    ("tinyproxy", lambda lab: lab.tinyproxy.url, "ok", ("tinyproxy",)),
    (
        "tinyproxy filters the host",
        lambda lab: lab.tinyproxy_filtering.url,
        "proxy-denied",
        ("tinyproxy",),
    ),
    (
        "proxy offers NTLM only",
        lambda lab: f"http://127.0.0.1:{lab.windows_proxy.port}",
        "proxy-auth-ntlm",
        (),
    ),
    ("SOCKS5", lambda lab: f"socks5h://127.0.0.1:{lab.socks.port}", "ok", ("PySocks",)),
    (
        "proxy is down",
        lambda lab: _closed(lab).url,
        "connect-refused",
        (),
    ),
    ("proxy has no address", lambda lab: "http://proxy.invalid:3128", "dns-failure", ()),
):
    _main = _name == "squid denies"
    _with("proxy", f"{_name}, http", _through(_proxy), _alone, needs=_needs, main=_main)
    _with(
        "proxy", f"{_name}, https", _through(_proxy, tls=True), _alone, needs=(*_needs, "openssl")
    )

_with(
    "proxy",
    "squid cannot reach the mirror",
    _through(lambda lab: lab.squid.url, lambda lab: _closed(lab).url),
    "connect-refused",
    needs=_SQUID,
)
_with(
    "proxy",
    "HTTP_PROXY from the environment",
    lambda lab: [lab.fault("ok")],
    "ok",
    needs=_SQUID,
    environment=lambda lab: settings.Environment(proxies={"http": lab.squid.url}),
)
_with(
    "proxy",
    "dead HTTP_PROXY, but NO_PROXY names the host",
    lambda lab: [lab.fault("ok")],
    "ok",
    environment=lambda lab: settings.Environment(
        proxies={"http": _closed(lab).url}, no_proxy="127.0.0.0/8"
    ),
)
_with(
    "proxy",
    'dead HTTP_PROXY, but the mirror says proxy = ""',
    lambda lab: [lab.fault("ok", proxy="")],
    "ok",
    environment=lambda lab: settings.Environment(proxies={"http": _closed(lab).url}),
)


def _bumped(trusting: bool) -> Callable[[Lab], list[settings.Mirror]]:
    def mirrors(lab: Lab) -> list[settings.Mirror]:
        url = f"https://{laboratory.GOOD_HOST}:{lab.nginx_tls.port}/data/"
        bundle = lab.inspection.certificate if trusting else None
        return [settings.Mirror(url=url, proxy=lab.squid_bump.url, ca_bundle=bundle)]

    return mirrors


_NEEDS_BUMP = ("squid", "openssl", "nginx")
_with(
    "proxy", "squid re-signs TLS (ssl-bump)", _bumped(False), "tls-intercepted", needs=_NEEDS_BUMP
)
_with("proxy", "squid re-signs TLS, its authority given", _bumped(True), "ok", needs=_NEEDS_BUMP)

# --- servers and networks -----------------------------------------------------------------------


def _at(part: str, path: str) -> Callable[[Lab], list[settings.Mirror]]:
    return lambda lab: [settings.Mirror(url=getattr(lab, part).url + path)]


_with("real servers", "nginx", _at("nginx", "data/"), "ok", needs=("nginx",))
_with(
    "real servers",
    "nginx, 5 requests a second, else 429",
    _at("nginx", "limited/"),
    ("ok", "rate-limited"),
    needs=("nginx",),
    network={"backoff_s": 0.2, "attempts": 6},
)
_with("real servers", "nginx says 403", _at("nginx", "forbidden/"), "forbidden", needs=("nginx",))
_with(
    "real servers", "haproxy before a good server", _at("haproxy", "ok/"), "ok", needs=("haproxy",)
)
for _name, _path in (("haproxy drops silently", "drop/"), ("haproxy tarpit", "tarpit/")):
    _with(
        "real servers",
        _name,
        _at("haproxy", _path),
        "stalled",
        needs=("haproxy",),
        network=SHORT,
    )
_with("real servers", "haproxy rejects", _at("haproxy", "reject/"), "reset", needs=("haproxy",))
_with("real servers", "haproxy denies", _at("haproxy", "denied/"), "forbidden", needs=("haproxy",))
_with(
    "real servers",
    "haproxy without a server behind",
    _at("haproxy", "down/"),
    "server-error",
    needs=("haproxy",),
)
_with("network", "nothing listens", lambda lab: [_closed(lab)], "connect-refused", main=True)
_with(
    "network",
    "host name without an address",
    lambda lab: [settings.Mirror(url="http://no-such-host.invalid/")],
    "dns-failure",
    main=True,
)
_with(
    "network",
    "unknown URL scheme",
    lambda lab: [settings.Mirror(url="gopher://127.0.0.1/")],
    "unsupported-scheme",
)
_with(
    "network", "folder as mirror", lambda lab: [settings.Mirror(url=lab.data.as_uri() + "/")], "ok"
)
_with(
    "network",
    "folder that does not exist",
    lambda lab: [settings.Mirror(url=(lab.folder / "gone").as_uri() + "/")],
    "not-found",
)
_with(
    "network",
    "three dead mirrors",
    lambda lab: [_closed(lab), lab.fault("never-answers"), lab.fault("portal-200")],
    ("connect-refused", "captive-portal", "stalled"),
    network=SHORT,
)

# Tried by scripts/fault_lab.py alone: each differs from a row that CI tries too in nothing but a
# number, or in a page that tests/download proves to be recognised.
ALIKE = frozenset(
    (
        *("401", "410", "451", "500", "502", "captive portal, 511", "four redirects in a row"),
        *("RST after one byte", "cached files emptied", "Google Cloud Storage: denied"),
        *("Alibaba OSS: no such key", "Azure: not public", "Hugging Face: gated"),
        *("GitHub: 429 page", "Cloudflare 1010", "Cloudflare 1009", "Akamai: access denied"),
        *("Zscaler block page", "FortiGate block page"),
    )
)
