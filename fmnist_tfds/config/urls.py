"""URLs: checking, masking, default ports, and what NO_PROXY exempts. Pure.

Source: RFC 3986 for the parts of a URL.
"""

from __future__ import annotations

import ipaddress
import pathlib
import re
import urllib.parse
import urllib.request

from fmnist_tfds import catalog, errors
from fmnist_tfds.config import home, schema

HTTP_SCHEMES = ("http", "https")
_SOCKS_SCHEMES = ("socks4", "socks4a", "socks5", "socks5h")
_PORTS = {"http": 80, "https": 443, **dict.fromkeys(_SOCKS_SCHEMES, 1080)}
PLACEHOLDER = re.compile(r"\{([a-z0-9_]+)\}")
PLACEHOLDERS = ("filename", "sha256", "md5", "sha1", "sha1_git", "size", "url_sha256")


def is_template(url: str) -> bool:
    """True if `url` holds a placeholder: it says itself where each file lies."""
    return PLACEHOLDER.search(url) is not None


def default_port(scheme: str) -> int | None:
    """The port of http, https and SOCKS URLs that name none; None for other schemes."""
    return _PORTS.get(scheme.lower())


def port_of(url: urllib.parse.SplitResult) -> int | None:
    """The port that `url` names, else its scheme's default, if it has one.

    Raises:
        ValueError: the port is no number up to 65535.
    """
    return url.port or default_port(url.scheme)


def host_of(url: str) -> str:
    """The host of a URL, for people; the URL itself if it names none."""
    return urllib.parse.urlsplit(url).hostname or url


def local_path(url: str) -> pathlib.Path:
    """The path that a file:// URL names."""
    return pathlib.Path(urllib.request.url2pathname(urllib.parse.urlsplit(url).path))


def checked_mirror(entry: str, where: str, base: pathlib.Path | None = None) -> str:
    """The normal form of one mirror entry: a URL or template; folders become file:// URLs.

    Args:
        entry: as the user wrote it.
        where: its name in error messages.
        base: what relative folders are relative to; None: the working folder.

    Raises:
        ConfigError: not a URL, or one that carries a password.
    """
    for name in PLACEHOLDER.findall(entry):
        if name not in PLACEHOLDERS:
            nearest = schema.nearest(name, PLACEHOLDERS)
            valid = ", ".join(f"{{{each}}}" for each in PLACEHOLDERS)
            raise errors.ConfigError(
                f"{where}: unknown placeholder {{{name}}}",
                hint=f"the nearest valid one is {{{nearest}}}; there are {valid}",
            )
    scheme, colon, _ = entry.partition("://")
    if not colon:
        folder = home.expanded(entry if entry.startswith("~") or not base else base / entry)
        uri = re.sub(r"%7B([a-z0-9_]+)%7D", r"{\1}", folder.absolute().as_uri())
        return uri if is_template(entry) else f"{uri}/"
    try:
        parts = urllib.parse.urlsplit(entry)
        _ = parts.port
        has_credentials = bool(parts.password or parts.username)
        if "\\" in parts.netloc:
            raise ValueError("urllib3 would end the host there")
    except ValueError:
        # A password that holds a "/" or "," ends up as the port: nothing of it is shown, nor of
        # Python's own message, which quotes it.
        has_credentials = "@" in entry
        if not has_credentials:
            raise errors.ConfigError(
                f"{where}: not a URL: {scheme}://***: no host, a port that is no number, or "
                "a backslash",
                hint="a comma inside a URL is written %2C; a password belongs into auth = {…}",
            ) from None
    if has_credentials:
        raise errors.ConfigError(
            f"{where}: credentials in a URL: {mask_proxy(entry)}",
            hint="name the mirror in a TOML file and give it auth = { type = … }",
        )
    if parts.scheme in HTTP_SCHEMES and not parts.hostname:
        raise errors.ConfigError(f"{where}: no host in {scheme}://***")
    for old, new in (pair for each in catalog.DATASETS.values() for pair in each.moved):
        gone = urllib.parse.urlsplit(old)
        if (parts.scheme, parts.hostname) == (gone.scheme, gone.hostname):
            return new
    return entry if is_template(entry) or parts.query else entry.rstrip("/") + "/"


def bypasses_proxy(host: str, port: int | None, no_proxy: str) -> bool:
    """True if NO_PROXY exempts that host.

    Its entries stand between commas or blanks: "*", exact names, domain suffixes (with or without a
    leading dot), addresses, CIDR networks, each optionally with ":port".
    """
    host = host.lower().rstrip(".")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    for entry in re.split(r"[,\s]+", no_proxy.strip().lower()):
        if entry == "*":
            return True
        if not entry:
            continue
        name, colon, wanted_port = entry.rpartition(":")
        # "::1" is an address, "[::1]:8080" one with a port.
        if colon and wanted_port.isdigit() and (":" not in name or name.endswith("]")):
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


_PROXY_SCHEMES = (*HTTP_SCHEMES, *_SOCKS_SCHEMES)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>)]+")
# As urllib3 shows it: "Max retries exceeded with url: /a.gz?sig=…".
_QUERY = re.compile(r"(/[^\s'\"<>?]*)\?[^\s'\"<>)]+")
_HOST = re.compile(r"([\w.-]*|\[[0-9a-fA-F:.]+(%25\w+)?\])(:[0-9]{0,5})?/*")


def proxy_problem(url: str) -> str:
    """Why `url` cannot be a proxy's URL, or ""; holds nothing of a user or password."""
    if any(letter.isspace() or not letter.isprintable() for letter in url):
        return "it holds white space or a control character"
    if "\\" in url:
        # urllib3 ends the host there, Python's urlsplit at the "@": they would ask two hosts.
        return "a backslash in a user or password is written %5C"
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
    """NO_PROXY fit to be shown: it may hold whole URLs, with passwords."""
    rules = ",".join(re.split(r"[,\s]+", rules.strip()))
    shown = (mask_proxy(rule) if "@" in rule else rule for rule in rules.split(","))
    return ",".join(mask_url(rule) if "://" in rule else rule for rule in shown)
