"""Arguments, environment variables and TOML -> `settings.Settings`.

The only module that reads the environment. Argument beats FMNIST_TFDS_* beats TOML beats default.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import platformdirs

from fmnist_tfds import artifacts, catalog, errors
from fmnist_tfds.config import (
    home,
    mirror_list,
    rewrites,
    schema,
    secret_reference,
    settings,
    toml_file,
)

PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
# The first that is set is used.
BUNDLE_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
_PREFIX = "FMNIST_TFDS_"
_VARIABLES = (
    *("MIRRORS", "CONFIG", "MANUAL_DIR", "CACHE_DIR", "OFFLINE", "ADOPT_LOCAL", "DEADLINE_S"),
    "TEST_DATA",
)


def load(
    *,
    mirrors: str | Iterable[str | settings.Mirror] | None = None,
    config_file: str | os.PathLike[str] | None = None,
    manual_dir: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    deadline_s: float | None = None,
    offline: bool | None = None,
    adopt_local: bool = False,
    environ: Mapping[str, str] | None = None,
    dataset: artifacts.ArtifactSet = catalog.FASHION_MNIST,
) -> settings.Settings:
    """The effective settings.

    Args:
        mirrors: the mirror list, as text ("corp, /mnt/data, default") or as its entries.
        config_file: TOML file; beats FMNIST_TFDS_CONFIG.
        manual_dir: folder or file that holds the data.
        cache_dir: the store's folder.
        deadline_s: seconds for the whole job.
        offline: open no socket.
        adopt_local: look in other tools' caches on this disk.
        environ: the environment to read instead of the process's.
        dataset: whose public mirrors "default" means.

    Raises:
        ConfigError: a file, key, value or variable is wrong.
    """
    env = os.environ if environ is None else environ
    _refuse_unknown_variables(env)
    file = config_file or env.get(_PREFIX + "CONFIG")
    toml = toml_file.read(file) if file else None
    toml_origin = str(toml.path) if toml else ""
    named = toml.mirrors() if toml else {}
    network, given = toml.network() if toml else (settings.Network(), frozenset())
    origins = {
        f"network.{field.name}": toml_origin if field.name in given else "default"
        for field in dataclasses.fields(network)
    }

    def pick(name: str, argument: Any, variable: str, from_toml: Any, default: Any) -> Any:
        for value, origin in (
            (argument, "argument"),
            (env.get(_PREFIX + variable) or None, _PREFIX + variable),
            (from_toml, toml_origin),
        ):
            if value is not None:
                origins[name] = origin
                return value
        origins[name] = "default"
        return default

    listed = pick(
        "mirrors",
        mirrors,
        "MIRRORS",
        toml.table.get("order", tuple(named.values()) or None) if toml else None,
        "default",
    )
    sources, off, notes = mirror_list.expand(listed, named, origins["mirrors"], dataset)
    rules = toml.rewrites() if toml else ()
    rewritten = [rewrites.apply(each, rules, tuple(named.values())) or [each] for each in sources]
    sources = tuple(dict.fromkeys(mirror for each in rewritten for mirror in each))
    cache = pick(
        "cache.dir",
        cache_dir,
        "CACHE_DIR",
        toml.folder("cache") if toml else None,
        None,
    )
    manual = pick(
        "manual.dir", manual_dir, "MANUAL_DIR", toml.folder("manual") if toml else None, None
    )
    deadline = _positive(
        pick(
            "network.deadline_s",
            deadline_s,
            "DEADLINE_S",
            network.deadline_s if "deadline_s" in given else None,
            network.deadline_s,
        ),
        origins["network.deadline_s"],
    )
    is_offline = _flag(pick("offline", offline, "OFFLINE", None, False), "offline", origins)
    adopts = pick("adopt_local", adopt_local or None, "ADOPT_LOCAL", None, False)
    if off and not is_offline:
        is_offline, origins["offline"] = True, origins["mirrors"]
    return settings.Settings(
        mirrors=sources,
        cache_dir=home.expanded(_default_cache() if cache is None else cache),
        network=dataclasses.replace(network, deadline_s=deadline),
        environment=_environment(env),
        manual_dir=None if manual is None else home.expanded(manual),
        offline=is_offline,
        adopt_local=_flag(adopts, "adopt_local", origins),
        config_file=toml.path if toml else None,
        origins=origins,
        rewrites=rules,
        named=tuple(named.values()),
        blocked_message=toml.blocked_message() if toml else "",
        notes=notes,
    )


def _default_cache() -> pathlib.Path:
    """The platform's cache folder; looked up only where no other one is set."""
    if not os.environ.get("XDG_CACHE_HOME"):
        home.folder("the cache", "--cache_dir or FMNIST_TFDS_CACHE_DIR")
    return platformdirs.user_cache_path("fmnist_tfds", appauthor=False)


def conventional_variables() -> dict[str, str]:
    """The proxy and certificate variables that are set, in both spellings, as they stand."""
    proxies = [spelling for name in PROXY_VARIABLES for spelling in (name, name.upper())]
    return {name: os.environ[name] for name in (*proxies, *BUNDLE_VARIABLES) if name in os.environ}


def variable(name: str) -> str:
    """One environment variable of another tool (HOME-like lookups); "" if unset."""
    return os.environ.get(name, "")


def resolve_secret(value: str) -> str:
    """The secret that a reference ("env:NAME", "file:/path") names, without surrounding white
    space; a literal unchanged.

    Raises:
        ConfigError: the variable is unset, the file cannot be read, or the secret is not one line
            of text. The message shows nothing of it.
    """
    kind, _, rest = value.partition(":")
    if not secret_reference.is_reference(value):
        return value
    if kind == "env":
        secret = os.environ.get(rest, "").strip()
        if not secret:
            raise errors.ConfigError(
                f"secret {value!r}: the environment variable {rest} is not set, or empty",
                hint=f"export {rest}=…",
            )
    else:
        try:
            # Windows editors put a byte order mark in front.
            secret = pathlib.Path(rest).read_text(encoding="utf-8-sig").strip()
        except (OSError, UnicodeDecodeError) as error:
            said = getattr(error, "strerror", None) or "it is not text"
            # From None: the codec's own error shows a byte of it.
            raise errors.ConfigError(f"secret {value!r}: cannot be read: {said}") from None
        if not secret:
            raise errors.ConfigError(f"secret {value!r}: the file is empty")
    if not secret_reference.is_one_line(secret):
        raise errors.ConfigError(
            f"secret {value!r}: it holds a line break, a control character or a byte that is not "
            "text; it is not shown",
            hint="store the secret alone, as one line of UTF-8 text",
        )
    return secret


def training_table(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The [training] table of a TOML file, its keys unchecked; {} if there is none.

    Raises:
        ConfigError: the file cannot be read or is not TOML.
    """
    return dict(toml_file.read(path).table.get("training", {}))


def _environment(env: Mapping[str, str]) -> settings.Environment:
    def conventional(name: str) -> str:
        # Lower case wins, as in curl and urllib: a CGI request can set HTTP_PROXY by a header.
        return env.get(name.lower()) or env.get(name.upper()) or ""

    proxies = {scheme: conventional(f"{scheme}_proxy") for scheme in ("http", "https", "all")}
    bundle = next((env[name] for name in BUNDLE_VARIABLES if env.get(name)), None)
    return settings.Environment(
        proxies={scheme: url for scheme, url in proxies.items() if url},
        no_proxy=conventional("no_proxy"),
        ca_bundle=pathlib.Path(bundle) if bundle else None,
    )


def _refuse_unknown_variables(env: Mapping[str, str]) -> None:
    for name in env:
        if name.startswith(_PREFIX) and name.removeprefix(_PREFIX) not in _VARIABLES:
            known = [_PREFIX + suffix for suffix in _VARIABLES]
            raise errors.ConfigError(
                f"unknown environment variable {name}",
                hint=f"the nearest valid one is {schema.nearest(name, known)}",
            )


def _positive(value: float | str, origin: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = 0.0
    if not number > 0:
        raise errors.ConfigError(
            f"deadline_s ({origin}): expected a number of seconds above 0, got {value!r}"
        )
    return number


_FLAGS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


def _flag(value: bool | str, name: str, origins: Mapping[str, str]) -> bool:
    if isinstance(value, bool):
        return value
    if value.lower() not in _FLAGS:
        raise errors.ConfigError(f"{name} ({origins[name]}): expected 1 or 0, got {value!r}")
    return _FLAGS[value.lower()]


def export(**values: str | float | bool | None) -> None:
    """Sets FMNIST_TFDS_<NAME> for the rest of this process, for code that takes no arguments.

    Args:
        **values: lower-case suffix -> value; None leaves the variable alone.
    """
    for name, value in values.items():
        if value is not None:
            text = str(int(value)) if isinstance(value, bool) else str(value)
            os.environ[_PREFIX + name.upper()] = text
