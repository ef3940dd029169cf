"""Reads and checks the TOML file: mirrors, rewrites, [network], [cache], [manual], [messages].

An unknown key or a wrong type is a ConfigError that names the file, the key and the nearest valid
key. Secrets may only be given as references.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import tomllib
import typing
import urllib.parse
from typing import Any

from fmnist_tfds import errors
from fmnist_tfds.config import home, rewrites, schema, settings, urls

RESERVED_NAMES = ("default", "off")

_AUTH_KEYS: dict[str, tuple[str, ...]] = {
    "bearer": ("token",),
    "basic": ("username", "password"),
    "netrc": (),
}


@dataclasses.dataclass(frozen=True)
class _TopLevel:
    order: str
    mirrors: list[Any]
    network: dict[str, Any]
    cache: dict[str, Any]
    manual: dict[str, Any]
    rewrites: list[Any]
    messages: dict[str, Any]
    training: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class _Messages:
    blocked: str


@dataclasses.dataclass(frozen=True)
class _Folder:
    dir: str


@dataclasses.dataclass(frozen=True, slots=True)
class TomlFile:
    """A parsed file whose top level is known to be well-formed."""

    path: pathlib.Path
    table: dict[str, Any]

    def error(self, message: str, hint: str = "") -> errors.ConfigError:
        """A ConfigError about this file."""
        return errors.ConfigError(f"{self.path}: {message}", hint=hint)

    def folder(self, table: str) -> pathlib.Path | None:
        """The `dir` of [cache] or [manual], relative to the file; None if absent."""
        value = schema.check(self.table.get(table, {}), _Folder, f"[{table}]", self.error).get(
            "dir"
        )
        return None if value is None else self._absolute(value)

    def rewrites(self) -> tuple[settings.Rewrite, ...]:
        """The [[rewrites]], in file order."""
        return rewrites.read(self.table.get("rewrites", []), self.error)

    def blocked_message(self) -> str:
        """`blocked` of the table [messages], or ""."""
        table = schema.check(self.table.get("messages", {}), _Messages, "[messages]", self.error)
        return " ".join(str(table.get("blocked", "")).split())

    def network(self) -> tuple[settings.Network, frozenset[str]]:
        """The [network] table over the defaults, and which keys it sets."""
        table = schema.check(
            self.table.get("network", {}), settings.Network, "[network]", self.error
        )
        given = frozenset(table)
        if "ca_bundle" in table:
            table["ca_bundle"] = self._existing(table["ca_bundle"], "[network].ca_bundle")
        if "proxy" in table:
            table["proxy"] = self._proxy(table["proxy"], "[network].proxy")
        self._user_agent(table, "[network]")
        return settings.Network(**table), given

    def mirrors(self) -> dict[str, settings.Mirror]:
        """The [[mirrors]] by name, in file order."""
        found: dict[str, settings.Mirror] = {}
        for number, entry in enumerate(self.table.get("mirrors", []), start=1):
            where = f"[[mirrors]] number {number}"
            table = schema.check(entry, settings.Mirror, where, self.error)
            if "url" not in table:
                raise self.error(f"{where}: url is missing")
            name = table.get("name") or f"mirror-{number}"
            if name in found or name in RESERVED_NAMES:
                raise self.error(f"{where}: the name {name!r} is taken")
            table["name"] = name
            table["url"] = urls.checked_mirror(
                table["url"], f"{self.path}: {where}.url", self.path.parent
            )
            self._user_agent(table, where)
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

    def _user_agent(self, table: dict[str, Any], where: str) -> None:
        text = table.get("user_agent", "")
        if not (text.isascii() and text.isprintable()):
            raise self.error(f"{where}.user_agent: expected one line of ASCII")

    def _absolute(self, path: str) -> pathlib.Path:
        return home.expanded(path if path.startswith("~") else self.path.parent / path)

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
        problem = urls.proxy_problem(value) or ("" if "://" in value else "it has no scheme")
        if not problem and urllib.parse.urlsplit(value).password:
            raise self.error(
                f"{where}: a secret may not stand in the file",
                'put the whole proxy URL into a variable and write "env:NAME"',
            )
        if problem:
            raise self.error(
                f"{where}: expected a proxy URL, got {urls.mask_proxy(value)!r}: {problem}",
                'for example "http://proxy:3128"',
            )
        return value

    def _headers(self, table: dict[str, Any], where: str) -> tuple[tuple[str, str], ...]:
        for key, value in table.items():
            if not isinstance(value, str):
                raise self.error(f"{where}.{key}: expected a string, got {schema.kind_of(value)}")
        return tuple(
            (key, self._reference(value, where, required=False)) for key, value in table.items()
        )

    def _auth(self, table: dict[str, Any], where: str) -> settings.Auth:
        kind = table.get("type")
        # Only a string may be looked up: an array cannot be hashed.
        wanted = _AUTH_KEYS.get(kind) if isinstance(kind, str) else None
        if wanted is None:
            got = "nothing" if kind is None else "something else"
            raise self.error(f"{where}.type: expected one of {', '.join(_AUTH_KEYS)}; got {got}")
        schema.check(table, settings.Auth, where, self.error, keys=("type", *wanted))
        for key in wanted:
            if key not in table:
                raise self.error(f"{where}: {key} is missing")
        return settings.Auth(
            type=typing.cast(Any, kind),
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
    absolute = home.expanded(path)
    try:
        table = tomllib.loads(absolute.read_text(encoding="utf-8"))
    except OSError as error:
        raise errors.ConfigError(
            f"{absolute}: the configuration file cannot be read: {error.strerror or error}",
            hint="correct the path in --config_file or FMNIST_TFDS_CONFIG",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise errors.ConfigError(f"{absolute}: not valid TOML: {error}") from error
    file = TomlFile(absolute, table)
    schema.check(table, _TopLevel, "", file.error)
    return file
