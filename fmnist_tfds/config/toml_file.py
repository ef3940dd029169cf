"""One TOML file -> checked values: mirrors and the [network], [cache], [manual] tables.

Used by `config` alone. An unknown key or a wrong type is a ConfigError that names the file, the
key and the nearest valid key. Secrets may only stand as references.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import pathlib
import tomllib
import urllib.parse
from collections.abc import Iterable, Mapping
from typing import Any

from fmnist_tfds import errors
from fmnist_tfds.config import settings

WEBSITE_HOST = "fashion-mnist.s3-website.eu-central-1.amazonaws.com"
REST_BASE = "https://fashion-mnist.s3.eu-central-1.amazonaws.com/"
RESERVED_NAMES = ("default", "off")

_TYPE_NAMES = {
    str: "a string",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    dict: "a table",
    list: "an array of tables, [[mirrors]]",
}
_TOP = "the top level"
_TOP_KEYS: dict[str, type] = {
    "order": str,
    "mirrors": list,
    "network": dict,
    "cache": dict,
    "manual": dict,
    "training": dict,
}
_MIRROR_KEYS: dict[str, type] = {
    "name": str,
    "url": str,
    "proxy": str,
    "ca_bundle": str,
    "client_cert": str,
    "headers": dict,
    "auth": dict,
    "insecure_tls": bool,
    "allow_http_redirect": bool,
}
_NETWORK_KEYS: dict[str, type] = {
    "connect_timeout_s": float,
    "read_timeout_s": float,
    "min_speed_bytes_per_s": int,
    "attempts": int,
    "backoff_s": float,
    "hedge_after_s": float,
    "deadline_s": float,
    "trust": str,
    "proxy": str,
    "ca_bundle": str,
}
_MAY_BE_ZERO = ("backoff_s", "min_speed_bytes_per_s", "hedge_after_s")
_AUTH_KEYS: dict[str, tuple[str, ...]] = {
    "bearer": ("token",),
    "basic": ("username", "password"),
    "netrc": (),
}


@dataclasses.dataclass(frozen=True, slots=True)
class TomlFile:
    """A parsed file whose top level is known to be well-formed."""

    path: pathlib.Path
    table: dict[str, Any]

    def error(self, message: str, hint: str = "") -> errors.ConfigError:
        """A ConfigError about this file."""
        return errors.ConfigError(f"{self.path}: {message}", hint=hint)

    def take(self, table: Any, where: str, keys: Mapping[str, type]) -> dict[str, Any]:
        """`table` with every key known and every value of its type.

        What stands there instead is never shown: it may be a secret in the wrong place.
        """
        if not isinstance(table, dict):
            raise self.error(f"{where}: expected a table, got {_kind(table)}")
        for key, value in table.items():
            if key not in keys:
                raise self.error(
                    f"unknown key {key!r} in {where}",
                    f"the nearest valid key is {nearest(key, keys)!r}",
                )
            wanted = keys[key]
            right = isinstance(value, (int, float) if wanted is float else wanted)
            if not right or (isinstance(value, bool) and wanted is not bool):
                place = key if where == _TOP else f"{where}.{key}"
                raise self.error(f"{place}: expected {_TYPE_NAMES[wanted]}, got {_kind(value)}")
        return dict(table)

    def folder(self, table: str) -> pathlib.Path | None:
        """The `dir` of [cache] or [manual], relative to the file; None if absent."""
        value = self.take(self.table.get(table, {}), f"[{table}]", {"dir": str}).get("dir")
        return None if value is None else self._absolute(value)

    def network(self) -> tuple[settings.Network, frozenset[str]]:
        """The [network] table over the defaults, and which keys it sets."""
        table = self.take(self.table.get("network", {}), "[network]", _NETWORK_KEYS)
        given = frozenset(table)
        for key, value in table.items():
            is_number = isinstance(value, (int, float))
            if is_number and (value < 0 or (value == 0 and key not in _MAY_BE_ZERO)):
                raise self.error(f"[network].{key}: expected more than 0, got {value}")
        if table.get("trust", "system") not in ("system", "certifi"):
            raise self.error(
                f'[network].trust: expected "system" or "certifi", got {table["trust"]!r}'
            )
        if "ca_bundle" in table:
            table["ca_bundle"] = self._existing(table["ca_bundle"], "[network].ca_bundle")
        if "proxy" in table:
            table["proxy"] = self._proxy(table["proxy"], "[network].proxy")
        return settings.Network(**table), given

    def mirrors(self) -> dict[str, settings.Mirror]:
        """The [[mirrors]] by name, in file order."""
        found: dict[str, settings.Mirror] = {}
        for number, entry in enumerate(self.table.get("mirrors", []), start=1):
            where = f"[[mirrors]] number {number}"
            table = self.take(entry, where, _MIRROR_KEYS)
            if "url" not in table:
                raise self.error(f"{where}: url is missing")
            name = table.get("name") or f"mirror-{number}"
            if name in found or name in RESERVED_NAMES:
                raise self.error(f"{where}: the name {name!r} is taken")
            table["name"] = name
            table["url"] = checked_url(table["url"], f"{self.path}: {where}.url", self.path.parent)
            table["headers"] = self._headers(table.get("headers", {}), f"{where}.headers")
            if "auth" in table:
                table["auth"] = self._auth(table["auth"], f"{where}.auth")
            for key in ("ca_bundle", "client_cert"):
                if key in table:
                    table[key] = self._existing(table[key], f"{where}.{key}")
            if table.get("proxy"):
                table["proxy"] = self._proxy(table["proxy"], f"{where}.proxy")
            found[name] = settings.Mirror(**table)
        return found

    def _absolute(self, path: str) -> pathlib.Path:
        return (self.path.parent / pathlib.Path(path).expanduser()).absolute()

    def _existing(self, path: str, where: str) -> pathlib.Path:
        absolute = self._absolute(path)
        if not absolute.exists():
            raise self.error(f"{where}: there is no file {absolute}")
        return absolute

    def _reference(self, value: str, where: str, *, required: bool = True) -> str:
        """A secret's reference with an absolute path; a literal only where not `required`."""
        kind, colon, rest = value.partition(":")
        if colon and kind == "file":
            return f"file:{self._absolute(rest)}"
        if required and not (colon and kind == "env"):
            raise self.error(
                f"{where}: a secret may not stand in the file",
                'write a reference: "env:NAME" or "file:path"',
            )
        return value

    def _proxy(self, value: str, where: str) -> str:
        if value.startswith(("env:", "file:")):
            return self._reference(value, where)
        problem = settings.proxy_problem(value) or ("" if "://" in value else "it has no scheme")
        if not problem and urllib.parse.urlsplit(value).password:
            raise self.error(
                f"{where}: a secret may not stand in the file",
                'put the whole proxy URL into a variable and write "env:NAME"',
            )
        if problem:
            raise self.error(
                f"{where}: expected a proxy URL, got {settings.mask_proxy(value)!r}: {problem}",
                'for example "http://proxy:3128"',
            )
        return value

    def _headers(self, table: dict[str, Any], where: str) -> tuple[tuple[str, str], ...]:
        for key, value in table.items():
            if not isinstance(value, str):
                raise self.error(f"{where}.{key}: expected a string, got {_kind(value)}")
        return tuple(
            (key, self._reference(value, where, required=False)) for key, value in table.items()
        )

    def _auth(self, table: dict[str, Any], where: str) -> settings.Auth:
        kind = table.get("type")
        if kind not in _AUTH_KEYS:
            got = "nothing" if kind is None else "something else"
            raise self.error(f"{where}.type: expected one of {', '.join(_AUTH_KEYS)}; got {got}")
        wanted = _AUTH_KEYS[kind]
        self.take(table, where, dict.fromkeys(("type", *wanted), str))
        for key in wanted:
            if key not in table:
                raise self.error(f"{where}: {key} is missing")
        return settings.Auth(
            type=kind,
            **{
                key: self._reference(table[key], f"{where}.{key}", required=key != "username")
                for key in wanted
            },
        )


def read(path: str | os.PathLike[str]) -> TomlFile:
    """The file, with its top level checked.

    Raises:
        ConfigError: it cannot be read, is not TOML, or has an unknown top-level key.
    """
    absolute = pathlib.Path(path).expanduser().absolute()
    try:
        table = tomllib.loads(absolute.read_text(encoding="utf-8"))
    except OSError as error:
        raise errors.ConfigError(
            f"{absolute}: the configuration file cannot be read: {error.strerror or error}",
            hint="correct the path in --config_file (scripts/train.py: --config) or "
            "FMNIST_TFDS_CONFIG",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise errors.ConfigError(f"{absolute}: not valid TOML: {error}") from error
    file = TomlFile(absolute, table)
    file.take(table, _TOP, _TOP_KEYS)
    return file


def _kind(value: object) -> str:
    kinds = {bool: "true or false", int: "a number", float: "a number", str: "a string"}
    return kinds.get(type(value), "a table" if isinstance(value, dict) else "an array")


def checked_url(entry: str, where: str, base: pathlib.Path | None = None) -> str:
    """The normal form of one mirror entry: a URL or template; folders become file:// URLs.

    Args:
        entry: as the user wrote it.
        where: how an error calls it.
        base: what relative folders are relative to; None: the working folder.

    Raises:
        ConfigError: not a URL, or one that carries a password.
    """
    scheme, colon, _ = entry.partition("://")
    if not colon:
        folder = (base or pathlib.Path.cwd()) / pathlib.Path(entry).expanduser()
        template = "{filename}" in entry
        return folder.absolute().as_uri().replace("%7Bfilename%7D", "{filename}") + (
            "" if template else "/"
        )
    try:
        parts = urllib.parse.urlsplit(entry)
        _ = parts.port
        has_credentials = bool(parts.password or parts.username)
    except ValueError:
        # A password that holds a "/" or "," ends up as the port: no word of it is shown, nor of
        # Python's own message, which quotes it.
        has_credentials = "@" in entry
        if not has_credentials:
            raise errors.ConfigError(
                f"{where}: not a URL: {scheme}://***: no host, or a port that is no number",
                hint="a comma inside a URL is written %2C; a password belongs into auth = {…}",
            ) from None
    if has_credentials:
        raise errors.ConfigError(
            f"{where}: credentials in a URL: {settings.mask_proxy(entry)}",
            hint="name the mirror in a TOML file and give it auth = { type = … }; see configs/",
        )
    if parts.scheme in settings.HTTP_SCHEMES and not parts.hostname:
        raise errors.ConfigError(f"{where}: no host in {scheme}://***")
    if parts.hostname == WEBSITE_HOST and parts.scheme == "https":
        # Website endpoints have no TLS; at least ten public code bases hard-code this address.
        return REST_BASE
    return entry if "{filename}" in entry or parts.query else entry.rstrip("/") + "/"


def nearest(word: str, valid: Iterable[str]) -> str:
    """The valid word most like `word`."""
    return difflib.get_close_matches(word, list(valid), n=1, cutoff=0.0)[0]
